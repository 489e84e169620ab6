# Cross-compilation for 64-bit ARM on Debian and its like:
#   dpkg --add-architecture arm64; apt update; apt install g++-aarch64-linux-gnu libopencv-dev:arm64
# (Debian's libopencv-dev of one architecture replaces that of the other.)
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_CXX_COMPILER aarch64-linux-gnu-g++)
set(CMAKE_LIBRARY_ARCHITECTURE aarch64-linux-gnu)
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
