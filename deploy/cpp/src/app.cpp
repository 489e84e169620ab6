#include "app.h"

#include <algorithm>
#include <cmath>

#include <executorch/extension/module/module.h>
#include <executorch/extension/tensor/tensor.h>

#include "sealed.h"
#include "text.h"

// Exported by executorch 1.5.1's libexecutorch_threadpool, whose wheel does not carry the header.
namespace executorch::extension::threadpool {
class ThreadPool {
public:
    bool _unsafe_reset_threadpool(uint32_t threads);
};
ThreadPool* get_threadpool();
}  // namespace executorch::extension::threadpool

namespace tinypose {

using executorch::aten::ScalarType;
using executorch::extension::from_blob;
using executorch::extension::Module;
using executorch::runtime::EValue;

// A tensor's type and shape.
struct Shape {
    ScalarType type;
    std::vector<int32_t> sizes;
};

// ExecuTorch's program in a file, which stays mapped: weights are packed when a method is loaded and leave memory then.
class App::Program {
public:
    explicit Program(const std::string& path) : path_(path), module_(path, Module::LoadMode::Mmap) {
        check_seal(path);
        check(module_.load(executorch::runtime::Program::Verification::InternalConsistency), "refuses it");
    }

    std::string metadata() {
        const auto described = module_.execute("tinypose_metadata");
        check(described.error(), "finds no description in it");
        if (described->empty() || !described->at(0).isTensor()) {
            throw Error(path_ + ": its method tinypose_metadata gives no description");
        }
        const auto text = described->at(0).toTensor();
        return {static_cast<const char*>(text.const_data_ptr()), text.nbytes()};
    }

    // Throws Error if a method's inputs and outputs are not those of the description.
    void check_method(const std::string& name, const std::vector<Shape>& inputs, const std::vector<Shape>& outputs) {
        const auto meta = module_.method_meta(name);
        check(meta.error(), "finds no method " + name + " in it");
        bool right = meta->num_inputs() == inputs.size() && meta->num_outputs() == outputs.size();
        for (size_t i = 0; right && i < inputs.size(); ++i) right = is(meta->input_tensor_meta(i), inputs[i]);
        for (size_t i = 0; right && i < outputs.size(); ++i) right = is(meta->output_tensor_meta(i), outputs[i]);
        if (!right) throw Error(path_ + ": its method " + name + " does not fit its description; export it again");
    }

    std::vector<EValue> execute(const std::string& method, const std::vector<EValue>& inputs) {
        auto outputs = module_.execute(method, inputs);
        check(outputs.error(), "failed to run its method " + method);
        return std::move(*outputs);
    }

private:
    void check(executorch::runtime::Error error, const std::string& what) const {
        if (error == executorch::runtime::Error::Ok) return;
        throw Error(path_ + ": ExecuTorch " + what + " (error " + std::to_string(static_cast<int>(error)) + ")");
    }

    template <typename Meta>
    static bool is(const Meta& meta, const Shape& expected) {
        if (!meta.ok() || meta->scalar_type() != expected.type) return false;
        const auto sizes = meta->sizes();
        return std::equal(sizes.begin(), sizes.end(), expected.sizes.begin(), expected.sizes.end());
    }

    std::string path_;
    Module module_;
};

namespace {

// The first `rows` rows of an output.
template <typename Value>
std::vector<Value> first_rows(const EValue& output, size_t rows) {
    const auto tensor = output.toTensor();
    const Value* values = tensor.const_data_ptr<Value>();
    return {values, values + rows * static_cast<size_t>(tensor.numel() / tensor.size(0))};
}

void check_finite(const std::vector<float>& values) {
    const auto is_finite = [](float value) { return std::isfinite(value); };
    if (std::all_of(values.begin(), values.end(), is_finite)) return;
    throw Error("the app gave NaN or infinite numbers; check the weights");
}

// The people in boxes, scores and keypoints: rows behind the last person have the score 0.
People people_of(const std::vector<EValue>& outputs) {
    const auto scores = outputs[1].toTensor();
    const float* first = scores.const_data_ptr<float>();
    const auto is_none = [](float score) { return score == 0; };
    const auto count = static_cast<size_t>(std::find_if(first, first + scores.numel(), is_none) - first);
    People people{first_rows<float>(outputs[0], count), first_rows<float>(outputs[1], count),
                  first_rows<float>(outputs[2], count), {}};
    for (const auto* values : {&people.boxes, &people.scores, &people.keypoints}) check_finite(*values);
    return people;
}

executorch::extension::TensorPtr frame_input(const void* pixels, const Description& description) {
    return from_blob(const_cast<void*>(pixels), description.frame, ScalarType::Byte);  // it is only read
}

}  // namespace

App::App(const std::string& path, int threads) : program_(std::make_unique<Program>(path)) {
    description_ = read_description(program_->metadata(), path);
    const int people = description_.max_people, keypoints = static_cast<int>(description_.keypoint_names.size());
    const Shape frame{ScalarType::Byte, description_.frame};
    const std::vector<Shape> outputs{{ScalarType::Float, {people, 4}},
                                     {ScalarType::Float, {people}},
                                     {ScalarType::Float, {people, keypoints, 3}}};
    program_->check_method("forward", {frame}, outputs);
    if (!description_.state.empty()) {
        const Shape state{ScalarType::Double, description_.state};
        auto followed = outputs;
        followed.insert(followed.end(), {{ScalarType::Long, {people}}, state});
        program_->check_method("follow", {frame, state, {ScalarType::Double, {1}}}, followed);
        restart();
    }
    if (threads > 0) {
        executorch::extension::threadpool::get_threadpool()->_unsafe_reset_threadpool(static_cast<uint32_t>(threads));
    }
}

App::~App() = default;

People App::run(const void* pixels) {
    return people_of(program_->execute("forward", {frame_input(pixels, description_)}));
}

People App::follow(const void* pixels, double seconds) {
    const auto state = from_blob(state_.data(), description_.state, ScalarType::Double);
    const auto time = from_blob(&seconds, {1}, ScalarType::Double);
    const auto outputs = program_->execute("follow", {frame_input(pixels, description_), state, time});
    People people = people_of(outputs);
    people.ids = first_rows<int64_t>(outputs[3], people.scores.size());
    state_ = first_rows<double>(outputs[4], static_cast<size_t>(description_.state[0]));
    return people;
}

void App::restart() {
    state_.assign(num_values(description_.state), 0);
}

}  // namespace tinypose
