// native.c - a document's parameters and moments under pawl's names.

#include "checkpoint/native.h"

#include <stdio.h>
#include <string.h>

#include "checkpoint/binding.h"
#include "kernels/memory.h"

// One parameter or moment; made as a whole, kept until its last byte was read.
struct made {
    const struct pawl_document *from;
    int param;
    char slot[24];
    enum pawl_dtype dtype;
    size_t size;
    char *bytes;
};

static int read_made(void *context, uint64_t offset, void *out, size_t size)
{
    struct made *made = context;

    if (!made->bytes) {
        int rc = pawl_alloc(&made->bytes, made->size + 1, "a tensor");
        if (!rc)
            rc = pawl_document_fetch_param(made->from, made->param,
                                           made->slot[0] ? made->slot : NULL, made->dtype,
                                           made->bytes);
        if (rc) {
            pawl_free(made->bytes);
            made->bytes = NULL;
            return rc;
        }
    }
    memcpy(out, made->bytes + offset, size);
    if (offset + size == made->size) {
        pawl_free(made->bytes);
        made->bytes = NULL;
    }
    return 0;
}

static void free_made(void *context)
{
    struct made *made = context;

    pawl_free(made->bytes);
    pawl_free(made);
}

static int add(struct pawl_document *out, const struct pawl_document *from, int param,
               const char *slot)
{
    const struct pawl_tensor *target = &from->bindings->items[param].tensor;
    const struct pawl_made row = { 0, NULL, read_made, free_made };
    struct pawl_tensor tensor = { .dtype = slot ? PAWL_F32
                                                : pawl_document_param_dtype(from, param) };
    struct pawl_made made = row;
    struct made *context = NULL;
    int file = -1;

    const int length = slot ? snprintf(tensor.name, sizeof(tensor.name), "optimizer.%s.%s", slot,
                                       target->name)
                            : snprintf(tensor.name, sizeof(tensor.name), "%s", target->name);
    if (length >= (int)sizeof(tensor.name))
        return pawl_fail(PAWL_EINVAL, "tensor name '%.64s...' is too long", target->name);
    int rc = pawl_tensor_shape(&tensor, target->rank, target->dim);
    if (!rc) rc = pawl_alloc(&context, sizeof(*context), "a tensor");
    if (rc) return rc;
    *context = (struct made){ .from = from, .param = param, .dtype = tensor.dtype,
                              .size = tensor.size_bytes };
    snprintf(context->slot, sizeof(context->slot), "%s", slot ? slot : "");
    made.size_bytes = tensor.size_bytes;
    made.context = context;
    rc = pawl_document_add_made(out, from->path, &made, &file);
    if (rc) {
        free_made(context);
        return rc;
    }
    return pawl_document_add_entry(slot ? &out->training->tensors : &out->weights,
                                   slot ? &out->training->tensor_count : &out->weight_count,
                                   &tensor, file, 0);
}

// Each slot that the document has, of every parameter that has it.
static int add_moments(struct pawl_document *out, const struct pawl_document *from)
{
    static const char *const slots[] = { "exp_avg", "exp_avg_sq", "square_avg",
                                         "momentum_buffer" };
    int rc = 0;

    for (size_t s = 0; s < sizeof(slots) / sizeof(*slots); s++)
        for (int i = 0; !rc && i < from->bindings->count; i++)
            if (pawl_document_has_slot(from, i, slots[s])) rc = add(out, from, i, slots[s]);
    return rc;
}

static int copy_training(struct pawl_document *out, const struct pawl_document *from)
{
    const struct pawl_training *training = from->training;

    if (!training) return 0;
    const int rc = pawl_alloc(&out->training, sizeof(*training), "training state");
    if (rc) return rc;
    out->training->step = training->step;
    out->training->epoch = training->epoch;
    out->training->loss = training->loss;
    out->training->optimizer = json_deep_copy(training->optimizer);
    out->training->rest = json_deep_copy(training->rest);
    if (pawl_optimizer_decays_all(training->optimizer, false))
        json_object_set_new(out->training->optimizer, "decay_all", json_true());
    return 0;
}

bool pawl_optimizer_decays_all(const json_t *optimizer, bool native)
{
    if (!optimizer) return false;
    if (native) return json_is_true(json_object_get(optimizer, "decay_all"));
    return json_array_size(json_object_get(optimizer, "groups")) < 2;
}

int pawl_document_native(struct pawl_document **out, struct pawl_document *document)
{
    struct pawl_document *made = NULL;

    int rc = pawl_document_bind(document);
    // Training that goes on as Keras defines it goes on with the moments as Keras has them.
    if (!rc && document->training && pawl_training_as_keras(document->training))
        document->training->momentum_scale = 0;
    if (!rc) rc = pawl_document_new(&made);
    if (rc) return rc;
    snprintf(made->path, sizeof(made->path), "%s", document->path);
    rc = pawl_alloc(&made->architecture, sizeof(*made->architecture), "an architecture");
    if (!rc) rc = pawl_architecture_copy(made->architecture, document->architecture);
    if (!rc) rc = copy_training(made, document);
    for (int i = 0; !rc && i < document->bindings->count; i++)
        rc = add(made, document, i, NULL);
    if (!rc && document->training) rc = add_moments(made, document);
    if (!rc && json_object_update(made->metadata, document->metadata))
        rc = pawl_fail(PAWL_ENOMEM, "no memory for metadata");
    if (rc)
        pawl_document_free(made);
    else
        *out = made;
    return rc;
}
