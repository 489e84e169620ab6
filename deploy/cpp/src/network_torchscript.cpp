#include <sstream>

#include <ATen/Parallel.h>
#include <torch/script.h>

#include "network.h"
#include "sealed.h"

namespace tinypose {
namespace {

class TorchScriptNetwork : public Network {
public:
    TorchScriptNetwork(const std::string& path, const std::string& task) : path_(path) {
        const auto content = read_sealed(path);
        std::istringstream stream(std::string(content.data(), content.size()));
        torch::jit::ExtraFilesMap extra{{"tinypose.json", ""}};
        try {
            module_ = torch::jit::load(stream, torch::kCPU, extra);
        } catch (const std::exception& error) {
            throw Error(path + ": LibTorch refuses it: " + reason(error));
        }
        description = read_description(extra.at("tinypose.json"), task, path);
        module_.eval();
    }

    std::vector<cv::Mat> run(const cv::Mat& rgb) override {
        CV_Assert(rgb.isContinuous() && rgb.type() == CV_8UC3);
        const c10::InferenceMode guard;
        const auto input = torch::from_blob(rgb.data, {1, rgb.rows, rgb.cols, 3}, torch::kUInt8);
        std::vector<cv::Mat> results;
        for (const c10::IValue& value : forward(input)) {
            if (!value.isTensor()) fail_shape();
            const auto tensor = value.toTensor().contiguous();
            if (tensor.dim() != 3 || tensor.size(0) != 1 || tensor.scalar_type() != torch::kFloat32) fail_shape();
            const cv::Mat view(static_cast<int>(tensor.size(1)), static_cast<int>(tensor.size(2)), CV_32F,
                               tensor.data_ptr());
            results.push_back(view.clone());
        }
        return results;
    }

private:
    std::vector<c10::IValue> forward(const torch::Tensor& input) {
        try {
            const c10::IValue output = module_.forward({input});
            return output.isTuple() ? output.toTupleRef().elements().vec() : std::vector<c10::IValue>{output};
        } catch (const std::exception& error) {
            throw Error(path_ + ": LibTorch failed to run it: " + reason(error));
        }
    }

    [[noreturn]] void fail_shape() const {
        throw Error(path_ + ": gives other outputs than float32 of shape (1, rows, columns)");
    }

    // LibTorch's message without its backtrace: the first line, or the last one of an error in the network's own code.
    static std::string reason(const std::exception& error) {
        const auto* own = dynamic_cast<const c10::Error*>(&error);
        std::string text = own ? own->what_without_backtrace() : error.what();
        text.erase(text.find_last_not_of(" \n") + 1);
        if (own || text.rfind("RuntimeError") == std::string::npos) return text.substr(0, text.find('\n'));
        return text.substr(text.rfind('\n') + 1);
    }

    std::string path_;
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
