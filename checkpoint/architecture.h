// architecture.h - what a model is, apart from its weights: layers, configuration, shapes.
//
// An architecture is a list of layers in an order in which they can run. Each names its inputs by
// index; most have one, the layer before. The kinds are a closed table (architecture.c): a row
// gives a kind's name, its fields (for JSON and for errors), how many inputs it takes, the shape
// it makes and the parameters it owns. Every format is read into these kinds and written from them.
//
//     input -> embedding -> position -> [ layer_norm -> dense -> attention -> dense -> add ... ]
//
// Shapes leave out the batch: (features), (time, channels), (height, width, channels).
// A parameter is called LAYER.SUFFIX ("blocks.0.ln1.weight"). Dense weights are (units, inputs),
// convolution weights (filters, kernel_h, kernel_w, channels / groups), transposed ones those of
// the convolution that they transpose: (channels, kernel_h, kernel_w, filters / groups). Gates lie
// one after the other, as in PyTorch: LSTM input, forget, cell, output; GRU reset, update, new.
//
// Memory: owned by the structure, freed by pawl_architecture_free. Threads: constant after check.

#ifndef PAWL_ARCHITECTURE_H
#define PAWL_ARCHITECTURE_H

#include <stdbool.h>
#include <stdint.h>

#include "kernels/ops.h"
#include "kernels/tensor.h"

enum { PAWL_LAYERS_MAX = 4096, PAWL_INPUTS_MAX = 8, PAWL_PARAMS_MAX = 4, PAWL_SHAPE_MAX = 4 };

// docs/layers.md explains each; layers_table.c has the rows.
enum pawl_layer_kind {
    PAWL_INPUT,
    PAWL_DENSE,
    PAWL_CONV1D,
    PAWL_CONV2D,
    PAWL_CONV1D_TRANSPOSE,
    PAWL_CONV2D_TRANSPOSE,
    PAWL_MAX_POOL1D,
    PAWL_MAX_POOL2D,
    PAWL_AVG_POOL1D,
    PAWL_AVG_POOL2D,
    PAWL_GLOBAL_MAX_POOL,     // over every axis but the last
    PAWL_GLOBAL_AVG_POOL,
    PAWL_BATCH_NORM,
    PAWL_LAYER_NORM,
    PAWL_GROUP_NORM,
    PAWL_RMS_NORM,
    PAWL_EMBEDDING,           // tokens -> rows of a table
    PAWL_POSITION_EMBEDDING,  // adds a row per position
    PAWL_ATTENTION,           // over rows of queries, keys, values: no parameters of its own
    PAWL_LSTM,
    PAWL_GRU,
    PAWL_SIMPLE_RNN,
    PAWL_ACTIVATE,
    PAWL_PRELU,
    PAWL_DROPOUT,
    PAWL_FLATTEN,
    PAWL_RESHAPE,
    PAWL_PERMUTE,
    PAWL_ZERO_PADDING,
    PAWL_ADD,                 // of two inputs or more, as the four that follow
    PAWL_MULTIPLY,
    PAWL_AVERAGE,
    PAWL_MAXIMUM,
    PAWL_CONCATENATE,
    PAWL_SUBTRACT,            // the second from the first
    PAWL_LAYER_KINDS
};

enum pawl_padding { PAWL_VALID, PAWL_SAME };  // SAME as TensorFlow: the odd one at the far border

// A shape without the batch.
struct pawl_shape {
    int rank;
    int64_t dim[PAWL_SHAPE_MAX];
};

struct pawl_layer {
    char name[PAWL_NAME_MAX + 1 - 16];  // unique; leaves room for ".SUFFIX"
    enum pawl_layer_kind kind;
    int input_count;
    int input[PAWL_INPUTS_MAX];  // earlier layers
    union {
        struct { struct pawl_shape shape; bool tokens; } in;
        // tied: another layer's parameter of shape (units, inputs) that is the weight, or "".
        // init_std: the weight starts normal with this deviation and the bias at 0; 0: both
        // start uniform within 1 / sqrt(inputs), as in PyTorch.
        struct {
            int64_t units;
            bool bias;
            enum pawl_activation activation;
            double init_std;
            char tied[PAWL_NAME_MAX + 1];
        } dense;
        // All convolutions; 1-d ones use [1] of each pair, check sets [0] to a height of 1. pads:
        // top, bottom, left, right, zeros in addition to VALID (of a transposed one: cut off the
        // output). extra: rows and columns that a transposed one's output has more at the end.
        // depthwise: groups equal to the channels.
        struct {
            int64_t filters, kernel[2], stride[2], dilation[2], pads[4], extra[2], groups;
            enum pawl_padding padding;
            bool bias;
            enum pawl_activation activation;
        } conv;
        // stride 0: as size (check fills it in). count_pads: padding counts in the mean, as 0.
        struct {
            int64_t size[2], stride[2], pads[4];
            enum pawl_padding padding;
            bool count_pads;
        } pool;
        struct { bool keep; } global;  // keep: the axes stay, of length 1
        // weight, bias: whether it has them. momentum: running = (1 - momentum) * running
        // + momentum * batch, as in PyTorch; Keras's is 1 minus this. unbiased: the running
        // variance is of n - 1, as in PyTorch.
        struct {
            double epsilon, momentum;
            int64_t groups;
            bool weight, bias, unbiased;
        } norm;
        struct { int64_t vocab, width; } embedding;
        struct { int64_t positions; } position;
        // kv_heads 0: as heads. theta 0: no rotary embedding. rotary: how many dimensions of a
        // head turn, 0 all. interleaved: pairs are (0, 1), (2, 3); else (0, half), (1, half + 1).
        struct {
            int64_t heads, kv_heads, rotary;
            double theta;
            bool causal, interleaved;
        } attention;
        // sequences: every step's output, not the last one's alone. reverse: from the last step to
        // the first, each output staying at its step. recurrent_bias: a second bias, of what comes
        // from the step before, as PyTorch keeps it. reset_after: GRU's reset gate acts on the
        // product with the recurrent weight, as in PyTorch, not on the state.
        struct {
            int64_t units;
            enum pawl_activation activation, recurrent_activation;
            bool sequences, reverse, bias, recurrent_bias, reset_after;
        } rnn;
        // alpha: leaky_relu's slope, elu's alpha; 0: the usual 0.01 and 1 (check fills it in).
        struct { enum pawl_activation activation; double alpha; } activate;
        struct { bool shared; } prelu;  // one slope for all channels
        struct { double rate; } dropout;
        struct { struct pawl_shape shape; } reshape;
        struct { struct pawl_shape order; } permute;  // out axis i is in axis order.dim[i]
        struct { int64_t pads[4]; } zero_padding;     // top, bottom, left, right
        struct { int64_t axis; } concatenate;         // from 0; -1 the last (check fills it in)
    };
    struct pawl_shape out;  // filled by pawl_architecture_check
};

enum pawl_init {
    PAWL_INIT_ZERO,
    PAWL_INIT_ONE,
    PAWL_INIT_CONSTANT,  // scale
    PAWL_INIT_NORMAL,   // scale is the standard deviation
    PAWL_INIT_UNIFORM,  // scale is the bound
};

// A parameter that a layer owns.
struct pawl_param {
    char suffix[16];  // "weight", "bias"
    int rank;
    int64_t dim[PAWL_SHAPE_MAX];
    enum pawl_init init;
    double scale;
    bool decay;      // weight decay applies (matrices yes, biases and norms no)
    bool trainable;  // false: state that forward keeps and no optimizer touches (running means)
};

struct pawl_architecture {
    char name[64];              // "gpt", "mlp", "cnn", or the source's own
    struct pawl_layer *layers;  // owned; in running order; the last one is the output
    int layer_count;
    char loss[32];              // "cross-entropy", "mse", "binary-cross-entropy", or "": none said
};

// Checks every layer and fills the shapes. PAWL_EINVAL names the layer, the field, and why.
PAWL_API int pawl_architecture_check(struct pawl_architecture *architecture);
// Gives an image's or a sequence's input another size when every parameter keeps its shape, as in a
// convolutional model before global pooling; otherwise nothing changes. Only PAWL_ENOMEM fails.
int pawl_architecture_resize(struct pawl_architecture *architecture, int rank, const int64_t *dim);
// Frees what it holds, not the structure itself; NULL is fine.
PAWL_API void pawl_architecture_free(struct pawl_architecture *architecture);
int pawl_architecture_copy(struct pawl_architecture *out, const struct pawl_architecture *from);

// Appends a layer of a kind with its defaults, fed by the last one; the caller sets its fields.
// The pointer lives until the next append.
int pawl_architecture_append(struct pawl_architecture *architecture, enum pawl_layer_kind kind,
                             const char *name, struct pawl_layer **out);

// The parameters that layer i owns, after check: their number, 0..PAWL_PARAMS_MAX.
int pawl_layer_params(const struct pawl_architecture *architecture, int i,
                      struct pawl_param out[PAWL_PARAMS_MAX]);
const char *pawl_layer_kind_name(enum pawl_layer_kind kind);        // "dense", "layer_norm"
const char *pawl_activation_name(enum pawl_activation activation);  // "linear", "gelu_tanh"
int64_t pawl_architecture_params(const struct pawl_architecture *architecture);  // elements

// pawl's own JSON: {"pawl": 1, "name": "mlp", "loss": "cross-entropy", "layers": [{"name": "fc1",
// "kind": "dense", "inputs": ["input"], "config": {"units": 256, ...}}, ...]}. `out` is freed by
// pawl_free. Reading: PAWL_ECORRUPT says what is wrong, with a "did you mean" for kinds and fields.
PAWL_API int pawl_architecture_to_json(char **out, const struct pawl_architecture *architecture);
PAWL_API int pawl_architecture_from_json(struct pawl_architecture *out, const char *json);

// The presets: "gpt:layers=6,heads=6,width=384,context=256[,vocab=256][,dropout=0]",
// "mlp:784-256-128-10", "cnn:fashion", and the names "gpt", "gpt-small" (6 layers, 6 heads, width
// 384, context 256, bytes), "gpt2-124m" (50304 rows), "mlp", "cnn".
// PAWL_ENONE: spec is no preset at all (perhaps a path). PAWL_EINVAL: a preset, but wrong.
PAWL_API int pawl_architecture_preset(struct pawl_architecture *out, const char *spec);

// Compares two architectures: 0, or PAWL_ECORRUPT naming the first layer and tensor that differ,
// with both shapes. `mine` and `theirs` are what to call the two in the message.
int pawl_architecture_match(const struct pawl_architecture *a, const char *mine,
                            const struct pawl_architecture *b, const char *theirs);

#endif
