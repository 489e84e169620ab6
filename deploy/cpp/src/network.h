// A network in a file, run by whichever runtime this program was built with.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include <opencv2/core.hpp>

#include "description.h"

namespace tinypose {

class Network {
public:
    virtual ~Network() = default;

    // The outputs for one RGB image (CV_8UC3) of the input's size: float matrices of shape (rows, columns), namely
    // keypoints (K, 3); or scores (A, C), boxes (A, 4) and, of some detectors, embeddings. Throws Error.
    virtual std::vector<cv::Mat> run(const cv::Mat& rgb) = 0;

    Description description;
};

// Opens a file for a task, "pose" or "detection". `threads`: 0 for the runtime's own choice. Throws Error.
std::unique_ptr<Network> open_network(const std::string& path, const std::string& task, int threads);

// What open_network reads, for --help.
extern const char* const FILE_KIND;

}  // namespace tinypose
