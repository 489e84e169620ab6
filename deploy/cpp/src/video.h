// Video files, frame by frame, with the presentation times of the frames.
#pragma once

#include <limits>
#include <optional>
#include <string>
#include <vector>

#include <opencv2/core.hpp>
#include <opencv2/videoio.hpp>

namespace tinypose {

// Strictly increasing times of the frames of one stream, in seconds, as tinypose_torch/video/times.py gives them.
class FrameTimes {
public:
    // `fps`: frames per second, used where frames have no timestamp.
    explicit FrameTimes(double fps) : fps_(fps) {}

    // Time of the next frame. `timestamp`: seconds from the start of the stream, if the frame has one.
    double add(const std::optional<double>& timestamp);

private:
    double fps_;
    int count_ = 0;
    double offset_ = 0, last_ = -std::numeric_limits<double>::infinity();
};

class VideoReader {
public:
    // Throws Error if the file is no video that can be read.
    explicit VideoReader(const std::string& path);

    // The next frame, BGR; false at the end. Throws Error if the size of the frames changes.
    bool read(cv::Mat& bgr);

    // Frames per second; 30 where the stream does not say.
    double fps() const { return fps_; }

    // Presentation time of the last frame, seconds from the start of the stream. It increases with every frame.
    double time() const { return time_; }

private:
    std::optional<double> timestamp();

    std::string path_;
    cv::VideoCapture capture_;
    double fps_, time_ = 0, last_timestamp_ = 0;
    size_t frames_ = 0;
    cv::Size size_;
    FrameTimes times_;
    std::optional<std::vector<double>> stream_times_;  // read when they are first needed
};

}  // namespace tinypose
