#include "description.h"

#include <cstdio>

#include "json.h"
#include "text.h"

namespace tinypose {
namespace {

const char* const FORMAT = "tinypose-torch export 1";
// As in tinypose_torch/checkpoints/limits.py.
constexpr size_t MAX_LENGTH = 4 << 20, MAX_TEXT = 200, MAX_KEYPOINTS = 1000;
constexpr int MIN_SIZE = 32, MAX_SIZE = 4096, MAX_PEOPLE = 32, MAX_STATE = 100'000;

// A description that cannot be read, as opposed to one of a file that this library does not run.
struct Unreadable : Error {
    using Error::Error;
};

[[noreturn]] void refuse(const std::string& name, const Json& value, const std::string& expected) {
    throw Unreadable(name + " " + shown(value) + "; expected " + expected);
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

int check_count(const Json& value, const std::string& name, int low, int high) {
    const auto* integer = value.get<int64_t>();
    if (!integer || *integer < low || *integer > high) {
        refuse(name, value, "an integer from " + std::to_string(low) + " to " + std::to_string(high));
    }
    return static_cast<int>(*integer);
}

// The two counts of a size or shape.
std::vector<int32_t> check_pair(const Json& value, const std::string& name, int low, int high) {
    std::vector<int32_t> pair;
    for (const Json& item : check_list(value, name, 2, 2)) pair.push_back(check_count(item, name, low, high));
    return pair;
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

const Json::Object& required_object(const Json::Object& facts, const std::string& name) {
    return check_object(required(facts, name), name);
}

void read_frame(const Json::Object& frame, Description& description) {
    const auto size = check_pair(required(frame, "size"), "frame size", MIN_SIZE, MAX_SIZE);
    const int height = description.height = size[0], width = description.width = size[1];
    const std::string kind = check_text(required(frame, "kind"), "frame kind");
    if (kind == "uint8 HWC RGB" || kind == "uint8 HWC BGR") {
        description.pixels = kind == "uint8 HWC RGB" ? "rgb" : "bgr";
        description.frame = {height, width, 3};
    } else if (kind == "uint8 HWC RGBA") {
        description.pixels = "rgba";
        description.frame = {height, width, 4};
    } else if (kind == "uint8 NV21" && height % 2 == 0 && width % 2 == 0) {
        description.pixels = "nv21";
        description.frame = {height / 2 * 3, width};
    } else {
        refuse("frame kind", required(frame, "kind"), "RGB, RGBA or BGR, or NV21 of even sides, in uint8");
    }
}

void read_skeleton(const Json::Object& skeleton, Description& description) {
    for (const Json& name : check_list(required(skeleton, "keypoint_names"), "keypoint names", 1, MAX_KEYPOINTS)) {
        description.keypoint_names.push_back(check_text(name, "keypoint name"));
    }
    const auto links = skeleton.find("links");
    if (links == skeleton.end()) return;
    const int last = static_cast<int>(description.keypoint_names.size()) - 1;
    for (const Json& link : check_list(links->second, "links", 0, 10 * MAX_KEYPOINTS)) {
        for (int32_t index : check_pair(link, "link", 0, last)) description.links.push_back(index);
    }
}

Description read_app(const Json::Object& facts) {
    Description description;
    const auto& app = required_object(facts, "app");
    read_frame(required_object(app, "frame"), description);
    description.max_people = check_count(required(app, "people"), "people", 1, MAX_PEOPLE);
    if (app.count("follow")) {
        description.state = check_pair(required(required_object(app, "follow"), "state"), "state", 1, MAX_STATE);
    }
    const auto& pose = required_object(required_object(facts, "networks"), "pose");
    read_skeleton(required_object(pose, "skeleton"), description);
    return description;
}

Json parse(const std::string& json) {
    if (json.empty()) throw Unreadable("it is empty");
    if (json.size() > MAX_LENGTH) throw Unreadable("it has " + std::to_string(json.size()) + " bytes");
    try {
        return parse_json(json);
    } catch (const Error& error) {
        throw Unreadable(error.what());
    }
}

}  // namespace

size_t num_values(const std::vector<int32_t>& shape) {
    size_t count = 1;
    for (int32_t size : shape) count *= static_cast<size_t>(size);
    return count;
}

size_t Description::frame_bytes() const {
    return num_values(frame);
}

Description read_description(const std::string& json, const std::string& path) {
    try {
        const Json parsed = parse(json);
        const auto& facts = check_object(parsed, "description");
        if (!facts.count("app")) {
            throw Error(path + ": holds no app; make one with: tinypose export POSE --with DETECTOR --frame HEIGHT WIDTH");
        }
        const Json& format = required(facts, "format");
        if (!format.get<std::string>() || *format.get<std::string>() != FORMAT) {
            throw Error(path + ": was made for " + shown(format) + "; this program reads '" + FORMAT +
                        "'. Export it again");
        }
        return read_app(facts);
    } catch (const Unreadable& error) {
        throw Error(path + ": carries no description that can be read (" + error.what() + "); export it again");
    }
}

}  // namespace tinypose
