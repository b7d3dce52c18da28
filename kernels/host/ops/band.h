// band.h - rows of images, copied with the padding around them, so that no patch has an edge.
//
//     grid rows of a band          its copy, width pixels wide, padding read as 0
//     | place place place |        | 0 . . . . . 0 |    place (y, x), element e of its patch:
//     | place place place |   ->   | 0 . . . . . 0 |        row[y] + x * step + HOST(band_tap)(e)
//                                  | 0 . . . . . 0 |
//
// A copy costs a few reads of the image; packing patches would cost taps times as many. A band is
// as large as sits well in L2: some rows of one image, or some whole images.

#ifndef PAWL_HOST_BAND_H
#define PAWL_HOST_BAND_H

#include "kernels/host/ops/patches.h"

struct band_cut {
    const struct gemm_factor *factor;
    int64_t width;         // pixels of a copied row
    int64_t images, rows;  // of one band: images > 1 only where rows is the whole grid_h
    int64_t per_image;     // bands of one image
    int64_t count;         // of bands
    int64_t floats, grid_rows, places;  // of a band, at most
};

enum { BAND_FLOATS = 512 << 10 };  // no band's copy is larger

// Cuts into bands of at most places (but at least one row of the grid), into `wanted` of them at
// least if there are as many rows. false: one row would not fit.
bool HOST(band_cut)(struct band_cut *cut, const struct gemm_factor *factor, int64_t places,
                    int64_t wanted);

// The places of band i, counted over the whole batch.
void HOST(band_places)(const struct band_cut *cut, int64_t i, int64_t *first, int64_t *count);

// Copies band i to out; row[r] is where, in out, place (r, 0) has its tap (0, 0).
void HOST(band_copy)(const struct band_cut *cut, int64_t i, float *out, int64_t *row);

// Element k of a patch, as elements from tap (0, 0).
int64_t HOST(band_tap)(const struct band_cut *cut, int64_t k);

#endif
