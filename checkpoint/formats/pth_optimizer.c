// pth_optimizer.c - the state_dict() of an optimizer of torch: hyper-parameters, moments, steps.
//
// It numbers the parameters, group after group. Which number is which weight follows from the
// shapes: each group holds its parameters in the model's order.

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "checkpoint/cast.h"
#include "checkpoint/formats/pth_state.h"
#include "kernels/memory.h"

enum { ASSIGNED_MAX = 20000 };  // weights and moments: each is looked for among all

bool pawl_pth_is_optimizer(const struct pawl_py *value)
{
    return pawl_py_is(pawl_py_get(value, "state"), PAWL_PY_DICT)
           && pawl_py_is(pawl_py_get(value, "param_groups"), PAWL_PY_LIST);
}

static double number_of(const json_t *group, const char *key)
{
    const json_t *value = json_object_get(group, key);

    if (json_is_boolean(value)) return json_is_true(value);
    return json_is_number(value) ? json_number_value(value) : NAN;
}

// torch's state_dict does not name its class: the hyper-parameters that only one class has do.
static const char *kind_of(struct pawl_document *document, const json_t *group)
{
    const json_t *decoupled = json_object_get(group, "decoupled_weight_decay");
    const double decay = number_of(group, "weight_decay");

    if (json_object_get(group, "momentum_decay")) return "nadam";
    if (json_object_get(group, "etas")) return "rprop";
    if (json_object_get(group, "betas")) {
        if (!json_object_get(group, "amsgrad")) return decoupled ? "radam" : "adamax";
        if (decoupled) return json_is_true(decoupled) ? "adamw" : "adam";
        if (!(decay > 0)) return "adam";
        pawl_document_warn(document, "the optimizer is Adam or AdamW: before torch 2.6 its state "
                           "does not say which. With a weight decay of %g it is taken for %s",
                           decay, decay >= 0.01 ? "AdamW" : "Adam");
        return decay >= 0.01 ? "adamw" : "adam";
    }
    if (json_object_get(group, "nesterov") || json_object_get(group, "dampening")) return "sgd";
    if (json_object_get(group, "centered") || json_object_get(group, "alpha")) return "rmsprop";
    if (json_object_get(group, "lr_decay")) return "adagrad";
    if (json_object_get(group, "rho")) return "adadelta";
    return "unknown";
}

// The hyper-parameters of a group under pawl's names.
static json_t *hyper_of(const json_t *group)
{
    static const char *const keys[] = { "eps", "weight_decay", "momentum", "dampening", "nesterov",
                                        "alpha", "centered", "amsgrad", "maximize", "initial_lr" };
    const json_t *betas = json_object_get(group, "betas");
    json_t *hyper = json_object();

    if (isfinite(number_of(group, "lr")))
        json_object_set_new(hyper, "learning_rate", json_real(number_of(group, "lr")));
    if (json_is_object(betas)) betas = json_object_get(betas, "$tuple");
    if (json_array_size(betas) == 2)
        json_object_set(hyper, "betas", (json_t *)(uintptr_t)betas);
    for (size_t i = 0; i < sizeof(keys) / sizeof(*keys); i++) {
        const json_t *value = json_object_get(group, keys[i]);
        if (i >= 8 && !(number_of(group, keys[i]) > 0)) continue;
        if (json_is_boolean(value))
            json_object_set(hyper, keys[i], (json_t *)(uintptr_t)value);
        else if (isfinite(number_of(group, keys[i])))
            json_object_set_new(hyper, keys[i], json_real(number_of(group, keys[i])));
    }
    return hyper;
}

int pawl_pth_take_groups(struct pawl_document *document, const json_t *groups)
{
    const json_t *first = json_array_get(groups, 0);
    json_t *optimizer = json_object(), *all = json_array();

    json_object_set_new(optimizer, "kind", json_string(kind_of(document, first)));
    json_t *hyper = hyper_of(first);
    json_object_update(optimizer, hyper);
    json_decref(hyper);
    for (size_t i = 0; i < json_array_size(groups) && json_array_size(groups) > 1; i++) {
        const json_t *parameters = json_object_get(json_array_get(groups, i), "params");
        hyper = hyper_of(json_array_get(groups, i));
        json_object_set_new(hyper, "parameters",
                            json_integer((json_int_t)json_array_size(parameters)));
        json_array_append_new(all, hyper);
    }
    if (json_array_size(all))
        json_object_set_new(optimizer, "groups", all);
    else
        json_decref(all);
    document->training->optimizer = optimizer;
    return optimizer ? 0 : pawl_fail(PAWL_ENOMEM, "no memory for an optimizer");
}

// The first `step` there is: a tensor of one element, or a number in older files.
static int take_step(struct pawl_pth *pth, const struct pawl_py *step,
                     struct pawl_training *training, const struct pawl_entry *entry)
{
    char bytes[16];
    double value = 0;
    int rc = 0;

    if (training->step) return 0;
    if (entry) {
        if (entry->tensor.size_bytes != pawl_dtype_bytes(entry->tensor.dtype)) return 0;
        rc = pawl_document_fetch(pth->document, entry, bytes);
        if (!rc) value = pawl_element(bytes, entry->tensor.dtype);
    } else {
        pawl_py_number(step, &value);
    }
    if (!rc && value >= 1 && value < 9e15) training->step = (uint64_t)value;
    return rc;
}

// One parameter's slots. Those that are no tensors go into *rest.
static int take_slots(struct pawl_pth *pth, const struct pawl_py *slots, int64_t index,
                      struct pawl_training *training, json_t *rest)
{
    json_t *others = json_object(), *value;
    char name[PAWL_NAME_MAX + 1], number[24];
    int rc = 0;

    for (uint32_t i = 0; i + 1 < slots->count && !rc; i += 2) {
        const char *slot = pawl_py_text(slots->item[i]);
        const struct pawl_py *what = slots->item[i + 1];
        const bool tensor = pawl_pth_is_tensor(what);
        if (!slot || strlen(slot) > 64) continue;
        snprintf(name, sizeof(name), "state.%lld.%s", (long long)index, slot);
        if (tensor)
            rc = pawl_pth_add(pth, &training->tensors, &training->tensor_count, name, what);
        else if (!(rc = pawl_pth_json(pth, what, name, NULL, NULL, &value)))
            json_object_set_new(others, slot, value);
        if (!rc && !strcmp(slot, "step"))
            rc = take_step(pth, what, training,
                           tensor ? &training->tensors[training->tensor_count - 1] : NULL);
    }
    snprintf(number, sizeof(number), "%lld", (long long)index);
    if (json_object_size(others))
        json_object_set_new(rest, number, others);
    else
        json_decref(others);
    return rc;
}

// ---- which weight

// The weights that parameters() gives: no buffers, tied ones once.
static int list_trained(const struct pawl_document *document, int *out)
{
    static const char *const buffers[] = { "running_mean", "running_var", "num_batches_tracked" };
    int count = 0;

    for (int i = 0; i < document->weight_count; i++) {
        const struct pawl_entry *entry = &document->weights[i];
        const size_t length = strlen(entry->tensor.name);
        bool skip = false;
        for (int k = 0; k < 3; k++) {
            const size_t end = strlen(buffers[k]);
            skip |= length >= end && !strcmp(entry->tensor.name + length - end, buffers[k]);
        }
        for (int k = 0; k < count && !skip; k++) {
            const struct pawl_piece *a = document->weights[out[k]].pieces, *b = entry->pieces;
            skip = a->file == b->file && a->offset_bytes == b->offset_bytes
                   && a->size_bytes == b->size_bytes && b->size_bytes;
        }
        if (!skip) out[count++] = i;
    }
    return count;
}

static bool same_shape(const struct pawl_tensor *a, const struct pawl_tensor *b)
{
    return a->rank == b->rank && !memcmp(a->dim, b->dim, sizeof(a->dim));
}

// A moment of parameter `number`, or NULL.
static const struct pawl_tensor *moment_of(const struct pawl_training *training,
                                           const char *prefix, int64_t number)
{
    char start[128];

    const int length = snprintf(start, sizeof(start), "%.64sstate.%lld.", prefix,
                                (long long)number);
    for (int i = 0; i < training->tensor_count; i++) {
        const char *name = training->tensors[i].tensor.name;
        if (!strncmp(name, start, (size_t)length) && strcmp(name + length, "step"))
            return &training->tensors[i].tensor;
    }
    return NULL;
}

static void give(struct pawl_training *training, const char *prefix, int64_t number, int weight)
{
    char start[128];

    const int length = snprintf(start, sizeof(start), "%.64sstate.%lld.", prefix,
                                (long long)number);
    for (int i = 0; i < training->tensor_count; i++) {
        struct pawl_entry *entry = &training->tensors[i];
        if (strncmp(entry->tensor.name, start, (size_t)length)) continue;
        const char *slot = entry->tensor.name + length;
        if (!strcmp(slot, "step") || strlen(slot) >= sizeof(entry->slot)) continue;
        snprintf(entry->slot, sizeof(entry->slot), "%s", slot);
        entry->of = weight;
    }
}

struct numbering {
    struct pawl_document *document;
    const char *prefix;
    int *trained, count;
    bool *used;
};

// Walks groups and weights together: each group has its parameters in the model's order, so the
// next number is the next weight that is free and of its moments' shape.
static bool assign(const struct numbering *n, const json_t *groups)
{
    struct pawl_training *training = n->document->training;

    for (size_t g = 0; g < json_array_size(groups); g++) {
        const json_t *numbers = json_object_get(json_array_get(groups, g), "params");
        int at = 0;
        for (size_t i = 0; i < json_array_size(numbers); i++) {
            const json_int_t number = json_integer_value(json_array_get(numbers, i));
            const struct pawl_tensor *moment = moment_of(training, n->prefix, number);
            while (at < n->count && (n->used[at] || (moment && !same_shape(moment,
                                     &n->document->weights[n->trained[at]].tensor))))
                at++;
            if (at == n->count) return false;
            n->used[at] = true;
            if (moment) give(training, n->prefix, number, n->trained[at]);
        }
    }
    return true;
}

int pawl_pth_assign(struct pawl_document *document, const char *prefix, const json_t *groups)
{
    struct numbering n = { .document = document, .prefix = prefix };
    const size_t room = (size_t)document->weight_count + 1;

    if (!document->training->tensor_count || !json_array_size(groups)) return 0;
    if (document->training->tensor_count > ASSIGNED_MAX || document->weight_count > ASSIGNED_MAX)
        return 0;
    int rc = pawl_alloc(&n.trained, sizeof(*n.trained) * room, "an optimizer");
    if (!rc) rc = pawl_alloc(&n.used, sizeof(*n.used) * room, "an optimizer");
    if (!rc) n.count = list_trained(document, n.trained);
    if (!rc && !assign(&n, groups)) {
        for (int i = 0; i < document->training->tensor_count; i++) {
            document->training->tensors[i].slot[0] = 0;
            document->training->tensors[i].of = -1;
        }
        pawl_document_warn(document, "which weights the optimizer's moments belong to cannot be "
                           "told from their shapes: they are kept, but not used");
    }
    pawl_free(n.trained);
    pawl_free(n.used);
    return rc;
}

int pawl_pth_take_optimizer(struct pawl_pth *pth, const struct pawl_py *value,
                            struct pawl_training *training)
{
    const struct pawl_py *state = pawl_py_get(value, "state");
    const struct pawl_py *groups = pawl_py_get(value, "param_groups");
    json_t *torch = json_object(), *others = json_object(), *copy = NULL;

    int rc = pawl_pth_json(pth, groups, "param_groups", NULL, NULL, &copy);
    if (!rc) rc = pawl_pth_take_groups(pth->document, copy);
    for (uint32_t i = 0; i + 1 < state->count && !rc; i += 2) {
        int64_t index;
        if (pawl_py_integer(state->item[i], &index)
            && pawl_py_is(state->item[i + 1], PAWL_PY_DICT))
            rc = take_slots(pth, state->item[i + 1], index, training, others);
    }
    if (!rc) rc = pawl_pth_assign(pth->document, "", copy);
    if (!training->rest) training->rest = json_object();
    if (copy) json_object_set_new(torch, "param_groups", copy);
    if (json_object_size(others))
        json_object_set_new(torch, "state", others);
    else
        json_decref(others);
    if (json_object_set_new(training->rest, "torch", torch) && !rc)
        rc = pawl_fail(PAWL_ENOMEM, "no memory for an optimizer");
    return rc;
}
