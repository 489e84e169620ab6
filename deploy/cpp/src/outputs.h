// Output files: their names, which existing files they may replace, and how they are written.
#pragma once

#include <filesystem>
#include <string>
#include <utility>
#include <vector>

namespace tinypose {

// An output: what it is called in messages, such as "--json", and its file.
using Output = std::pair<std::string, std::filesystem::path>;

// Whether a file is a PNG or MP4 overlay of this program or of `tinypose predict`.
bool is_overlay(const std::filesystem::path& path);

// Whether a file is an overlay or a JSON file of this program or of `tinypose predict`, or is empty.
bool is_own_output(const std::filesystem::path& path);

// The overlay of every source in a folder. Equal names get numbers.
std::vector<Output> overlay_outputs(const std::filesystem::path& folder,
                                    const std::vector<std::filesystem::path>& sources, const std::string& suffix);

// Checks that outputs can be written, and replace no input and, without `overwrite`, no file but earlier results.
// Throws Error.
void check_outputs(const std::vector<Output>& outputs, const std::vector<std::filesystem::path>& inputs,
                   bool overwrite);

// A temporary file beside an output, which takes its place when it is complete, and is removed otherwise.
class PendingFile {
public:
    explicit PendingFile(const std::filesystem::path& target);
    ~PendingFile();
    PendingFile(const PendingFile&) = delete;
    PendingFile& operator=(const PendingFile&) = delete;

    const std::filesystem::path& path() const { return temporary_; }

    // Throws Error.
    void commit();

private:
    std::filesystem::path target_, temporary_;
    bool made_folder_;
};

// Writes an overlay as PNG, with the mark that `is_overlay` looks for. Throws Error.
void write_png(const std::vector<unsigned char>& png, const std::filesystem::path& target);

// Appends that mark to an MP4 file. Throws Error.
void mark_mp4(const std::filesystem::path& path);

}  // namespace tinypose
