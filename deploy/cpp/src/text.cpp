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

// The text with `escape` of every invalid byte, and `replace` of every byte below 32 and every quote and backslash.
template <typename Escape, typename Replace>
std::string mapped(const std::string& text, Escape escape, Replace replace) {
    std::string result;
    for (size_t at = 0; at < text.size();) {
        const size_t length = utf8_length(text, at);
        const auto byte = static_cast<unsigned char>(text[at]);
        if (length == 0) {
            result += escape(byte);
        } else if (byte < 32 || byte == 127 || byte == '"' || byte == '\\') {
            result += replace(byte);
        } else {
            result.append(text, at, length);
        }
        at += std::max<size_t>(length, 1);
    }
    return result;
}

}  // namespace

size_t utf8_length(const std::string& text, size_t at) {
    const auto byte = [&](size_t i) { return at + i < text.size() ? static_cast<unsigned char>(text[at + i]) : 0u; };
    const unsigned first = byte(0);
    if (first < 0x80) return 1;
    const size_t length = first >= 0xC2 && first < 0xE0 ? 2 : first >= 0xE0 && first < 0xF0 ? 3 : first >= 0xF0 && first < 0xF5 ? 4 : 0;
    for (size_t i = 1; i < length; ++i) {
        if ((byte(i) & 0xC0) != 0x80) return 0;
    }
    // Too long for what they say, surrogates, and beyond Unicode.
    const unsigned start = first << 8 | byte(1);
    const bool wrong = (start >= 0xE000 && start < 0xE0A0) || (start >= 0xEDA0 && start < 0xEE00) ||
                       (start >= 0xF000 && start < 0xF090) || (start >= 0xF490 && start < 0xF500);
    return wrong ? 0 : length;
}

std::string printable(const std::string& text) {
    return mapped(
        text, [](unsigned byte) { return hexadecimal("\\udc%02x", byte); },
        [](unsigned byte) -> std::string {
            if (byte == '\n') return "\\n";
            return byte < 32 || byte == 127 ? hexadecimal("\\x%02x", byte) : std::string(1, static_cast<char>(byte));
        });
}

std::string quoted(const std::string& text) {
    return '"' +
           mapped(
               text, [](unsigned byte) { return hexadecimal("\\\\udc%02x", byte); },
               [](unsigned byte) -> std::string {
                   if (byte == 127) return "\x7f";
                   return byte < 32 ? hexadecimal("\\u%04x", byte) : std::string{'\\', static_cast<char>(byte)};
               }) +
           '"';
}

std::string shortened(const std::string& text, size_t bytes) {
    if (text.size() <= bytes) return text;
    while (bytes > 0 && (static_cast<unsigned char>(text[bytes]) & 0xC0) == 0x80) --bytes;
    return text.substr(0, bytes);
}

}  // namespace tinypose
