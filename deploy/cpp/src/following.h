// People of a video from frame to frame: the detector need not look at every one, and keypoints are steady.
#pragma once

#include <vector>

#include "pipeline.h"
#include "smoothing.h"

namespace tinypose {

// Box of the next frame from the keypoints of this one: their extent, grown. False if too few of them are visible.
bool box_around(const std::vector<Keypoint>& keypoints, cv::Rect2f& box);

class Follower {
public:
    // The detector looks at every `detect_every`th frame; in between, boxes follow from the poses.
    Follower(PoseEstimator& estimator, int detect_every, bool smooth)
        : estimator_(estimator), detect_every_(detect_every), smooth_(smooth) {}

    // The people of the next frame of an RGB video, with their ids. `time`: seconds.
    std::vector<Person> next(const cv::Mat& rgb, double time);

private:
    struct Track {
        Person person;  // as it was found, before smoothing
        KeypointSmoother smoother;
        int unseen = 0;  // frames
    };

    void detect(const cv::Mat& rgb);
    void carry(cv::Size image);

    PoseEstimator& estimator_;
    int detect_every_;
    bool smooth_;
    int frame_ = 0, given_ = 0;
    std::vector<Track> tracks_;
};

}  // namespace tinypose
