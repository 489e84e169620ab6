// SHA-256 (FIPS 180-4). ExecuTorch exports none, Android's NDK has no OpenSSL, and a library that CMake fetches would need
// a network at build time.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace tinypose {

class Sha256 {
public:
    void update(const void* data, size_t size);

    // Of all data; call it once, last.
    std::array<uint8_t, 32> digest();

private:
    static constexpr size_t BLOCK = 64;

    std::array<uint32_t, 8> state_ = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                      0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
    std::array<uint8_t, BLOCK> rest_{};  // of the data, less than a block
    uint64_t size_ = 0;                  // bytes
};

}  // namespace tinypose
