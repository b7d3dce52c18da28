// match.c - whether the weights of one architecture mean the same in another.

#include <stdio.h>
#include <string.h>

#include "checkpoint/architecture.h"
#include "checkpoint/layers.h"

// Walks the parameters of an architecture in order.
struct walk {
    const struct pawl_architecture *of;
    int layer, param, count;
    struct pawl_param params[PAWL_PARAMS_MAX];
};

static struct walk start(const struct pawl_architecture *of)
{
    return (struct walk){ .of = of, .layer = -1 };
}

// The next parameter, or NULL at the end.
static const struct pawl_param *next(struct walk *w)
{
    w->param++;
    while (w->param >= w->count) {
        if (++w->layer >= w->of->layer_count) return NULL;
        w->count = pawl_layer_params(w->of, w->layer, w->params);
        w->param = 0;
    }
    return &w->params[w->param];
}

static void describe(char *text, size_t text_bytes, const struct walk *w,
                     const struct pawl_param *param)
{
    char shape[96];

    if (!param)
        snprintf(text, text_bytes, "nothing");
    else
        snprintf(text, text_bytes, "'%s.%s' %s", w->of->layers[w->layer].name, param->suffix,
                 pawl_shape_text(shape, sizeof(shape), param->rank, param->dim));
}

static int match_params(const struct pawl_architecture *a, const char *mine,
                        const struct pawl_architecture *b, const char *theirs)
{
    struct walk in_a = start(a), in_b = start(b);
    char text_a[400], text_b[400];

    for (;;) {
        const struct pawl_param *p = next(&in_a), *q = next(&in_b);
        if (!p && !q) return 0;

        const bool same = p && q && strcmp(p->suffix, q->suffix) == 0
                          && strcmp(a->layers[in_a.layer].name, b->layers[in_b.layer].name) == 0
                          && p->rank == q->rank && memcmp(p->dim, q->dim, sizeof(p->dim)) == 0;
        if (same) continue;
        const struct walk *first = p ? &in_a : &in_b;
        describe(text_a, sizeof(text_a), &in_a, p);
        describe(text_b, sizeof(text_b), &in_b, q);
        return pawl_fail(PAWL_ECORRUPT, "layer '%s': tensor %s in %s, but %s in %s",
                         first->of->layers[first->layer].name, text_a, mine, text_b, theirs);
    }
}

// A dropout passes everything on: it is looked through.
static const struct pawl_layer *behind(const struct pawl_architecture *of, int i)
{
    while (of->layers[i].kind == PAWL_DROPOUT)
        i = of->layers[i].input[0];
    return &of->layers[i];
}

static int next_layer(const struct pawl_architecture *of, int i)
{
    do
        i++;
    while (i < of->layer_count && of->layers[i].kind == PAWL_DROPOUT);
    return i;
}

static size_t field_bytes(enum pawl_field_type type)
{
    switch (type) {
    case PAWL_FIELD_COUNT: return sizeof(int64_t);
    case PAWL_FIELD_PAIR: return 2 * sizeof(int64_t);
    case PAWL_FIELD_PADS: return 4 * sizeof(int64_t);
    case PAWL_FIELD_BOOL: return sizeof(bool);
    case PAWL_FIELD_REAL: return sizeof(double);
    case PAWL_FIELD_ACTIVATION:
    case PAWL_FIELD_PADDING: return sizeof(unsigned);
    default: return 0;
    }
}

static bool same_field(const struct pawl_field *field, const struct pawl_layer *p,
                       const struct pawl_layer *q)
{
    const char *a = (const char *)p + field->offset, *b = (const char *)q + field->offset;

    if (field->type == PAWL_FIELD_NAME) return strcmp(a, b) == 0;
    if (field->type == PAWL_FIELD_SHAPE) {
        const struct pawl_shape *s = (const void *)a, *t = (const void *)b;
        // An input's shape matters as far as it shows in the parameters.
        return p->kind == PAWL_INPUT
               || (s->rank == t->rank && memcmp(s->dim, t->dim, sizeof(s->dim)) == 0);
    }
    return memcmp(a, b, field_bytes(field->type)) == 0;
}

static int match_layer(const struct pawl_architecture *a, int i, const char *mine,
                       const struct pawl_architecture *b, int j, const char *theirs)
{
    const struct pawl_layer *p = &a->layers[i], *q = &b->layers[j];
    const struct pawl_layer_row *row = &pawl_layer_rows[p->kind];

    if (p->kind != q->kind || strcmp(p->name, q->name))
        return pawl_fail(PAWL_ECORRUPT, "layer %d is '%s' (%s) in %s, but '%s' (%s) in %s", i,
                         p->name, row->name, mine, q->name, pawl_layer_rows[q->kind].name, theirs);
    for (int k = 0; k < p->input_count; k++)
        if (strcmp(behind(a, p->input[k])->name, behind(b, q->input[k])->name))
            return pawl_fail(PAWL_ECORRUPT, "layer '%s' is fed by '%s' in %s, but by '%s' in %s",
                             p->name, behind(a, p->input[k])->name, mine,
                             behind(b, q->input[k])->name, theirs);
    for (int f = 0; f < row->field_count; f++) {
        const struct pawl_field *field = &row->fields[f];
        if (!(field->flags & PAWL_FIELD_LOOSE) && !same_field(field, p, q))
            return pawl_fail(PAWL_ECORRUPT, "layer '%s' (%s) has another '%s' in %s than in %s",
                             p->name, row->name, field->name, mine, theirs);
    }
    return 0;
}

int pawl_architecture_match(const struct pawl_architecture *a, const char *mine,
                            const struct pawl_architecture *b, const char *theirs)
{
    int i = next_layer(a, -1), j = next_layer(b, -1);
    int rc = match_params(a, mine, b, theirs);

    for (; !rc && i < a->layer_count && j < b->layer_count;
         i = next_layer(a, i), j = next_layer(b, j))
        rc = match_layer(a, i, mine, b, j, theirs);
    if (!rc && (i < a->layer_count) != (j < b->layer_count)) {
        const bool more = i < a->layer_count;
        rc = pawl_fail(PAWL_ECORRUPT, "layer '%s' is only in %s",
                       more ? a->layers[i].name : b->layers[j].name, more ? mine : theirs);
    }
    return rc;
}
