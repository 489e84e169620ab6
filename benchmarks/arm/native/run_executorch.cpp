// run_executorch FILE METHOD MAPS: runs a method with one thread, with markers (getppid) around two inferences.
// Prints the bytes on the heap after them and a checksum of the outputs; writes /proc/self/maps to MAPS.
#include <executorch/extension/module/module.h>
#include <executorch/extension/tensor/tensor.h>
#include <malloc.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmath>
#include <cstdio>
#include <fstream>
#include <vector>

// Exported by executorch 1.5.1's libexecutorch_threadpool, whose wheel does not carry the header.
namespace executorch::extension::threadpool {
class ThreadPool {
public:
    bool _unsafe_reset_threadpool(uint32_t threads);
};
ThreadPool* get_threadpool();
}  // namespace executorch::extension::threadpool

using executorch::aten::ScalarType;
using executorch::extension::Module;
using executorch::runtime::EValue;

// Noise that is the same on every machine: bytes, or floats from -2 to 2.
static std::vector<uint8_t> noise(const executorch::runtime::TensorInfo& info) {
    std::vector<uint8_t> content(info.nbytes());
    uint32_t state = 1;
    const auto next = [&] { return (state = state * 1664525u + 1013904223u) >> 24; };
    if (info.scalar_type() == ScalarType::Byte) {
        for (auto& value : content) value = next();
        return content;
    }
    auto* values = reinterpret_cast<float*>(content.data());
    for (size_t i = 0; i < content.size() / sizeof(float); i++) values[i] = next() / 64.0f - 2.0f;
    return content;
}

static double checksum(const std::vector<EValue>& outputs) {
    double sum = 0;
    for (const auto& output : outputs) {
        const auto tensor = output.toTensor();
        if (tensor.scalar_type() != ScalarType::Float) continue;
        for (ssize_t i = 0; i < tensor.numel(); i++) sum += tensor.const_data_ptr<float>()[i];
    }
    return sum;
}

int main(int argc, char** argv) {
    if (argc != 4) return fputs("usage: run_executorch FILE METHOD MAPS\n", stderr), 2;
    executorch::extension::threadpool::get_threadpool()->_unsafe_reset_threadpool(1);
    const auto heap = [] { const auto info = mallinfo2(); return info.uordblks + info.hblkhd; };
    const size_t before = heap();
    Module module(argv[1]);
    const auto meta = module.method_meta(argv[2]);
    if (!meta.ok()) return fprintf(stderr, "%s has no method %s\n", argv[1], argv[2]), 1;
    const auto info = *meta->input_tensor_meta(0);
    auto content = noise(info);
    const auto input = executorch::extension::from_blob(
        content.data(), {info.sizes().begin(), info.sizes().end()}, info.scalar_type());
    double sum = 0;
    for (int round = 0; round < 4; round++) {
        if (round >= 2) syscall(SYS_getppid);  // after two rounds of warm-up
        const auto outputs = module.execute(argv[2], input);
        if (round >= 2) syscall(SYS_getppid);
        if (!outputs.ok()) return fprintf(stderr, "error %d\n", static_cast<int>(outputs.error())), 1;
        sum = checksum(*outputs);
    }
    printf("%zu %.9g\n", heap() - before, sum);
    std::ofstream(argv[3]) << std::ifstream("/proc/self/maps").rdbuf();
}
