#include "options.h"

#include <cctype>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <set>

#include "text.h"

namespace tinypose {

const char* const USAGE =
    "usage: tinypose --app FILE (--image FILE | --image-dir DIR | --video FILE) --output DIR\n"
    "                [--json FILE] [--overwrite] [--threads N] [--keypoint-threshold S]\n\n"
    "Finds people and their keypoints. Overlays go to --output, numbers to --json.\n"
    "--app is a .pte file of `tinypose export ... --frame HEIGHT WIDTH`. If it has the method follow, the people of a\n"
    "video get ids and smoothed keypoints.\n"
    "Outputs replace earlier results only, other existing files with --overwrite, and inputs never.\n"
    "Exit status: 0 if all is done; 1 if some images of --image-dir failed; 2 for wrong arguments and files; 130 if\n"
    "interrupted.\n";

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
    for (const char* name : {"--app", "--output"}) {
        if (!options.count(name)) throw Error(std::string(name) + " is missing; see --help");
    }
    if (options.count("--image") + options.count("--image-dir") + options.count("--video") != 1) {
        throw Error("give one of --image, --image-dir and --video");
    }
}

}  // namespace

Options parse_options(int count, char** arguments) {
    const std::set<std::string> known{"--app",     "--image", "--image-dir", "--video",             "--output",
                                      "--threads", "--json",  "--overwrite", "--keypoint-threshold"};
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
