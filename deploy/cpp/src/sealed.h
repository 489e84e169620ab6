// Files that end with a mark and a checksum of all before it.
#pragma once

#include <string>

namespace tinypose {

// Reads a file in small pieces and checks its checksum. Throws Error.
void check_seal(const std::string& path);

}  // namespace tinypose
