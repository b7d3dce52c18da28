// pth_module_attention.c - TransformerEncoderLayer: attention and two dense layers, each with a
// shortcut and a norm before (norm_first) or behind.

#include <string.h>

#include "checkpoint/formats/pth_module.h"

struct encoder {
    struct pawl_pth_build *b;
    const struct pawl_py *module, *attention;
    int64_t width, heads;
};

static int last(const struct encoder *e)
{
    return e->b->out->layer_count - 1;
}

static int add_norm(const struct encoder *e, const char *name)
{
    const struct pawl_py *norm = pawl_pth_child(e->module, name);
    struct pawl_layer *layer = NULL;
    const int rc = pawl_pth_layer(e->b, PAWL_LAYER_NORM, name, &layer);

    if (rc) return rc;
    layer->norm.epsilon = pawl_pth_real(norm, "eps", 1e-5);
    layer->norm.bias = pawl_pth_has(norm, "bias");
    return 0;
}

static int add_dense(const struct encoder *e, const char *name, int64_t units, bool bias)
{
    struct pawl_layer *layer = NULL;
    const int rc = pawl_pth_layer(e->b, PAWL_DENSE, name, &layer);

    if (rc) return rc;
    layer->dense.units = units;
    layer->dense.bias = bias;
    return 0;
}

static int add_sum(const struct encoder *e, const char *name, int from)
{
    struct pawl_layer *layer = NULL;
    const int rc = pawl_pth_layer(e->b, PAWL_ADD, name, &layer);

    if (rc) return rc;
    layer->input_count = 2;
    layer->input[1] = layer->input[0];
    layer->input[0] = from;
    return 0;
}

static int add_attention(const struct encoder *e)
{
    const bool bias = pawl_pth_has(e->attention, "in_proj_bias");
    struct pawl_layer *layer = NULL;

    int rc = add_dense(e, "self_attn.in_proj", 3 * e->width, bias);
    if (!rc) rc = pawl_pth_layer(e->b, PAWL_ATTENTION, "self_attn", &layer);
    if (rc) return rc;
    layer->attention.heads = e->heads;
    layer->attention.causal = false;
    return add_dense(e, "self_attn.out_proj", e->width,
                     pawl_pth_has(pawl_pth_child(e->attention, "out_proj"), "bias"));
}

static int add_feed_forward(const struct encoder *e)
{
    const struct pawl_py *first = pawl_pth_child(e->module, "linear1");
    const struct pawl_py *second = pawl_pth_child(e->module, "linear2");
    struct pawl_layer *layer = NULL;

    int rc = add_dense(e, "linear1", pawl_pth_count(first, "out_features", 0),
                       pawl_pth_has(first, "bias"));
    if (!rc) rc = pawl_pth_layer(e->b, PAWL_ACTIVATE, "activation", &layer);
    if (rc) return rc;
    layer->activate.activation = pawl_pth_count(e->module, "activation_relu_or_gelu", 0) == 1
                                     ? PAWL_RELU : PAWL_GELU;
    return add_dense(e, "linear2", e->width, pawl_pth_has(second, "bias"));
}

static int add_blocks(const struct encoder *e)
{
    const bool first = pawl_pth_flag(e->module, "norm_first", false);
    int from = last(e);

    int rc = first ? add_norm(e, "norm1") : 0;
    if (!rc) rc = add_attention(e);
    if (!rc) rc = add_sum(e, "add1", from);
    if (!rc && !first) rc = add_norm(e, "norm1");
    from = last(e);
    if (!rc && first) rc = add_norm(e, "norm2");
    if (!rc) rc = add_feed_forward(e);
    if (!rc) rc = add_sum(e, "add2", from);
    if (!rc && !first) rc = add_norm(e, "norm2");
    return rc;
}

int pawl_pth_add_encoder(struct pawl_pth_build *b, const struct pawl_py *module)
{
    static const char *const children[] = { "self_attn", "linear1", "linear2", "norm1", "norm2" };
    struct encoder e = { .b = b, .module = module };
    const struct pawl_py *drop = pawl_pth_child(module, "dropout");

    for (int i = 0; i < 5; i++)
        if (!pawl_pth_child(module, children[i])) b->why = "an encoder layer without its parts";
    if (b->why) return 0;
    e.attention = pawl_pth_child(module, "self_attn");
    e.width = pawl_pth_count(e.attention, "embed_dim", 0);
    e.heads = pawl_pth_count(e.attention, "num_heads", 1);
    if (!pawl_pth_flag(e.attention, "batch_first", false))
        b->why = "attention with the batch second (batch_first=False)";
    else if (!pawl_pth_child(e.attention, "out_proj")
             || !pawl_pth_has(e.attention, "in_proj_weight"))
        b->why = "attention with separate projections";
    else if (pawl_pth_flag(e.attention, "add_zero_attn", false))
        b->why = "attention with add_zero_attn";
    else if (pawl_pth_count(module, "activation_relu_or_gelu", 0) == 0)
        b->why = "an activation that is neither relu nor gelu";
    else if (drop && pawl_pth_real(drop, "p", 0) > 0)
        b->dropped = true;
    if (b->why) return 0;
    const int64_t dim[2] = { 1024, e.width };
    const int rc = pawl_pth_input(b, 2, dim, false);
    b->spatial = 0;
    return rc ? rc : add_blocks(&e);
}
