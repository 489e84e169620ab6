#include "smoothing.h"

#include <algorithm>
#include <cmath>

namespace tinypose {

namespace {

// How much of the way to a new value is gone.
double share(double cutoff, double passed) {
    const double turned = 2 * CV_PI * cutoff * passed;
    return turned / (turned + 1);
}

}  // namespace

void KeypointSmoother::smooth(std::vector<Keypoint>& keypoints, double height, double time) {
    const double passed = time - time_;
    const bool anew = states_.size() != keypoints.size() || passed <= 0;
    states_.resize(keypoints.size());
    time_ = time;
    for (size_t k = 0; k < keypoints.size(); ++k) {
        State& state = states_[k];
        const bool found = keypoints[k].score > VISIBLE;
        cv::Point2d& point = keypoints[k].point;
        if (!anew && state.known && found) {
            state.speed += share(settings_.speed_cutoff, passed) * ((point - state.place) / passed - state.speed);
            const double heights_per_second = cv::norm(state.speed) / std::max(height, 1e-6);
            const double cutoff = settings_.least_cutoff + settings_.speed_factor * heights_per_second;
            point = state.place + share(cutoff, passed) * (point - state.place);
        } else {
            state.speed = {};
        }
        state.place = point;
        state.known = found;
    }
}

}  // namespace tinypose
