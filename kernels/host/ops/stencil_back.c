// stencil_back.c - see stencil.h; the gradient of the weights.
//
// Transposed: patches are the rows, read where they lie, and out_grad, which is packed, the
// columns. The sums run over the places of one band after the other, within parts of the batch
// that are added in their order.

#include <string.h>

#include "kernels/host/ops/band.h"
#include "kernels/host/ops/stencil.h"
#include "kernels/host/ops/tile.h"

enum {
    PLACES = 400,              // of a band: a packed panel of them stays in L1
    PLACES_MAX = 4 << 10,
    PART_PLACES = 1024,        // at least, so that adding the parts costs little
    PARTS = 32,
    SMALL = 128 << 10,         // weights above which the gemm is as good
    TILE = TILE_ROWS * TILE_COLS,
    SHARED_FLOATS = HOST_SHARED_BYTES / 4,
};

// The thread scratch.
struct scratch {
    float band[BAND_FLOATS];
    int64_t row[PLACES_MAX];
    struct tile_run run[PLACES_MAX];
    int64_t tap[SMALL / TILE_COLS + TILE_ROWS];  // of each element of a patch
    float b[];
};
enum { B_FLOATS = (HOST_THREAD_BYTES - sizeof(struct scratch)) / sizeof(float) };

struct stencil {
    const struct gemm *g;       // m = out_c, n = elements of a patch, k = places
    const struct pawl_host *host;
    struct band_cut cut;
    int64_t panels, n_panels;   // of TILE_ROWS elements of a patch; of out_c
    int64_t parts, slices;      // of the bands; of the panels
    float *sums;                // (part, n_panels, panels, TILE)
    float *row_sums;            // (part, n_panels * TILE_COLS)
};

static int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }

static int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

static int64_t panel_vecs(const struct stencil *p, int64_t j)
{
    return smaller(TILE_VECS, divide_up(p->g->m - j * TILE_COLS, LANES));
}

static float *tile_of(const struct stencil *p, int64_t part, int64_t j, int64_t i)
{
    return p->sums + ((part * p->n_panels + j) * p->panels + i) * TILE;
}

typedef void multiply(float *tile, const float *const a[TILE_ROWS], int64_t step,
                      const struct tile_run *run, int64_t runs, const float *b, bool add);

#define MULTIPLY(name, vecs)                                                                       \
    static void name(float *tile, const float *const a[TILE_ROWS], int64_t step,                   \
                     const struct tile_run *run, int64_t runs, const float *b, bool add)           \
    {                                                                                              \
        tile_gather(tile, a, step, run, runs, b, add, TILE_ROWS, vecs);                            \
    }
MULTIPLY(multiply_1, 1)
MULTIPLY(multiply_2, 2)
MULTIPLY(multiply_all, TILE_VECS)
#undef MULTIPLY

static multiply *const multipliers[3] = { multiply_1, multiply_2, multiply_all };

// Four chains, so that the additions overlap.
static void sum_columns(float *sum, const float *b, int64_t places, int64_t vecs)
{
    for (int64_t v = 0; v < vecs; v++) {
        const float *from = b + v * LANES;
        vec total[4] = { { 0 } };
        int64_t p = 0;
        for (; p + 4 <= places; p += 4, from += 4 * vecs * LANES)
#pragma GCC unroll 4
            for (int64_t q = 0; q < 4; q++)
                total[q] += vec_load(from + q * vecs * LANES);
        for (; p < places; p++, from += vecs * LANES)
            total[0] += vec_load(from);
        vec_store(sum + v * LANES, vec_load(sum + v * LANES) + (total[0] + total[1])
                                       + (total[2] + total[3]));
    }
}

// One band against panels [i, end) of the patch's elements.
static void run_band(const struct stencil *p, struct scratch *s, int64_t band, int64_t part,
                     int64_t first_panel, int64_t end_panel, bool start)
{
    const struct gemm *g = p->g;
    const struct gemm_patches *c = g->b.patches;
    int64_t first, count;

    HOST(band_places)(&p->cut, band, &first, &count);
    HOST(band_copy)(&p->cut, band, s->band, s->row);
    const int64_t runs = count / c->grid_w;
    for (int64_t r = 0; r < runs; r++)
        s->run[r] = (struct tile_run){ s->row[r], c->grid_w };
    for (int64_t j = 0; j < p->n_panels; j++) {
        const int64_t vecs = panel_vecs(p, j), col = j * TILE_COLS;
        g->a.pack(&g->a, &(struct gemm_panels){ s->b, vecs * LANES, 0, col,
                                                smaller(TILE_COLS, g->m - col), first, count });
        if (!first_panel && g->row_sum)
            sum_columns(p->row_sums + part * p->n_panels * TILE_COLS + col, s->b, count, vecs);
        for (int64_t i = first_panel; i < end_panel; i++) {
            const float *a[TILE_ROWS];
            for (int64_t r = 0; r < TILE_ROWS; r++)
                a[r] = s->band + s->tap[i * TILE_ROWS + r];
            multipliers[vecs - 1](tile_of(p, part, j, i), a, c->step_w * c->channels, s->run, runs,
                                  s->b, !start);
        }
    }
}

static void run_part(void *arguments, int64_t block, int thread)
{
    const struct stencil *p = arguments;
    struct scratch *s = host_thread_scratch(p->host, thread);
    const int64_t part = block / p->slices, slice = block % p->slices;
    const int64_t first = p->panels * slice / p->slices;
    const int64_t end = p->panels * (slice + 1) / p->slices;
    const int64_t band = p->cut.count * part / p->parts;
    const int64_t band_end = p->cut.count * (part + 1) / p->parts;

    if (!slice)
        memset(p->row_sums + part * p->n_panels * TILE_COLS, 0,
               (size_t)(p->n_panels * TILE_COLS) * sizeof(float));
    // The last panel's missing rows repeat its last one: their sums are thrown away.
    for (int64_t i = first * TILE_ROWS; i < end * TILE_ROWS; i++)
        s->tap[i] = HOST(band_tap)(&p->cut, smaller(i, p->g->n - 1));
    for (int64_t i = band; i < band_end; i++)
        run_band(p, s, i, part, first, end, i == band);
}

// Adds the parts of one panel of out_c and turns it.
static void add_parts(void *arguments, int64_t block, int thread)
{
    const struct stencil *p = arguments;
    const struct gemm *g = p->g;
    const int64_t j = block / p->panels, i = block % p->panels, width = panel_vecs(p, j) * LANES;
    float *tile = tile_of(p, 0, j, i);

    (void)thread;
    for (int64_t s = 1; s < p->parts; s++)
        for (int64_t e = 0; e < TILE_ROWS * width; e += LANES)
            vec_store(tile + e, vec_load(tile + e) + vec_load(tile_of(p, s, j, i) + e));
    for (int64_t col = 0; col < smaller(TILE_COLS, g->m - j * TILE_COLS); col++) {
        float *out = g->finish.grad + (j * TILE_COLS + col) * g->finish.stride + i * TILE_ROWS;
        for (int64_t r = 0; r < smaller(TILE_ROWS, g->n - i * TILE_ROWS); r++)
            out[r] = g->finish.add ? out[r] + tile[r * width + col] : tile[r * width + col];
    }
}

static void give_row_sums(const struct stencil *p)
{
    for (int64_t c = 0; c < p->g->m; c++) {
        float sum = p->row_sums[c];
        for (int64_t s = 1; s < p->parts; s++)
            sum += p->row_sums[s * p->n_panels * TILE_COLS + c];
        p->g->row_sum[c] = p->g->finish.add ? p->g->row_sum[c] + sum : sum;
    }
}

bool HOST(stencil_back_weight)(struct pawl_stream *s, const struct gemm *g)
{
    struct stencil p = {
        .g = g, .host = host_of(s), .panels = divide_up(g->n, TILE_ROWS),
        .n_panels = divide_up(g->m, TILE_COLS),
    };
    const int64_t threads = p.host->device.threads, tiles = p.panels * p.n_panels * TILE;

    if (tiles > SMALL || !HOST(band_cut)(&p.cut, &g->b, PLACES, 1)) return false;
    if (p.cut.places > PLACES_MAX || p.cut.places * TILE_COLS > B_FLOATS) return false;
    // The parts follow from the shape alone, the slices from the threads: they change no sum.
    p.parts = smaller(PARTS, larger(1, g->k / PART_PLACES));
    p.parts = smaller(p.parts, p.cut.count);
    p.slices = smaller(p.panels, larger(1, divide_up(threads, p.parts)));
    p.sums = (float *)p.host->shared_scratch;
    p.row_sums = p.sums + p.parts * tiles;
    host_run(s, p.parts * p.slices, run_part, &p);
    host_run(s, p.panels * p.n_panels, add_parts, &p);
    if (g->row_sum) give_row_sums(&p);
    return true;
}
