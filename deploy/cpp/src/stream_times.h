// Timestamps of a video's packets, for versions of OpenCV that do not give those of every frame.
#pragma once

#include <string>
#include <vector>

namespace tinypose {

// Seconds from the start of the video stream, in rising order; empty if the stream has none, or if OpenCV gives them.
std::vector<double> read_stream_times(const std::string& path);

}  // namespace tinypose
