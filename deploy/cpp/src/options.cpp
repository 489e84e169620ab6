#include "options.h"

#include <cctype>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <set>

#include "text.h"

namespace tinypose {

const char* const USAGE =
    "usage: tinypose --detector FILE --pose FILE (--image FILE | --image-dir DIR | --video FILE) --output DIR\n"
    "                [--json FILE] [--overwrite] [--threads N] [--detection-threshold S] [--keypoint-threshold S]\n"
    "                [--detect-every N] [--smoothing on|off]\n\n"
    "Finds people and their keypoints. Overlays go to --output, numbers to --json.\n"
    "Outputs replace earlier results only, other existing files with --overwrite, and inputs never.\n"
    "--detect-every and --smoothing follow the people of a video: they get ids and, unless it is off, steady\n"
    "keypoints.\n"
    "Exit status: 0 if all is done; 1 if some images of --image-dir failed; 2 for wrong arguments and files; 130 if\n"
    "interrupted.\n"
    "--detector and --pose are files from `tinypose export` (";

namespace {

// Throws Error if the text is no number in the range, such as NaN, or begins with a space.
double checked(const std::string& name, const std::string& text, double low, double high, bool integer) {
    char* end = nullptr;
    const double value = std::strtod(text.c_str(), &end);
    const bool whole = !text.empty() && !std::isspace(static_cast<unsigned char>(text[0])) && *end == '\0';
    if (whole && value >= low && value <= high && (!integer || value == std::floor(value))) return value;
    char range[64];
    std::snprintf(range, sizeof range, "from %g to %g", low, high);
    throw Error(name + " " + text + ": expected " + (integer ? "an integer " : "a number ") + range);
}

void check_options(const Options& options) {
    for (const auto& [name, value] : options) {
        if (value.empty() && name != "--overwrite") throw Error(name + " is empty; see --help");
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
}

}  // namespace

Options parse_options(int count, char** arguments) {
    const std::set<std::string> known{"--detector", "--pose",      "--image",   "--image-dir",
                                      "--video",    "--output",    "--threads", "--json",
                                      "--overwrite", "--detection-threshold", "--keypoint-threshold",
                                      "--detect-every", "--smoothing"};
    Options options;
    for (int i = 1; i < count; ++i) {
        const std::string name = arguments[i];
        if (!known.count(name)) throw Error("unknown option '" + name + "'; see --help");
        if (name == "--overwrite") {
            options[name] = "";
            continue;
        }
        if (++i >= count) throw Error(name + " needs a value");
        options[name] = arguments[i];
    }
    check_options(options);
    return options;
}

double number_option(const Options& options, const std::string& name, double standard, double low, double high) {
    return options.count(name) ? checked(name, options.at(name), low, high, false) : standard;
}

int count_option(const Options& options, const std::string& name, int standard, int low, int high) {
    return options.count(name) ? static_cast<int>(checked(name, options.at(name), low, high, true)) : standard;
}

}  // namespace tinypose
