#include "drawing.h"

#include <algorithm>
#include <cmath>

#include <opencv2/imgproc.hpp>

namespace tinypose {
namespace {

const cv::Scalar LEFT(0, 128, 255), RIGHT(255, 170, 0), MIDDLE(90, 220, 70), BOX(235, 235, 235);

cv::Scalar colour_of(const std::string& name) {
    if (name.find("left") != std::string::npos) return LEFT;
    return name.find("right") != std::string::npos ? RIGHT : MIDDLE;
}

}  // namespace

void draw_people(cv::Mat& bgr, const std::vector<Person>& people, const Description& skeleton, double threshold) {
    for (const Person& person : people) {
        cv::rectangle(bgr, person.box, BOX, 1, cv::LINE_AA);
        const int thickness = std::clamp(static_cast<int>(std::lround(person.box.height / 90)), 1, 6);
        for (const auto& [a, b] : skeleton.links) {
            const Keypoint &from = person.keypoints.at(a), &to = person.keypoints.at(b);
            if (from.score < threshold || to.score < threshold) continue;
            const cv::Scalar one = colour_of(skeleton.keypoint_names.at(a));
            const cv::Scalar other = colour_of(skeleton.keypoint_names.at(b));
            cv::line(bgr, from.point, to.point, one == other ? one : MIDDLE, thickness, cv::LINE_AA);
        }
        for (size_t i = 0; i < person.keypoints.size(); ++i) {
            const Keypoint& keypoint = person.keypoints[i];
            if (keypoint.score < threshold) continue;
            cv::circle(bgr, keypoint.point, thickness + 1, colour_of(skeleton.keypoint_names.at(i)), -1, cv::LINE_AA);
        }
    }
}

}  // namespace tinypose
