// hf.c - GPT-2 and Llama as transformers builds them.

#include "checkpoint/formats/hf.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "kernels/io.h"
#include "kernels/memory.h"

enum { CONFIG_BYTES_MAX = 16 << 20, BLOCKS_MAX = 512 };

struct build {
    struct pawl_architecture made;
    const json_t *config;
    const char *what;
    char prefix[64];   // of the block at hand: "model.layers.3"
    int rc;            // the first failure; what follows it is skipped
};

bool pawl_hf_is_config(const json_t *config)
{
    return json_is_string(json_object_get(config, "model_type"));
}

// ---- fields

static int64_t count(struct build *b, const char *key, int64_t usual)
{
    const json_t *value = json_object_get(b->config, key);

    if ((!value || json_is_null(value)) && usual) return usual;
    if (json_is_integer(value) && json_integer_value(value) > 0
        && json_integer_value(value) <= INT32_MAX)
        return json_integer_value(value);
    if (!b->rc)
        b->rc = pawl_fail(PAWL_ECORRUPT, "%s: its %s must be an integer from 1 to 2^31 - 1",
                          b->what, key);
    return 1;
}

static double real(const struct build *b, const char *key, double usual)
{
    const json_t *value = json_object_get(b->config, key);

    return json_is_number(value) ? json_number_value(value) : usual;
}

static bool flag(const struct build *b, const char *key, bool usual)
{
    const json_t *value = json_object_get(b->config, key);

    return json_is_boolean(value) ? json_is_true(value) : usual;
}

static enum pawl_activation activation(struct build *b, const char *key, const char *usual)
{
    static const struct {
        const char *name;
        enum pawl_activation is;
    } rows[] = { { "gelu_new", PAWL_GELU_TANH }, { "gelu_pytorch_tanh", PAWL_GELU_TANH },
                 { "gelu_fast", PAWL_GELU_TANH }, { "gelu", PAWL_GELU }, { "relu", PAWL_RELU },
                 { "silu", PAWL_SILU }, { "swish", PAWL_SILU }, { "tanh", PAWL_TANH } };
    const char *name = json_string_value(json_object_get(b->config, key));

    if (!name) name = usual;
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++)
        if (!strcmp(rows[i].name, name)) return rows[i].is;
    if (!b->rc)
        b->rc = pawl_fail(PAWL_ECORRUPT, "%s: its %s '%.40s' is not known", b->what, key, name);
    return PAWL_LINEAR;
}

// ---- layers

// PREFIX.name, fed by the one before; a layer that nobody keeps when there is no room.
static struct pawl_layer *add(struct build *b, enum pawl_layer_kind kind, const char *name)
{
    static struct pawl_layer nowhere;
    struct pawl_layer *layer = &nowhere;
    char full[160];

    snprintf(full, sizeof(full), "%s%s%s", b->prefix, *b->prefix ? "." : "", name);
    if (!b->rc) b->rc = pawl_architecture_append(&b->made, kind, full, &layer);
    return layer;
}

static int last(const struct build *b)
{
    return b->made.layer_count - 1;
}

static void dense(struct build *b, const char *name, int64_t units, bool bias)
{
    struct pawl_layer *layer = add(b, PAWL_DENSE, name);

    layer->dense.units = units;
    layer->dense.bias = bias;
}

static void norm(struct build *b, enum pawl_layer_kind kind, const char *name, double epsilon)
{
    add(b, kind, name)->norm.epsilon = epsilon;
}

static void join(struct build *b, enum pawl_layer_kind kind, const char *name, int from)
{
    struct pawl_layer *layer = add(b, kind, name);

    layer->input[1] = layer->input[0];
    layer->input[0] = from;
    layer->input_count = 2;
}

static void dropout(struct build *b, const char *name, const char *key)
{
    if (real(b, key, 0) > 0) add(b, PAWL_DROPOUT, name)->dropout.rate = real(b, key, 0);
}

static void input(struct build *b, int64_t positions)
{
    struct pawl_layer *layer = add(b, PAWL_INPUT, "input");

    layer->in.tokens = true;
    layer->in.shape.rank = 1;
    layer->in.shape.dim[0] = positions;
}

static void head(struct build *b, const char *table, bool tied)
{
    struct pawl_layer *layer;

    b->prefix[0] = 0;
    layer = add(b, PAWL_DENSE, "lm_head");
    layer->dense.units = count(b, "vocab_size", 0);
    layer->dense.bias = false;
    if (tied) snprintf(layer->dense.tied, sizeof(layer->dense.tied), "%s.weight", table);
}

// ---- GPT-2

static void gpt2_block(struct build *b, int64_t width, int64_t inner)
{
    const double epsilon = real(b, "layer_norm_epsilon", 1e-5);
    struct pawl_layer *layer;
    int from = last(b);

    norm(b, PAWL_LAYER_NORM, "ln_1", epsilon);
    dense(b, "attn.c_attn", 3 * width, true);
    layer = add(b, PAWL_ATTENTION, "attn");
    layer->attention.heads = count(b, "n_head", 0);
    layer->attention.causal = true;
    dense(b, "attn.c_proj", width, true);
    dropout(b, "attn.resid_dropout", "resid_pdrop");
    join(b, PAWL_ADD, "add_1", from);
    from = last(b);
    norm(b, PAWL_LAYER_NORM, "ln_2", epsilon);
    dense(b, "mlp.c_fc", inner, true);
    add(b, PAWL_ACTIVATE, "mlp.act")->activate.activation = activation(b, "activation_function",
                                                                       "gelu_new");
    dense(b, "mlp.c_proj", width, true);
    dropout(b, "mlp.dropout", "resid_pdrop");
    join(b, PAWL_ADD, "add_2", from);
}

static void gpt2(struct build *b)
{
    const int64_t width = count(b, "n_embd", 0), blocks = count(b, "n_layer", 0);
    const int64_t positions = count(b, "n_positions", 1024);
    const int64_t inner = count(b, "n_inner", 4 * width);

    if (!flag(b, "scale_attn_weights", true) || flag(b, "scale_attn_by_inverse_layer_idx", false))
        b->rc = pawl_fail(PAWL_ECORRUPT, "%s: attention scaled in another way is not known",
                          b->what);
    input(b, positions);
    snprintf(b->prefix, sizeof(b->prefix), "transformer");
    struct pawl_layer *layer = add(b, PAWL_EMBEDDING, "wte");
    layer->embedding.vocab = count(b, "vocab_size", 0);
    layer->embedding.width = width;
    add(b, PAWL_POSITION_EMBEDDING, "wpe")->position.positions = positions;
    dropout(b, "drop", "embd_pdrop");
    for (int64_t i = 0; i < blocks && i < BLOCKS_MAX && !b->rc; i++) {
        snprintf(b->prefix, sizeof(b->prefix), "transformer.h.%d", (int)i);
        gpt2_block(b, width, inner);
    }
    snprintf(b->prefix, sizeof(b->prefix), "transformer");
    norm(b, PAWL_LAYER_NORM, "ln_f", real(b, "layer_norm_epsilon", 1e-5));
    head(b, "transformer.wte", flag(b, "tie_word_embeddings", true));
}

// ---- Llama

static double rope_theta(struct build *b)
{
    const json_t *rope = json_object_get(b->config, "rope_parameters");
    const json_t *scaling = json_object_get(b->config, "rope_scaling");
    const json_t *theta = json_object_get(rope, "rope_theta");
    const char *type = json_string_value(json_object_get(rope, "rope_type"));

    if (!type) type = json_string_value(json_object_get(scaling, "rope_type"));
    if (!type) type = json_string_value(json_object_get(scaling, "type"));
    if (type && strcmp(type, "default") && !b->rc)
        b->rc = pawl_fail(PAWL_ECORRUPT, "%s: rotary embedding of the type '%.40s' is not known",
                          b->what, type);
    return json_is_number(theta) ? json_number_value(theta) : real(b, "rope_theta", 10000);
}

static void llama_attention(struct build *b, int64_t width)
{
    const int64_t heads = count(b, "num_attention_heads", 0);
    const int64_t kv_heads = count(b, "num_key_value_heads", heads);
    const int64_t dim = count(b, "head_dim", width / heads ? width / heads : 1);
    const bool bias = flag(b, "attention_bias", false);
    const int from = last(b);

    dense(b, "self_attn.q_proj", heads * dim, bias);
    const int queries = last(b);
    dense(b, "self_attn.k_proj", kv_heads * dim, bias);
    if (!b->rc) b->made.layers[last(b)].input[0] = from;
    dense(b, "self_attn.v_proj", kv_heads * dim, bias);
    if (!b->rc) b->made.layers[last(b)].input[0] = from;
    struct pawl_layer *layer = add(b, PAWL_ATTENTION, "self_attn");
    layer->input_count = 3;
    for (int i = 0; i < 3; i++)
        layer->input[i] = queries + i;
    layer->attention.heads = heads;
    layer->attention.kv_heads = kv_heads;
    layer->attention.causal = true;
    layer->attention.theta = rope_theta(b);
    dense(b, "self_attn.o_proj", width, bias);
}

static void llama_block(struct build *b, int64_t width)
{
    const double epsilon = real(b, "rms_norm_eps", 1e-6);
    const int64_t inner = count(b, "intermediate_size", 0);
    const bool bias = flag(b, "mlp_bias", false);
    int from = last(b);

    norm(b, PAWL_RMS_NORM, "input_layernorm", epsilon);
    llama_attention(b, width);
    join(b, PAWL_ADD, "add_1", from);
    from = last(b);
    norm(b, PAWL_RMS_NORM, "post_attention_layernorm", epsilon);
    const int normed = last(b);
    dense(b, "mlp.gate_proj", inner, bias);
    add(b, PAWL_ACTIVATE, "mlp.act_fn")->activate.activation = activation(b, "hidden_act", "silu");
    const int gate = last(b);
    dense(b, "mlp.up_proj", inner, bias);
    if (!b->rc) b->made.layers[last(b)].input[0] = normed;
    join(b, PAWL_MULTIPLY, "mlp.gated", gate);
    dense(b, "mlp.down_proj", width, bias);
    join(b, PAWL_ADD, "add_2", from);
}

static void llama(struct build *b)
{
    const int64_t width = count(b, "hidden_size", 0), blocks = count(b, "num_hidden_layers", 0);

    input(b, count(b, "max_position_embeddings", 2048));
    snprintf(b->prefix, sizeof(b->prefix), "model");
    struct pawl_layer *layer = add(b, PAWL_EMBEDDING, "embed_tokens");
    layer->embedding.vocab = count(b, "vocab_size", 0);
    layer->embedding.width = width;
    for (int64_t i = 0; i < blocks && i < BLOCKS_MAX && !b->rc; i++) {
        snprintf(b->prefix, sizeof(b->prefix), "model.layers.%d", (int)i);
        llama_block(b, width);
    }
    snprintf(b->prefix, sizeof(b->prefix), "model");
    norm(b, PAWL_RMS_NORM, "norm", real(b, "rms_norm_eps", 1e-6));
    head(b, "model.embed_tokens", flag(b, "tie_word_embeddings", false));
}

// ---- both

int pawl_hf_take_config(struct pawl_document *document, const json_t *config, const char *what)
{
    const char *type = json_string_value(json_object_get(config, "model_type"));
    struct build b = { .config = config, .what = what };

    snprintf(b.made.name, sizeof(b.made.name), "%.60s", type);
    snprintf(b.made.loss, sizeof(b.made.loss), "cross-entropy");
    if (!strcmp(type, "gpt2")) {
        gpt2(&b);
    } else if (!strcmp(type, "llama")) {
        llama(&b);
    } else {
        pawl_document_warn(document, "%s: model_type '%.60s' is not known (gpt2 and llama are): no "
                           "architecture is read", what, type);
        return 0;
    }
    int rc = b.rc ? b.rc : pawl_architecture_check(&b.made);
    if (rc == PAWL_EINVAL) rc = pawl_fail(PAWL_ECORRUPT, "%s: %s", what, pawl_error());
    if (!rc) rc = pawl_alloc(&document->architecture, sizeof(b.made), "an architecture");
    if (rc)
        pawl_architecture_free(&b.made);
    else
        *document->architecture = b.made;
    return rc;
}

int pawl_hf_read_beside(struct pawl_document *document, const char *directory)
{
    char path[4200];
    char *bytes = NULL;
    json_error_t where;
    size_t size = 0;
    int rc = 0;

    snprintf(path, sizeof(path), "%s/config.json", directory);
    const int error = pawl_io_read_file(path, &bytes, &size, CONFIG_BYTES_MAX);
    if (error == -ENOENT) return 0;
    if (error) return pawl_io_fail(error, "read", path);
    json_t *config = json_loadb(bytes, size, JSON_REJECT_DUPLICATES, &where);
    if (!json_is_object(config))
        rc = pawl_fail(PAWL_ECORRUPT, "%s: line %d: it is not JSON: %s", path, where.line,
                       where.text);
    else if (pawl_hf_is_config(config))
        rc = pawl_hf_take_config(document, config, path);
    json_decref(config);
    pawl_free(bytes);
    return rc;
}
