// Keypoints without jitter: the 1 Euro filter (Casiez et al., CHI 2012), as tinypose_torch/tracking/smoothing.py has it.
#pragma once

#include <vector>

#include "pipeline.h"

namespace tinypose {

constexpr float VISIBLE = 0.2f;  // score from which a keypoint counts

struct Smoothing {
    double least_cutoff = 1.0;  // of a still joint, Hz: less is steadier
    double speed_factor = 8.0;  // Hz by which the cutoff rises for every body height per second: more follows faster
    double speed_cutoff = 1.0;  // of the estimate of the speed, Hz
};

// Smooths the keypoints of one person.
class KeypointSmoother {
public:
    explicit KeypointSmoother(const Smoothing& settings = {}) : settings_(settings) {}

    // The next frame. `height`: of the person, pixels. `time`: seconds, later than at the last call; if not, everything
    // begins anew, as does a keypoint that is not visible.
    void smooth(std::vector<Keypoint>& keypoints, double height, double time);

private:
    struct State {
        cv::Point2d place, speed;
        bool known = false;
    };

    Smoothing settings_;
    std::vector<State> states_;
    double time_ = 0;
};

}  // namespace tinypose
