// patches.c - copies patches of images into panels, element by element of the convolution's sums.

#include "kernels/host/ops/patches.h"

#include <string.h>

#include "kernels/host/ops/transpose.h"

// One place of the grid: the pixel of its tap (0, 0).
struct place {
    const value *image;
    int64_t y, x;
};

// The place with the index at, and how to get to the next ones.
struct walk {
    const struct gemm_patches *patches;
    struct place place;
    int64_t grid_y, grid_x;
};

static struct walk walk_from(const struct gemm_factor *f, int64_t at)
{
    const struct gemm_patches *c = f->patches;
    const int64_t image = at / (c->grid_h * c->grid_w), rest = at % (c->grid_h * c->grid_w);
    struct walk w = { c, { 0 }, rest / c->grid_w, rest % c->grid_w };

    w.place.image = f->data + image * c->image_h * c->image_w * c->pixel;
    w.place.y = c->first_h + w.grid_y * c->step_h;
    w.place.x = c->first_w + w.grid_x * c->step_w;
    return w;
}

static inline void walk_on(struct walk *w)
{
    const struct gemm_patches *c = w->patches;

    w->place.x += c->step_w;
    if (++w->grid_x < c->grid_w) return;
    w->grid_x = 0;
    w->place.x = c->first_w;
    w->place.y += c->step_h;
    if (++w->grid_y < c->grid_h) return;
    w->grid_y = 0;
    w->place.y = c->first_h;
    w->place.image += c->image_h * c->image_w * c->pixel;
}

// An element of a patch.
struct tap {
    int64_t a, b, channel;
};

static struct tap tap_at(const struct gemm_patches *c, int64_t k)
{
    const int64_t tap = k / c->channels;

    return (struct tap){ tap / c->taps_w, tap % c->taps_w, k % c->channels };
}

// The pixel under a tap; NULL outside the image.
static inline const value *pixel(const struct gemm_patches *c, const struct place *p, int64_t a,
                                 int64_t b)
{
    const int64_t y = p->y + a * c->tap_h, x = p->x + b * c->tap_w;

    if ((uint64_t)y >= (uint64_t)c->image_h || (uint64_t)x >= (uint64_t)c->image_w) return NULL;
    return p->image + (y * c->image_w + x) * c->pixel;
}

// count elements of one patch from a tap on. A whole row of taps is one run of memory where
// pixels follow each other and none is outside: 3 copies for 3 x 3 instead of 9.
// as_is: out holds values, else floats.
static inline __attribute__((always_inline)) void
gather(void *to, const struct gemm_patches *c, const struct place *p, struct tap t, int64_t count,
       const bool as_is)
{
    const size_t element = as_is ? sizeof(value) : sizeof(float);
    char *out = to;
    const int64_t run = c->taps_w * c->channels;
    const bool whole = c->tap_w == 1 && c->pixel == c->channels && p->x >= 0
                       && p->x + c->taps_w <= c->image_w;

    while (count > 0) {
        const value *from = pixel(c, p, t.a, t.b);
        int64_t n = c->channels - t.channel;
        if (whole && !t.b) n = run - t.channel;
        if (n > count) n = count;
        if (!from)
            memset(out, 0, (size_t)n * element);
        else if (as_is && sizeof(value) != sizeof(float))
            memcpy(out, from + t.channel, (size_t)n * element);
        else
            square_copy((float *)(void *)out, from + t.channel, n);
        out += (size_t)n * element;
        count -= n;
        t.channel = 0;
        if (!(whole && !t.b) && ++t.b < c->taps_w) continue;
        t.b = 0;
        t.a++;
    }
}

// ---- k along the patch

enum { PLACES = 8, PATCH = 512 };  // PATCH: at least the k's that gemm.c asks for at once

// Whole patches side by side, then turned like any other rows. The stencil serves all but the
// largest convolutions, so this is seldom used.
void HOST(pack_patches)(const struct gemm_factor *f, const struct gemm_panels *panels)
{
    const struct tap tap = tap_at(f->patches, panels->k_first);
    const int64_t k = panels->k_count, width = panels->width;
    struct walk w = walk_from(f, panels->first);
    float *out = panels->out;
    value patch[PLACES * PATCH];

    for (int64_t i = 0; i < panels->count; i += width, out += panels->stride) {
        const int64_t left = panels->count - i, rows = left < width ? left : width;
        for (int64_t r = 0; r < rows; r++, walk_on(&w))
            gather(patch + r * k, f->patches, &w.place, tap, k, true);
        HOST(pack_along)(&(struct gemm_factor){ NULL, patch, k, rows, NULL },
                         &(struct gemm_panels){ out, width, 0, 0, rows, 0, k });
    }
}

// ---- k along the places

void HOST(pack_patches_across)(const struct gemm_factor *f, const struct gemm_panels *panels)
{
    const int64_t width = panels->width;
    float *out = panels->out;

    for (int64_t i = 0; i < panels->count; i += width, out += panels->stride) {
        const struct tap tap = tap_at(f->patches, panels->first + i);
        const int64_t left = panels->count - i, rows = left < width ? left : width;
        struct walk w = walk_from(f, panels->k_first);
        for (int64_t p = 0; p < panels->k_count; p++, walk_on(&w)) {
            gather(out + p * width, f->patches, &w.place, tap, rows, false);
            for (int64_t r = rows; r < width; r++)
                out[p * width + r] = 0;
        }
    }
}

// ---- the kernel

void HOST(pack_kernel)(const struct gemm_factor *f, const struct gemm_panels *panels)
{
    const struct gemm_patches *c = f->patches;
    struct tap t = tap_at(c, panels->k_first);  // its channels are the kernel's out_c
    struct gemm_factor from = *f;
    struct gemm_panels to = *panels;

    for (int64_t k = 0; k < panels->k_count; k += to.k_count) {
        const int64_t y = c->kernel_first_h + t.a * c->kernel_step_h;
        const int64_t x = c->kernel_first_w + t.b * c->kernel_step_w;
        from.data = f->data + (y * c->kernel_w + x) * f->rows;
        to.out = panels->out + k * panels->width;
        to.k_first = t.channel;
        to.k_count = c->channels - t.channel;
        if (to.k_count > panels->k_count - k) to.k_count = panels->k_count - k;
        HOST(pack_across)(&from, &to);
        t.channel = 0;
        if (++t.b == c->taps_w) t = (struct tap){ t.a + 1, 0, 0 };
    }
}

int64_t HOST(patches_row)(const struct gemm_patches *c, int64_t row)
{
    const int64_t places = c->grid_h * c->grid_w, image = row / places, rest = row % places;
    const int64_t y = c->to_h + rest / c->grid_w * c->to_step_h;
    const int64_t x = c->to_w + rest % c->grid_w * c->to_step_w;

    return ((image * c->to_image_h + y) * c->to_image_w + x) * c->to_pixel;
}
