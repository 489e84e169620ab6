// Text that may hold any bytes, such as file names.
#pragma once

#include <cstddef>
#include <stdexcept>
#include <string>

namespace tinypose {

// An error in files or arguments, in words for the user.
struct Error : std::runtime_error {
    using std::runtime_error::runtime_error;
};

// Bytes of the UTF-8 character at a position; 0 if the bytes there are not valid UTF-8.
size_t utf8_length(const std::string& text, size_t at);

// Whether a UTF-8 character is a control character.
bool is_control(const std::string& character);

// The text on one line of valid UTF-8: control characters and invalid bytes are escaped, as in "\n" and "\udcff".
std::string printable(const std::string& text);

// The text as a JSON string. Invalid bytes become the text "\udcff", as in the JSON of `tinypose predict`.
std::string quoted(const std::string& text);

// The beginning of a text, of at most `bytes` bytes, without a part of a character at its end.
std::string shortened(const std::string& text, size_t bytes);

}  // namespace tinypose
