#include "text.h"

#include <algorithm>
#include <cstdint>
#include <cstdio>

namespace tinypose {
namespace {

std::string hexadecimal(const char* format, unsigned value) {
    char text[16];
    std::snprintf(text, sizeof text, format, value);
    return text;
}

// The text with `invalid` of every byte that is not UTF-8, and `replaced` of every character.
template <typename Invalid, typename Replaced>
std::string mapped(const std::string& text, Invalid invalid, Replaced replaced) {
    std::string result;
    for (size_t at = 0; at < text.size();) {
        const size_t length = utf8_length(text, at);
        result += length == 0 ? invalid(static_cast<unsigned char>(text[at])) : replaced(text.substr(at, length));
        at += std::max<size_t>(length, 1);
    }
    return result;
}

}  // namespace

size_t utf8_length(const std::string& text, size_t at) {
    const auto byte = [&](size_t i) { return at + i < text.size() ? static_cast<unsigned char>(text[at + i]) : 0u; };
    const unsigned first = byte(0);
    if (first < 0x80) return 1;
    if (first < 0xC2 || first >= 0xF5) return 0;
    const size_t length = first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4;
    for (size_t i = 1; i < length; ++i) {
        if ((byte(i) & 0xC0) != 0x80) return 0;
    }
    // Too long for what they say, surrogates, and beyond Unicode.
    const unsigned start = first << 8 | byte(1);
    const bool wrong = (start >= 0xE000 && start < 0xE0A0) || (start >= 0xEDA0 && start < 0xEE00) ||
                       (start >= 0xF000 && start < 0xF090) || (start >= 0xF490 && start < 0xF500);
    return wrong ? 0 : length;
}

bool is_control(const std::string& character) {
    const auto first = static_cast<unsigned char>(character[0]);
    return first < 32 || first == 127 || (first == 0xC2 && static_cast<unsigned char>(character[1]) < 0xA0);
}

std::string printable(const std::string& text) {
    return mapped(
        text, [](unsigned byte) { return hexadecimal("\\udc%02x", byte); },
        [](const std::string& character) {
            if (character == "\n") return std::string("\\n");
            if (!is_control(character)) return character;
            return hexadecimal("\\x%02x", static_cast<unsigned char>(character.back()));
        });
}

std::string quoted(const std::string& text) {
    const std::string content = mapped(
        text, [](unsigned byte) { return hexadecimal("\\\\udc%02x", byte); },
        [](const std::string& character) {
            if (character == "\"" || character == "\\") return std::string("\\").append(character);
            const auto first = static_cast<unsigned char>(character[0]);
            return first < 32 ? hexadecimal("\\u%04x", first) : character;
        });
    return '"' + content + '"';
}

std::string shortened(const std::string& text, size_t bytes) {
    if (text.size() <= bytes) return text;
    while (bytes > 0 && (static_cast<unsigned char>(text[bytes]) & 0xC0) == 0x80) --bytes;
    return text.substr(0, bytes);
}

}  // namespace tinypose
