// relayout.c - permuting axes: runs where the last axis stays, gathers where it does not.

#include "checkpoint/relayout.h"

#include <string.h>

struct pawl_relayout pawl_relayout_of(int rank, const int64_t *dim, const int *axis)
{
    struct pawl_relayout of = { .rank = rank };

    for (int i = 0; i < rank; i++) {
        of.dim[i] = dim[i];
        of.axis[i] = axis[i];
    }
    return of;
}

struct pawl_relayout pawl_relayout_swap(int64_t rows, int64_t columns)
{
    return pawl_relayout_of(2, (int64_t[]){ rows, columns }, (int[]){ 1, 0 });
}

int pawl_relayout_check(const struct pawl_relayout *relayout, int64_t elements)
{
    unsigned seen = 0;
    int64_t count;

    if (!relayout->rank) return 0;
    if (relayout->rank < 0 || relayout->rank > PAWL_RANK_MAX)
        return pawl_fail(PAWL_EINVAL, "a layout of %d dimensions", relayout->rank);
    const int rc = pawl_shape_count(&count, relayout->rank, relayout->dim);
    if (rc) return rc;
    for (int i = 0; i < relayout->rank; i++)
        if (relayout->axis[i] >= 0 && relayout->axis[i] < relayout->rank)
            seen |= 1u << relayout->axis[i];
    if (seen != (1u << relayout->rank) - 1)
        return pawl_fail(PAWL_EINVAL, "a layout's axes are no permutation");
    if (count != elements)
        return pawl_fail(PAWL_EINVAL, "a layout of %lld elements for a tensor of %lld",
                         (long long)count, (long long)elements);
    return 0;
}

bool pawl_relayout_moves(const struct pawl_relayout *relayout)
{
    int last = -1;

    for (int i = 0; i < relayout->rank; i++) {
        if (relayout->dim[relayout->axis[i]] == 1) continue;
        if (relayout->axis[i] < last) return true;
        last = relayout->axis[i];
    }
    return false;
}

// count elements, `stride` elements apart in the source, side by side into out.
static void gather(char *out, const char *in, size_t element, int64_t stride, int64_t count)
{
    if (stride == 1) {
        memcpy(out, in, (size_t)count * element);
        return;
    }
    const size_t step = (size_t)stride * element;
    if (element == 4) {
        for (int64_t i = 0; i < count; i++)
            memcpy(out + 4 * i, in + (size_t)i * step, 4);
        return;
    }
    if (element == 2) {
        for (int64_t i = 0; i < count; i++)
            memcpy(out + 2 * i, in + (size_t)i * step, 2);
        return;
    }
    for (int64_t i = 0; i < count; i++)
        memcpy(out + (size_t)i * element, in + (size_t)i * step, element);
}

void pawl_relayout_apply(const struct pawl_relayout *relayout, void *out, const void *in,
                         size_t element_bytes, int64_t start, int64_t count)
{
    int64_t stride[PAWL_RANK_MAX], size[PAWL_RANK_MAX], index[PAWL_RANK_MAX];
    int64_t source_stride[PAWL_RANK_MAX], step = 1, from = 0, rest = start;
    const int rank = relayout->rank, last = rank - 1;
    char *to = out;

    if (!rank) {
        memcpy(out, (const char *)in + (size_t)start * element_bytes,
               (size_t)count * element_bytes);
        return;
    }
    for (int i = last; i >= 0; i--) {
        source_stride[i] = step;
        step *= relayout->dim[i];
    }
    for (int i = last; i >= 0; i--) {
        stride[i] = source_stride[relayout->axis[i]];
        size[i] = relayout->dim[relayout->axis[i]];
        index[i] = size[i] ? rest % size[i] : 0;
        rest = size[i] ? rest / size[i] : 0;
        from += index[i] * stride[i];
    }
    while (count > 0) {
        const int64_t left = size[last] - index[last], now = left < count ? left : count;
        gather(to, (const char *)in + (size_t)from * element_bytes, element_bytes, stride[last],
               now);
        to += (size_t)now * element_bytes;
        count -= now;
        from -= index[last] * stride[last];
        index[last] = 0;
        for (int i = last - 1; i >= 0; i--) {
            from += stride[i];
            if (++index[i] < size[i]) break;
            from -= size[i] * stride[i];
            index[i] = 0;
        }
    }
}
