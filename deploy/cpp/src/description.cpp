#include "description.h"

#include <opencv2/core.hpp>

namespace tinypose {
namespace {

const char* const FORMAT = "tinypose-torch export 1";

// OpenCV's reader knows no null; here it means "no limit".
std::string without_nulls(std::string json) {
    const std::string null = ": null";
    for (size_t at = json.find(null); at != std::string::npos; at = json.find(null, at)) {
        json.replace(at, null.size(), ": -1");
    }
    return json;
}

Description read_network(const cv::FileNode& node, const std::string& path) {
    if (static_cast<std::string>(node["format"]) != FORMAT) {
        throw Error(path + ": was made for '" + static_cast<std::string>(node["format"]) + "', this program reads '" +
                    FORMAT + "'; export it again");
    }
    Description description;
    description.model = static_cast<std::string>(node["model"]);
    description.task = static_cast<std::string>(node["task"]);
    const cv::FileNode input = node["input"];
    if (static_cast<std::string>(input["kind"]).rfind("uint8", 0) != 0) {
        throw Error(path + ": takes normalised numbers, not images; export it without --raw");
    }
    if (static_cast<int>(input["batch"]) != 1) {
        throw Error(path + ": takes several images at once; export it without --batch and --dynamic-batch");
    }
    description.height = static_cast<int>(input["size"][0]);
    description.width = static_cast<int>(input["size"][1]);
    if (description.task == "pose") {
        if (static_cast<int>(node["decodes"]) == 0) {
            throw Error(path + ": gives heatmaps, not keypoints; export it without --heatmaps");
        }
        for (const auto& name : node["skeleton"]["keypoint_names"]) {
            description.keypoint_names.push_back(static_cast<std::string>(name));
        }
        for (const auto& link : node["skeleton"]["links"]) {
            description.links.emplace_back(static_cast<int>(link[0]), static_cast<int>(link[1]));
        }
    } else {
        description.person_class = static_cast<int>(node["person_class"]);
        description.person_threshold = static_cast<double>(node["person_threshold"]);
        const cv::FileNode rule = node["suppression"];
        Suppression& suppression = description.suppression;
        suppression.score_threshold = static_cast<double>(rule["score_threshold"]);
        suppression.iou_threshold = static_cast<double>(rule["iou_threshold"]);
        suppression.candidates_per_level = static_cast<int>(rule["candidates_per_level"]);
        suppression.candidates_per_class = static_cast<int>(rule["candidates_per_class"]);
        suppression.max_per_class = static_cast<int>(rule["max_per_class"]);
        suppression.max_detections = static_cast<int>(rule["max_detections"]);
        suppression.clip = static_cast<int>(rule["clip"]) != 0;
    }
    return description;
}

}  // namespace

Description read_description(const std::string& json, const std::string& task, const std::string& path) {
    Description found;
    try {
        const cv::FileStorage storage(without_nulls(json),
                                      cv::FileStorage::READ | cv::FileStorage::MEMORY | cv::FileStorage::FORMAT_JSON);
        const cv::FileNode methods = storage["methods"];
        if (methods.empty()) {
            found = read_network(storage.root(), path);
            found.method = "forward";
        } else {
            for (const auto& node : methods) {
                if (found.method.empty() || static_cast<std::string>(node["task"]) == task) {
                    const bool right = static_cast<std::string>(node["task"]) == task;
                    found = read_network(node, path);
                    found.method = node.name();
                    if (right) break;
                }
            }
        }
    } catch (const cv::Exception&) {
        throw Error(path + ": carries no description that can be read; it was not exported by tinypose-torch");
    }
    if (found.task != task) {
        throw Error(path + ": is " + (found.model.empty() ? "nothing" : found.model) + ", which is not for " + task);
    }
    return found;
}

}  // namespace tinypose
