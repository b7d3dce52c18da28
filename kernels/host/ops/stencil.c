// stencil.c - see stencil.h; the output, and the gradient of the input.

#include "kernels/host/ops/stencil.h"
#include "kernels/host/ops/band.h"
#include "kernels/host/ops/tile.h"

enum {
    CHUNK = 384,   // k's of one pass over a tile
    RUNS = 128,    // stretches of a patch that lie in one piece
    PLACES = 784,  // of a band
    PLACES_MAX = 16 << 10,
    PACK_PANELS = 4,
    ITEMS = 4,
    TILE = TILE_ROWS * TILE_COLS,
    TILES_FLOATS = 384 << 10,
    SHARED_FLOATS = HOST_SHARED_BYTES / 4,
};

// The thread scratch.
struct scratch {
    float band[BAND_FLOATS];
    float tiles[TILES_FLOATS];
    const float *place[PLACES_MAX];  // tap (0, 0) of each place of the band
    int64_t offset[PLACES_MAX];      // of its row of out
    int64_t row[PLACES_MAX];
};
_Static_assert(sizeof(struct scratch) <= HOST_THREAD_BYTES, "the thread scratch is too small");

struct stencil {
    const struct gemm *g;
    const struct pawl_host *host;
    struct band_cut cut;
    int64_t n_panels;
    float *b;                    // packed (chunk, panel, k, panel's columns)
    struct tile_run run[RUNS];
    int64_t chunks, first_run[RUNS + 1], first_k[RUNS + 1];  // of each chunk, and the end
};

static int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

static int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

static int64_t panel_vecs(const struct stencil *p, int64_t j)
{
    return smaller(TILE_VECS, divide_up(p->g->n - j * TILE_COLS, LANES));
}

static float *panel_of(const struct stencil *p, int64_t c, int64_t j)
{
    const int64_t k = p->first_k[c + 1] - p->first_k[c];

    return p->b + (p->first_k[c] * p->n_panels + j * k) * TILE_COLS;
}

// Stretches of the patch without a gap, none longer than a chunk; as many to a chunk as fit.
static bool find_runs(struct stencil *p)
{
    const struct gemm_patches *c = p->g->a.patches;
    const int64_t piece = c->tap_w == 1 || c->taps_w == 1 ? c->taps_w * c->channels : c->channels;
    int64_t k = 0, runs = 0, end = 0;

    p->chunks = 0;
    while (k < p->g->k) {
        const int64_t left = piece - k % piece, count = smaller(left, CHUNK);
        if (runs == RUNS) return false;
        if (!runs || k + count > end) {
            p->first_run[p->chunks] = runs;
            p->first_k[p->chunks++] = k;
            end = k + CHUNK;
        }
        p->run[runs++] = (struct tile_run){ HOST(band_tap)(&p->cut, k), count };
        k += count;
    }
    p->first_run[p->chunks] = runs;
    p->first_k[p->chunks] = k;
    return true;
}

static void pack_ahead(void *arguments, int64_t block, int thread)
{
    const struct stencil *p = arguments;
    const int64_t groups = divide_up(p->n_panels, PACK_PANELS), c = block / groups;
    const int64_t first = block % groups * PACK_PANELS;
    const int64_t end = smaller(first + PACK_PANELS, p->n_panels);
    const int64_t k = p->first_k[c + 1] - p->first_k[c];

    (void)thread;
    for (int64_t j = first; j < end; j++)
        p->g->b.pack(&p->g->b, &(struct gemm_panels){
            panel_of(p, c, j), panel_vecs(p, j) * LANES, 0, j * TILE_COLS,
            smaller(TILE_COLS, p->g->n - j * TILE_COLS), p->first_k[c], k,
        });
}

// ---- one band

typedef void multiply(float *tile, const float *const a[TILE_ROWS], const struct tile_run *run,
                      int64_t runs, const float *b, bool add);

#define MULTIPLY(name, vecs)                                                                       \
    static void name(float *tile, const float *const a[TILE_ROWS], const struct tile_run *run,     \
                     int64_t runs, const float *b, bool add)                                       \
    {                                                                                              \
        tile_gather(tile, a, 1, run, runs, b, add, TILE_ROWS, vecs);                               \
    }
MULTIPLY(multiply_1, 1)
MULTIPLY(multiply_2, 2)
MULTIPLY(multiply_all, TILE_VECS)
#undef MULTIPLY

static multiply *const multipliers[3] = { multiply_1, multiply_2, multiply_all };

// Places behind the last repeat it: their sums are thrown away.
static int64_t find_places(const struct stencil *p, struct scratch *s, int64_t band)
{
    const struct gemm_finish *f = &p->g->finish;
    const struct gemm_patches *c = p->g->a.patches;
    int64_t first, count;

    HOST(band_places)(&p->cut, band, &first, &count);
    for (int64_t i = 0, r = 0; i < count; r++)
        for (int64_t x = 0; x < c->grid_w; x++, i++)
            s->place[i] = s->band + s->row[r] + x * c->step_w * c->channels;
    for (int64_t i = 0; i < count; i++)
        s->offset[i] = f->row ? f->row(f->patches, first + i) : (first + i) * f->stride;
    for (int64_t i = count; i % TILE_ROWS; i++)
        s->place[i] = s->place[count - 1];
    return count;
}

static void multiply_panel(const struct stencil *p, struct scratch *s, int64_t count, int64_t c,
                           int64_t j)
{
    const int64_t vecs = panel_vecs(p, j), col = j * TILE_COLS;
    const int64_t panels = divide_up(count, TILE_ROWS);
    const int64_t cols = smaller(TILE_COLS, p->g->n - col);
    const struct tile_run *run = p->run + p->first_run[c];
    const int64_t runs = p->first_run[c + 1] - p->first_run[c];
    const float *b = panel_of(p, c, j);
    float buffer[TILE];

    for (int64_t i = 0; i < panels; i++) {
        float *tile = p->chunks == 1 ? buffer : s->tiles + (j * panels + i) * TILE;
        const int64_t rows = smaller(TILE_ROWS, count - i * TILE_ROWS);
        if (c + 1 == p->chunks)
            gemm_fetch(&p->g->finish, s->offset + i * TILE_ROWS, col, rows, cols);
        multipliers[vecs - 1](tile, s->place + i * TILE_ROWS, run, runs, b, c);
        if (c + 1 == p->chunks)
            HOST(finish)(&p->g->finish, tile, vecs * LANES, s->offset + i * TILE_ROWS, col, rows,
                         cols);
    }
}

static void run_band(void *arguments, int64_t band, int thread)
{
    const struct stencil *p = arguments;
    struct scratch *s = host_thread_scratch(p->host, thread);

    HOST(band_copy)(&p->cut, band, s->band, s->row);
    const int64_t count = find_places(p, s, band);
    for (int64_t c = 0; c < p->chunks; c++)
        for (int64_t j = 0; j < p->n_panels; j++)
            multiply_panel(p, s, count, c, j);
}

bool HOST(stencil)(struct pawl_stream *s, const struct gemm *g)
{
    struct stencil p = { .g = g, .host = host_of(s), .n_panels = divide_up(g->n, TILE_COLS) };
    const int64_t room = TILES_FLOATS / (p.n_panels * TILE_COLS) - TILE_ROWS;

    if (!g->k || g->k * p.n_panels * TILE_COLS > SHARED_FLOATS) return false;
    if (!HOST(band_cut)(&p.cut, &g->a, smaller(PLACES, room), p.host->device.threads * ITEMS))
        return false;
    if (!find_runs(&p) || p.cut.places > PLACES_MAX - TILE_ROWS) return false;
    if (p.chunks > 1 && p.cut.places > room) return false;
    p.b = (float *)p.host->shared_scratch;
    host_run(s, p.chunks * divide_up(p.n_panels, PACK_PANELS), pack_ahead, &p);
    host_run(s, p.cut.count, run_band, &p);
    return true;
}
