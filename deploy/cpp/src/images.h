// Photos from files.
#pragma once

#include <string>

#include <opencv2/core.hpp>

namespace tinypose {

// A photo as BGR, rotated as its EXIF says. Throws Error if it is no image, damaged, cut short or too large.
cv::Mat read_image(const std::string& path);

}  // namespace tinypose
