// Input files.
#pragma once

#include <cstddef>
#include <fstream>
#include <string>
#include <vector>

namespace tinypose {

struct InputFile {
    std::ifstream stream;
    size_t size;  // bytes
};

// Opens a regular file of at most 1 GiB. Throws Error.
InputFile open_file(const std::string& path);

// The contents of such a file. Throws Error.
std::vector<char> read_file(const std::string& path);

}  // namespace tinypose
