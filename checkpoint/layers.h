// layers.h - the closed table of layer kinds. Private to checkpoint/.
//
//     row:  name   inputs   fields              shape()              params()
//           dense  1        units, bias, ...    (.., f) -> (.., u)   weight (u, f), bias (u)
//
// A field's descriptor drives everything that touches it: its default, its check, JSON both ways,
// and the words of an error. A new kind is one row in layers_table.c and one member of the union.

#ifndef PAWL_LAYERS_H
#define PAWL_LAYERS_H

#include "checkpoint/architecture.h"
#include "checkpoint/text.h"

enum { PAWL_DIMENSION_MAX = 2147483647 };  // of any one dimension: token ids and indices are int32

enum pawl_field_type {
    PAWL_FIELD_COUNT,       // int64_t
    PAWL_FIELD_PAIR,        // int64_t[2]: height, width
    PAWL_FIELD_PADS,        // int64_t[4]: top, bottom, left, right
    PAWL_FIELD_BOOL,        // bool
    PAWL_FIELD_REAL,        // double
    PAWL_FIELD_ACTIVATION,  // enum pawl_activation
    PAWL_FIELD_PADDING,     // enum pawl_padding
    PAWL_FIELD_NAME,        // char[PAWL_NAME_MAX + 1]: a parameter's name or ""
    PAWL_FIELD_SHAPE,       // struct pawl_shape
};

enum {
    PAWL_FIELD_REQUIRED = 1,  // has no default
    PAWL_FIELD_QUIET = 2,     // left out of JSON while it has its default
    PAWL_FIELD_LOOSE = 4,     // changes how training goes, not what the weights mean
};

struct pawl_field {
    const char *name;
    enum pawl_field_type type;
    size_t offset;  // in struct pawl_layer
    int flags;
    double standard;     // the default; an enum's value; both of a pair
    double least, most;  // of counts, pairs and reals
};

struct pawl_layer_row {
    const char *name;
    int inputs, inputs_most;
    const struct pawl_field *fields;
    int field_count;
    // Sets layer->out from in[0..input_count), checking what the fields alone cannot tell.
    int (*shape)(struct pawl_layer *layer, const struct pawl_shape *const *in);
    // NULL: owns no parameters. in: the first input's shape.
    int (*params)(const struct pawl_layer *layer, const struct pawl_shape *in,
                  struct pawl_param *out);
};

extern const struct pawl_layer_row pawl_layer_rows[PAWL_LAYER_KINDS];
extern const char *const pawl_activation_names[PAWL_ACTIVATIONS];
extern const char *const pawl_padding_names[2];
extern const char *const pawl_loss_names[3];

// Sets every field of a fresh layer to its default.
void pawl_layer_defaults(struct pawl_layer *layer);
// PAWL_EINVAL: a field is out of its bounds.
int pawl_layer_check_fields(const struct pawl_layer *layer);
// {"units": 256, ...} of one layer (architecture_json.c).
void pawl_layer_config_to_json(struct pawl_text *text, const struct pawl_layer *layer);
// "layer 'NAME' (KIND): WORDS" with code PAWL_EINVAL.
int pawl_layer_fail(const struct pawl_layer *layer, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

#endif
