// The C interface.
#include <climits>
#include <cmath>
#include <exception>
#include <memory>
#include <new>
#include <string>
#include <vector>

#include "app.h"
#include "text.h"
#include "tinypose.h"

using tinypose::App;
using tinypose::People;

struct tinypose_app {
    tinypose_app(const char* path, int threads) : app(path, threads) {
        for (const std::string& name : app.description().keypoint_names) keypoint_names.push_back(name.c_str());
    }

    App app;
    std::vector<const char*> keypoint_names;
    People people;  // of the last call
};

namespace {

constexpr int MAX_THREADS = 1024;

struct BadArgument : tinypose::Error {
    using tinypose::Error::Error;
};

thread_local std::string last_error;

// Runs a call and turns exceptions into a status and a message.
template <typename Call>
tinypose_status guarded(tinypose_status failure, Call call) noexcept {
    try {
        last_error.clear();
        try {
            call();
            return TINYPOSE_OK;
        } catch (const BadArgument& error) {
            last_error = tinypose::printable(error.what());
            return TINYPOSE_BAD_ARGUMENT;
        } catch (const tinypose::Error& error) {
            last_error = tinypose::printable(error.what());
            return failure;
        } catch (const std::bad_alloc&) {
            last_error = "not enough memory";
        } catch (const std::exception& error) {
            last_error = tinypose::printable(error.what());
        }
    } catch (...) {  // no memory for the message
    }
    return TINYPOSE_FAILED;
}

void check_pointer(const void* pointer, const std::string& name) {
    if (!pointer) throw BadArgument(name + " is NULL");
}

void check_frame(const tinypose_app* app, const void* pixels, size_t size, const void* people) {
    check_pointer(app, "app");
    check_pointer(pixels, "pixels");
    check_pointer(people, "people");
    const auto& about = app->app.description();
    if (size == about.frame_bytes()) return;
    throw BadArgument("a frame of " + std::to_string(size) + " bytes; this app takes " +
                      std::to_string(about.frame_bytes()) + ": uint8 " + about.pixels + ", " +
                      std::to_string(about.height) + " rows of " + std::to_string(about.width) + " pixels");
}

void give(tinypose_app* app, People people, tinypose_people* result) {
    app->people = std::move(people);
    const People& found = app->people;
    result->count = static_cast<int32_t>(found.scores.size());
    result->boxes = found.boxes.data();
    result->scores = found.scores.data();
    result->keypoints = found.keypoints.data();
    result->ids = found.ids.empty() ? nullptr : found.ids.data();
}

}  // namespace

int32_t tinypose_version(void) {
    return TINYPOSE_VERSION;
}

tinypose_status tinypose_open(const char* path, int32_t threads, tinypose_app** app) {
    return guarded(TINYPOSE_BAD_FILE, [&] {
        check_pointer(app, "app");
        *app = nullptr;
        check_pointer(path, "path");
        if (threads < 0 || threads > MAX_THREADS) {
            throw BadArgument("threads is " + std::to_string(threads) + "; expected 0 to " +
                              std::to_string(MAX_THREADS));
        }
        *app = new tinypose_app(path, threads);
    });
}

tinypose_status tinypose_info(const tinypose_app* app, tinypose_description* description) {
    return guarded(TINYPOSE_FAILED, [&] {
        check_pointer(app, "app");
        check_pointer(description, "description");
        const auto& about = app->app.description();
        *description = {about.pixels.c_str(),
                        about.frame_bytes(),
                        about.height,
                        about.width,
                        about.max_people,
                        !about.state.empty(),
                        static_cast<int32_t>(about.keypoint_names.size()),
                        static_cast<int32_t>(about.links.size() / 2),
                        app->keypoint_names.data(),
                        about.links.data()};
    });
}

tinypose_status tinypose_run(tinypose_app* app, const void* pixels, size_t size, tinypose_people* people) {
    return guarded(TINYPOSE_FAILED, [&] {
        check_frame(app, pixels, size, people);
        give(app, app->app.run(pixels), people);
    });
}

tinypose_status tinypose_follow(tinypose_app* app, const void* pixels, size_t size, double seconds,
                                tinypose_people* people) {
    return guarded(TINYPOSE_FAILED, [&] {
        check_frame(app, pixels, size, people);
        if (!std::isfinite(seconds)) throw BadArgument("seconds is not finite");
        if (app->app.description().state.empty()) {
            throw BadArgument("this app has no method follow; export it again, or call tinypose_run");
        }
        give(app, app->app.follow(pixels, seconds), people);
    });
}

tinypose_status tinypose_restart(tinypose_app* app) {
    return guarded(TINYPOSE_FAILED, [&] {
        check_pointer(app, "app");
        app->app.restart();
    });
}

const char* tinypose_error(void) {
    return last_error.c_str();
}

void tinypose_close(tinypose_app* app) {
    delete app;
}
