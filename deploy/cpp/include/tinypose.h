/* C interface of app files: a camera frame goes in, the people in it come out.
 *
 * Threads: one thread at a time may use an app; it need not be the thread that opened it. Several apps may run at the same
 * time. The inference threads belong to the process: `threads` of tinypose_open sets their number for all apps, so open
 * an app with `threads` while no other one runs.
 *
 * A function that fails leaves its results as they were; tinypose_open then sets the app to NULL. No C++ exception leaves
 * the library.
 */
#ifndef TINYPOSE_H
#define TINYPOSE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Version of this interface. It changes when programs must be compiled again. */
#define TINYPOSE_VERSION 1

typedef int32_t tinypose_status;
enum {
    TINYPOSE_OK = 0,
    TINYPOSE_BAD_ARGUMENT = 1, /* NULL, a frame of another size, a method that the file does not have */
    TINYPOSE_BAD_FILE = 2,     /* missing, damaged, no app, or made for another version */
    TINYPOSE_FAILED = 3        /* inference failed, or memory is used up */
};

/* An open app file. */
typedef struct tinypose_app tinypose_app;

/* What an app file takes and gives. The pointers are valid until the app is closed. */
typedef struct {
    const char *pixels;                /* "rgb", "rgba", "bgr" or "nv21"; uint8, rows without gaps */
    size_t frame_bytes;                /* bytes of a frame in this format */
    int32_t height, width;             /* of the frame, pixels */
    int32_t max_people;                /* in a frame */
    int32_t has_follow;                /* 1 if the file has the method of tinypose_follow, else 0 */
    int32_t num_keypoints, num_links;  /* of the skeleton */
    const char *const *keypoint_names; /* num_keypoints, UTF-8 */
    const int32_t *links;              /* num_links pairs of keypoint indices, for drawing */
} tinypose_description;

/* The people in a frame. The pointers are valid until the next call with the app. */
typedef struct {
    int32_t count;          /* number of people */
    const float *boxes;     /* count x 4: x1, y1, x2, y2 in pixels of the frame */
    const float *scores;    /* count */
    const float *keypoints; /* count x num_keypoints x 3: x, y in pixels of the frame, and the score */
    const int64_t *ids;     /* count: 1, 2, ..., constant for a person through a video; NULL from tinypose_run */
} tinypose_people;

/* TINYPOSE_VERSION of the library. */
int32_t tinypose_version(void);

/* Opens and checks a file of `tinypose export ... --frame HEIGHT WIDTH` in ExecuTorch's format.
 * threads: inference threads; 0 for the runtime's own choice.
 * A method is loaded by its first call, which takes longer than the others. */
tinypose_status tinypose_open(const char *path, int32_t threads, tinypose_app **app);

/* Gives the description of the file. */
tinypose_status tinypose_info(const tinypose_app *app, tinypose_description *description);

/* Finds the people in one frame, highest score first.
 * size: bytes of the frame; must be frame_bytes. */
tinypose_status tinypose_run(tinypose_app *app, const void *pixels, size_t size, tinypose_people *people);

/* Finds the people in the next frame of a video, lowest id first, with smoothed keypoints. The app holds the state.
 * seconds: time of the frame, from any origin. */
tinypose_status tinypose_follow(tinypose_app *app, const void *pixels, size_t size, double seconds,
                                tinypose_people *people);

/* Clears the state of tinypose_follow: the next frame begins a new video. */
tinypose_status tinypose_restart(tinypose_app *app);

/* Message of the last failed call in the calling thread: one line of UTF-8, valid until the next call in this thread. */
const char *tinypose_error(void);

/* Closes an app. NULL is ignored. */
void tinypose_close(tinypose_app *app);

#ifdef __cplusplus
}
#endif

#endif
