// SHA-256 (FIPS 180-4). OpenCV, ExecuTorch and LibTorch export none, Android's NDK has no OpenSSL, and a library that
// CMake fetches would need a network at build time.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace tinypose {

std::array<uint8_t, 32> sha256(const void* data, size_t size);

}  // namespace tinypose
