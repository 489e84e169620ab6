// An app file that can be run.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "description.h"

namespace tinypose {

// The people in a frame, without the rows in which there are none.
struct People {
    std::vector<float> boxes, scores, keypoints;  // (n, 4), (n), (n, keypoints, 3)
    std::vector<int64_t> ids;                     // (n); empty without `follow`
};

class App {
public:
    // `threads`: 0 for the runtime's own choice. Throws Error.
    App(const std::string& path, int threads);
    ~App();

    const Description& description() const { return description_; }

    // The people in a frame of description().frame_bytes(). Throws Error.
    People run(const void* pixels);

    // The people in the next frame of a video. `seconds`: time of the frame. Throws Error.
    People follow(const void* pixels, double seconds);

    // Begins a new video.
    void restart();

private:
    class Program;

    std::unique_ptr<Program> program_;
    Description description_;
    std::vector<double> state_;  // of `follow`; zeros before the first frame
};

}  // namespace tinypose
