#include "description.h"

#include <cstdio>
#include <set>

#include "json.h"

namespace tinypose {
namespace {

const char* const FORMAT = "tinypose-torch export 1";
// As in tinypose_torch/checkpoints/limits.py.
constexpr size_t MAX_LENGTH = 4 << 20, MAX_TEXT = 200, MAX_KEYPOINTS = 1000, MAX_CLASSES = 10'000, MAX_METHODS = 10;
constexpr int MIN_SIZE = 32, MAX_SIZE = 4096, DIVISOR = 32, MAX_BATCH = 4096, MAX_COUNT = 1'000'000;
constexpr double MAX_NUMBER = 1e9;

// A description that cannot be read, as opposed to one of a network that this program does not run.
struct Unreadable : Error {
    using Error::Error;
};

[[noreturn]] void refuse(const std::string& name, const Json& value, const std::string& expected) {
    throw Unreadable(name + " " + shown(value) + "; expected " + expected);
}

std::string range(double low, double high) {
    char text[64];
    std::snprintf(text, sizeof text, "from %g to %g", low, high);
    return text;
}

const Json::Object& check_object(const Json& value, const std::string& name) {
    if (!value.get<Json::Object>()) refuse(name, value, "a JSON object");
    return *value.get<Json::Object>();
}

const Json::List& check_list(const Json& value, const std::string& name, size_t low, size_t high) {
    const auto* list = value.get<Json::List>();
    if (!list || list->size() < low || list->size() > high) {
        refuse(name, value, "a list of " + std::to_string(low) + " to " + std::to_string(high));
    }
    return *list;
}

double check_number(const Json& value, const std::string& name, double low = -MAX_NUMBER, double high = MAX_NUMBER) {
    const auto* integer = value.get<int64_t>();
    const auto* real = value.get<double>();
    const double number = integer ? static_cast<double>(*integer) : real ? *real : 0;
    if ((!integer && !real) || number < low || number > high) refuse(name, value, "a number " + range(low, high));
    return number;
}

int check_count(const Json& value, const std::string& name, int low = 0, int high = MAX_COUNT) {
    const auto* integer = value.get<int64_t>();
    if (!integer || *integer < low || *integer > high) refuse(name, value, "an integer " + range(low, high));
    return static_cast<int>(*integer);
}

// -1 for null.
int check_limit(const Json& value, const std::string& name) {
    return value.get<std::nullptr_t>() ? -1 : check_count(value, name);
}

bool check_flag(const Json& value, const std::string& name) {
    if (!value.get<bool>()) refuse(name, value, "true or false");
    return *value.get<bool>();
}

std::string check_text(const Json& value, const std::string& name) {
    const auto* text = value.get<std::string>();
    size_t characters = 0, length = 0;
    bool right = text != nullptr;
    for (size_t at = 0; right && at < text->size(); at += length) {
        length = utf8_length(*text, at);
        right = !is_control(text->substr(at, length)) && ++characters <= MAX_TEXT;
    }
    if (!right) refuse(name, value, "at most " + std::to_string(MAX_TEXT) + " characters without control characters");
    return *text;
}

const Json& required(const Json::Object& facts, const std::string& name) {
    const auto found = facts.find(name);
    if (found == facts.end()) throw Unreadable("'" + name + "' is missing");
    return found->second;
}

const Json& optional(const Json::Object& facts, const std::string& name, const Json& standard) {
    const auto found = facts.find(name);
    return found == facts.end() ? standard : found->second;
}

void check_names(const Json::Object& facts, const std::string& what, const std::set<std::string>& known) {
    for (const auto& [name, value] : facts) {
        if (!known.count(name)) throw Unreadable(what + " has no setting '" + shortened(name, MAX_TEXT) + "'");
    }
}

std::vector<std::pair<int, int>> check_pairs(const Json::Object& skeleton, const std::string& name, size_t keypoints) {
    std::vector<std::pair<int, int>> pairs;
    const Json none{Json::List()};
    for (const Json& item : check_list(optional(skeleton, name, none), name, 0, 10 * MAX_KEYPOINTS)) {
        const auto& pair = check_list(item, name, 2, 2);
        const int last = static_cast<int>(keypoints) - 1;
        pairs.emplace_back(check_count(pair[0], "index in " + name, 0, last),
                           check_count(pair[1], "index in " + name, 0, last));
    }
    return pairs;
}

void read_skeleton(const Json& value, Description& description) {
    const auto& skeleton = check_object(value, "skeleton");
    check_names(skeleton, "skeleton", {"name", "keypoint_names", "flip_pairs", "links", "sigmas"});
    check_text(required(skeleton, "name"), "name of the skeleton");
    for (const Json& name : check_list(required(skeleton, "keypoint_names"), "keypoint names", 1, MAX_KEYPOINTS)) {
        description.keypoint_names.push_back(check_text(name, "keypoint name"));
    }
    const size_t count = description.keypoint_names.size();
    description.links = check_pairs(skeleton, "links", count);
    std::set<int> paired;
    for (const auto& [left, right] : check_pairs(skeleton, "flip_pairs", count)) {
        for (int index : std::set<int>{left, right}) {
            if (!paired.insert(index).second) {
                throw Unreadable("keypoint " + std::to_string(index) + " is in more than one flip pair");
            }
        }
    }
    const Json none{Json::List()};
    const auto& sigmas = check_list(optional(skeleton, "sigmas", none), "sigmas", 0, MAX_KEYPOINTS);
    for (const Json& sigma : sigmas) check_number(sigma, "sigma", 0, 1e6);
    if (!sigmas.empty() && sigmas.size() != count) {
        throw Unreadable(std::to_string(sigmas.size()) + " sigmas for " + std::to_string(count) + " keypoints");
    }
}

NmsConfig read_nms(const Json& value) {
    const auto& rule = check_object(value, "suppression");
    check_names(rule, "suppression",
                {"score_threshold", "iou_threshold", "candidates_per_level", "candidates_per_class", "max_per_class",
                 "max_detections", "clip"});
    NmsConfig result;
    for (const auto& [name, setting] : rule) {
        const std::string where = "suppression." + name;
        if (name == "score_threshold") result.score_threshold = check_number(setting, where);
        if (name == "iou_threshold") result.iou_threshold = check_number(setting, where);
        if (name == "candidates_per_level") result.candidates_per_level = check_limit(setting, where);
        if (name == "candidates_per_class") result.candidates_per_class = check_count(setting, where);
        if (name == "max_per_class") result.max_per_class = check_limit(setting, where);
        if (name == "max_detections") result.max_detections = check_limit(setting, where);
        if (name == "clip") result.clip = check_flag(setting, where);
    }
    return result;
}

void read_detector(const Json::Object& facts, const std::string& path, Description& description) {
    const auto& classes = check_list(required(facts, "class_names"), "class names", 1, MAX_CLASSES);
    for (const Json& name : classes) check_text(name, "class name");
    description.num_classes = static_cast<int>(classes.size());
    const Json& person = required(facts, "person_class");
    if (!person.get<std::nullptr_t>()) {
        description.person_class = check_count(person, "person_class", 0, description.num_classes - 1);
    } else if (classes.size() == 1) {
        description.person_class = 0;
    }
    description.person_threshold = check_number(required(facts, "person_threshold"), "person_threshold");
    const Json no{false};
    description.letterbox = check_flag(optional(facts, "letterbox", no), "letterbox");
    const Json& rule = required(facts, "suppression");
    if (check_object(rule, "suppression").count("post_threshold")) {
        throw Error(path + ": is " + description.model + ", which needs matrix NMS; this program has none. "
                    "Export another detector, such as picodet_s_192_lcnet_pedestrian");
    }
    description.nms = read_nms(rule);
}

void read_input(const Json::Object& input, const std::string& path, Description& description) {
    const auto& size = check_list(required(input, "size"), "input size", 2, 2);
    for (const Json& side : size) {
        if (check_count(side, "input size", MIN_SIZE, MAX_SIZE) % DIVISOR) {
            refuse("input size", side, "multiples of " + std::to_string(DIVISOR));
        }
    }
    description.height = check_count(size[0], "input size");
    description.width = check_count(size[1], "input size");
    for (const char* name : {"mean", "std"}) {
        const double low = name == std::string("std") ? 1e-6 : -1e6;
        for (const Json& number : check_list(required(input, name), name, 3, 3)) check_number(number, name, low, 1e6);
    }
    const Json& batch = required(input, "batch");
    const bool any = batch.get<std::nullptr_t>() != nullptr;
    if (check_text(required(input, "kind"), "input kind").rfind("uint8", 0) != 0) {
        throw Error(path + ": takes normalised numbers, not images; export it without --raw");
    }
    if (any || check_count(batch, "batch", 1, MAX_BATCH) != 1) {
        throw Error(path + ": takes several images at once; export it without --batch and --dynamic-batch");
    }
}

Description read_network(const Json& json, const std::string& path) {
    const auto& facts = check_object(json, "description");
    const Json& format = required(facts, "format");
    if (!format.get<std::string>() || *format.get<std::string>() != FORMAT) {
        throw Error(path + ": was made for " + shown(format) + "; this program reads '" + FORMAT +
                    "'. Export it again");
    }
    Description description;
    description.model = check_text(required(facts, "model"), "model");
    description.task = check_text(required(facts, "task"), "task");
    check_text(required(facts, "precision"), "precision");
    for (const auto& [name, version] : check_object(required(facts, "versions"), "versions")) {
        check_text(Json{name}, "package");
        check_text(version, "version");
    }
    read_input(check_object(required(facts, "input"), "input"), path, description);
    const Json no{false};
    const bool decodes = check_flag(optional(facts, "decodes", no), "decodes");
    if (description.task == "detection") {
        read_detector(facts, path, description);
    } else if (description.task == "pose") {
        check_number(required(facts, "keypoint_threshold"), "keypoint_threshold");
        read_skeleton(required(facts, "skeleton"), description);
        if (!decodes) throw Error(path + ": gives heatmaps, not keypoints; export it without --heatmaps");
    }
    return description;
}

// The network of a file that does `task`, or else another one.
Description find_network(const Json& json, const std::string& task, const std::string& path) {
    const auto& facts = check_object(json, "description");
    if (!facts.count("methods")) {
        Description found = read_network(json, path);
        found.method = "forward";
        return found;
    }
    const auto& methods = check_object(facts.at("methods"), "methods");
    if (methods.empty() || methods.size() > MAX_METHODS) {
        throw Unreadable(std::to_string(methods.size()) + " methods; expected 1 to " + std::to_string(MAX_METHODS));
    }
    Description found;
    for (const auto& [name, node] : methods) {
        Description description = read_network(node, path);
        description.method = check_text(Json{name}, "method");
        if (found.method.empty() || description.task == task) found = description;
    }
    return found;
}

}  // namespace

Description read_description(const std::string& json, const std::string& task, const std::string& path) {
    Description found;
    try {
        if (json.empty()) throw Unreadable("it is empty");
        if (json.size() > MAX_LENGTH) throw Unreadable("it has " + std::to_string(json.size()) + " bytes");
        Json parsed;
        try {
            parsed = parse_json(json);
        } catch (const Error& error) {
            throw Unreadable(error.what());
        }
        found = find_network(parsed, task, path);
    } catch (const Unreadable& error) {
        throw Error(path + ": carries no description that can be read (" + error.what() + "); export it again");
    }
    if (found.task != task) throw Error(path + ": is " + found.model + ", which is not for " + task);
    return found;
}

}  // namespace tinypose
