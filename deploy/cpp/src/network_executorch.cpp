#include <executorch/extension/data_loader/buffer_data_loader.h>
#include <executorch/extension/module/module.h>
#include <executorch/extension/tensor/tensor.h>

#include "network.h"
#include "sealed.h"

// Exported by executorch 1.5.1's libexecutorch_threadpool, whose wheel does not carry the header.
namespace executorch::extension::threadpool {
class ThreadPool {
public:
    bool _unsafe_reset_threadpool(uint32_t threads);
};
ThreadPool* get_threadpool();
}  // namespace executorch::extension::threadpool

namespace tinypose {
namespace {

using executorch::extension::BufferDataLoader;
using executorch::extension::Module;
using executorch::runtime::Error;
using executorch::runtime::EValue;
using executorch::runtime::Program;

class ExecuTorchNetwork : public Network {
public:
    ExecuTorchNetwork(const std::string& path, const std::string& task)
        : path_(path),
          content_(unsealed(path)),
          module_(std::make_unique<BufferDataLoader>(content_.data(), content_.size())) {
        check(module_.load(Program::Verification::InternalConsistency), "refuses it");
        const auto described = module_.execute("tinypose_metadata");
        check(described.error(), "finds no description in it");
        if (described->empty() || !described->at(0).isTensor()) {
            throw tinypose::Error(path_ + ": its method tinypose_metadata gives no description");
        }
        const auto text = described->at(0).toTensor();
        description = read_description(
            std::string(static_cast<const char*>(text.const_data_ptr()), text.nbytes()), task, path);
        check(module_.load_method(description.method), "cannot load its method " + description.method);
    }

    std::vector<cv::Mat> run(const cv::Mat& rgb) override {
        CV_Assert(rgb.isContinuous() && rgb.type() == CV_8UC3);
        auto input = executorch::extension::from_blob(
            rgb.data, {1, rgb.rows, rgb.cols, 3}, executorch::aten::ScalarType::Byte);
        const auto outputs = module_.execute(description.method, input);
        check(outputs.error(), "failed to run it");
        std::vector<cv::Mat> results;
        for (const EValue& value : *outputs) {
            if (!value.isTensor()) fail_shape();
            const auto tensor = value.toTensor();
            const bool is_float = tensor.scalar_type() == executorch::aten::ScalarType::Float;
            if (tensor.dim() != 3 || tensor.size(0) != 1 || !is_float) fail_shape();
            const cv::Mat view(static_cast<int>(tensor.size(1)), static_cast<int>(tensor.size(2)), CV_32F,
                               const_cast<float*>(tensor.const_data_ptr<float>()));
            results.push_back(view.clone());
        }
        return results;
    }

private:
    void check(Error error, const std::string& what) const {
        if (error != Error::Ok) {
            throw tinypose::Error(path_ + ": ExecuTorch " + what + " (error " +
                                  std::to_string(static_cast<int>(error)) + ")");
        }
    }

    [[noreturn]] void fail_shape() const {
        throw tinypose::Error(path_ + ": gives other outputs than float32 of shape (1, rows, columns)");
    }

    std::string path_;
    std::vector<char> content_;
    Module module_;
};

}  // namespace

const char* const FILE_KIND = ".pte";

std::unique_ptr<Network> open_network(const std::string& path, const std::string& task, int threads) {
    if (threads > 0) {
        executorch::extension::threadpool::get_threadpool()->_unsafe_reset_threadpool(static_cast<uint32_t>(threads));
    }
    return std::make_unique<ExecuTorchNetwork>(path, task);
}

}  // namespace tinypose
