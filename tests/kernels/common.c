// common.c - see common.h.

#include "tests/kernels/common.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "kernels/host/host.h"
#include "kernels/plugin.h"

#if defined(__x86_64__)
extern const struct pawl_ops pawl_host_ops_wide, pawl_host_ops_wide_bf16;

static const struct pawl_ops *wide(void)
{
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") ? &pawl_host_ops_wide
                                                                           : NULL;
}
static const struct pawl_ops *wide_bf16(void) { return &pawl_host_ops_wide_bf16; }
#else
static const struct pawl_ops *wide(void) { return NULL; }
static const struct pawl_ops *wide_bf16(void) { return NULL; }
#endif

#ifdef PAWL_SIMT
// On the host device, since its memory is what the tests have.
static const struct pawl_ops *simt_of(enum pawl_plugin_type type)
{
    const struct pawl_plugin *plugin = NULL;

    setenv("PAWL_SIMT_SEED", "1", 0);
    cr_assert_eq(pawl_plugin_open(&plugin, "libpawl-simt.so", "PAWL_SIMT_LIBRARY"), 0, "%s",
                 pawl_error());
    return plugin->ops[type];
}
#else
static const struct pawl_ops *simt_of(enum pawl_plugin_type type)
{
    (void)type;
    return NULL;
}
#endif

static const struct pawl_ops *simt(void) { return simt_of(PAWL_PLUGIN_FP32); }
static const struct pawl_ops *simt_bf16(void) { return simt_of(PAWL_PLUGIN_BF16); }

// A row of the table below: the host device with an instruction set, or with other operations.
static const struct {
    const char *name, *isa;
    const struct pawl_ops *(*ops)(void);   // NULL: its own
    const struct pawl_ops *(*bf16)(void);  // beside ops; NULL: none
} rows[COMMON_SETS] = {
    { "plain", "plain", NULL, NULL }, { "avx2", "avx2", NULL, NULL },
    { "avx512", "avx512", NULL, NULL }, { "wide", "avx2", wide, wide_bf16 },
    { "simt", "plain", simt, simt_bf16 }, { "device", "plain", common_device_ops, NULL },
};

static const struct common_set *opened;  // the one in use

// Kernels say in their stream what they did wrong; all that follows is then skipped.
static void no_fault(void)
{
    for (int t = 0; opened && t < COMMON_THREADS; t++)
        cr_assert(!opened->stream[t]->fault, "%s: %s", opened->name, opened->stream[t]->reason);
}

bool common_open(struct common_set *set, int index)
{
    const char *only = getenv("PAWL_TEST_SETS");  // of barriers.sh

    if (only && strcmp(only, rows[index].name)) return false;
    const struct pawl_ops *ops = rows[index].ops ? rows[index].ops() : NULL;
    memset(set, 0, sizeof(*set));
    set->name = rows[index].name;
    if (rows[index].ops && !ops) return false;
    setenv("PAWL_ISA", rows[index].isa, 1);
    for (int t = 0; t < COMMON_THREADS; t++) {
        const int rc = pawl_device_open(&set->device[t], "host", t + 1);
        if (rc == PAWL_ENOTSUP && !t) return false;
        cr_assert_eq(rc, 0, "%s", pawl_error());
        if (ops) set->device[t]->ops = ops;
        if (ops) set->device[t]->bf16 = rows[index].bf16 ? rows[index].bf16() : NULL;
        cr_assert_eq(pawl_stream_open(&set->stream[t], set->device[t]), 0);
    }
    opened = set;
    return true;
}

void common_close(struct common_set *set)
{
    no_fault();
    opened = NULL;
    for (int t = 0; t < COMMON_THREADS; t++) {
        pawl_stream_close(set->stream[t]);
        pawl_device_close(set->device[t]);
    }
}

// ---- fenced memory: | front, FRONT at least | elements | untouchable page |

enum { PAGE = 4096, FRONT = 256, BLOCKS = 256 };

static struct {
    unsigned char *pages;
    size_t bytes, used;  // of pages without the last one; of elements
} blocks[BLOCKS];
static int block_count;

static void *fenced(size_t used)
{
    const size_t bytes = (used + FRONT + PAGE - 1) / PAGE * PAGE;
    unsigned char *pages = mmap(NULL, bytes + PAGE, PROT_READ | PROT_WRITE,
                                MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    cr_assert(pages != MAP_FAILED && block_count < BLOCKS);
    cr_assert_eq(mprotect(pages + bytes, PAGE, PROT_NONE), 0);
    memset(pages, 0xa5, bytes - used);
    blocks[block_count].pages = pages;
    blocks[block_count].bytes = bytes;
    blocks[block_count++].used = used;
    return pages + bytes - used;
}

float *common_floats(int64_t count) { return fenced((size_t)count * sizeof(float)); }
int32_t *common_ints(int64_t count) { return fenced((size_t)count * sizeof(int32_t)); }

double *common_doubles(int64_t count) { return fenced((size_t)count * sizeof(double)); }

double *common_widen(const float *in, int64_t count)
{
    double *out = common_doubles(count);

    for (int64_t i = 0; i < count; i++)
        out[i] = (double)in[i];
    return out;
}

void common_check(const char *where)
{
    no_fault();
    for (int i = 0; i < block_count; i++)
        for (size_t j = 0; j < blocks[i].bytes - blocks[i].used; j++)
            cr_assert_eq(blocks[i].pages[j], 0xa5, "%s: wrote %zu bytes in front of block %d",
                         where, blocks[i].bytes - blocks[i].used - j, i);
}

bool common_block(int i, void **memory, size_t *bytes)
{
    if (i >= block_count) return false;
    *memory = blocks[i].pages + blocks[i].bytes - blocks[i].used;
    *bytes = blocks[i].used;
    return true;
}

void common_release(void)
{
    common_device_forget();
    while (block_count--)
        munmap(blocks[block_count].pages, blocks[block_count].bytes + PAGE);
    block_count = 0;
}

void common_each(void (*check)(const struct common_set *set, const void *shape),
                 const void *shapes, size_t size, int count)
{
    struct common_set set;

    for (int i = 0; i < COMMON_SETS; i++) {
        if (!common_open(&set, i)) continue;
        for (int s = 0; s < count; s++) {
            check(&set, (const char *)shapes + (size_t)s * size);
            common_check(set.name);
            common_release();
        }
        common_close(&set);
    }
}

// ---- numbers

void common_expect_slope(const char *where, double (*loss)(const void *context),
                         const void *context, double *at, double expected)
{
    const double before = *at, step = 1e-5;

    *at = before + step;
    const double above = loss(context);
    *at = before - step;
    const double slope = (above - loss(context)) / (2 * step);
    *at = before;
    cr_assert(fabs(slope - expected) <= 1e-7 + 1e-6 * fabs(expected),
              "%s: the gradient is %.9g, the difference quotient %.9g", where, expected, slope);
}

void common_fill(float *out, int64_t count, uint64_t seed)
{
    uint64_t state = seed * 0x9e3779b97f4a7c15u + 1;

    for (int64_t i = 0; i < count; i++) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        out[i] = (float)((int64_t)(state >> 40) - (1 << 23)) / (1 << 23);
    }
}

void common_poison(float *out, int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        out[i] = NAN;
}

void common_expect(const char *where, const float *actual, const double *expected, int64_t count,
                   double absolute, double relative)
{
    no_fault();
    for (int64_t i = 0; i < count; i++) {
        const double e = expected[i], a = (double)actual[i];
        const bool good = isnan(e) ? isnan(a) : fabs(a - e) <= absolute + relative * fabs(e);
        cr_assert(good || (isinf(e) && a == e), "%s: element %ld of %ld is %.9g, not %.9g", where,
                  (long)i, (long)count, a, e);
    }
}

void common_expect_same(const char *where, const float *actual, const float *expected,
                        int64_t count)
{
    no_fault();
    for (int64_t i = 0; i < count; i++)
        cr_assert(!memcmp(actual + i, expected + i, sizeof(float)),
                  "%s: element %ld of %ld is %.9g, not %.9g to the bit", where, (long)i,
                  (long)count, (double)actual[i], (double)expected[i]);
}
