#include "video.h"

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "stream_times.h"
#include "text.h"

namespace tinypose {
namespace {

constexpr double MIN_STEP = 1e-3;    // seconds between two frames whose timestamps are equal or slightly reversed
constexpr double JUMP = 1;           // seconds backwards from which a timestamp begins a new recording
constexpr double ROUNDING = 5.1e-4;  // seconds: Matroska rounds timestamps to milliseconds
constexpr double DEFAULT_FPS = 30, MAX_FPS = 1000;

double checked_fps(double declared) {
    return declared > 0 && declared <= MAX_FPS ? declared : DEFAULT_FPS;
}

const std::string& checked_path(const std::string& path) {
    std::error_code problem;
    if (std::filesystem::is_regular_file(path, problem)) return path;
    throw Error(path + ": no video that can be read; there is no such file");
}

}  // namespace

double FrameTimes::add(const std::optional<double>& timestamp) {
    const double expected = count_ == 0 ? 0 : last_ + 1 / fps_, nominal = count_ / fps_;
    double time = expected;
    if (timestamp && std::isfinite(*timestamp)) {
        if (*timestamp + offset_ < last_ - JUMP) offset_ = expected - *timestamp;
        time = std::max({*timestamp + offset_, last_ + MIN_STEP, 0.0});
    }
    if (std::abs(time - nominal) < ROUNDING && nominal > last_) time = nominal;
    ++count_;
    last_ = time;
    return time;
}

VideoReader::VideoReader(const std::string& path)
    : path_(checked_path(path)), capture_(path), fps_(checked_fps(capture_.get(cv::CAP_PROP_FPS))), times_(fps_) {
    if (!capture_.isOpened()) throw Error(path + ": no video that can be read");
}

bool VideoReader::read(cv::Mat& bgr) {
    if (!capture_.read(bgr) || bgr.empty()) return false;
    if (size_.empty()) size_ = bgr.size();
    if (bgr.size() != size_) {
        throw Error(path_ + ": a frame of " + std::to_string(bgr.cols) + "x" + std::to_string(bgr.rows) +
                    " in a video of " + std::to_string(size_.width) + "x" + std::to_string(size_.height));
    }
    time_ = times_.add(timestamp());
    return true;
}

// Of the last frame, seconds. OpenCV gives 0 for a frame without one; OpenCV before 4.7 also for the frames that the
// decoder holds back until the end of the file, whose timestamps the stream itself has.
std::optional<double> VideoReader::timestamp() {
    const size_t index = frames_++;
    const double seconds = capture_.get(cv::CAP_PROP_POS_MSEC) / 1000;
    if (seconds > 0 || index == 0) return last_timestamp_ = seconds;
    if (!stream_times_) stream_times_ = read_stream_times(path_);
    if (index >= stream_times_->size() || (*stream_times_)[index] <= last_timestamp_) return std::nullopt;
    return last_timestamp_ = (*stream_times_)[index];
}

}  // namespace tinypose
