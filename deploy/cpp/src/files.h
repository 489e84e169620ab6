// Input files, read whole.
#pragma once

#include <string>
#include <vector>

namespace tinypose {

// The contents of a regular file of at most 1 GiB. Throws Error.
std::vector<char> read_file(const std::string& path);

}  // namespace tinypose
