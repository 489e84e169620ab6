#include "records.h"

#include <cmath>
#include <cstdio>

#include "text.h"

namespace tinypose {
namespace {

std::string number(double value, int digits) {
    if (!std::isfinite(value)) throw Error("a result is not finite, which JSON cannot hold");
    std::string text(400, '\0');  // the largest double has 309 digits
    text.resize(static_cast<size_t>(std::snprintf(text.data(), text.size(), "%.*f", digits, value)));
    return text;
}

std::string record(const Person& person) {
    const cv::Rect2f& box = person.box;
    std::string text = "{";
    if (person.id) text += "\"id\": " + std::to_string(person.id) + ", ";
    text += "\"box\": [" + number(box.x, 3) + ", " + number(box.y, 3) + ", " + number(box.x + box.width, 3) + ", " +
            number(box.y + box.height, 3) + "], \"score\": " + number(person.score, 5) + ", \"keypoints\": [";
    const char* separator = "[";
    for (const Keypoint& keypoint : person.keypoints) {
        text += separator + number(keypoint.point.x, 3) + ", " + number(keypoint.point.y, 3) + ", " +
                number(keypoint.score, 5) + "]";
        separator = ", [";
    }
    return text + "]}";
}

}  // namespace

JsonList::JsonList(const std::filesystem::path& path)
    : path_(path), pending_(path), file_(pending_.path(), std::ios::binary) {
    if (!file_) throw Error("cannot write " + path.string());
}

void JsonList::add(const std::string& source, const std::optional<FrameFacts>& frame,
                   const std::vector<Person>& people) {
    std::string text = "{\"image\": " + quoted(source);  // complete before anything is written
    if (frame) text += ", \"frame\": " + std::to_string(frame->index) + ", \"time\": " + number(frame->time, 4);
    text += ", \"poses\": [";
    const char* separator = "";
    for (const Person& person : people) {
        text += separator + record(person);
        separator = ", ";
    }
    file_ << (first_ ? "[\n" : ",\n") << text << "]}";
    first_ = false;
}

void JsonList::close() {
    file_ << (first_ ? "[]\n" : "\n]\n");
    file_.close();
    if (!file_) throw Error("cannot write " + path_.string());
    pending_.commit();
}

}  // namespace tinypose
