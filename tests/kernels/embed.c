// embed: rows by token and by position, and their gradients, against one loop per index.

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "tests/kernels/common.h"
#include "tests/kernels/plain.h"

struct shape {
    int64_t rows, cols, vocab, span;
};

// Columns around vectors and strips of 32; fewer rows than positions; one token only. More rows
// than a tile of the GPU's sort has, and tokens of 1, 2 and 3 bytes.
static const struct shape shapes[] = {
    { 1, 1, 1, 1 },    { 3, 5, 2, 3 },     { 10, 8, 7, 5 },   { 8, 17, 1, 4 },   { 6, 31, 50, 6 },
    { 100, 33, 9, 25 }, { 5, 64, 300, 9 }, { 513, 48, 256, 57 }, { 40, 100, 1000, 40 },
    { 4500, 8, 1, 300 }, { 2100, 4, 70000, 2100 }, { 2049, 3, 300, 10 },
};
enum { SHAPES = sizeof(shapes) / sizeof(shapes[0]) };

struct memory {
    float *table, *position, *out, *table_grad, *position_grad, *first[3], *before;
    int32_t *token;
    int64_t out_count, table_count, position_count;
};

static struct memory take(const struct shape *s)
{
    struct memory m = { .out_count = s->rows * s->cols, .table_count = s->vocab * s->cols,
                        .position_count = s->span * s->cols };

    m.token = common_ints(s->rows);
    for (int64_t i = 0; i < s->rows; i++)
        m.token[i] = (int32_t)(i * i * 7 % s->vocab);
    m.table = common_floats(m.table_count);
    m.table_grad = common_floats(m.table_count);
    m.first[1] = common_floats(m.table_count);
    m.before = common_floats(m.table_count + m.position_count);
    m.position = common_floats(m.position_count);
    m.position_grad = common_floats(m.position_count);
    m.first[2] = common_floats(m.position_count);
    m.out = common_floats(m.out_count);
    m.first[0] = common_floats(m.out_count);
    common_fill(m.table, m.table_count, 1);
    common_fill(m.position, m.position_count, 2);
    common_fill(m.before, m.table_count + m.position_count, 3);
    return m;
}

static void check_forward(const struct common_set *set, const struct shape *s, struct memory *m,
                          bool positions, const char *where)
{
    double *table = common_widen(m->table, m->table_count);
    double *position = common_widen(m->position, m->position_count);
    double *expected = common_doubles(m->out_count);

    plain_embed(expected, m->token, table, positions ? position : NULL, s->rows, s->cols, s->span);
    for (int t = 0; t < COMMON_THREADS; t++) {
        common_poison(m->out, m->out_count);
        set->device[t]->ops->embed(set->stream[t], m->out, m->token, m->table,
                                   positions ? m->position : NULL, s->rows, s->cols, s->vocab,
                                   s->span);
        if (!t) memcpy(m->first[0], m->out, (size_t)m->out_count * sizeof(float));
        common_expect(where, m->out, expected, m->out_count, 1e-7, 1e-6);
        common_expect_same(where, m->out, m->first[0], m->out_count);
    }
}

static void backward(const struct common_set *set, int t, const struct shape *s, struct memory *m,
                     int flags)
{
    const bool add_table = flags & 1, add_position = flags & 2, positions = !(flags & 4);

    common_poison(m->table_grad, m->table_count);
    common_poison(m->position_grad, m->position_count);
    if (add_table) memcpy(m->table_grad, m->before, (size_t)m->table_count * sizeof(float));
    if (add_position || !positions)
        memcpy(m->position_grad, m->before + m->table_count,
               (size_t)m->position_count * sizeof(float));
    set->device[t]->ops->embed_back(set->stream[t], m->table_grad,
                                    positions ? m->position_grad : NULL, m->out, m->token,
                                    s->rows, s->cols, s->vocab, s->span, add_table, add_position);
    if (t) return;
    memcpy(m->first[1], m->table_grad, (size_t)m->table_count * sizeof(float));
    memcpy(m->first[2], m->position_grad, (size_t)m->position_count * sizeof(float));
}

static void check_backward(const struct common_set *set, const struct shape *s, struct memory *m,
                           int flags, const char *where)
{
    double *table = common_doubles(m->table_count), *out_grad;
    double *position = common_doubles(m->position_count);

    common_fill(m->out, m->out_count, 4);
    out_grad = common_widen(m->out, m->out_count);
    plain_embed_back(table, position, out_grad, m->token, s->rows, s->cols, s->vocab, s->span);
    for (int64_t i = 0; i < m->table_count && flags & 1; i++)
        table[i] += (double)m->before[i];
    for (int64_t i = 0; i < m->position_count && flags & 6; i++) {
        if (flags & 4) position[i] = 0;  // not asked for: as it was
        position[i] += (double)m->before[m->table_count + i];
    }
    for (int t = 0; t < COMMON_THREADS; t++) {
        backward(set, t, s, m, flags);
        common_expect(where, m->table_grad, table, m->table_count, 2e-5, 1e-5);
        common_expect(where, m->position_grad, position, m->position_count, 2e-5, 1e-5);
        common_expect_same(where, m->table_grad, m->first[1], m->table_count);
        common_expect_same(where, m->position_grad, m->first[2], m->position_count);
    }
}

static void check(const struct common_set *set, const void *shape)
{
    const struct shape *s = shape;
    struct memory m = take(s);
    char where[96];

    snprintf(where, sizeof(where), "%s rows=%ld cols=%ld vocab=%ld span=%ld", set->name,
             (long)s->rows, (long)s->cols, (long)s->vocab, (long)s->span);
    check_forward(set, s, &m, false, where);
    check_forward(set, s, &m, true, where);
    for (int flags = 0; flags < 8; flags++)
        check_backward(set, s, &m, flags, where);
}

Test(embed, follows_its_definition)
{
    common_each(check, shapes, sizeof(shapes[0]), SHAPES);
}
