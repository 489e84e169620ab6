#include "images.h"

#include <vector>

#include <opencv2/imgcodecs.hpp>

#include "files.h"
#include "text.h"

namespace tinypose {
namespace {

constexpr size_t MAX_PIXELS = 200'000'000;

// Whether a JPEG file ends before its image does. OpenCV reads the rest as grey.
bool is_cut_jpeg(const std::vector<char>& file) {
    const auto byte = [&](size_t at) { return static_cast<unsigned char>(file[at]); };
    if (file.size() < 2 || byte(0) != 0xFF || byte(1) != 0xD8) return false;
    size_t at = 2;
    while (at + 1 < file.size()) {
        const unsigned marker = byte(at) == 0xFF ? byte(at + 1) : 0;
        if (marker == 0xD9) return false;
        if (marker == 0 || marker == 0xFF || (marker >= 0xD0 && marker <= 0xD7)) {
            ++at;  // within a scan
        } else {
            if (at + 3 >= file.size()) return true;
            at += 2 + (byte(at + 2) << 8 | byte(at + 3));
        }
    }
    return true;
}

}  // namespace

cv::Mat read_image(const std::string& path) {
    const std::vector<char> file = read_file(path);
    if (file.empty()) throw Error(path + ": no image that can be read; the file is empty");
    if (is_cut_jpeg(file)) throw Error(path + ": damaged image: the file is cut short");
    cv::Mat bgr;
    try {
        bgr = cv::imdecode(file, cv::IMREAD_COLOR);
    } catch (const cv::Exception&) {  // more pixels than OpenCV accepts
        throw Error(path + ": no image that can be read; it is damaged or too large");
    }
    if (bgr.empty()) throw Error(path + ": no image that can be read");
    if (bgr.total() > MAX_PIXELS) {
        throw Error(path + ": " + std::to_string(bgr.cols) + "x" + std::to_string(bgr.rows) + " pixels; at most " +
                    std::to_string(MAX_PIXELS) + " are accepted");
    }
    return bgr;
}

}  // namespace tinypose
