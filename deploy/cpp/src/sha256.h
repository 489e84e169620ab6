// SHA-256 (FIPS 180-4). OpenCV, ExecuTorch and LibTorch export none, and Android has no OpenSSL for native code.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace tinypose {

std::array<uint8_t, 32> sha256(const void* data, size_t size);

}  // namespace tinypose
