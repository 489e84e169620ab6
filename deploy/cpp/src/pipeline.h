// Image -> people -> keypoints, as tinypose_torch's pipeline does it with the crop rule "deploy".
#pragma once

#include <memory>
#include <vector>

#include <opencv2/core.hpp>

#include "network.h"

namespace tinypose {

struct Keypoint {
    cv::Point2d point;  // pixels of the image
    float score = 0;
};

struct Person {
    cv::Rect2f box;  // pixels of the image
    float score = 0;
    std::vector<Keypoint> keypoints;
    int id = 0;  // from 1, of people who are followed through a video
};

class PoseEstimator {
public:
    // `threshold`: least score of a person; negative for the detector's own.
    PoseEstimator(std::unique_ptr<Network> detector, std::unique_ptr<Network> pose, double threshold);

    // The people in an RGB image (CV_8UC3), best first. Throws Error if the networks' numbers are not finite.
    std::vector<Person> estimate(const cv::Mat& rgb);

    // The same in two steps: boxes, and the keypoints of one.
    std::vector<Person> detect(const cv::Mat& rgb);
    std::vector<Keypoint> find_keypoints(const cv::Mat& rgb, const cv::Rect2f& box);

    const Description& skeleton() const { return pose_->description; }

private:
    std::unique_ptr<Network> detector_, pose_;
    double threshold_;
};

}  // namespace tinypose
