#include "estimator.h"

#include <algorithm>
#include <cmath>

#include <opencv2/imgproc.hpp>

#include "text.h"

namespace tinypose {
namespace {

void check(tinypose_status status) {
    if (status != TINYPOSE_OK) throw Error(tinypose_error());
}

tinypose_app* open_app(const std::string& path, int threads) {
    tinypose_app* app = nullptr;
    check(tinypose_open(path.c_str(), threads, &app));
    return app;
}

// The size of an image that is made as large as fits into a frame.
cv::Size fitted_size(const cv::Size& image, const cv::Size& frame) {
    const double ratio = std::min(static_cast<double>(frame.height) / image.height,
                                  static_cast<double>(frame.width) / image.width);
    const auto side = [ratio](int length) { return std::max(1, static_cast<int>(std::nearbyint(length * ratio))); };
    return image == frame ? frame : cv::Size(side(image.width), side(image.height));
}

// A frame with the image at its top left, and black beside it.
cv::Mat letterboxed(const cv::Mat& image, const cv::Size& frame) {
    if (image.size() == frame) return image;
    const bool shrinks = frame.width < image.cols || frame.height < image.rows;
    cv::Mat resized, result = cv::Mat::zeros(frame, CV_8UC3);
    cv::resize(image, resized, fitted_size(image.size(), frame), 0, 0, shrinks ? cv::INTER_AREA : cv::INTER_LINEAR);
    resized.copyTo(result(cv::Rect(cv::Point(), resized.size())));
    return result;
}

// BGR as NV21: the rows of Y, then rows of V and U by turns.
cv::Mat to_nv21(const cv::Mat& bgr) {
    cv::Mat planes, result(bgr.rows / 2 * 3, bgr.cols, CV_8U);
    cv::cvtColor(bgr, planes, cv::COLOR_BGR2YUV_YV12);
    std::copy_n(planes.data, bgr.total(), result.data);
    const size_t quarter = bgr.total() / 4;
    const unsigned char* v = planes.data + bgr.total();
    for (size_t i = 0; i < 2 * quarter; ++i) result.data[bgr.total() + i] = v[i % 2 * quarter + i / 2];
    return result;
}

cv::Mat converted(const cv::Mat& bgr, const std::string& pixels) {
    cv::Mat result;
    if (pixels == "nv21") return to_nv21(bgr);
    if (pixels == "bgr") return bgr.isContinuous() ? bgr : bgr.clone();
    cv::cvtColor(bgr, result, pixels == "rgba" ? cv::COLOR_BGR2RGBA : cv::COLOR_BGR2RGB);
    return result;
}

cv::Mat frame_of(const cv::Mat& bgr, const tinypose_description& about) {
    return converted(letterboxed(bgr, cv::Size(about.width, about.height)), about.pixels);
}

}  // namespace

Estimator::Estimator(const std::string& path, int threads) : app_(open_app(path, threads), tinypose_close) {
    check(tinypose_info(app_.get(), &description_));
}

std::vector<Person> Estimator::estimate(const cv::Mat& bgr) {
    tinypose_people people;
    check(tinypose_run(app_.get(), frame_of(bgr, description_).data, description_.frame_bytes, &people));
    return mapped(people, bgr.size());
}

std::vector<Person> Estimator::follow(const cv::Mat& bgr, double seconds) {
    if (!description_.has_follow) return estimate(bgr);
    const cv::Mat frame = frame_of(bgr, description_);
    tinypose_people people;
    check(tinypose_follow(app_.get(), frame.data, description_.frame_bytes, seconds, &people));
    return mapped(people, bgr.size());
}

// From pixels of the frame to pixels of the image.
std::vector<Person> Estimator::mapped(const tinypose_people& people, const cv::Size& image) const {
    const cv::Size inner = fitted_size(image, {description_.width, description_.height});
    const double x = static_cast<double>(inner.width) / image.width, y = static_cast<double>(inner.height) / image.height;
    std::vector<Person> result(static_cast<size_t>(people.count));
    const float* point = people.keypoints;
    for (size_t i = 0; i < result.size(); ++i) {
        const float* box = people.boxes + 4 * i;
        result[i].box = {cv::Point2f(static_cast<float>(box[0] / x), static_cast<float>(box[1] / y)),
                         cv::Point2f(static_cast<float>(box[2] / x), static_cast<float>(box[3] / y))};
        result[i].score = people.scores[i];
        result[i].id = people.ids ? people.ids[i] : 0;
        for (int k = 0; k < description_.num_keypoints; ++k, point += 3) {
            result[i].keypoints.push_back({{(point[0] + 0.5) / x - 0.5, (point[1] + 0.5) / y - 0.5}, point[2]});
        }
    }
    return result;
}

}  // namespace tinypose
