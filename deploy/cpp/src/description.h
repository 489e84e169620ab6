// What an exported file says of itself.
#pragma once

#include <array>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace tinypose {

// Anything that is wrong with files or arguments, in words for the user.
struct Error : std::runtime_error {
    using std::runtime_error::runtime_error;
};

// How detections are chosen among scored boxes; -1 where there is no limit.
struct Suppression {
    double score_threshold = 0.025, iou_threshold = 0.6;
    int candidates_per_level = -1, candidates_per_class = 1000, max_per_class = -1, max_detections = 100;
    bool clip = false;
};

struct Description {
    std::string method;  // of the file that runs this network
    std::string model, task;
    int height = 0, width = 0;  // of the input
    // Pose networks.
    std::vector<std::string> keypoint_names;
    std::vector<std::pair<int, int>> links;
    // Detectors.
    int person_class = -1;
    double person_threshold = 0.5;
    Suppression suppression;
};

// Reads the JSON of an exported file. With several methods, picks the one that does `task`.
Description read_description(const std::string& json, const std::string& task, const std::string& path);

}  // namespace tinypose
