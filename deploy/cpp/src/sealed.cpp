#include "sealed.h"

#include <cstring>

#include "files.h"
#include "sha256.h"
#include "text.h"

namespace tinypose {
namespace {

const std::string SEAL = "TINYPOSE";
constexpr size_t SEAL_SIZE = 8 + 32;  // the mark, and the SHA-256 of all before it

}  // namespace

std::vector<char> read_sealed(const std::string& path) {
    auto content = read_file(path);
    if (content.size() < SEAL_SIZE || SEAL.compare(0, SEAL.size(), &content[content.size() - SEAL_SIZE], SEAL.size())) {
        throw Error(path + ": has no checksum at its end: it was cut short, or altered, or not exported by "
                           "tinypose-torch, or by an earlier version; export it again");
    }
    const size_t size = content.size() - SEAL_SIZE;
    const auto digest = sha256(content.data(), size);
    if (std::memcmp(digest.data(), &content[size + SEAL.size()], digest.size()) != 0) {
        throw Error(path + ": its checksum is wrong; the file was altered or damaged");
    }
    return content;
}

std::vector<char> unsealed(const std::string& path) {
    auto content = read_sealed(path);
    content.resize(content.size() - SEAL_SIZE);
    return content;
}

}  // namespace tinypose
