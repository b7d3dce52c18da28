// diff_make.c - compares two documents tensor by tensor.

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "checkpoint/cast.h"
#include "checkpoint/names.h"
#include "kernels/memory.h"
#include "runtime/cli/diff.h"

enum { CHUNK = 1 << 16 };  // elements

// ---- one tensor

static bool real_type(enum pawl_dtype dtype)
{
    return dtype != PAWL_C64 && dtype != PAWL_C128;
}

static double apart(double x, double y)
{
    if (isnan(x) && isnan(y)) return 0;
    if (isnan(x) || isnan(y)) return (double)INFINITY;
    return x < y || x > y ? fabs(x - y) : 0;  // equal infinities: 0, not NaN
}

static void compare_chunk(struct pawl_difference *d, const char *a, const char *b, int64_t count)
{
    const enum pawl_dtype a_type = d->a->tensor.dtype, b_type = d->b->tensor.dtype;
    const size_t a_bytes = pawl_dtype_bytes(a_type), b_bytes = pawl_dtype_bytes(b_type);

    if (a_type == b_type && memcmp(a, b, (size_t)count * a_bytes) == 0) return;
    for (int64_t i = 0; i < count; i++, a += a_bytes, b += b_bytes) {
        if (a_type == b_type && memcmp(a, b, a_bytes) == 0) continue;
        const double distance = real_type(a_type) && real_type(b_type)
                                    ? apart(pawl_element(a, a_type), pawl_element(b, b_type))
                                    : (double)INFINITY;
        d->differing += a_type == b_type || distance > 0;
        if (distance > d->largest) d->largest = distance;
    }
}

static bool same_shape(const struct pawl_tensor *a, const struct pawl_tensor *b)
{
    return a->rank == b->rank && memcmp(a->dim, b->dim, sizeof(a->dim)) == 0;
}

static int compare_elements(const struct pawl_diff *diff, struct pawl_difference *d, char *buffer)
{
    const size_t a_bytes = pawl_dtype_bytes(d->a->tensor.dtype);
    const size_t b_bytes = pawl_dtype_bytes(d->b->tensor.dtype);
    char *b_buffer = buffer + CHUNK * a_bytes;
    int rc = 0;

    d->elements = (int64_t)(d->a->tensor.size_bytes / a_bytes);
    d->differing = 0;
    for (int64_t at = 0; at < d->elements && !rc; at += CHUNK) {
        const int64_t now = d->elements - at < CHUNK ? d->elements - at : CHUNK;
        rc = pawl_document_fetch_part(diff->a, d->a, (uint64_t)at * a_bytes, (size_t)now * a_bytes,
                                      buffer);
        if (!rc)
            rc = pawl_document_fetch_part(diff->b, d->b, (uint64_t)at * b_bytes,
                                          (size_t)now * b_bytes, b_buffer);
        if (!rc) compare_chunk(d, buffer, b_buffer, now);
    }
    return rc;
}

// ---- all tensors

static int note(struct pawl_diff *diff, const struct pawl_difference *difference)
{
    const size_t count = (size_t)diff->count;
    int rc = 0;

    if ((count & (count - 1)) == 0)
        rc = pawl_realloc(&diff->differences, (count ? 2 * count : 1) * sizeof(*difference),
                          "differences");
    if (!rc) diff->differences[diff->count++] = *difference;
    return rc;
}

static int compare_tensor(struct pawl_diff *diff, const struct pawl_entry *a,
                          const struct pawl_entry *b, char *buffer)
{
    struct pawl_difference d = { .a = a, .b = b, .elements = -1, .differing = -1 };

    if (a && b && same_shape(&a->tensor, &b->tensor)) {
        const int rc = compare_elements(diff, &d, buffer);
        if (rc) return rc;
        if (!d.differing && a->tensor.dtype == b->tensor.dtype) {
            diff->same_tensors++;
            diff->same_bytes += a->tensor.size_bytes;
            return 0;
        }
    }
    return note(diff, &d);
}

static int compare_tables(struct pawl_diff *diff, const struct pawl_entry *a, int a_count,
                          const struct pawl_entry *b, int b_count)
{
    struct pawl_names in_a = { 0 }, in_b = { 0 };
    char *buffer = NULL;

    int rc = pawl_alloc(&buffer, (size_t)CHUNK * 32, "two chunks");
    if (!rc) rc = pawl_names_build(&in_a, a_count, a ? a->tensor.name : "", sizeof(*a));
    if (!rc) rc = pawl_names_build(&in_b, b_count, b ? b->tensor.name : "", sizeof(*b));
    for (int i = 0; i < a_count && !rc; i++) {
        const int k = pawl_names_find(&in_b, a[i].tensor.name);
        rc = compare_tensor(diff, &a[i], k < 0 ? NULL : &b[k], buffer);
    }
    for (int k = 0; k < b_count && !rc; k++)
        if (pawl_names_find(&in_a, b[k].tensor.name) < 0)
            rc = compare_tensor(diff, NULL, &b[k], buffer);
    pawl_names_free(&in_a);
    pawl_names_free(&in_b);
    pawl_free(buffer);
    return rc;
}

// ---- the parts

// A part that only one file has is told, but is no difference: the other's format may lack it.
static bool both_have(struct pawl_diff *diff, const char *part, bool in_a, bool in_b)
{
    const size_t used = strlen(diff->not_compared);

    if (in_a != in_b)
        snprintf(diff->not_compared + used, sizeof(diff->not_compared) - used, "%s%s (only in %s)",
                 used ? ", " : "", part, in_a ? "A" : "B");
    return in_a && in_b;
}

int pawl_diff_make(struct pawl_diff *diff)
{
    const struct pawl_document *a = diff->a, *b = diff->b;
    const struct pawl_training *p = a->training, *q = b->training;
    int rc = 0;

    if (both_have(diff, "architecture", a->architecture, b->architecture)
        && pawl_architecture_match(a->architecture, "A", b->architecture, "B"))
        snprintf(diff->architecture, sizeof(diff->architecture), "%s", pawl_error());
    if (both_have(diff, "weights", a->weight_count, b->weight_count))
        rc = compare_tables(diff, a->weights, a->weight_count, b->weights, b->weight_count);
    if (!rc && both_have(diff, "training state", p, q)) {
        diff->steps_differ = p->step != q->step;
        rc = compare_tables(diff, p->tensors, p->tensor_count, q->tensors, q->tensor_count);
    }
    return rc;
}

bool pawl_diff_is_same(const struct pawl_diff *diff)
{
    return !diff->count && !diff->steps_differ && !diff->architecture[0];
}

void pawl_diff_free(struct pawl_diff *diff)
{
    pawl_free(diff->differences);
    diff->differences = NULL;
    diff->count = 0;
}
