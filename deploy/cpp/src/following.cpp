#include "following.h"

#include <algorithm>
#include <tuple>

namespace tinypose {

namespace {

constexpr double GROWN = 0.15;        // of the keypoints' extent, on every side: head and feet reach beyond them
constexpr double LEAST_FOUND = 0.25;  // share of keypoints that a person must show to be followed
constexpr float LEAST_OVERLAP = 0.2f;  // IoU of a person's boxes in two frames
constexpr int PATIENCE = 30;          // frames that a person may be out of sight

float overlap(const cv::Rect2f& one, const cv::Rect2f& two) {
    const float shared = (one & two).area();
    return shared / (one.area() + two.area() - shared);
}

}  // namespace

bool box_around(const std::vector<Keypoint>& keypoints, cv::Rect2f& box) {
    double left = 0, top = 0, right = 0, bottom = 0;
    size_t found = 0;
    for (const Keypoint& keypoint : keypoints) {
        if (keypoint.score <= VISIBLE) continue;
        const cv::Point2d& p = keypoint.point;
        left = found ? std::min(left, p.x) : p.x;
        right = found ? std::max(right, p.x) : p.x;
        top = found ? std::min(top, p.y) : p.y;
        bottom = found ? std::max(bottom, p.y) : p.y;
        ++found;
    }
    if (found < LEAST_FOUND * keypoints.size()) return false;
    const double margin = GROWN * std::max(right - left, bottom - top);
    box = cv::Rect2f(cv::Point2f(static_cast<float>(left - margin), static_cast<float>(top - margin)),
                     cv::Point2f(static_cast<float>(right + margin), static_cast<float>(bottom + margin)));
    return true;
}

std::vector<Person> Follower::next(const cv::Mat& rgb, double time) {
    if (frame_++ % detect_every_ == 0) {
        detect(rgb);
    } else {
        carry(rgb.size());
    }
    std::vector<Person> people;
    for (Track& track : tracks_) {
        if (track.unseen) continue;
        track.person.keypoints = estimator_.find_keypoints(rgb, track.person.box);
        people.push_back(track.person);
        if (smooth_) track.smoother.smooth(people.back().keypoints, track.person.box.height, time);
    }
    return people;
}

// Gives detections to the people known already, the greatest overlaps first; the others are new.
void Follower::detect(const cv::Mat& rgb) {
    const std::vector<Person> found = estimator_.detect(rgb);
    std::vector<std::tuple<float, size_t, size_t>> pairs;
    for (size_t t = 0; t < tracks_.size(); ++t) {
        for (size_t f = 0; f < found.size(); ++f) {
            const float iou = overlap(tracks_[t].person.box, found[f].box);
            if (iou >= LEAST_OVERLAP) pairs.emplace_back(-iou, t, f);
        }
    }
    std::sort(pairs.begin(), pairs.end());
    std::vector<bool> taken(found.size(), false);
    for (Track& track : tracks_) ++track.unseen;
    std::vector<bool> seen(tracks_.size(), false);
    for (const auto& [cost, t, f] : pairs) {
        if (seen[t] || taken[f]) continue;
        seen[t] = taken[f] = true;
        tracks_[t].person.box = found[f].box;
        tracks_[t].person.score = found[f].score;
        tracks_[t].unseen = 0;
    }
    for (size_t f = 0; f < found.size(); ++f) {
        if (taken[f]) continue;
        tracks_.emplace_back();
        tracks_.back().person = found[f];
        tracks_.back().person.id = ++given_;
    }
    tracks_.erase(std::remove_if(tracks_.begin(), tracks_.end(), [](const Track& t) { return t.unseen > PATIENCE; }),
                  tracks_.end());
}

// Moves all people to where their last poses were; those who left the image become lost.
void Follower::carry(cv::Size image) {
    for (Track& track : tracks_) {
        if (!track.unseen) {
            box_around(track.person.keypoints, track.person.box);
            const cv::Rect2f& box = track.person.box;
            if (box.br().x > 0 && box.br().y > 0 && box.x < image.width && box.y < image.height) continue;
        }
        ++track.unseen;
    }
}

}  // namespace tinypose
