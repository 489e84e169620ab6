// Poses in images, folders and videos, from exported files.
#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iomanip>
#include <iostream>
#include <map>
#include <set>

#include <opencv2/imgcodecs.hpp>
#include <opencv2/imgproc.hpp>
#include <opencv2/videoio.hpp>

#include "drawing.h"
#include "following.h"
#include "pipeline.h"

namespace fs = std::filesystem;
using namespace tinypose;

namespace {

const char* const USAGE =
    "usage: tinypose --detector FILE --pose FILE (--image FILE | --image-dir DIR | --video FILE) --output DIR\n"
    "                [--json FILE] [--threads N] [--detection-threshold S] [--keypoint-threshold S]\n"
    "                [--detect-every N] [--smoothing on|off]\n\n"
    "Finds people and their keypoints. Overlays go to --output, numbers to --json.\n"
    "--detect-every and --smoothing follow the people of a video: they get ids and, unless it is off, steady keypoints.\n"
    "--detector and --pose are files from `tinypose export` (";

using Options = std::map<std::string, std::string>;

Options parse(int count, char** arguments) {
    const std::set<std::string> known{"--detector", "--pose",    "--image",  "--image-dir",           "--video",
                                      "--output",   "--threads", "--json",   "--detection-threshold", "--keypoint-threshold",
                                      "--detect-every", "--smoothing"};
    Options options;
    for (int i = 1; i < count; i += 2) {
        const std::string name = arguments[i];
        if (!known.count(name)) throw Error("unknown option '" + name + "'; see --help");
        if (i + 1 >= count) throw Error(name + " needs a value");
        options[name] = arguments[i + 1];
    }
    for (const char* name : {"--detector", "--pose", "--output"}) {
        if (!options.count(name)) throw Error(std::string(name) + " is missing; see --help");
    }
    if (options.count("--image") + options.count("--image-dir") + options.count("--video") != 1) {
        throw Error("give one of --image, --image-dir and --video");
    }
    const bool follows = options.count("--detect-every") || options.count("--smoothing");
    if (follows && !options.count("--video")) throw Error("--detect-every and --smoothing are for --video");
    if (options.count("--smoothing") && options.at("--smoothing") != "on" && options.at("--smoothing") != "off") {
        throw Error("--smoothing " + options.at("--smoothing") + ": expected on or off");
    }
    return options;
}

double number(const Options& options, const std::string& name, double standard, double least, double most) {
    const auto found = options.find(name);
    if (found == options.end()) return standard;
    size_t used = 0;
    double value = 0;
    try {
        value = std::stod(found->second, &used);
    } catch (const std::exception&) {
    }
    if (used == 0 || used != found->second.size() || value < least || value > most) {
        throw Error(name + " " + found->second + ": expected a number from " + std::to_string(least) + " to " +
                    std::to_string(most));
    }
    return value;
}

std::string quoted(const std::string& text) {
    std::string result = "\"";
    for (char c : text) {
        if (c == '"' || c == '\\') result += '\\';
        result += c;
    }
    return result + "\"";
}

// The files that this run reads, as canonical paths.
std::set<fs::path> inputs_of(const Options& options) {
    std::set<fs::path> inputs;
    for (const char* name : {"--detector", "--pose", "--image", "--video"}) {
        if (options.count(name)) inputs.insert(fs::weakly_canonical(options.at(name)));
    }
    if (options.count("--image-dir") && fs::is_directory(options.at("--image-dir"))) {
        for (const auto& entry : fs::directory_iterator(options.at("--image-dir"))) {
            inputs.insert(fs::weakly_canonical(entry.path()));
        }
    }
    return inputs;
}

// One record per image, as `tinypose predict --json` writes them.
class JsonList {
public:
    explicit JsonList(const std::string& path) : path_(path), file_(path + ".part") {
        if (!file_) throw Error("cannot write " + path);
    }
    void add(const std::string& source, int frame, const std::vector<Person>& people) {
        file_ << (first_ ? "[\n" : ",\n") << "{\"image\": " << quoted(source);
        if (frame >= 0) file_ << ", \"frame\": " << frame;
        file_ << ", \"poses\": [" << std::fixed;
        for (size_t i = 0; i < people.size(); ++i) {
            const Person& person = people[i];
            const cv::Rect2f& box = person.box;
            file_ << (i ? ", {" : "{");
            if (person.id) file_ << "\"id\": " << person.id << ", ";
            file_ << std::setprecision(3) << "\"box\": [" << box.x << ", " << box.y << ", "
                  << box.x + box.width << ", " << box.y + box.height << "], \"score\": " << std::setprecision(5)
                  << person.score << ", \"keypoints\": [";
            for (size_t k = 0; k < person.keypoints.size(); ++k) {
                const Keypoint& keypoint = person.keypoints[k];
                file_ << (k ? ", [" : "[") << std::setprecision(3) << keypoint.point.x << ", " << keypoint.point.y
                      << ", " << std::setprecision(5) << keypoint.score << "]";
            }
            file_ << "]}";
        }
        file_ << "]}";
        first_ = false;
    }
    void close() {
        file_ << (first_ ? "[]\n" : "\n]\n");
        file_.close();
        if (!file_) throw Error("cannot write " + path_);
        fs::rename(path_ + ".part", path_);
    }

private:
    std::string path_;
    std::ofstream file_;
    bool first_ = true;
};

class Program {
public:
    explicit Program(const Options& options)
        : threads_(static_cast<int>(number(options, "--threads", 0, 1, 256))),
          keypoint_threshold_(number(options, "--keypoint-threshold", 0.2, 0, 1)),
          estimator_(open_network(options.at("--detector"), "detection", threads_),
                     open_network(options.at("--pose"), "pose", threads_),
                     number(options, "--detection-threshold", -1, 0, 1)),
          output_(options.at("--output")),
          inputs_(inputs_of(options)) {
        fs::create_directories(output_);
        if (options.count("--json")) check_output(options.at("--json"));
        if (options.count("--detect-every") || options.count("--smoothing")) {
            const int every = static_cast<int>(number(options, "--detect-every", 1, 1, 1000));
            const bool smooth = !options.count("--smoothing") || options.at("--smoothing") == "on";
            follower_ = std::make_unique<Follower>(estimator_, every, smooth);
        }
        if (options.count("--json")) json_ = std::make_unique<JsonList>(options.at("--json"));
    }

    void image(const fs::path& path) {
        const fs::path target = overlay_of(path, ".png");
        cv::Mat bgr = cv::imread(path.string(), cv::IMREAD_COLOR);
        if (bgr.empty()) throw Error(path.string() + ": no image that can be read");
        const std::vector<Person> people = frame(path.string(), -1, bgr);
        if (!cv::imwrite(target.string(), bgr)) throw Error("cannot write " + target.string());
        std::cout << path.string() << ": " << people.size() << (people.size() == 1 ? " person" : " people") << " -> "
                  << target.string() << "\n";
    }

    // Whether every image could be read.
    bool folder(const fs::path& path) {
        if (!fs::is_directory(path)) throw Error(path.string() + " is no folder");
        std::vector<fs::path> files;
        const std::set<std::string> kinds{".jpg", ".jpeg", ".png", ".bmp", ".webp"};
        for (const auto& entry : fs::directory_iterator(path)) {
            std::string kind = entry.path().extension().string();
            std::transform(kind.begin(), kind.end(), kind.begin(), [](unsigned char c) { return std::tolower(c); });
            if (kinds.count(kind)) files.push_back(entry.path());
        }
        if (files.empty()) throw Error(path.string() + " holds no images");
        std::sort(files.begin(), files.end());
        bool good = true;
        for (const fs::path& file : files) {
            try {
                image(file);
            } catch (const Error& error) {
                std::cerr << "failed: " << error.what() << "\n";
                good = false;
            }
        }
        return good;
    }

    void video(const fs::path& path) {
        const fs::path target = overlay_of(path, ".mp4");
        cv::VideoCapture reader(path.string());
        if (!reader.isOpened()) throw Error(path.string() + ": no video that can be read");
        const double declared = reader.get(cv::CAP_PROP_FPS), rate = declared > 0 ? declared : 30;
        cv::VideoWriter writer;
        cv::Mat bgr;
        int count = 0;
        for (; reader.read(bgr); ++count) {
            frame(path.string(), count, bgr, count / rate);
            if (!writer.isOpened() && !writer.open(target.string(), cv::VideoWriter::fourcc('m', 'p', '4', 'v'),
                                                   rate, bgr.size())) {
                throw Error("cannot write " + target.string());
            }
            writer.write(bgr);
        }
        if (count == 0) throw Error(path.string() + ": no frames that can be read");
        std::cout << path.string() << ": " << count << " frames -> " << target.string() << "\n";
    }

    void finish() {
        if (json_) json_->close();
    }

private:
    void check_output(const fs::path& path) const {
        if (!inputs_.count(fs::weakly_canonical(path))) return;
        throw Error(path.string() + " would replace an input; name another file or --output");
    }

    // The overlay's path, with a number where an input of the same stem came before.
    fs::path overlay_of(const fs::path& source, const std::string& suffix) {
        fs::path path = output_ / source.stem().concat(suffix);
        for (int number = 2; !taken_.insert(path).second; ++number) {
            path = output_ / source.stem().concat("_" + std::to_string(number) + suffix);
        }
        check_output(path);
        return path;
    }

    // Finds the people of a BGR image, records and draws them. `time`: of a video's frame, seconds.
    std::vector<Person> frame(const std::string& source, int index, cv::Mat& bgr, double time = 0) {
        cv::Mat rgb;
        cv::cvtColor(bgr, rgb, cv::COLOR_BGR2RGB);
        std::vector<Person> people = follower_ ? follower_->next(rgb, time) : estimator_.estimate(rgb);
        if (json_) json_->add(source, index, people);
        draw_people(bgr, people, estimator_.skeleton(), keypoint_threshold_);
        return people;
    }

    int threads_;
    double keypoint_threshold_;
    PoseEstimator estimator_;
    std::unique_ptr<Follower> follower_;  // of a video whose people are followed
    fs::path output_;
    std::set<fs::path> inputs_;  // canonical
    std::set<fs::path> taken_;   // overlays
    std::unique_ptr<JsonList> json_;
};

}  // namespace

int main(int count, char** arguments) {
    for (int i = 1; i < count; ++i) {
        if (std::string(arguments[i]) == "--help") {
            std::cout << USAGE << FILE_KIND << ").\n";
            return 0;
        }
    }
    try {
        const Options options = parse(count, arguments);
        Program program(options);
        bool good = true;
        if (options.count("--image")) {
            program.image(options.at("--image"));
        } else if (options.count("--image-dir")) {
            good = program.folder(options.at("--image-dir"));
        } else {
            program.video(options.at("--video"));
        }
        program.finish();
        return good ? 0 : 1;
    } catch (const std::exception& error) {
        std::cerr << "tinypose: error: " << error.what() << "\n";
        return 2;
    }
}
