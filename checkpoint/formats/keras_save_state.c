// keras_save_state.c - an optimizer's state in Keras' order: iteration, rate, moments.

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "checkpoint/formats/keras_save_inside.h"

struct state {
    const char *slots[2];
    int count;
    bool apart;  // one slot of all variables after the other, not all of each together
    bool here;
};

static bool have_slot(const struct pawl_keras_file *s, const char *slot)
{
    for (int v = 0; v < s->keras.variable_count; v++) {
        const struct pawl_binding *value = &s->keras.values.items[v];
        if (!s->keras.variables[v].trainable) continue;
        for (int p = 0; p < value->part_count; p++)
            if (!pawl_document_has_slot(&s->document, value->parts[p].source, slot)) return false;
    }
    return true;
}

static struct state state_of(const struct pawl_keras_file *s)
{
    const struct pawl_training *training = s->document.training;
    const json_t *kind_json = training ? json_object_get(training->optimizer, "kind") : NULL;
    const char *kind = json_string_value(kind_json);
    struct state state = { .here = kind != NULL };

    if (!kind) return state;
    if (!strncmp(kind, "adam", 4)) {
        state.slots[state.count++] = "exp_avg";
        state.slots[state.count++] = "exp_avg_sq";
    } else if (!strcmp(kind, "rmsprop")) {
        state.apart = true;
        state.slots[state.count++] = "square_avg";
    }
    if (!strcmp(kind, "rmsprop") || !strcmp(kind, "sgd"))
        if (json_number_value(json_object_get(training->optimizer, "momentum")) != 0)
            state.slots[state.count++] = "momentum_buffer";
    for (int i = 0; i < state.count; i++)
        if (!have_slot(s, state.slots[i])) state.here = false;
    return state;
}

// Keras' momentum is the negative of SGD's buffer times the rate, and RMSprop's times the rate.
// What came out of a Keras file with the same rate goes back as it is.
void pawl_keras_plan_momentum(struct pawl_keras_file *s)
{
    const struct pawl_training *training = s->document.training;

    if (!training) return;
    const char *kind = json_string_value(json_object_get(training->optimizer, "kind"));
    const double rate = json_number_value(json_object_get(training->optimizer, "learning_rate"));
    if (!kind) return;
    s->momentum = strcmp(kind, "sgd") ? rate : -rate;
    if (training->momentum_scale == 0
        || fabs(training->momentum_scale * s->momentum - 1) > 1e-9) return;
    s->momentum = 1;
    s->training = *training;
    s->training.momentum_scale = 1;
    s->document.training = &s->training;
}

static int add_number(struct pawl_keras_file *s, int parent, const char *name,
                      enum pawl_dtype dtype, const struct pawl_keras_payload *payload)
{
    struct pawl_tensor tensor = { .dtype = dtype };
    const int rc = pawl_tensor_shape(&tensor, 0, NULL);

    return rc ? rc : pawl_keras_add_payload(s, parent, name, &tensor, payload);
}

// The name of the n-th optimizer variable, in a legacy file.
static void legacy_name(const struct pawl_keras_file *s, char *name, int n, int v, const char *slot)
{
    const struct pawl_keras_variable *variable = v < 0 ? NULL : &s->keras.variables[v];

    if (v < 0)
        snprintf(name, PAWL_NAME_MAX, "%s%s", n ? "optimizer/learning_rate"
                 : s->keras2 ? "iteration" : "optimizer/iteration", s->keras2 ? ":0" : "");
    else
        snprintf(name, PAWL_NAME_MAX, "optimizer/%s/%.100s/%s%s", slot,
                 s->keras.layers[variable->layer].name, variable->name, s->keras2 ? ":0" : "");
}

// One variable of the optimizer: by number in version 3, by name in legacy files, whose names are
// collected.
static int add_state(struct pawl_keras_file *s, json_t *names, int *n,
                     const struct pawl_keras_payload *payload)
{
    const int v = payload->variable;
    char name[PAWL_NAME_MAX + 1], path[2 * PAWL_NAME_MAX], group[2 * PAWL_NAME_MAX];
    int parent;

    if (names) {
        legacy_name(s, name, *n, v, payload->slot);
        json_array_append_new(names, json_string(name));
        snprintf(path, sizeof(path), "optimizer_weights/%s", name);
    } else {
        snprintf(path, sizeof(path), "optimizer/vars/%d", *n);
    }
    const char *leaf = pawl_keras_leaf(path, group, sizeof(group));
    const int rc = pawl_hdf5_out_path(&s->out, group, &parent);
    if (rc) return rc;
    const int first = (*n)++;
    if (v >= 0) return pawl_keras_add_variable(s, parent, leaf, v, payload);
    return add_number(s, parent, leaf, first ? PAWL_F32 : PAWL_I64, payload);
}

static int add_moments(struct pawl_keras_file *s, json_t *names, int *n, const struct state *state)
{
    const int passes = state->apart ? state->count : 1, each = state->apart ? 1 : state->count;
    int rc = 0;

    for (int pass = 0; !rc && pass < passes; pass++)
        for (int k = 0; !rc && k < each * s->keras.variable_count; k++) {
            const int v = k / each, slot = pass + k % each;
            const char *name = state->slots[slot];
            struct pawl_keras_payload payload = { .variable = v, .slot = name, .scale = 1 };
            if (!strcmp(name, "momentum_buffer")) payload.scale = s->momentum;
            if (s->keras.variables[v].trainable) rc = add_state(s, names, n, &payload);
        }
    return rc;
}

int pawl_keras_add_optimizer(struct pawl_keras_file *s, json_t *names)
{
    const struct pawl_training *training = s->document.training;
    const struct state state = state_of(s);
    struct pawl_keras_payload number = { .variable = -1 };
    int n = 0;

    if (!training || !state.here) return 0;
    number.whole = (int64_t)training->step;
    number.rate = (float)json_number_value(json_object_get(training->optimizer, "learning_rate"));
    int rc = add_state(s, names, &n, &number);
    if (!rc && !s->keras2) rc = add_state(s, names, &n, &number);
    return rc ? rc : add_moments(s, names, &n, &state);
}
