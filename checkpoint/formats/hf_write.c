// hf_write.c - a folder as transformers saves it: config.json and model.safetensors, in shards with
// an index where it is large.
//
// What the model is, is read off its layers: a config.json is made of them, the architecture that
// this describes is built, and both must be the same but for dropout and names. Then the n-th
// parameter of one is the n-th of the other. GPT-2's Conv1D weights lie (in, out).

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "checkpoint/binding.h"
#include "checkpoint/cast.h"
#include "checkpoint/formats/formats.h"
#include "checkpoint/formats/hf.h"
#include "checkpoint/formats/safetensors.h"
#include "checkpoint/layers.h"
#include "kernels/io.h"
#include "kernels/memory.h"

static const uint64_t SHARD_BYTES = 5000000000;  // as transformers cuts

static int other(const struct pawl_document *document, const char *layer, const char *why)
{
    return pawl_fail(PAWL_ENOTSUP, "%s: layer '%s': %s, so transformers has no such model (gpt2 "
                     "and llama are written). try: --to safetensors", document->path, layer, why);
}

// ---- the configuration

static const struct {
    enum pawl_activation is;
    const char *name;
} activations[] = { { PAWL_GELU_TANH, "gelu_new" }, { PAWL_GELU, "gelu" }, { PAWL_RELU, "relu" },
                    { PAWL_SILU, "silu" }, { PAWL_TANH, "tanh" } };

// The first layers of each kind, which say what all others are like.
struct seen {
    const struct pawl_layer *input, *embedding, *position, *norm, *attention, *head;
    const struct pawl_layer *dense[8];
    const char *activation;
    int blocks, denses;
    double dropout;
};

static void look_at(struct seen *s, const struct pawl_layer *layer)
{
    enum pawl_activation activation = PAWL_LINEAR;

    if (layer->kind == PAWL_INPUT) s->input = layer;
    if (layer->kind == PAWL_EMBEDDING) s->embedding = layer;
    if (layer->kind == PAWL_POSITION_EMBEDDING) s->position = layer;
    if (layer->kind == PAWL_LAYER_NORM || layer->kind == PAWL_RMS_NORM) s->norm = layer;
    if (layer->kind == PAWL_ATTENTION) s->attention = layer, s->blocks++;
    if (layer->kind == PAWL_DROPOUT) s->dropout = layer->dropout.rate;
    if (layer->kind == PAWL_ACTIVATE) activation = layer->activate.activation;
    if (layer->kind == PAWL_DENSE) {
        if (s->denses < 8) s->dense[s->denses++] = layer;
        s->head = layer;
        activation = layer->dense.activation;
    }
    for (size_t i = 0; i < sizeof(activations) / sizeof(*activations); i++)
        if (activations[i].is == activation) s->activation = activations[i].name;
}

static json_t *gpt2_config(const struct seen *s)
{
    return json_pack("{ss s[s] sI sI sI sI sI sI sf sf sf sf ss sb sn sn}", "model_type", "gpt2",
                     "architectures", "GPT2LMHeadModel",
                     "vocab_size", (json_int_t)s->embedding->embedding.vocab,
                     "n_positions", (json_int_t)s->position->position.positions,
                     "n_embd", (json_int_t)s->embedding->embedding.width,
                     "n_layer", (json_int_t)s->blocks,
                     "n_head", (json_int_t)s->attention->attention.heads,
                     "n_inner", (json_int_t)s->dense[2]->dense.units,
                     "layer_norm_epsilon", s->norm->norm.epsilon,
                     "resid_pdrop", s->dropout, "embd_pdrop", s->dropout, "attn_pdrop", 0.0,
                     "activation_function", s->activation ? s->activation : "gelu_new",
                     "tie_word_embeddings", s->head->dense.tied[0] != 0, "bos_token_id",
                     "eos_token_id");
}

static json_t *llama_config(const struct seen *s)
{
    const int64_t heads = s->attention->attention.heads;

    return json_pack("{ss s[s] sI sI sI sI sI sI sI sI sf ss sb sb sb s{ss sf} sf sn sn}",
                     "model_type", "llama", "architectures", "LlamaForCausalLM",
                     "vocab_size", (json_int_t)s->embedding->embedding.vocab,
                     "max_position_embeddings", (json_int_t)s->input->in.shape.dim[0],
                     "hidden_size", (json_int_t)s->embedding->embedding.width,
                     "intermediate_size", (json_int_t)s->dense[4]->dense.units,
                     "num_hidden_layers", (json_int_t)s->blocks,
                     "num_attention_heads", (json_int_t)heads,
                     "num_key_value_heads", (json_int_t)s->attention->attention.kv_heads,
                     "head_dim", (json_int_t)(s->dense[0]->dense.units / heads),
                     "rms_norm_eps", s->norm->norm.epsilon,
                     "hidden_act", s->activation ? s->activation : "silu",
                     "attention_bias", s->dense[0]->dense.bias, "mlp_bias",
                     s->dense[4]->dense.bias, "tie_word_embeddings", s->head->dense.tied[0] != 0,
                     "rope_parameters", "rope_type", "default", "rope_theta",
                     s->attention->attention.theta, "rope_theta", s->attention->attention.theta,
                     "bos_token_id", "eos_token_id");
}

static int make_config(const struct pawl_document *document, json_t **out)
{
    const struct pawl_architecture *of = document->architecture;
    struct seen s = { 0 };

    for (int i = 0; i < of->layer_count; i++)
        look_at(&s, &of->layers[i]);
    if (!s.embedding || !s.attention || !s.norm || !s.input->in.tokens)
        return other(document, of->layers[of->layer_count - 1].name,
                     "the model takes no tokens, or has no attention");
    if (s.position && s.denses > 3)
        *out = gpt2_config(&s);
    else if (s.norm->kind == PAWL_RMS_NORM && s.denses > 7 && s.dense[0]->dense.units > 0)
        *out = llama_config(&s);
    else
        return other(document, s.attention->name, "its block is neither GPT-2's nor Llama's");
    return *out ? 0 : pawl_fail(PAWL_ENOMEM, "no memory for a configuration");
}

// ---- the same model

struct node {
    enum pawl_layer_kind kind;
    const struct pawl_layer *layer;
    enum pawl_activation activation;
    int params, count;  // the layer's first parameter, and how many
    int input[PAWL_INPUTS_MAX];
};

// Layers without dropout, activations apart from dense layers.
struct nodes {
    struct node *items;
    int count;
    int *node_of;  // per layer
};

static int list_nodes(struct nodes *out, const struct pawl_architecture *of)
{
    struct pawl_param params[PAWL_PARAMS_MAX];
    const size_t layers = (size_t)of->layer_count;
    int next = 0;

    int rc = pawl_alloc(&out->items, sizeof(*out->items) * 2 * layers, "layers");
    if (!rc) rc = pawl_alloc(&out->node_of, sizeof(int) * layers, "layers");
    for (int i = 0; i < of->layer_count && !rc; i++) {
        const struct pawl_layer *layer = &of->layers[i];
        struct node node = { .kind = layer->kind, .layer = layer, .params = next };
        node.count = pawl_layer_params(of, i, params);
        next += node.count;
        if (layer->kind == PAWL_DROPOUT) {
            out->node_of[i] = out->node_of[layer->input[0]];
            continue;
        }
        for (int k = 0; k < layer->input_count; k++)
            node.input[k] = out->node_of[layer->input[k]];
        if (layer->kind == PAWL_ACTIVATE) node.activation = layer->activate.activation;
        out->items[out->count++] = node;
        if (layer->kind == PAWL_DENSE && layer->dense.activation) {
            node = (struct node){ .kind = PAWL_ACTIVATE, .layer = layer,
                                  .activation = layer->dense.activation,
                                  .input = { out->count - 1 } };
            out->items[out->count++] = node;
        }
        out->node_of[i] = out->count - 1;
    }
    return rc;
}

static bool same_fields(const struct node *a, const struct node *b)
{
    const struct pawl_layer *x = a->layer, *y = b->layer;

    if (a->activation != b->activation) return false;
    switch (a->kind) {
    case PAWL_INPUT: return x->in.tokens == y->in.tokens;
    case PAWL_DENSE: return x->dense.units == y->dense.units && x->dense.bias == y->dense.bias
                            && !x->dense.tied[0] == !y->dense.tied[0];
    case PAWL_LAYER_NORM:
    case PAWL_RMS_NORM: return x->norm.epsilon == y->norm.epsilon;
    case PAWL_ATTENTION:
        return x->attention.heads == y->attention.heads
               && x->attention.kv_heads == y->attention.kv_heads
               && x->attention.causal == y->attention.causal
               && x->attention.theta == y->attention.theta
               && x->attention.rotary == y->attention.rotary
               && x->attention.interleaved == y->attention.interleaved;
    default: return true;  // their parameters' shapes tell, which both have checked
    }
}

static bool same_node(const struct node *a, const struct node *b)
{
    const int inputs = a->kind == PAWL_ACTIVATE ? 1 : a->layer->input_count;
    const bool either = (a->kind == PAWL_ADD || a->kind == PAWL_MULTIPLY) && inputs == 2;

    if (a->kind != b->kind || a->count != b->count || !same_fields(a, b)) return false;
    if (a->kind != PAWL_ACTIVATE && inputs != b->layer->input_count) return false;
    if (either && a->input[0] == b->input[1] && a->input[1] == b->input[0]) return true;
    for (int k = 0; k < inputs; k++)
        if (a->input[k] != b->input[k]) return false;
    return true;
}

// ---- tensors

struct folder {
    const struct pawl_document *document;
    const struct pawl_write_options *options;
    struct pawl_document *theirs;    // architecture and tensors as transformers has them
    struct pawl_bindings targets;    // their tensors, made of the document's parameters
    int held;                        // the target whose elements are in bytes, or -1
    char *bytes;
    bool gpt2;
};

struct source {
    struct folder *folder;
    int target;
};

static int read_target(void *context, uint64_t offset, void *out, size_t size)
{
    const struct source *source = context;
    struct folder *f = source->folder;
    const struct pawl_binding *target = &f->targets.items[source->target];
    int rc = 0;

    if (f->held != source->target) {
        f->held = -1;
        pawl_free(f->bytes);
        f->bytes = NULL;
        rc = pawl_alloc(&f->bytes, target->tensor.size_bytes + 1, "a tensor");
        if (!rc)
            rc = pawl_document_fetch_target(f->document, target, NULL, target->tensor.dtype,
                                            f->bytes);
        if (!rc) f->held = source->target;
    }
    if (!rc) memcpy(out, f->bytes + offset, size);
    return rc;
}

static int add_tensor(struct folder *f, const char *name, int param, bool across)
{
    const struct pawl_tensor *from = &f->document->bindings->items[param].tensor;
    const enum pawl_dtype own = pawl_document_param_dtype(f->document, param);
    const enum pawl_dtype dtype = f->options->cast && pawl_dtype_casts(own) ? f->options->dtype
                                                                            : own;
    const struct pawl_relayout swap = pawl_relayout_swap(from->dim[0], from->dim[1]);
    const int64_t turned[2] = { from->dim[1], from->dim[0] };
    struct source *source = NULL;
    int file;

    int rc = pawl_bindings_add(&f->targets, name, dtype, from->rank, across ? turned : from->dim);
    if (!rc) rc = pawl_bind_whole(&f->targets, param, across ? &swap : NULL);
    if (!rc) rc = pawl_alloc(&source, sizeof(*source), "a tensor");
    if (rc) return rc;
    *source = (struct source){ f, f->targets.count - 1 };
    const struct pawl_tensor *tensor = &f->targets.items[source->target].tensor;
    const struct pawl_made made = { .size_bytes = tensor->size_bytes, .context = source,
                                    .read = read_target, .free = pawl_free };
    rc = pawl_document_add_made(f->theirs, f->document->path, &made, &file);
    if (rc) {
        pawl_free(source);
        return rc;
    }
    return pawl_document_add_entry(&f->theirs->weights, &f->theirs->weight_count, tensor, file, 0);
}

static int add_node_tensors(struct folder *f, const struct node *mine, const struct node *theirs)
{
    struct pawl_param params[PAWL_PARAMS_MAX];
    char name[PAWL_NAME_MAX + 1];
    const int layer = (int)(theirs->layer - f->theirs->architecture->layers);
    int rc = 0;

    pawl_layer_params(f->theirs->architecture, layer, params);
    for (int k = 0; k < mine->count && !rc; k++) {
        const struct pawl_tensor *from = &f->document->bindings->items[mine->params + k].tensor;
        if (from->rank != params[k].rank
            || memcmp(from->dim, params[k].dim, sizeof(int64_t) * (size_t)from->rank))
            return other(f->document, mine->layer->name, "its parameters have other shapes");
        snprintf(name, sizeof(name), "%s.%.15s", theirs->layer->name, params[k].suffix);
        const bool conv1d = f->gpt2 && theirs->kind == PAWL_DENSE && !strcmp(params[k].suffix,
                            "weight") && strcmp(theirs->layer->name, "lm_head");
        rc = add_tensor(f, name, mine->params + k, conv1d);
    }
    return rc;
}

static int pair_models(struct folder *f)
{
    struct nodes mine = { 0 }, theirs = { 0 };
    const struct pawl_architecture *of = f->document->architecture;

    int rc = list_nodes(&mine, of);
    if (!rc) rc = list_nodes(&theirs, f->theirs->architecture);
    for (int i = 0; i < mine.count && !rc; i++) {
        if (i >= theirs.count || !same_node(&mine.items[i], &theirs.items[i]))
            rc = other(f->document, mine.items[i].layer->name, "it is another there");
        else
            rc = add_node_tensors(f, &mine.items[i], &theirs.items[i]);
    }
    if (!rc && mine.count != theirs.count)
        rc = other(f->document, of->layers[of->layer_count - 1].name, "more layers follow there");
    pawl_free(mine.items);
    pawl_free(mine.node_of);
    pawl_free(theirs.items);
    pawl_free(theirs.node_of);
    return rc;
}

// ---- files

static int write_json(const char *directory, const char *name, const json_t *value)
{
    char path[4300];
    char *text = json_dumps(value, JSON_INDENT(2));

    if (!text) return pawl_fail(PAWL_ENOMEM, "no memory for %s", name);
    snprintf(path, sizeof(path), "%s/%s", directory, name);
    const int rc = pawl_io_write_file(path, text, strlen(text), false);
    free(text);
    return rc ? pawl_io_fail(rc, "write", path) : 0;
}

// The tensors from `first` on that go together, and how many shards there are up to here.
static int shard_end(const struct pawl_document *theirs, int first, uint64_t shard_bytes)
{
    uint64_t bytes = 0;
    int end = first;

    for (; end < theirs->weight_count; end++) {
        bytes += theirs->weights[end].tensor.size_bytes;
        if (end > first && bytes > shard_bytes) break;
    }
    return end;
}

static int write_shards(const struct folder *f, const char *path, uint64_t shard_bytes)
{
    const struct pawl_document *theirs = f->theirs;
    json_t *map = json_object();
    char name[64], file[4300];
    int count = 0, number = 0, rc = 0;
    json_int_t total = 0;

    for (int at = 0; at < theirs->weight_count; at = shard_end(theirs, at, shard_bytes))
        count++;
    for (int at = 0, end; at < theirs->weight_count && !rc; at = end) {
        struct pawl_document part = *theirs;
        end = shard_end(theirs, at, shard_bytes);
        part.weights = &theirs->weights[at];
        part.weight_count = end - at;
        snprintf(name, sizeof(name), "model-%05d-of-%05d.safetensors", ++number, count);
        if (count == 1) snprintf(name, sizeof(name), "model.safetensors");
        for (int i = at; i < end; i++) {
            json_object_set_new(map, theirs->weights[i].tensor.name, json_string(name));
            total += (json_int_t)theirs->weights[i].tensor.size_bytes;
        }
        snprintf(file, sizeof(file), "%s/%s", path, name);
        rc = pawl_safetensors_write(&part, file, &(struct pawl_write_options){ 0 });
    }
    if (!rc && count > 1) {
        json_t *index = json_pack("{s{sI} sO}", "metadata", "total_size", total, "weight_map", map);
        rc = write_json(path, "model.safetensors.index.json", index);
        json_decref(index);
    }
    json_decref(map);
    return rc;
}

static const char *torch_name(enum pawl_dtype dtype)
{
    return dtype == PAWL_BF16 ? "bfloat16" : dtype == PAWL_F16 ? "float16"
           : dtype == PAWL_F64 ? "float64" : "float32";
}

static int open_folder(struct folder *f, json_t **config)
{
    const struct pawl_document *document = f->document;

    if (!document->architecture || !document->weight_count)
        return pawl_fail(PAWL_ENOTSUP, "%s: a folder of transformers needs architecture and "
                         "weights. try: --arch MODEL", document->path);
    int rc = pawl_document_bind((struct pawl_document *)(uintptr_t)document);
    if (!rc) rc = make_config(document, config);
    if (!rc) rc = pawl_document_new(&f->theirs);
    if (!rc) rc = pawl_hf_take_config(f->theirs, *config, document->path);
    if (rc) return rc;
    f->gpt2 = !strcmp(json_string_value(json_object_get(*config, "model_type")), "gpt2");
    rc = pair_models(f);
    if (rc) return rc;
    const char *dtype = torch_name(f->theirs->weights[0].tensor.dtype);
    json_object_set_new(*config, "dtype", json_string(dtype));
    json_object_set_new(*config, "torch_dtype", json_string(dtype));  // before transformers 5
    return 0;
}

int pawl_hf_write(const struct pawl_document *document, const char *path,
                  const struct pawl_write_options *options, uint64_t shard_bytes)
{
    struct folder f = { .document = document, .options = options, .held = -1 };
    json_t *config = NULL;

    int rc = open_folder(&f, &config);
    const int made = rc ? 0 : pawl_io()->mkdir(path, 0777);
    if (made) rc = pawl_io_fail(made, "create", path);
    if (!rc) rc = write_shards(&f, path, shard_bytes);
    if (!rc) rc = write_json(path, "config.json", config);
    const int synced = rc ? 0 : pawl_io_sync_dir(path);
    if (synced) rc = pawl_io_fail(synced, "fsync", path);
    json_decref(config);
    pawl_document_free(f.theirs);
    pawl_bindings_free(&f.targets);
    pawl_free(f.bytes);
    return rc;
}

static bool detect(const char *path, const unsigned char *head, size_t head_bytes, bool directory)
{
    (void)path, (void)head, (void)head_bytes, (void)directory;
    return false;  // the format safetensors reads these folders
}

static int write_folder(const struct pawl_document *document, const char *path,
                        const struct pawl_write_options *options)
{
    return pawl_hf_write(document, path, options, SHARD_BYTES);
}

const struct pawl_format pawl_format_hf = {
    .name = "hf",
    .suffixes = "",
    .parts = PAWL_PART_ARCHITECTURE | PAWL_PART_WEIGHTS,
    .detect = detect,
    .write = write_folder,
};
