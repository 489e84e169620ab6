#include "pipeline.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include <opencv2/dnn.hpp>
#include <opencv2/imgproc.hpp>

namespace tinypose {
namespace {

constexpr double MARGIN = 1.3, ASPECT = 4.0 / 3.0;
constexpr float LOWEST = -std::numeric_limits<float>::infinity();
constexpr int GREY = 128;  // beside an image that keeps its aspect ratio

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

// The candidates of every pyramid level that take part.
std::vector<int> best_of_levels(const std::vector<float>& scores, const Description& detector) {
    std::vector<int> kept;
    const int limit = detector.nms.candidates_per_level;
    if (limit < 0) {
        kept.resize(scores.size());
        std::iota(kept.begin(), kept.end(), 0);
        return kept;
    }
    size_t start = 0;
    for (int stride = 8; stride <= 64; stride *= 2) {
        const int size = ((detector.height + stride - 1) / stride) * ((detector.width + stride - 1) / stride);
        std::vector<int> level(size);
        std::iota(level.begin(), level.end(), static_cast<int>(start));
        start += level.size();
        if (start > scores.size()) break;
        level = best_first(scores, level, limit);
        kept.insert(kept.end(), level.begin(), level.end());
    }
    if (start != scores.size()) {
        throw Error(detector.model + ": gives " + std::to_string(scores.size()) +
                    " candidates, which do not fit its input size; export it again");
    }
    return kept;
}

// How an image lies in the detector's input: stretched to it, or with grey beside it.
struct Placement {
    cv::Rect inner;           // pixels of the input
    float scale_x, scale_y;   // input pixels per image pixel
    float left = 0, top = 0;  // of the image, input pixels

    Placement(const cv::Size& image, const Description& detector) {
        const double x = static_cast<double>(detector.width) / image.width;
        const double y = static_cast<double>(detector.height) / image.height;
        inner = {0, 0, detector.width, detector.height};
        scale_x = static_cast<float>(x);
        scale_y = static_cast<float>(y);
        if (!detector.letterbox) return;
        const double ratio = std::min(x, y);
        scale_x = scale_y = static_cast<float>(ratio);
        inner.width = static_cast<int>(std::nearbyint(image.width * ratio));
        inner.height = static_cast<int>(std::nearbyint(image.height * ratio));
        inner.x = (detector.width - inner.width) / 2;
        inner.y = (detector.height - inner.height) / 2;
        left = (detector.width - inner.width) / 2.0f;
        top = (detector.height - inner.height) / 2.0f;
    }
};

cv::Mat detector_input(const cv::Mat& rgb, const Description& detector, const cv::Rect& inner) {
    cv::Mat resized;
    cv::resize(rgb, resized, inner.size(), 0, 0, detector.letterbox ? cv::INTER_AREA : cv::INTER_CUBIC);
    if (!detector.letterbox) return resized;
    cv::Mat input(detector.height, detector.width, CV_8UC3, cv::Scalar::all(GREY));
    resized.copyTo(input(inner));
    return input;
}

void check_shape(const cv::Mat& output, const std::string& what, int rows, int columns, const Description& network) {
    if (output.rows == rows && output.cols == columns) return;
    throw Error(network.model + ": gives " + what + " of shape (" + std::to_string(output.rows) + ", " +
                std::to_string(output.cols) + "); expected (" + std::to_string(rows) + ", " + std::to_string(columns) +
                "). Export it again");
}

void check_outputs(const std::vector<cv::Mat>& outputs, size_t count, const Description& network) {
    if (outputs.size() < count) {
        throw Error(network.model + ": gives " + std::to_string(outputs.size()) + " outputs; expected " +
                    std::to_string(count) + ". Export it again");
    }
}

// Throws Error if a number is not finite, which no crop and no JSON can hold.
template <typename... Numbers>
void check_finite(Numbers... numbers) {
    if (!(std::isfinite(numbers) && ...)) {
        throw Error("the networks gave NaN or infinite numbers; check the weights");
    }
}

// The part of the image that the pose network may see: the box in whole pixels, grown by 30 %, at least 3:4 wide.
cv::Rect crop_region(const cv::Rect2f& box, const cv::Size& image) {
    check_finite(box.x, box.y, box.x + box.width, box.y + box.height);
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
    const NmsConfig& rule = about.nms;
    const Placement placement(rgb.size(), about);
    const float scale_x = placement.scale_x, scale_y = placement.scale_y;
    const std::vector<cv::Mat> outputs = detector_->run(detector_input(rgb, about, placement.inner));
    check_outputs(outputs, 2, about);
    const cv::Mat &all_scores = outputs[0], &all_boxes = outputs[1];
    check_shape(all_scores, "scores", all_scores.rows, about.num_classes, about);
    check_shape(all_boxes, "boxes", all_scores.rows, 4, about);

    // NaN is no candidate and comes last.
    std::vector<float> scores(all_scores.rows), best(all_scores.rows);
    for (int row = 0; row < all_scores.rows; ++row) {
        const float* values = all_scores.ptr<float>(row);
        scores[row] = std::isnan(values[about.person_class]) ? LOWEST : values[about.person_class];
        const auto is_nan = [](float value) { return std::isnan(value); };
        const bool sound = std::none_of(values, values + all_scores.cols, is_nan);
        best[row] = sound ? *std::max_element(values, values + all_scores.cols) : LOWEST;
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
        Corners c{box[0] - placement.left, box[1] - placement.top, box[2] - placement.left, box[3] - placement.top};
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
        check_finite(c.x1, c.y1, c.x2, c.y2, c.x2 - c.x1, c.y2 - c.y1, confidences[index]);
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
    check_outputs(outputs, 1, about);
    const cv::Mat& found = outputs[0];
    check_shape(found, "keypoints", static_cast<int>(about.keypoint_names.size()), 3, about);

    // The way back starts from the rounded centre of the crop.
    const double per_pixel = static_cast<double>(region.width) / about.width;
    const cv::Point2d offset(region.x + std::nearbyint(region.width / 2.0) - per_pixel * about.width * 0.5,
                             region.y + std::nearbyint(region.height / 2.0) - per_pixel * about.height * 0.5);
    std::vector<Keypoint> keypoints;
    for (int row = 0; row < found.rows; ++row) {
        const float* values = found.ptr<float>(row);
        check_finite(values[0], values[1], values[2]);
        keypoints.push_back({offset + per_pixel * cv::Point2d(values[0], values[1]), values[2]});
    }
    return keypoints;
}

}  // namespace tinypose
