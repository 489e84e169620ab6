// The description that an exported file carries.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "text.h"

namespace tinypose {

// How detections are chosen among scored boxes; -1 where there is no limit.
struct NmsConfig {
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
    int num_classes = 0;
    int person_class = -1;  // -1 if there is none
    double person_threshold = 0.5;
    bool letterbox = false;  // images keep their aspect ratio, with grey beside them
    NmsConfig nms;
};

// Reads the JSON of an exported file, with the checks of tinypose_torch/runtime/metadata.py. With several methods,
// picks the one that does `task`. Throws Error.
Description read_description(const std::string& json, const std::string& task, const std::string& path);

}  // namespace tinypose
