// Images of any size in, people out, by an app file.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include <opencv2/core.hpp>

#include "tinypose.h"

namespace tinypose {

struct Keypoint {
    cv::Point2d point;  // pixels of the image
    float score = 0;
};

struct Person {
    cv::Rect2f box;  // pixels of the image
    float score = 0;
    std::vector<Keypoint> keypoints;
    int64_t id = 0;  // from 1, of people who are followed through a video
};

class Estimator {
public:
    // `threads`: 0 for the runtime's own choice. Throws Error.
    Estimator(const std::string& path, int threads);

    const tinypose_description& description() const { return description_; }

    // The people in a BGR image (CV_8UC3), best first. Throws Error.
    std::vector<Person> estimate(const cv::Mat& bgr);

    // The people in the next frame of a video, with ids if the app has the method `follow`. `seconds`: time of the frame.
    std::vector<Person> follow(const cv::Mat& bgr, double seconds);

private:
    std::vector<Person> mapped(const tinypose_people& people, const cv::Size& image) const;

    std::unique_ptr<tinypose_app, void (*)(tinypose_app*)> app_;
    tinypose_description description_{};
};

}  // namespace tinypose
