// The JSON file of a run.
#pragma once

#include <filesystem>
#include <fstream>
#include <optional>
#include <string>
#include <vector>

#include "outputs.h"
#include "estimator.h"

namespace tinypose {

// A frame of a video.
struct FrameFacts {
    int index;
    double time;  // seconds from the start of the stream
};

// Writes one record per image, as `tinypose predict --json` does. The file appears when it is complete.
class JsonList {
public:
    explicit JsonList(const std::filesystem::path& path);

    // `frame`: of a video, else none. Throws Error if a number is not finite, which JSON cannot hold.
    void add(const std::string& source, const std::optional<FrameFacts>& frame, const std::vector<Person>& people);

    // Completes the file. Throws Error.
    void close();

private:
    std::filesystem::path path_;
    PendingFile pending_;
    std::ofstream file_;
    bool first_ = true;
};

}  // namespace tinypose
