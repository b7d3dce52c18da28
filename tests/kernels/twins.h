// twins.h - one call of two tables, fp32 and bfloat16, on the same numbers, and what becomes of
// them. For one program: everything is static.
//
//     check_linear(set, (struct linear_call){ out(m * n), ..., in(m * k), ... });
//     done();

#ifndef PAWL_TESTS_TWINS_H
#define PAWL_TESTS_TWINS_H

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "kernels/sim/calls.h"
#include "tests/kernels/common.h"

// What an argument points to; `before`: its content when the call began.
struct buffer {
    float *at, *before;
    int64_t count;
};
struct twin {
    const void *of;
    void *at;
    int64_t count;
    bool values;  // of two bytes
};
enum { MOST = 64 };

static struct buffer buffers[MOST];
static struct twin twins[MOST], firsts[MOST];  // firsts: of one thread
static int buffer_count, twin_count;
static double looser = 1;  // than one rounding

static float *out(int64_t count)
{
    float *at = common_floats(count);

    cr_assert_lt(buffer_count, MOST);
    buffers[buffer_count++] = (struct buffer){ at, common_floats(count), count };
    common_poison(at, count);
    return at;
}

static void shorten(float *x, int64_t count)
{
    for (int64_t i = 0; i < count; i++) {
        uint32_t bits;
        memcpy(&bits, x + i, sizeof(bits));
        bits &= 0xffff0000u;
        memcpy(x + i, &bits, sizeof(bits));
    }
}

static float *in(int64_t count)
{
    float *at = out(count);

    common_fill(at, count, (uint64_t)buffer_count);
    shorten(at, count);
    return at;
}

static int32_t *ints(int64_t count, int32_t below)
{
    int32_t *at = (int32_t *)(void *)out(count);

    for (int64_t i = 0; i < count; i++)
        at[i] = (int32_t)((i * 7 + 3) % below);
    return at;
}

static float widened(const void *values, int64_t i)
{
    uint16_t bits;
    float x;

    memcpy(&bits, (const char *)values + 2 * i, sizeof(bits));
    const uint32_t wide = (uint32_t)bits << 16;
    memcpy(&x, &wide, sizeof(x));
    return x;
}

static struct buffer *buffer_of(const void *at)
{
    for (int i = 0; i < buffer_count; i++)
        if (buffers[i].at == at) return &buffers[i];
    cr_assert(false, "an argument that nobody took");
    return NULL;
}

// The same content for the other table, once for each buffer.
static void *twin_of(const void *at, const char *type)
{
    const bool values = strstr(type, "pawl_value") != NULL;

    if (!at) return NULL;
    for (int i = 0; i < twin_count; i++)
        if (twins[i].of == at) return twins[i].at;
    const struct buffer *b = buffer_of(at);
    // So that the last value, too, lies at the fence.
    void *own = values ? (char *)common_floats((b->count + 1) / 2) + 2 * (b->count % 2)
                       : (void *)common_floats(b->count);
    for (int64_t i = 0; i < b->count; i++)
        memcpy((char *)own + i * (values ? 2 : 4), (char *)(b->before + i) + (values ? 2 : 0),
               values ? 2 : 4);
    twins[twin_count++] = (struct twin){ at, own, b->count, values };
    return own;
}

static void compare(const void *at, const char *type, const char *where)
{
    const struct twin *t = twins;

    if (!at || !strncmp(type, "const", 5)) return;
    while (t->of != at) t++;
    const float *expected = buffer_of(at)->at;
    if (strstr(type, "int")) {
        cr_assert(!memcmp(t->at, expected, (size_t)t->count * sizeof(float)), "%s", where);
        return;
    }
    for (int64_t i = 0; i < t->count; i++) {
        const double e = (double)expected[i];
        const double a = (double)(t->values ? widened(t->at, i) : ((float *)t->at)[i]);
        const double allowed = t->values ? looser * (fabs(e) / 256 + 1e-5)
                                         : fabs(e) * 1e-4 + 2e-5;
        cr_assert(isnan(e) ? isnan(a) : fabs(a - e) <= allowed,
                  "%s: element %ld of %ld is %.9g, not %.9g", where, (long)i, (long)t->count, a, e);
    }
}

static void remember(void)
{
    for (int i = 0; i < buffer_count; i++)
        memcpy(buffers[i].before, buffers[i].at, (size_t)buffers[i].count * sizeof(float));
}

// All twins as one thread left them.
static void same(int thread, const char *where)
{
    for (int i = 0; thread && i < twin_count; i++)
        cr_assert(!memcmp(twins[i].at, firsts[i].at,
                          (size_t)twins[i].count * (twins[i].values ? 2 : 4)),
                  "%s: %d threads do not agree with one", where, thread + 1);
    if (!thread) memcpy(firsts, twins, sizeof(twins));
}

static void done(void)
{
    buffer_count = 0;
    common_check("bf16");
    common_release();
}

#define FIELD(type, name) type name;
#define NOTHING(type, name)
#define TWIN(type, name) twin.name = twin_of(call.name, #type);
#define COMPARE(type, name) compare(call.name, #type, where);
#define ARGUMENT(type, name) , call.name
#define S_ARGUMENT(type, name) , &call.name
#define TWIN_ARGUMENT(type, name) , twin.name
#define TWIN_S_ARGUMENT(type, name) , &twin.name

// check_NAME(set, (struct NAME_call){ ... })
#define DEFINE(op, LIST)                                                                           \
    struct op##_call {                                                                             \
        LIST(FIELD, FIELD, FIELD)                                                                  \
    };                                                                                             \
    static void check_##op(const struct common_set *set, struct op##_call call)                    \
    {                                                                                              \
        char where[64];                                                                            \
        snprintf(where, sizeof(where), "%s " #op, set->name);                                      \
        remember();                                                                                \
        set->device[0]->ops->op(set->stream[0] LIST(ARGUMENT, ARGUMENT, S_ARGUMENT));              \
        for (int t = 0; t < COMMON_THREADS; t++) {                                                 \
            struct op##_call twin = call;                                                          \
            twin_count = 0;                                                                        \
            LIST(TWIN, NOTHING, NOTHING)                                                           \
            set->device[t]->bf16->op(set->stream[t]                                                \
                                     LIST(TWIN_ARGUMENT, TWIN_ARGUMENT, TWIN_S_ARGUMENT));         \
            LIST(COMPARE, NOTHING, NOTHING)                                                        \
            same(t, where);                                                                        \
        }                                                                                          \
    }

#endif
