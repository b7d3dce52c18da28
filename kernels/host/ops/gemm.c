// gemm.c - cuts a product into blocks, packs, multiplies and finishes them.
//
// Every block of out runs through all chunks of its part of k, one after the other. Its rows of a
// are packed by the thread that works on it and stay in L2. Columns of b are packed once, ahead
// and by all threads, when several blocks of rows will read them, and just before use otherwise.

#include <string.h>

#include "kernels/host/ops/gemm.h"
#include "kernels/host/ops/pairs.h"
#include "kernels/host/ops/tile.h"
#include "kernels/host/ops/transpose.h"

enum {
    CHUNK = 384,          // k's that a register tile runs through: a panel of b stays in L1
    BLOCK_ROWS = 144,     // rows of a block: 144 x 384 packed floats are 216 KiB
    PACK_PANELS = 4,      // panels of b that a thread packs ahead at a time
    THREAD_FLOATS = HOST_THREAD_BYTES / 4,
    SHARED_FLOATS = HOST_SHARED_BYTES / 4,
    A_FLOATS = BLOCK_ROWS * CHUNK + GEMM_SLACK,
    B_FLOATS = TILE_COLS * CHUNK + GEMM_SLACK,
    TILES_FLOATS = THREAD_FLOATS - A_FLOATS - B_FLOATS,
    SMALL = 32 << 10,     // elements of out below which a long k is cut into parts
    ITEM_FLOPS = 400000,  // 4 microseconds or so: less is not worth another thread
    ITEMS = 4,            // blocks per thread, so that one that is held up does not hold up all
};

struct plan {
    const struct gemm *g;
    const struct pawl_host *host;
    int64_t chunk, chunks, parts;          // chunk k's in each of chunks; parts of whole chunks
    int64_t m_panels, m_blocks, n_blocks;  // of TILE_ROWS rows, of m_panels, of columns' panels
    int64_t col, cols, n_panels;           // the columns under way, and their panels
    float *b;                              // packed ahead (chunk, panel, k, TILE_COLS), or NULL
    float *sums;                           // (part, panel of columns, panel of rows, tile), or NULL
    float *row_sums;                       // (part, m_panels * TILE_ROWS)
    bool pairs;                            // packed factors are pairs of bfloat16
};

static int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }
static int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }

static int64_t round_up(int64_t a, int64_t b) { return divide_up(a, b) * b; }

// The k's of chunk c.
static int64_t chunk_count(const struct plan *p, int64_t c)
{
    return smaller(p->chunk, p->g->k - c * p->chunk);
}

// The vectors of panel j: the last one may need fewer.
static int64_t panel_vecs(const struct plan *p, int64_t j)
{
    return smaller(TILE_VECS, divide_up(p->cols - j * TILE_COLS, LANES));
}

// ---- multiplying

#define MULTIPLY(name, rows, vecs)                                                                 \
    static void name(float *tile, const float *a, const float *b, int64_t k, bool add)             \
    {                                                                                              \
        tile_multiply(tile, a, b, k, add, rows, vecs);                                             \
    }
MULTIPLY(multiply_1_1, 1, 1)
MULTIPLY(multiply_1_2, 1, 2)
MULTIPLY(multiply_1_all, 1, TILE_VECS)
MULTIPLY(multiply_2_1, 2, 1)
MULTIPLY(multiply_2_2, 2, 2)
MULTIPLY(multiply_2_all, 2, TILE_VECS)
MULTIPLY(multiply_4_1, 4, 1)
MULTIPLY(multiply_4_2, 4, 2)
MULTIPLY(multiply_4_all, 4, TILE_VECS)
MULTIPLY(multiply_all_1, TILE_ROWS, 1)
MULTIPLY(multiply_all_2, TILE_ROWS, 2)
MULTIPLY(multiply_all_all, TILE_ROWS, TILE_VECS)
#undef MULTIPLY

// For 1, 2, 3 to 4 and more rows, and for 1, 2 and 3 vectors.
static gemm_multiply *const multipliers[4][3] = {
    { multiply_1_1, multiply_1_2, multiply_1_all },
    { multiply_2_1, multiply_2_2, multiply_2_all },
    { multiply_4_1, multiply_4_2, multiply_4_all },
    { multiply_all_1, multiply_all_2, multiply_all_all },
};

static gemm_multiply *choose(const struct plan *p, int64_t rows, int64_t vecs)
{
    if (p->pairs) return HOST(pairs_multiply)(rows, vecs);
    return multipliers[rows > 4 ? 3 : rows > 2 ? 2 : rows - 1][vecs - 1];
}

// ---- one block

struct block {
    const struct plan *plan;
    float *a, *b, *tiles, *row_sums;       // scratch
    int64_t part, chunk, chunk_end;
    int64_t panel, panels, rows;           // its first panel of a, how many, and their rows
    int64_t col_panel, col_panel_end;
    int64_t tiles_rows;                    // rows between two panels of columns in tiles
    bool sum;                              // it is this block's turn to add up rows of a
    int64_t offset[BLOCK_ROWS];            // of each row of out
};

static float *tile_at(const struct block *b, int64_t i, int64_t j)
{
    return b->tiles + ((j - b->col_panel) * b->tiles_rows + i * TILE_ROWS) * TILE_COLS;
}

static void pack_a(const struct block *b, int64_t c)
{
    const struct gemm_factor *a = &b->plan->g->a;
    const int64_t k = chunk_count(b->plan, c);
    const struct gemm_panels panels = { b->a, TILE_ROWS, TILE_ROWS * k, b->panel * TILE_ROWS,
                                        b->rows, c * b->plan->chunk, k };

    if (k) a->pack(a, &panels);
}

// Panels j to end of b for chunk c. All but the last of the matrix are TILE_COLS wide.
static void pack_b(const struct plan *p, float *out, int64_t j, int64_t end, int64_t c)
{
    const struct gemm_factor *b = &p->g->b;
    const int64_t k = chunk_count(p, c), full = smaller(end, p->cols / TILE_COLS);
    struct gemm_panels panels = { out, TILE_COLS, TILE_COLS * k, p->col + j * TILE_COLS,
                                  (full - j) * TILE_COLS, c * p->chunk, k };

    if (full > j && k) b->pack(b, &panels);
    if (full < end && k) {
        panels.out += larger(0, full - j) * TILE_COLS * k;
        panels.width = panel_vecs(p, end - 1) * LANES;
        panels.first = p->col + (end - 1) * TILE_COLS;
        panels.count = p->cols - (end - 1) * TILE_COLS;
        b->pack(b, &panels);
    }
    for (int64_t i = j; p->pairs && i < end; i++)
        HOST(pairs_make)(out + (i - j) * TILE_COLS * k, panel_vecs(p, i) * LANES, k);
}

// Squares of SQUARE rows, the last of which may reach into the next k; four chains of sums, so
// that the additions overlap.
static void sum_rows(const struct block *b, int64_t k)
{
    for (int64_t i = 0; i < b->panels; i++)
        for (int64_t r = 0; r < TILE_ROWS; r += SQUARE) {
            const float *a = b->a + i * TILE_ROWS * k + r;
            square_row sum[4] = { { 0 } };
            int64_t p = 0;
            for (; p + 4 <= k; p += 4, a += 4 * TILE_ROWS)
#pragma GCC unroll 4
                for (int q = 0; q < 4; q++)
                    sum[q] += square_load(a + q * TILE_ROWS);
            for (; p < k; p++, a += TILE_ROWS)
                sum[0] += square_load(a);
            sum[0] = (sum[0] + sum[1]) + (sum[2] + sum[3]);
            for (int64_t l = 0; l < SQUARE && r + l < TILE_ROWS; l++)
                b->row_sums[i * TILE_ROWS + r + l] += sum[0][l];
        }
}

// Lines of memory that the next panel of b will be packed from: one of each row, stride apart.
// Where k lies along the rows the caches see the pattern by themselves, and a few rows of a are
// too little work to hide it behind.
struct ahead {
    const value *line;
    int64_t stride, rows;
};

static struct ahead look_ahead(const struct block *b, int64_t j, int64_t c)
{
    const struct plan *p = b->plan;
    const struct gemm_factor *f = &p->g->b;

    if (p->b || j == b->col_panel_end || b->panels < 8 || f->pack != HOST(pack_across))
        return (struct ahead){ 0 };
    return (struct ahead){ f->data + c * p->chunk * f->stride + p->col + j * TILE_COLS, f->stride,
                           chunk_count(p, c) };
}

static inline __attribute__((always_inline)) void fetch_ahead(struct ahead *a, int64_t rows)
{
    for (; rows > 0 && a->rows > 0; rows--, a->rows--, a->line += a->stride)
#pragma GCC unroll 3
        for (int64_t i = 0; i < TILE_COLS; i += LINE_OF(a->line))
            __builtin_prefetch(a->line + i);
}

// One panel of b against all panels of a, while the next one's memory is on its way.
static void multiply_panel(struct block *b, const float *packed, int64_t j, int64_t c)
{
    const struct plan *p = b->plan;
    const int64_t k = chunk_count(p, c), vecs = panel_vecs(p, j), col = j * TILE_COLS;
    const int64_t cols = smaller(TILE_COLS, p->cols - col);
    const bool first = c == b->chunk, last = c + 1 == b->chunk_end && !p->sums;
    float buffer[TILE_ROWS * TILE_COLS];
    struct ahead ahead = look_ahead(b, j + 1, c);
    const int64_t share = divide_up(ahead.rows, b->panels);

    for (int64_t i = 0; i < b->panels; i++) {
        const int64_t rows = smaller(TILE_ROWS, b->rows - i * TILE_ROWS);
        fetch_ahead(&ahead, share);
        float *tile = first && last ? buffer : tile_at(b, i, j);
        if (last)
            gemm_fetch(&p->g->finish, b->offset + i * TILE_ROWS, p->col + col, rows, cols);
        choose(p, rows, vecs)(tile, b->a + i * TILE_ROWS * k, packed, k, !first);
        if (last)
            HOST(finish)(&p->g->finish, tile, vecs * LANES, b->offset + i * TILE_ROWS,
                         p->col + col, rows, cols);
    }
}

static void give_row_sums(const struct gemm *g, const float *sums, int64_t first, int64_t rows)
{
    for (int64_t i = 0; i < rows; i++)
        g->row_sum[first + i] = g->finish.add ? g->row_sum[first + i] + sums[i] : sums[i];
}

static void find_offsets(const struct gemm *g, int64_t *offset, int64_t first, int64_t rows)
{
    const struct gemm_finish *f = &g->finish;

    for (int64_t i = 0; i < rows; i++)
        offset[i] = f->row ? f->row(f->patches, first + i) : (first + i) * f->stride;
}

static void place_block(struct block *b, const struct plan *p, int64_t block, int thread)
{
    const int64_t blocks = p->m_blocks * p->n_blocks;
    const int64_t mb = block % blocks / p->n_blocks, nb = block % p->n_blocks;
    const int64_t panel_end = p->m_panels * (mb + 1) / p->m_blocks;

    b->plan = p;
    b->a = host_thread_scratch(p->host, thread);
    b->b = b->a + A_FLOATS;
    b->tiles = b->b + B_FLOATS;
    b->part = block / blocks;
    b->chunk = p->chunks * b->part / p->parts;
    b->chunk_end = p->chunks * (b->part + 1) / p->parts;
    b->panel = p->m_panels * mb / p->m_blocks;
    b->panels = panel_end - b->panel;
    b->rows = smaller(panel_end * TILE_ROWS, p->g->m) - b->panel * TILE_ROWS;
    b->col_panel = p->n_panels * nb / p->n_blocks;
    b->col_panel_end = p->n_panels * (nb + 1) / p->n_blocks;
    b->tiles_rows = b->panels * TILE_ROWS;
    b->sum = p->g->row_sum && !nb && !p->col;
}

static void run_block(void *arguments, int64_t block, int thread)
{
    const struct plan *p = arguments;
    float row_sums[BLOCK_ROWS];
    struct block b;

    place_block(&b, p, block, thread);
    b.row_sums = row_sums;
    if (p->sums) {
        // n_blocks is 1: tiles of a part lie by panel of columns, then by row of all m.
        const int64_t m = p->m_panels * TILE_ROWS;
        b.tiles_rows = m;
        b.tiles = p->sums + b.part * m * p->n_panels * TILE_COLS + b.panel * TILE_ROWS * TILE_COLS;
        b.row_sums = p->row_sums + b.part * m + b.panel * TILE_ROWS;
    }
    if (b.sum) memset(b.row_sums, 0, (size_t)(b.panels * TILE_ROWS) * sizeof(float));
    if (!p->sums) find_offsets(p->g, b.offset, b.panel * TILE_ROWS, b.rows);
    for (int64_t c = b.chunk; c < b.chunk_end; c++) {
        const int64_t k = chunk_count(p, c);
        pack_a(&b, c);
        if (b.sum) sum_rows(&b, k);
        for (int64_t i = 0; p->pairs && i < b.panels; i++)
            HOST(pairs_make)(b.a + i * TILE_ROWS * k, TILE_ROWS, k);
        for (int64_t j = b.col_panel; j < b.col_panel_end; j++) {
            const float *packed = b.b;
            if (p->b)
                packed = p->b + (c * p->chunk * p->n_panels + j * k) * TILE_COLS;
            else
                pack_b(p, b.b, j, j + 1, c);
            multiply_panel(&b, packed, j, c);
        }
    }
    if (b.sum && !p->sums) give_row_sums(p->g, b.row_sums, b.panel * TILE_ROWS, b.rows);
}

// ---- before and after the blocks

static void pack_ahead(void *arguments, int64_t block, int thread)
{
    const struct plan *p = arguments;
    const int64_t groups = divide_up(p->n_panels, PACK_PANELS);
    const int64_t c = block / groups, j = block % groups * PACK_PANELS;
    const int64_t end = smaller(j + PACK_PANELS, p->n_panels);

    (void)thread;
    pack_b(p, p->b + (c * p->chunk * p->n_panels + j * chunk_count(p, c)) * TILE_COLS, j, end, c);
}

// Adds up what the parts made of one panel of rows, in their order, and finishes it.
static void add_parts(void *arguments, int64_t panel, int thread)
{
    const struct plan *p = arguments;
    const struct gemm *g = p->g;
    const int64_t m = p->m_panels * TILE_ROWS, first = panel * TILE_ROWS;
    const int64_t rows = smaller(TILE_ROWS, g->m - first), part = m * p->n_panels * TILE_COLS;
    int64_t offset[TILE_ROWS];

    (void)thread;
    find_offsets(g, offset, first, rows);
    for (int64_t j = 0; j < p->n_panels; j++) {
        const int64_t width = panel_vecs(p, j) * LANES, col = j * TILE_COLS;
        float *tile = p->sums + col * m + first * TILE_COLS;
        for (int64_t s = 1; s < p->parts; s++)
            for (int64_t i = 0; i < rows * width; i += LANES)
                vec_store(tile + i, vec_load(tile + i) + vec_load(tile + s * part + i));
        HOST(finish)(&g->finish, tile, width, offset, col, rows, smaller(TILE_COLS, g->n - col));
    }
    if (!g->row_sum) return;
    for (int64_t s = 1; s < p->parts; s++)
        for (int64_t i = 0; i < rows; i++)
            p->row_sums[first + i] += p->row_sums[s * m + first + i];
    give_row_sums(g, p->row_sums + first, first, rows);
}

// Depends on (m, n, k) only, see gemm.h.
static void cut_k(struct plan *p)
{
    const int64_t out = p->m_panels * TILE_ROWS * p->n_panels * TILE_COLS;

    p->chunks = larger(1, divide_up(p->g->k, CHUNK));
    p->chunk = larger(1, round_up(divide_up(p->g->k, p->chunks), 4));
    p->chunks = larger(1, divide_up(p->g->k, p->chunk));
    p->parts = 1;
    if (out <= SMALL && p->chunks >= 4)
        p->parts = smaller(p->chunks / 2, out <= SMALL / 4 ? 64 : 16);
    if (p->parts == 1) return;
    p->sums = (float *)p->host->shared_scratch;
    p->row_sums = p->sums + p->parts * out;
}

// Follows the threads. Blocks of rows first: they share b, and reading it costs less than packing
// a again for each block of columns.
static void cut_out(struct plan *p)
{
    const struct gemm *g = p->g;
    const int64_t threads = p->host->device.threads;
    const double flops = 2.0 * (double)g->m * (double)g->n * (double)g->k;
    int64_t items = threads == 1 ? 1 : threads * ITEMS;

    if (flops < (double)(items * ITEM_FLOPS)) items = (int64_t)(flops / ITEM_FLOPS);
    p->m_blocks = divide_up(p->m_panels, BLOCK_ROWS / TILE_ROWS);
    p->n_blocks = 1;
    if (p->sums) return;
    if (p->m_blocks > 1 && p->m_panels >= 4 * threads)
        p->m_blocks = round_up(p->m_blocks, smaller(threads, larger(1, items)));
    if (p->m_blocks < items)
        p->n_blocks = smaller(divide_up(items, p->m_blocks), p->n_panels);
    if (p->m_blocks * p->n_blocks < items)
        p->m_blocks = larger(p->m_blocks, smaller(divide_up(items, p->n_blocks), p->m_panels / 2));
}

static void run(struct plan *p)
{
    struct pawl_pool *pool = p->host->pool;

    if (p->chunks > 1 && !p->sums) {
        const int64_t rows = divide_up(p->m_panels, p->m_blocks) * TILE_ROWS;
        const int64_t panels = TILES_FLOATS / rows / TILE_COLS;
        p->n_blocks = larger(p->n_blocks, divide_up(p->n_panels, panels));
    }
    if (p->b)
        pawl_pool_run(pool, p->chunks * divide_up(p->n_panels, PACK_PANELS), pack_ahead, p);
    pawl_pool_run(pool, p->parts * p->m_blocks * p->n_blocks, run_block, p);
    if (p->sums) pawl_pool_run(pool, p->m_panels, add_parts, p);
}

void HOST(gemm)(struct pawl_stream *s, const struct gemm *g)
{
    struct plan plan = { .g = g, .host = host_of(s), .cols = g->n };

    plan.pairs = sizeof(value) < sizeof(float) && HOST(pairs);
    plan.m_panels = divide_up(g->m, TILE_ROWS);
    plan.n_panels = divide_up(g->n, TILE_COLS);
    cut_k(&plan);
    cut_out(&plan);
    const int64_t room = SHARED_FLOATS / (plan.chunk * plan.chunks) / TILE_COLS;
    if (plan.sums || plan.m_blocks == 1 || !room) {
        run(&plan);
        return;
    }
    plan.b = (float *)plan.host->shared_scratch;
    const int64_t groups = divide_up(plan.n_panels, room);
    const int64_t cols = divide_up(plan.n_panels, groups) * TILE_COLS;
    for (plan.col = 0; plan.col < g->n; plan.col += cols) {
        plan.cols = smaller(cols, g->n - plan.col);
        plan.n_panels = divide_up(plan.cols, TILE_COLS);
        run(&plan);
    }
}
