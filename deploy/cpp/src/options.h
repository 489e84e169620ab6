// The command line.
#pragma once

#include <map>
#include <string>

namespace tinypose {

extern const char* const USAGE;

// The values by option; "--overwrite" has none.
using Options = std::map<std::string, std::string>;

// Throws Error.
Options parse_options(int count, char** arguments);

// The value of an option, or `standard` where it is not given. Throws Error if it is not in the range.
double number_option(const Options& options, const std::string& name, double standard, double low, double high);
int count_option(const Options& options, const std::string& name, int standard, int low, int high);

}  // namespace tinypose
