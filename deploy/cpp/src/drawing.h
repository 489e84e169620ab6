// Overlays: boxes, bones and keypoints.
#pragma once

#include <vector>

#include <opencv2/core.hpp>

#include "estimator.h"

namespace tinypose {

// Draws people on a BGR image. Keypoints that score less than `threshold` are left out.
void draw_people(cv::Mat& bgr, const std::vector<Person>& people, const tinypose_description& app, double threshold);

}  // namespace tinypose
