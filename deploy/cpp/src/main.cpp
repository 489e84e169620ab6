// Poses in images, folders and videos, by an app file.
#include <algorithm>
#include <cctype>
#include <csignal>
#include <filesystem>
#include <iostream>
#include <memory>
#include <set>
#include <thread>

#include <fcntl.h>
#include <unistd.h>

#include <opencv2/imgcodecs.hpp>
#include <opencv2/videoio.hpp>

#include "drawing.h"
#include "estimator.h"
#include "images.h"
#include "options.h"
#include "outputs.h"
#include "records.h"
#include "text.h"
#include "video.h"

namespace fs = std::filesystem;
using namespace tinypose;

namespace {

constexpr int PARTLY_FAILED = 1, FAILED = 2, INTERRUPTED = 130;
constexpr int THREADS_PER_CORE = 4;

volatile std::sig_atomic_t interrupted = 0;

struct Interruption {};

void check_interruption() {
    if (interrupted) throw Interruption();
}

// Discards stderr while it lives: OpenCV, its decoders and the runtimes write lines of their own about files that this
// program refuses with one line.
class QuietLibraries {
public:
    QuietLibraries() : stderr_(::dup(STDERR_FILENO)) {
        const int null = ::open("/dev/null", O_WRONLY);
        if (null < 0) return;
        ::dup2(null, STDERR_FILENO);
        ::close(null);
    }
    ~QuietLibraries() {
        if (stderr_ < 0) return;
        ::dup2(stderr_, STDERR_FILENO);
        ::close(stderr_);
    }
    QuietLibraries(const QuietLibraries&) = delete;
    QuietLibraries& operator=(const QuietLibraries&) = delete;

private:
    int stderr_;
};

// An error in a few words; OpenCV's without its place in the source.
std::string message_of(const std::exception& error) {
    if (const auto* own = dynamic_cast<const cv::Exception*>(&error)) return "OpenCV: " + own->err;
    if (dynamic_cast<const std::bad_alloc*>(&error)) return "not enough memory";
    return error.what();
}

void report(const std::string& kind, const std::exception& error) {
    std::cerr << printable(kind + message_of(error)) << "\n";
}

// The images of a folder, in order; overlays of earlier runs are left out.
std::vector<fs::path> images_in(const fs::path& folder) {
    if (!fs::is_directory(folder)) throw Error(folder.string() + " is no folder");
    const std::set<std::string> kinds{".jpg", ".jpeg", ".png", ".bmp", ".webp"};
    std::vector<fs::path> files;
    for (const auto& entry : fs::directory_iterator(folder)) {
        std::string kind = entry.path().extension().string();
        std::transform(kind.begin(), kind.end(), kind.begin(), [](unsigned char c) { return std::tolower(c); });
        if (kinds.count(kind) && !is_overlay(entry.path())) files.push_back(entry.path());
    }
    if (files.empty()) throw Error(folder.string() + " holds no images");
    std::sort(files.begin(), files.end());
    return files;
}

std::vector<fs::path> sources_of(const Options& options) {
    if (options.count("--image-dir")) return images_in(options.at("--image-dir"));
    return {options.at(options.count("--image") ? "--image" : "--video")};
}

// The overlay of every source, after a check of all outputs.
std::vector<Output> choose_outputs(const Options& options, const std::vector<fs::path>& sources) {
    const fs::path folder = options.at("--output");
    std::error_code ignored;
    if (fs::exists(folder, ignored) && !fs::is_directory(folder, ignored)) {
        throw Error("--output " + folder.string() + " is a file; name a folder");
    }
    const auto overlays = overlay_outputs(folder, sources, options.count("--video") ? ".mp4" : ".png");
    std::vector<Output> outputs = overlays;
    if (options.count("--json")) outputs.insert(outputs.begin(), {"--json", options.at("--json")});
    std::vector<fs::path> inputs = sources;
    inputs.emplace_back(options.at("--app"));
    check_outputs(outputs, inputs, options.count("--overwrite"));
    return overlays;
}

void open_writer(cv::VideoWriter& writer, const fs::path& path, double fps, const cv::Size& size) {
    if (writer.open(path.string(), cv::VideoWriter::fourcc('m', 'p', '4', 'v'), fps, size)) return;
    throw Error("cannot write a video of " + std::to_string(size.width) + "x" + std::to_string(size.height) + " to " +
                path.parent_path().string());
}

class Program {
public:
    explicit Program(const Options& options)
        : keypoint_threshold_(number_option(options, "--keypoint-threshold", 0.2, 0, 1)) {
        const int cores = std::max(1u, std::thread::hardware_concurrency());
        const int threads = count_option(options, "--threads", 0, 1, THREADS_PER_CORE * cores);
        sources_ = sources_of(options);
        overlays_ = choose_outputs(options, sources_);
        {
            const QuietLibraries quiet;
            estimator_ = std::make_unique<Estimator>(options.at("--app"), threads);
        }
        if (options.count("--json")) json_ = std::make_unique<JsonList>(options.at("--json"));
    }

    // Whether every image could be read. A single one that cannot is an error.
    bool images(bool single) {
        bool good = true;
        for (size_t i = 0; i < sources_.size(); ++i) {
            check_interruption();
            try {
                image(sources_[i].string(), overlays_[i].second);
            } catch (const std::exception& error) {
                if (single) throw;
                report("failed: ", error);
                good = false;
            }
        }
        return good;
    }

    void video() {
        const std::string source = sources_[0].string();
        const fs::path target = overlays_[0].second;
        std::unique_ptr<PendingFile> pending;
        int count = 0;
        {
            const QuietLibraries quiet;
            VideoReader reader(source);
            cv::VideoWriter writer;
            for (cv::Mat bgr; reader.read(bgr); ++count) {
                check_interruption();
                find_people(source, FrameFacts{count, reader.time()}, bgr);
                if (!pending) {
                    pending = std::make_unique<PendingFile>(target);
                    open_writer(writer, pending->path(), reader.fps(), bgr.size());
                }
                writer.write(bgr);
            }
        }
        if (count == 0) throw Error(source + ": no frames that can be read");
        mark_mp4(pending->path());
        pending->commit();
        std::cout << source << ": " << count << " frames -> " << target.string() << "\n";
    }

    void finish() {
        if (json_) json_->close();
    }

private:
    void image(const std::string& source, const fs::path& target) {
        size_t count = 0;
        {
            const QuietLibraries quiet;
            cv::Mat bgr = read_image(source);
            count = find_people(source, std::nullopt, bgr);
            std::vector<unsigned char> png;
            cv::imencode(".png", bgr, png);
            write_png(png, target);
        }
        std::cout << source << ": " << count << (count == 1 ? " person" : " people") << " -> " << target.string()
                  << "\n";
    }

    // Finds the people of a BGR image, records and draws them. `frame`: of a video. Returns how many they are.
    size_t find_people(const std::string& source, const std::optional<FrameFacts>& frame, cv::Mat& bgr) {
        std::vector<Person> people;
        try {
            people = frame ? estimator_->follow(bgr, frame->time) : estimator_->estimate(bgr);
        } catch (const std::exception& error) {
            const std::string where = frame ? source + ": frame " + std::to_string(frame->index) : source;
            throw Error(where + ": " + message_of(error));
        }
        if (json_) json_->add(source, frame, people);
        draw_people(bgr, people, estimator_->description(), keypoint_threshold_);
        return people.size();
    }

    double keypoint_threshold_;
    std::vector<fs::path> sources_;
    std::vector<Output> overlays_;  // of the sources
    std::unique_ptr<Estimator> estimator_;
    std::unique_ptr<JsonList> json_;
};

int run(const Options& options) {
    Program program(options);
    bool good = true;
    if (options.count("--video")) {
        program.video();
    } else {
        good = program.images(options.count("--image"));
    }
    program.finish();
    return good ? 0 : PARTLY_FAILED;
}

}  // namespace

int main(int count, char** arguments) {
    for (int i = 1; i < count; ++i) {
        if (std::string(arguments[i]) == "--help") {
            std::cout << USAGE;
            return 0;
        }
    }
    for (int number : {SIGINT, SIGTERM}) std::signal(number, [](int) { interrupted = 1; });
    try {
        return run(parse_options(count, arguments));
    } catch (const Interruption&) {
        std::cerr << "tinypose: interrupted; outputs that were not complete are removed\n";
        return INTERRUPTED;
    } catch (const std::exception& error) {
        report("tinypose: error: ", error);
        return FAILED;
    }
}
