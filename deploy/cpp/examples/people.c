/* Finds people in raw camera frames, which follow one another in a file: people app.pte frames.raw */
#include <stdio.h>
#include <stdlib.h>

#include "tinypose.h"

#define FRAMES_PER_SECOND 30.0

static int fail(const char *message) {
    fprintf(stderr, "people: %s\n", message);
    return 1;
}

static void print_people(const tinypose_description *about, const tinypose_people *people) {
    for (int i = 0; i < people->count; ++i) {
        const float *box = people->boxes + 4 * i;
        if (people->ids) printf("id %lld ", (long long)people->ids[i]);
        printf("box %.3f %.3f %.3f %.3f score %.5f\n", box[0], box[1], box[2], box[3], people->scores[i]);
        for (int k = 0; k < about->num_keypoints; ++k) {
            const float *point = people->keypoints + 3 * (i * about->num_keypoints + k);
            printf("  %s %.3f %.3f %.5f\n", about->keypoint_names[k], point[0], point[1], point[2]);
        }
    }
}

int main(int count, char **arguments) {
    if (count != 3) return fail("usage: people app.pte frames.raw");
    tinypose_app *app;
    if (tinypose_open(arguments[1], 1, &app)) return fail(tinypose_error());
    tinypose_description about;
    tinypose_info(app, &about);

    FILE *file = fopen(arguments[2], "rb");
    unsigned char *frame = malloc(about.frame_bytes);
    if (!file || !frame) return fail("cannot read the frames");
    int status = 0;
    for (int i = 0; status == 0 && fread(frame, 1, about.frame_bytes, file) == about.frame_bytes; ++i) {
        tinypose_people people;
        status = about.has_follow ? tinypose_follow(app, frame, about.frame_bytes, i / FRAMES_PER_SECOND, &people)
                                : tinypose_run(app, frame, about.frame_bytes, &people);
        if (status) {
            fail(tinypose_error());
        } else {
            printf("frame %d: %d people\n", i, people.count);
            print_people(&about, &people);
            fflush(stdout);
        }
    }
    free(frame);
    fclose(file);
    tinypose_close(app);
    return status;
}
