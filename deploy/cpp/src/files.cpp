#include "files.h"

#include <cstdint>
#include <filesystem>

#include "text.h"

namespace fs = std::filesystem;

namespace tinypose {
namespace {

constexpr uintmax_t MAX_BYTES = 1 << 30;

}  // namespace

InputFile open_file(const std::string& path) {
    std::error_code problem;
    const auto kind = fs::status(path, problem).type();
    if (kind == fs::file_type::not_found) throw Error("cannot open " + path + ": there is no such file");
    if (kind == fs::file_type::none) throw Error("cannot open " + path + ": " + problem.message());
    if (kind == fs::file_type::directory) throw Error(path + ": is a folder, not a file");
    if (kind != fs::file_type::regular) throw Error(path + ": is not a regular file that can be read");
    const uintmax_t size = fs::file_size(path, problem);
    if (problem) throw Error("cannot open " + path + ": " + problem.message());
    if (size > MAX_BYTES) {
        throw Error(path + ": has " + std::to_string(size) + " bytes; at most " + std::to_string(MAX_BYTES) +
                    " are accepted");
    }
    InputFile file{std::ifstream(path, std::ios::binary), static_cast<size_t>(size)};
    if (!file.stream) throw Error("cannot open " + path);
    return file;
}

std::vector<char> read_file(const std::string& path) {
    InputFile file = open_file(path);
    std::vector<char> content(file.size);
    file.stream.read(content.data(), static_cast<std::streamsize>(content.size()));
    if (!file.stream) throw Error("cannot read " + path);
    return content;
}

}  // namespace tinypose
