// Files that end with a mark and a checksum of all before it.
#pragma once

#include <string>
#include <vector>

namespace tinypose {

// A whole file whose checksum is right. Throws Error.
std::vector<char> read_sealed(const std::string& path);

// The same without mark and checksum.
std::vector<char> unsealed(const std::string& path);

}  // namespace tinypose
