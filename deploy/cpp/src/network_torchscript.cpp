#include <sstream>

#include <ATen/Parallel.h>
#include <torch/script.h>

#include "network.h"
#include "sealed.h"

namespace tinypose {
namespace {

class TorchScriptNetwork : public Network {
public:
    TorchScriptNetwork(const std::string& path, const std::string& task) {
        const auto content = read_sealed(path);
        std::istringstream stream(std::string(content.data(), content.size()));
        torch::jit::ExtraFilesMap extra{{"tinypose.json", ""}};
        try {
            module_ = torch::jit::load(stream, torch::kCPU, extra);
        } catch (const c10::Error& error) {
            throw Error(path + ": LibTorch refuses it: " + error.what_without_backtrace());
        }
        description = read_description(extra.at("tinypose.json"), task, path);
        module_.eval();
    }

    std::vector<cv::Mat> run(const cv::Mat& rgb) override {
        CV_Assert(rgb.isContinuous() && rgb.type() == CV_8UC3);
        const c10::InferenceMode guard;
        const auto input = torch::from_blob(rgb.data, {1, rgb.rows, rgb.cols, 3}, torch::kUInt8);
        const auto output = module_.forward({input});
        if (output.isTensor()) {
            return {matrix(output.toTensor())};
        }
        std::vector<cv::Mat> results;
        for (const auto& value : output.toTupleRef().elements()) {
            results.push_back(matrix(value.toTensor()));
        }
        return results;
    }

private:
    static cv::Mat matrix(const torch::Tensor& tensor) {  // (1, rows, columns)
        const auto values = tensor.contiguous();
        return cv::Mat(static_cast<int>(values.size(1)), static_cast<int>(values.size(2)), CV_32F, values.data_ptr())
            .clone();
    }

    torch::jit::Module module_;
};

}  // namespace

const char* const FILE_KIND = ".torchscript";

std::unique_ptr<Network> open_network(const std::string& path, const std::string& task, int threads) {
    if (threads > 0) {
        at::set_num_threads(threads);
    }
    return std::make_unique<TorchScriptNetwork>(path, task);
}

}  // namespace tinypose
