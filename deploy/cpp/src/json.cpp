#include "json.h"

#include <cerrno>
#include <cmath>
#include <cstdio>
#include <cstdlib>

namespace tinypose {
namespace {

constexpr int MAX_DEPTH = 100;
constexpr size_t MAX_SHOWN = 60;

class Parser {
public:
    explicit Parser(const std::string& text) : text_(text) {}

    Json document() {
        const Json result = value(0);
        skip_space();
        if (at_ != text_.size()) fail();
        return result;
    }

private:
    [[noreturn]] void fail() const { throw Error("not JSON at byte " + std::to_string(at_)); }

    char peek() const { return at_ < text_.size() ? text_[at_] : '\0'; }

    void skip_space() {
        while (peek() == ' ' || peek() == '\n' || peek() == '\r' || peek() == '\t') ++at_;
    }

    bool accept(const std::string& word) {
        if (text_.compare(at_, word.size(), word)) return false;
        at_ += word.size();
        return true;
    }

    // A punctuation mark, which may have space before it.
    bool accept_mark(const char* mark) {
        skip_space();
        return accept(mark);
    }

    Json value(int depth) {
        if (depth > MAX_DEPTH) fail();
        skip_space();
        if (accept("null")) return {nullptr};
        if (accept("true")) return {true};
        if (accept("false")) return {false};
        if (accept("[")) return list(depth);
        if (accept("{")) return object(depth);
        if (accept("\"")) return {string()};
        return number();
    }

    Json list(int depth) {
        Json::List items;
        if (accept_mark("]")) return {items};
        do items.push_back(value(depth + 1));
        while (accept_mark(","));
        if (!accept_mark("]")) fail();
        return {items};
    }

    Json object(int depth) {
        Json::Object members;
        if (accept_mark("}")) return {members};
        do {
            if (!accept_mark("\"")) fail();
            const std::string name = string();
            if (!accept_mark(":")) fail();
            members[name] = value(depth + 1);
        } while (accept_mark(","));
        if (!accept_mark("}")) fail();
        return {members};
    }

    bool digits() {
        const size_t start = at_;
        while (peek() >= '0' && peek() <= '9') ++at_;
        return at_ > start;
    }

    Json number() {
        const size_t start = at_;
        accept("-");
        if (!accept("0") && !digits()) fail();
        bool whole = true;
        if (accept(".")) {
            whole = false;
            if (!digits()) fail();
        }
        if (accept("e") || accept("E")) {
            whole = false;
            if (!accept("+")) accept("-");
            if (!digits()) fail();
        }
        const std::string found = text_.substr(start, at_ - start);
        errno = 0;
        const long long integer = whole ? std::strtoll(found.c_str(), nullptr, 10) : 0;
        if (whole && errno == 0) return {static_cast<int64_t>(integer)};
        const double real = std::strtod(found.c_str(), nullptr);
        if (!std::isfinite(real)) {
            throw Error("the number " + shortened(found, MAX_SHOWN) + "; expected finite numbers");
        }
        return {real};
    }

    // The rest of a string, after its first quote.
    std::string string() {
        std::string result;
        while (!accept("\"")) {
            const size_t length = utf8_length(text_, at_);
            if (length == 0 || static_cast<unsigned char>(peek()) < 32) fail();  // the text's end is a 0
            if (accept("\\")) {
                result += escape();
            } else {
                result.append(text_, at_, length);
                at_ += length;
            }
        }
        return result;
    }

    std::string escape() {
        const std::string names = "\"\\/bfnrt", meanings = "\"\\/\b\f\n\r\t";
        const size_t found = names.find(peek());
        if (found != std::string::npos && at_ < text_.size()) {
            ++at_;
            return {meanings[found]};
        }
        if (!accept("u")) fail();
        unsigned code = hexadecimal();
        if (code >= 0xD800 && code < 0xDC00 && accept("\\u")) {
            const unsigned low = hexadecimal();
            if (low < 0xDC00 || low >= 0xE000) fail();
            code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
        }
        if (code >= 0xD800 && code < 0xE000) fail();
        return encoded(code);
    }

    unsigned hexadecimal() {
        const std::string found = text_.substr(at_, 4);
        if (found.size() < 4 || found.find_first_not_of("0123456789abcdefABCDEF") != std::string::npos) fail();
        at_ += 4;
        return static_cast<unsigned>(std::strtoul(found.c_str(), nullptr, 16));
    }

    // A character in UTF-8.
    static std::string encoded(unsigned code) {
        const auto rest = [code](int bits) { return static_cast<char>(0x80 | (code >> bits & 0x3F)); };
        if (code < 0x80) return {static_cast<char>(code)};
        if (code < 0x800) return {static_cast<char>(0xC0 | code >> 6), rest(0)};
        if (code < 0x10000) return {static_cast<char>(0xE0 | code >> 12), rest(6), rest(0)};
        return {static_cast<char>(0xF0 | code >> 18), rest(12), rest(6), rest(0)};
    }

    const std::string& text_;
    size_t at_ = 0;
};

}  // namespace

Json parse_json(const std::string& text) {
    return Parser(text).document();
}

std::string shown(const Json& json) {
    if (const auto* flag = json.get<bool>()) return *flag ? "true" : "false";
    if (const auto* integer = json.get<int64_t>()) return std::to_string(*integer);
    if (const auto* text = json.get<std::string>()) return "'" + printable(shortened(*text, MAX_SHOWN)) + "'";
    if (const auto* list = json.get<Json::List>()) return "a list of " + std::to_string(list->size());
    if (json.get<Json::Object>()) return "an object";
    if (const auto* real = json.get<double>()) {
        char text[32];
        std::snprintf(text, sizeof text, "%g", *real);
        return text;
    }
    return "null";
}

}  // namespace tinypose
