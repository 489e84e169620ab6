#include "pipeline.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include <opencv2/dnn.hpp>
#include <opencv2/imgproc.hpp>

namespace tinypose {
namespace {

constexpr double MARGIN = 1.3, ASPECT = 4.0 / 3.0;

// Edges of a box in float32, as the network gives them and as the scale is applied to them.
struct Corners {
    float x1, y1, x2, y2;
};

// Indices by falling score, the earlier first among equals.
std::vector<int> best_first(const std::vector<float>& scores, std::vector<int> indices, int limit) {
    std::stable_sort(indices.begin(), indices.end(), [&](int a, int b) { return scores[a] > scores[b]; });
    if (limit >= 0 && static_cast<int>(indices.size()) > limit) indices.resize(limit);
    return indices;
}

std::vector<int> best_of_levels(const std::vector<float>& scores, const Description& detector) {
    std::vector<int> kept;
    const int limit = detector.suppression.candidates_per_level;
    int start = 0;
    for (int stride = 8; stride <= 64; stride *= 2) {
        const int size = ((detector.height + stride - 1) / stride) * ((detector.width + stride - 1) / stride);
        std::vector<int> level(size);
        std::iota(level.begin(), level.end(), start);
        if (limit >= 0) level = best_first(scores, level, limit);
        kept.insert(kept.end(), level.begin(), level.end());
        start += size;
    }
    return kept;
}

// The part of the image that the pose network may see: the box in whole pixels, grown by 30 %, at least 3:4 wide.
cv::Rect crop_region(const cv::Rect2f& box, const cv::Size& image) {
    const double x1 = std::trunc(box.x), y1 = std::trunc(box.y);
    const double x2 = std::trunc(box.x + box.width), y2 = std::trunc(box.y + box.height);
    const double half_h = (y2 - y1) * MARGIN / 2;
    double half_w = (x2 - x1) * MARGIN / 2;
    if (half_h > half_w * ASPECT) half_w = half_h / ASPECT;
    const double cx = (x1 + x2) / 2, cy = (y1 + y2) / 2;
    const double left = std::clamp(std::trunc(cx - half_w), 0.0, std::max(image.width - 1.0, 0.0));
    const double top = std::clamp(std::trunc(cy - half_h), 0.0, std::max(image.height - 1.0, 0.0));
    const double right = std::clamp(std::trunc(cx + half_w), left + 1, std::max(image.width - 1.0, left + 1));
    const double bottom = std::clamp(std::trunc(cy + half_h), top + 1, std::max(image.height - 1.0, top + 1));
    return {cv::Point(static_cast<int>(left), static_cast<int>(top)),
            cv::Point(static_cast<int>(right), static_cast<int>(bottom))};
}

}  // namespace

PoseEstimator::PoseEstimator(std::unique_ptr<Network> detector, std::unique_ptr<Network> pose, double threshold)
    : detector_(std::move(detector)),
      pose_(std::move(pose)),
      threshold_(threshold < 0 ? detector_->description.person_threshold : threshold) {
    if (detector_->description.person_class < 0) {
        throw Error(detector_->description.model + " has no class 'person'");
    }
}

std::vector<Person> PoseEstimator::estimate(const cv::Mat& rgb) {
    std::vector<Person> people = detect(rgb);
    for (Person& person : people) {
        person.keypoints = find_keypoints(rgb, person.box);
    }
    return people;
}

std::vector<Person> PoseEstimator::detect(const cv::Mat& rgb) {
    const Description& about = detector_->description;
    const Suppression& rule = about.suppression;
    cv::Mat resized;
    cv::resize(rgb, resized, {about.width, about.height}, 0, 0, cv::INTER_CUBIC);
    const std::vector<cv::Mat> outputs = detector_->run(resized);
    const cv::Mat &all_scores = outputs.at(0), &all_boxes = outputs.at(1);
    const float scale_x = static_cast<float>(static_cast<double>(about.width) / rgb.cols);
    const float scale_y = static_cast<float>(static_cast<double>(about.height) / rgb.rows);

    std::vector<float> scores(all_scores.rows), best(all_scores.rows);
    for (int row = 0; row < all_scores.rows; ++row) {
        scores[row] = all_scores.at<float>(row, about.person_class);
        best[row] = *std::max_element(all_scores.ptr<float>(row), all_scores.ptr<float>(row) + all_scores.cols);
    }
    std::vector<int> rows;
    for (int row : best_of_levels(best, about)) {
        if (scores[row] > rule.score_threshold) rows.push_back(row);
    }
    rows = best_first(scores, rows, rule.candidates_per_class);

    std::vector<Corners> corners;
    std::vector<cv::Rect2d> rectangles;
    std::vector<float> confidences;
    for (int row : rows) {
        const float* box = all_boxes.ptr<float>(row);
        Corners c{box[0], box[1], box[2], box[3]};
        if (!rule.clip) c = {c.x1 / scale_x, c.y1 / scale_y, c.x2 / scale_x, c.y2 / scale_y};
        corners.push_back(c);
        rectangles.emplace_back(c.x1, c.y1, static_cast<double>(c.x2) - c.x1, static_cast<double>(c.y2) - c.y1);
        confidences.push_back(scores[row]);
    }
    std::vector<int> kept;
    cv::dnn::NMSBoxes(rectangles, confidences, 0.0f, static_cast<float>(rule.iou_threshold), kept);
    const int limit = rule.max_per_class >= 0 ? rule.max_per_class : rule.max_detections;
    if (limit >= 0 && static_cast<int>(kept.size()) > limit) kept.resize(limit);

    std::vector<Person> people;
    for (int index : kept) {
        if (confidences[index] <= threshold_) continue;
        Corners c = corners[index];
        if (rule.clip) {
            const float width = static_cast<float>(rgb.cols), height = static_cast<float>(rgb.rows);
            c = {std::clamp(c.x1, 0.f, width) / scale_x, std::clamp(c.y1, 0.f, height) / scale_y,
                 std::clamp(c.x2, 0.f, width) / scale_x, std::clamp(c.y2, 0.f, height) / scale_y};
        }
        people.push_back({cv::Rect2f(cv::Point2f(c.x1, c.y1), cv::Point2f(c.x2, c.y2)), confidences[index], {}, 0});
    }
    return people;
}

std::vector<Keypoint> PoseEstimator::find_keypoints(const cv::Mat& rgb, const cv::Rect2f& box) {
    const Description& about = pose_->description;
    const cv::Rect region = crop_region(box, rgb.size());
    // Isotropic: fits the crop's width, its centre in the middle. The points are float32, as in PaddleDetection.
    const float cx = static_cast<float>(region.width / 2.0), cy = static_cast<float>(region.height / 2.0);
    const float above = static_cast<float>(cy - region.width * 0.5);
    const float left = cx - (cy - above);
    const double factor_x = about.width * 0.5 / (cx - left), factor_y = about.width * 0.5 / (cy - above);
    const cv::Matx23d matrix(factor_x, 0, about.width * 0.5 - factor_x * cx, 0, factor_y,
                             about.height * 0.5 - factor_y * cy);
    cv::Mat crop;
    cv::warpAffine(rgb(region), crop, matrix, {about.width, about.height}, cv::INTER_LINEAR);
    const std::vector<cv::Mat> outputs = pose_->run(crop);
    const cv::Mat& found = outputs.at(0);

    // The way back starts from the rounded centre of the crop.
    const double per_pixel = static_cast<double>(region.width) / about.width;
    const cv::Point2d offset(region.x + std::nearbyint(region.width / 2.0) - per_pixel * about.width * 0.5,
                             region.y + std::nearbyint(region.height / 2.0) - per_pixel * about.height * 0.5);
    std::vector<Keypoint> keypoints;
    for (int row = 0; row < found.rows; ++row) {
        const float* values = found.ptr<float>(row);
        keypoints.push_back({offset + per_pixel * cv::Point2d(values[0], values[1]), values[2]});
    }
    return keypoints;
}

}  // namespace tinypose
