// foreign.c - somebody else's trainer with pawl's saver: gradient descent on a line, saved every
// 100 steps, killed and started again at will. Run it twice; the second run goes on.
//
//     cc foreign.c $(pkg-config --cflags --libs pawl) -o foreign && ./foreign runs/line 1000

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "checkpoint/saver.h"
#include "kernels/device.h"

enum { N = 1024 };

struct line {
    float weight[N], velocity[N];
};

static float gradient(const struct line *line, int i)
{
    return line->weight[i] - (float)i / N;  // the answer is i / N
}

static void update(struct line *line)
{
    for (int i = 0; i < N; i++) {
        line->velocity[i] = 0.9f * line->velocity[i] + gradient(line, i);
        line->weight[i] -= 0.01f * line->velocity[i];
    }
}

int main(int argc, char **argv)
{
    const uint64_t steps = argc > 2 ? strtoull(argv[2], NULL, 10) : 1000;
    const char *where = argc > 1 ? argv[1] : "line";
    struct pawl_saver_options options = { .where = where, .keep = "latest=2" };
    struct pawl_progress progress = { .step = 0, .epoch = -1 };
    struct pawl_device *device = NULL;
    struct pawl_stream *stream = NULL;
    struct pawl_saver *saver = NULL;
    struct line *line = NULL;
    int rc = pawl_device_open(&device, "host", 1);

    if (!rc) rc = pawl_stream_open(&stream, device);
    if (!rc) rc = pawl_device_alloc(device, &line, sizeof(*line), PAWL_ON_DEVICE);
    if (!rc) rc = pawl_saver_open(&saver, &options, device);
    if (!rc) rc = pawl_saver_add(saver, "weight", line->weight, PAWL_F32, 1, (int64_t[]){ N });
    if (!rc) rc = pawl_saver_add(saver, "velocity", line->velocity, PAWL_F32, 1, (int64_t[]){ N });
    if (!rc) rc = pawl_saver_load(saver, stream, &progress);
    printf("%s at step %llu\n", rc ? "starts" : "goes on", (unsigned long long)progress.step);
    if (rc == PAWL_ENONE) rc = 0;
    while (!rc && progress.step < steps) {
        pawl_saver_fence(saver, stream);  // the update may not overtake the snapshot
        update(line);
        if (++progress.step % 100 == 0) {
            rc = pawl_saver_save(saver, stream, &progress);
            if (rc == PAWL_EBUSY) rc = 0;  // the previous one is still being written: skipped
        }
    }
    if (!rc) rc = pawl_saver_save_now(saver, stream, &progress);
    if (rc) fprintf(stderr, "foreign: %s\n", pawl_error());
    else printf("step %llu, weight[512] = %.6f\n", (unsigned long long)progress.step,
                (double)line->weight[512]);
    pawl_saver_close(saver);
    if (device) pawl_device_free(device, line, sizeof(*line), PAWL_ON_DEVICE);
    pawl_stream_close(stream);
    pawl_device_close(device);
    return rc ? 1 : 0;
}
