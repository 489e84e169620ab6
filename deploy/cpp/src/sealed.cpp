#include "sealed.h"

#include <algorithm>
#include <cstring>

#include "files.h"
#include "sha256.h"
#include "text.h"

namespace tinypose {
namespace {

const std::string SEAL = "TINYPOSE";
constexpr size_t DIGEST_SIZE = 32, PIECE = 1 << 16;  // bytes

std::string read_piece(InputFile& file, size_t size, const std::string& path) {
    std::string piece(size, '\0');
    if (!file.stream.read(piece.data(), static_cast<std::streamsize>(size))) throw Error("cannot read " + path);
    return piece;
}

}  // namespace

void check_seal(const std::string& path) {
    InputFile file = open_file(path);
    Sha256 checksum;
    const size_t end = SEAL.size() + DIGEST_SIZE;
    for (size_t left = file.size < end ? 0 : file.size - end; left > 0;) {
        const std::string piece = read_piece(file, std::min(left, PIECE), path);
        checksum.update(piece.data(), piece.size());
        left -= piece.size();
    }
    const std::string seal = read_piece(file, std::min(end, file.size), path);
    if (seal.size() < end || seal.compare(0, SEAL.size(), SEAL) != 0) {
        throw Error(path + ": has no checksum at its end: it was cut short, or altered, or not exported by "
                           "tinypose-torch, or by an earlier version; export it again");
    }
    const auto digest = checksum.digest();
    if (std::memcmp(digest.data(), &seal[SEAL.size()], DIGEST_SIZE) != 0) {
        throw Error(path + ": its checksum is wrong; the file was altered or damaged");
    }
}

}  // namespace tinypose
