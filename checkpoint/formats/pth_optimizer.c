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

static double number_of(const struct pawl_py *group, const char *key)
{
    double value = NAN;

    pawl_py_number(pawl_py_get(group, key), &value);
    return value;
}

// torch's state_dict does not name its class: the hyper-parameters that only one class has do.
static const char *kind_of(struct pawl_document *document, const struct pawl_py *group)
{
    const struct pawl_py *decoupled = pawl_py_get(group, "decoupled_weight_decay");
    const double decay = number_of(group, "weight_decay");
    int64_t flag = 0;

    if (pawl_py_get(group, "momentum_decay")) return "nadam";
    if (pawl_py_get(group, "etas")) return "rprop";
    if (pawl_py_get(group, "betas")) {
        if (!pawl_py_get(group, "amsgrad"))
            return decoupled ? "radam" : "adamax";
        if (decoupled) {
            pawl_py_integer(decoupled, &flag);
            return flag ? "adamw" : "adam";
        }
        if (!(decay > 0)) return "adam";
        pawl_document_warn(document, "the optimizer is Adam or AdamW: before torch 2.6 its state "
                           "does not say which. With a weight decay of %g it is taken for %s",
                           decay, decay >= 0.01 ? "AdamW" : "Adam");
        return decay >= 0.01 ? "adamw" : "adam";
    }
    if (pawl_py_get(group, "nesterov") || pawl_py_get(group, "dampening")) return "sgd";
    if (pawl_py_get(group, "centered") || pawl_py_get(group, "alpha")) return "rmsprop";
    if (pawl_py_get(group, "lr_decay")) return "adagrad";
    if (pawl_py_get(group, "rho")) return "adadelta";
    return "unknown";
}

// The hyper-parameters of a group under pawl's names.
static json_t *hyper_of(const struct pawl_py *group)
{
    static const char *const keys[] = { "eps", "weight_decay", "momentum", "dampening", "nesterov",
                                        "alpha", "centered", "amsgrad", "maximize", "initial_lr" };
    const struct pawl_py *betas = pawl_py_get(group, "betas");
    json_t *hyper = json_object();
    double beta[2];

    if (isfinite(number_of(group, "lr")))
        json_object_set_new(hyper, "learning_rate", json_real(number_of(group, "lr")));
    if (pawl_py_number(pawl_py_item(betas, 0), &beta[0])
        && pawl_py_number(pawl_py_item(betas, 1), &beta[1]))
        json_object_set_new(hyper, "betas", json_pack("[f,f]", beta[0], beta[1]));
    for (size_t i = 0; i < sizeof(keys) / sizeof(*keys); i++) {
        const struct pawl_py *value = pawl_py_get(group, keys[i]);
        if (i >= 8 && !(number_of(group, keys[i]) > 0)) continue;
        if (pawl_py_is(value, PAWL_PY_BOOL))
            json_object_set_new(hyper, keys[i], json_boolean(value->integer));
        else if (isfinite(number_of(group, keys[i])))
            json_object_set_new(hyper, keys[i], json_real(number_of(group, keys[i])));
    }
    return hyper;
}

static int take_hyper(struct pawl_pth *pth, const struct pawl_py *groups,
                      struct pawl_training *training)
{
    const struct pawl_py *first = pawl_py_item(groups, 0);
    json_t *optimizer = json_object(), *all = json_array();

    json_object_set_new(optimizer, "kind", json_string(kind_of(pth->document, first)));
    json_t *hyper = hyper_of(first);
    json_object_update(optimizer, hyper);
    json_decref(hyper);
    for (uint32_t i = 0; i < groups->count && groups->count > 1; i++) {
        const struct pawl_py *parameters = pawl_py_get(groups->item[i], "params");
        hyper = hyper_of(groups->item[i]);
        json_object_set_new(hyper, "parameters", json_integer(parameters ? parameters->count : 0));
        json_array_append_new(all, hyper);
    }
    if (groups->count > 1)
        json_object_set_new(optimizer, "groups", all);
    else
        json_decref(all);
    training->optimizer = optimizer;
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
static const struct pawl_tensor *moment_of(const struct pawl_training *training, int64_t number)
{
    char start[32];

    const int length = snprintf(start, sizeof(start), "state.%lld.", (long long)number);
    for (int i = 0; i < training->tensor_count; i++) {
        const char *name = training->tensors[i].tensor.name;
        if (!strncmp(name, start, (size_t)length) && strcmp(name + length, "step"))
            return &training->tensors[i].tensor;
    }
    return NULL;
}

static void give(struct pawl_training *training, int64_t number, int weight)
{
    char start[32];

    const int length = snprintf(start, sizeof(start), "state.%lld.", (long long)number);
    for (int i = 0; i < training->tensor_count; i++) {
        struct pawl_entry *entry = &training->tensors[i];
        if (strncmp(entry->tensor.name, start, (size_t)length)) continue;
        const char *slot = entry->tensor.name + length;
        if (!strcmp(slot, "step") || strlen(slot) >= sizeof(entry->slot)) continue;
        snprintf(entry->slot, sizeof(entry->slot), "%s", slot);
        entry->of = weight;
    }
}

// Walks groups and weights together: each group has its parameters in the model's order, so the
// next number is the next weight that is free and of its moments' shape.
static bool assign(struct pawl_document *document, const struct pawl_py *groups, const int *trained,
                   int count, bool *used)
{
    struct pawl_training *training = document->training;

    for (uint32_t g = 0; g < groups->count; g++) {
        const struct pawl_py *numbers = pawl_py_get(groups->item[g], "params");
        int at = 0;
        for (uint32_t i = 0; pawl_py_is(numbers, PAWL_PY_LIST) && i < numbers->count; i++) {
            int64_t number = -1;
            if (!pawl_py_integer(numbers->item[i], &number)) return false;
            const struct pawl_tensor *moment = moment_of(training, number);
            while (at < count && (used[at] || (moment && !same_shape(moment,
                                      &document->weights[trained[at]].tensor))))
                at++;
            if (at == count) return false;
            used[at] = true;
            if (moment) give(training, number, trained[at]);
        }
    }
    return true;
}

int pawl_pth_assign(struct pawl_document *document, const struct pawl_py *groups)
{
    int *trained = NULL;
    bool *used = NULL;
    const size_t room = (size_t)document->weight_count + 1;

    if (!document->training->tensor_count || !pawl_py_is(groups, PAWL_PY_LIST)) return 0;
    if (document->training->tensor_count > ASSIGNED_MAX || document->weight_count > ASSIGNED_MAX)
        return 0;
    int rc = pawl_alloc(&trained, sizeof(*trained) * room, "an optimizer");
    if (!rc) rc = pawl_alloc(&used, sizeof(*used) * room, "an optimizer");
    if (!rc && !assign(document, groups, trained, list_trained(document, trained), used)) {
        for (int i = 0; i < document->training->tensor_count; i++) {
            document->training->tensors[i].slot[0] = 0;
            document->training->tensors[i].of = -1;
        }
        pawl_document_warn(document, "which weights the optimizer's moments belong to cannot be "
                           "told from their shapes: they are kept, but not used");
    }
    pawl_free(trained);
    pawl_free(used);
    return rc;
}

int pawl_pth_take_optimizer(struct pawl_pth *pth, const struct pawl_py *value,
                            struct pawl_training *training)
{
    const struct pawl_py *state = pawl_py_get(value, "state");
    const struct pawl_py *groups = pawl_py_get(value, "param_groups");
    json_t *torch = json_object(), *others = json_object(), *copy = NULL;

    int rc = take_hyper(pth, groups, training);
    for (uint32_t i = 0; i + 1 < state->count && !rc; i += 2) {
        int64_t index;
        if (pawl_py_integer(state->item[i], &index)
            && pawl_py_is(state->item[i + 1], PAWL_PY_DICT))
            rc = take_slots(pth, state->item[i + 1], index, training, others);
    }
    if (!rc) rc = pawl_pth_json(pth, groups, "param_groups", NULL, NULL, &copy);
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
