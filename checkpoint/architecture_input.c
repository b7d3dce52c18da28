// architecture_input.c - a model that takes images of any size meets data of one.

#include <string.h>

#include "checkpoint/architecture.h"
#include "kernels/memory.h"

static bool same_params(const struct pawl_architecture *a, const struct pawl_architecture *b)
{
    struct pawl_param p[PAWL_PARAMS_MAX], q[PAWL_PARAMS_MAX];

    for (int i = 0; i < a->layer_count; i++) {
        const int count = pawl_layer_params(a, i, p);
        if (pawl_layer_params(b, i, q) != count) return false;
        for (int k = 0; k < count; k++)
            if (p[k].rank != q[k].rank || memcmp(p[k].dim, q[k].dim, sizeof(p[k].dim)))
                return false;
    }
    return true;
}

int pawl_architecture_resize(struct pawl_architecture *architecture, int rank, const int64_t *dim)
{
    const struct pawl_layer *input = &architecture->layers[0];
    struct pawl_architecture other = { 0 };

    if (input->kind != PAWL_INPUT || input->in.tokens || input->in.shape.rank != rank || rank < 2
        || !memcmp(input->in.shape.dim, dim, sizeof(*dim) * (size_t)rank))
        return 0;
    int rc = pawl_architecture_copy(&other, architecture);
    if (rc) return rc;
    memcpy(other.layers[0].in.shape.dim, dim, sizeof(*dim) * (size_t)rank);
    if (!pawl_architecture_check(&other) && same_params(architecture, &other)) {
        const struct pawl_architecture old = *architecture;
        *architecture = other;
        other = old;
    }
    pawl_architecture_free(&other);
    return 0;
}
