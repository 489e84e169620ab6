// The description that an app file carries.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace tinypose {

struct Description {
    std::string pixels;              // "rgb", "rgba", "bgr" or "nv21"
    int height = 0, width = 0;       // of the frame, pixels
    std::vector<int32_t> frame;      // shape of the frame's tensor, uint8
    int max_people = 0;
    std::vector<std::string> keypoint_names;
    std::vector<int32_t> links;      // pairs of keypoint indices
    std::vector<int32_t> state;      // shape of the state of `follow`, float64; empty if the file has no such method

    size_t frame_bytes() const;
};

// Number of values of a tensor.
size_t num_values(const std::vector<int32_t>& shape);

// Reads the JSON of an app file, with the checks of tinypose_torch/runtime/app_metadata.py. Throws Error.
Description read_description(const std::string& json, const std::string& path);

}  // namespace tinypose
