#include "outputs.h"

#include <algorithm>
#include <cctype>
#include <fstream>
#include <map>
#include <set>

#include <sys/stat.h>
#include <unistd.h>

#include "text.h"

namespace fs = std::filesystem;

namespace tinypose {
namespace {

constexpr size_t START = 1 << 16, MAX_NAME = 255;  // bytes
const std::string SOFTWARE = "tinypose-torch";
const std::string PNG_MARK = std::string("tEXtSoftware\0", 13) + SOFTWARE;
const std::string PNG_CHUNK = std::string("\0\0\0\x17", 4) + PNG_MARK + "\x3c\x56\xa1\x4f";  // length, content, CRC
constexpr size_t PNG_HEADER = 33;  // the signature and the first chunk
const std::string MP4_BOX = std::string("\0\0\0\x16", 4) + "free" + SOFTWARE;

std::string read_start(const fs::path& path) {
    std::string content(START, '\0');
    std::ifstream file(path, std::ios::binary);
    file.read(content.data(), static_cast<std::streamsize>(content.size()));
    content.resize(static_cast<size_t>(std::max<std::streamsize>(file.gcount(), 0)));
    return content;
}

std::string read_end(const fs::path& path, size_t size) {
    std::string content(size, '\0');
    std::ifstream file(path, std::ios::binary);
    file.seekg(-static_cast<std::streamoff>(size), std::ios::end);
    file.read(content.data(), static_cast<std::streamsize>(size));
    return file ? content : "";
}

// Whether a text begins as the JSON of poses does.
bool is_records(const std::string& text) {
    size_t at = 0;
    const auto accept = [&](const std::string& word) {
        if (text.compare(at, word.size(), word)) return false;
        at += word.size();
        return true;
    };
    const auto skip = [&](const char* characters) {
        at = std::min(text.find_first_not_of(characters, at), text.size());
    };
    if (text == "[]\n") return true;
    if (accept("[")) skip(" \t\r\n");
    if (!accept("{\"image\": \"")) return false;
    while (at < text.size() && text[at] != '"') at += text[at] == '\\' ? 2 : 1;
    if (!accept("\", ")) return false;
    for (const char* name : {"\"frame\": ", "\"time\": "}) {
        if (!accept(name)) continue;
        skip("0123456789.e-");
        if (!accept(", ")) return false;
    }
    return accept("\"poses\": [");
}

using Identity = std::pair<dev_t, ino_t>;

// What a file is, whatever its name; links are followed. False if there is no such file.
bool find_identity(const fs::path& path, Identity& identity) {
    struct stat facts;
    if (::stat(path.c_str(), &facts) != 0) return false;
    identity = {facts.st_dev, facts.st_ino};
    return true;
}

void check_folder(const std::string& name, const fs::path& path) {
    fs::path folder = fs::absolute(path).parent_path();
    std::error_code ignored;
    while (!fs::exists(folder, ignored) && folder.has_relative_path()) folder = folder.parent_path();
    if (fs::is_directory(folder, ignored) && ::access(folder.c_str(), W_OK) == 0) return;
    throw Error(name + " " + path.string() + " cannot be written: " + folder.string() +
                " is no folder that can be written to");
}

std::string lower(std::string text) {
    std::transform(text.begin(), text.end(), text.begin(), [](unsigned char c) { return std::tolower(c); });
    return text;
}

}  // namespace

bool is_overlay(const fs::path& path) {
    const std::string suffix = lower(path.extension().string());
    if (suffix == ".png") return read_start(path).find(PNG_MARK) != std::string::npos;
    if (suffix != ".mp4") return false;
    const std::string start = read_start(path);
    return start.compare(4, 4, "ftyp", 4) == 0 && start.size() > 8 &&
           (start.find(SOFTWARE) != std::string::npos || read_end(path, MP4_BOX.size()) == MP4_BOX);
}

bool is_own_output(const fs::path& path) {
    const std::string start = read_start(path);
    std::error_code problem;
    if (start.empty()) return fs::is_regular_file(path, problem) && fs::file_size(path, problem) == 0 && !problem;
    return is_records(start) || is_overlay(path);
}

std::vector<Output> overlay_outputs(const fs::path& folder, const std::vector<fs::path>& sources,
                                    const std::string& suffix) {
    std::vector<Output> outputs;
    std::set<std::string> taken;  // in lower case: file systems may ignore the case
    for (const fs::path& source : sources) {
        const std::string stem = source.stem().string();
        std::string end = suffix, name;
        for (int number = 2;; ++number) {
            name = shortened(stem, MAX_NAME - end.size()) + end;
            if (taken.insert(lower(name)).second) break;
            end = "_" + std::to_string(number) + suffix;
        }
        outputs.emplace_back("the overlay of " + source.string() + ",", folder / name);
    }
    return outputs;
}

void check_outputs(const std::vector<Output>& outputs, const std::vector<fs::path>& inputs, bool overwrite) {
    std::map<Identity, fs::path> used;
    for (const fs::path& input : inputs) {
        Identity identity;
        if (find_identity(input, identity)) used.emplace(identity, input);
    }
    std::map<fs::path, std::string> names;
    for (const auto& [name, path] : outputs) {
        std::error_code ignored;
        if (fs::is_directory(path, ignored)) throw Error(name + " " + path.string() + " is a folder; name a file");
        check_folder(name, path);
        const auto [other, is_new] = names.emplace(fs::weakly_canonical(path), name);
        if (!is_new) {
            throw Error(other->second + " and " + name + " name the same file, " + path.string() + "; name two files");
        }
        Identity identity;
        if (!find_identity(path, identity)) continue;
        if (!fs::is_regular_file(path)) {
            throw Error(name + " " + path.string() + " is not a regular file; name another file");
        }
        if (used.count(identity)) {
            throw Error(name + " " + path.string() + " would replace an input, " + used.at(identity).string() +
                        "; name another file or folder");
        }
        if (!overwrite && !is_own_output(path)) {
            throw Error(name + " " + path.string() + " exists and is no earlier result; name another file or folder, "
                                                     "or replace it with --overwrite");
        }
    }
}

PendingFile::PendingFile(const fs::path& target) : target_(target) {
    static int count = 0;
    const fs::path folder = fs::absolute(target).parent_path();
    made_folder_ = fs::create_directories(folder);
    temporary_ = folder / (".tinypose." + std::to_string(::getpid()) + "." + std::to_string(++count) + ".tmp" +
                           target.extension().string());
}

PendingFile::~PendingFile() {
    std::error_code ignored;
    fs::remove(temporary_, ignored);
    if (made_folder_) fs::remove(temporary_.parent_path(), ignored);  // only if it is empty
}

void PendingFile::commit() {
    std::error_code problem;
    fs::rename(temporary_, target_, problem);
    if (problem) throw Error("cannot write " + target_.string() + ": " + problem.message());
}

void write_png(const std::vector<unsigned char>& png, const fs::path& target) {
    PendingFile pending(target);
    std::ofstream file(pending.path(), std::ios::binary);
    const char* bytes = reinterpret_cast<const char*>(png.data());
    file.write(bytes, PNG_HEADER);
    file << PNG_CHUNK;
    file.write(bytes + PNG_HEADER, static_cast<std::streamsize>(png.size() - PNG_HEADER));
    file.close();
    if (!file) throw Error("cannot write " + target.string());
    pending.commit();
}

void mark_mp4(const fs::path& path) {
    std::ofstream file(path, std::ios::binary | std::ios::app);
    file << MP4_BOX;
    file.close();
    if (!file) throw Error("cannot write " + path.string());
}

}  // namespace tinypose
