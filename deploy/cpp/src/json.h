// Reads JSON, strictly: descriptions come from files of unknown origin.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <variant>
#include <vector>

#include "text.h"

namespace tinypose {

struct Json {
    using List = std::vector<Json>;
    using Object = std::map<std::string, Json>;

    // Integers that do not fit 64 bits are doubles.
    std::variant<std::nullptr_t, bool, int64_t, double, std::string, List, Object> value;

    template <typename Type>
    const Type* get() const {
        return std::get_if<Type>(&value);
    }
};

// Throws Error if the text is not one JSON value in UTF-8, or is nested more than 100 deep.
Json parse_json(const std::string& text);

// A value in a few words, for messages.
std::string shown(const Json& json);

}  // namespace tinypose
