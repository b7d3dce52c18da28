// band.c - see band.h.

#include "kernels/host/ops/band.h"

#include <string.h>

#include "kernels/host/ops/transpose.h"

enum { GOOD_FLOATS = 40 << 10 };  // 160 KiB: leaves room in L2 for the other factor and the sums

static int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }

static int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Image rows under some rows of the grid.
static int64_t height(const struct gemm_patches *p, int64_t rows)
{
    return (rows - 1) * p->step_h + (p->taps_h - 1) * p->tap_h + 1;
}

bool HOST(band_cut)(struct band_cut *cut, const struct gemm_factor *f, int64_t places,
                    int64_t wanted)
{
    const struct gemm_patches *p = f->patches;
    const int64_t width = (p->grid_w - 1) * p->step_w + (p->taps_w - 1) * p->tap_w + 1;
    const int64_t row = width * p->channels;

    if (!p->taps_h || !p->taps_w || height(p, 1) * row > BAND_FLOATS) return false;
    // Rows of the image that fit, as rows of the grid.
    const int64_t spare = GOOD_FLOATS / row - height(p, 1);
    int64_t rows = spare > 0 ? spare / p->step_h + 1 : 1, images = 1;
    rows = smaller(rows, larger(1, places / p->grid_w));
    rows = smaller(rows, larger(1, p->batch * p->grid_h / wanted));
    rows = smaller(rows, p->grid_h);
    if (rows == p->grid_h) {
        images = smaller(GOOD_FLOATS / (height(p, rows) * row), places / (rows * p->grid_w));
        images = smaller(images, p->batch / wanted);
        images = smaller(larger(images, 1), p->batch);
    }
    const int64_t per_image = divide_up(p->grid_h, rows);
    rows = divide_up(p->grid_h, per_image);
    *cut = (struct band_cut){
        .factor = f, .width = width, .images = images, .rows = rows, .per_image = per_image,
        .count = divide_up(p->batch, images) * per_image,
        .floats = images * height(p, rows) * row,
        .grid_rows = images * rows, .places = images * rows * p->grid_w,
    };
    return true;
}

struct extent {
    int64_t image, images, row, rows;
};

static struct extent extent_of(const struct band_cut *cut, int64_t i)
{
    const struct gemm_patches *p = cut->factor->patches;
    struct extent e = { i / cut->per_image * cut->images, 0, i % cut->per_image * cut->rows, 0 };

    e.images = smaller(cut->images, p->batch - e.image);
    e.rows = smaller(cut->rows, p->grid_h - e.row);
    return e;
}

void HOST(band_places)(const struct band_cut *cut, int64_t i, int64_t *first, int64_t *count)
{
    const struct gemm_patches *p = cut->factor->patches;
    const struct extent e = extent_of(cut, i);

    *first = (e.image * p->grid_h + e.row) * p->grid_w;
    *count = e.images * e.rows * p->grid_w;
}

static void clear(float *out, int64_t count)
{
    memset(out, 0, (size_t)count * sizeof(float));
}

// One row of an image, or of zeros where y lies outside.
static void copy_row(const struct band_cut *cut, float *out, const value *image, int64_t y)
{
    const struct gemm_patches *p = cut->factor->patches;
    const int64_t c = p->channels, from = larger(0, -p->first_w);
    const int64_t to = smaller(cut->width, p->image_w - p->first_w);

    if (y < 0 || y >= p->image_h || from >= to) {
        clear(out, cut->width * c);
        return;
    }
    const value *row = image + (y * p->image_w + p->first_w + from) * p->pixel;
    clear(out, from * c);
    if (p->pixel == c)
        square_copy(out + from * c, row, (to - from) * c);
    else
        for (int64_t x = 0; x < to - from; x++)
            square_copy(out + (from + x) * c, row + x * p->pixel, c);
    clear(out + to * c, (cut->width - to) * c);
}

void HOST(band_copy)(const struct band_cut *cut, int64_t i, float *out, int64_t *row)
{
    const struct gemm_patches *p = cut->factor->patches;
    const struct extent e = extent_of(cut, i);
    const int64_t lines = height(p, e.rows), line = cut->width * p->channels;

    for (int64_t n = 0; n < e.images; n++) {
        const value *image = cut->factor->data
                             + (e.image + n) * p->image_h * p->image_w * p->pixel;
        for (int64_t r = 0; r < e.rows; r++)
            row[n * e.rows + r] = (n * lines + r * p->step_h) * line;
        for (int64_t y = 0; y < lines; y++)
            copy_row(cut, out + (n * lines + y) * line, image,
                     p->first_h + e.row * p->step_h + y);
    }
}

int64_t HOST(band_tap)(const struct band_cut *cut, int64_t k)
{
    const struct gemm_patches *p = cut->factor->patches;
    const int64_t tap = k / p->channels, a = tap / p->taps_w, b = tap % p->taps_w;

    return (a * p->tap_h * cut->width + b * p->tap_w) * p->channels + k % p->channels;
}
