// embed.cu - rows of a table by token, plus rows of positions. A warp per row.

#include "kernels/cuda/lanes.h"

struct embed {
    value *out;
    const int32_t *token;
    const value *table, *position;
    int64_t rows, cols, span;
};

template <int W> static __global__ void embed_rows(const struct embed e)
{
    const struct team t = team_of(32, NULL);

    for (int64_t row = t.row; row < e.rows; row += t.step) {
        const value *from = e.table + e.token[row] * e.cols;
        const value *position = e.position ? e.position + row % e.span * e.cols : NULL;
        for (int64_t i = t.rank; i < e.cols / W; i += t.size) {
            struct lanes<W> x = load<W>(from + i * W);
            const struct lanes<W> add = load_or<W>(position, i * W, 0);
            UNROLL
            for (int l = 0; l < W; l++)
                x.at[l] += add.at[l];
            store<W>(e.out + row * e.cols + i * W, x);
        }
    }
}

void CUDA(embed)(struct pawl_stream *s, pawl_value *out, const int32_t *token,
                 const pawl_value *table, const pawl_value *position_or_null, int64_t rows,
                 int64_t cols, int64_t vocab, int64_t span)
{
    const struct embed e = { (value *)out, token, (const value *)table,
                             (const value *)position_or_null, rows, cols, span };

    (void)vocab;
    LAUNCH_LANES(wide(cols, e.out, e.table, e.position), embed_rows,
                 blocks_for(rows, TEAM_BLOCK / 32), TEAM_BLOCK, 0, s, e);
}
