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

// A point that OpenCV can draw: beyond the picture, but not beyond its integers.
cv::Point drawable(const cv::Point2d& point) {
    constexpr double FAR = 1e5;
    return {static_cast<int>(std::lround(std::clamp(point.x, -FAR, FAR))),
            static_cast<int>(std::lround(std::clamp(point.y, -FAR, FAR)))};
}

}  // namespace

void draw_people(cv::Mat& bgr, const std::vector<Person>& people, const tinypose_description& app, double threshold) {
    for (const Person& person : people) {
        cv::rectangle(bgr, drawable(person.box.tl()), drawable(person.box.br()), BOX, 1, cv::LINE_AA);
        const int thickness = static_cast<int>(std::lround(std::clamp(person.box.height / 90, 1.f, 6.f)));
        for (int link = 0; link < app.num_links; ++link) {
            const int a = app.links[2 * link], b = app.links[2 * link + 1];
            const Keypoint &from = person.keypoints.at(a), &to = person.keypoints.at(b);
            if (from.score < threshold || to.score < threshold) continue;
            const cv::Scalar one = colour_of(app.keypoint_names[a]);
            const cv::Scalar other = colour_of(app.keypoint_names[b]);
            cv::line(bgr, drawable(from.point), drawable(to.point), one == other ? one : MIDDLE, thickness,
                     cv::LINE_AA);
        }
        for (size_t i = 0; i < person.keypoints.size(); ++i) {
            const Keypoint& keypoint = person.keypoints[i];
            if (keypoint.score < threshold) continue;
            const cv::Scalar colour = colour_of(app.keypoint_names[i]);
            cv::circle(bgr, drawable(keypoint.point), thickness + 1, colour, -1, cv::LINE_AA);
        }
    }
}

}  // namespace tinypose
