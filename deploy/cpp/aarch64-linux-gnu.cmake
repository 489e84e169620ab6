# Cross-compilation for 64-bit ARM on Debian and its like, after: apt install g++-aarch64-linux-gnu
# The program for photos and videos needs OpenCV for ARM, too: libopencv-dev:arm64, which replaces that of this machine.
# -DTINYPOSE_PROGRAM=OFF builds the library and the example alone.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_C_COMPILER aarch64-linux-gnu-gcc)
set(CMAKE_CXX_COMPILER aarch64-linux-gnu-g++)
set(CMAKE_LIBRARY_ARCHITECTURE aarch64-linux-gnu)
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
