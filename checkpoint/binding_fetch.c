// binding_fetch.c - the elements of a target, put together from its sources.

#include <stdlib.h>
#include <string.h>

#include "checkpoint/binding.h"
#include "checkpoint/cast.h"
#include "kernels/memory.h"

// Where the sources of a binding come from: the file's tensors, or parameters.
struct origin {
    const struct pawl_document *document;
    const char *slot;
    bool params;
};

// The tensor of a weight's moment, or the weight itself. NULL: there is none.
static const struct pawl_entry *entry_of(const struct pawl_document *document, int weight,
                                         const char *slot)
{
    const struct pawl_training *training = document->training;

    if (!slot) return &document->weights[weight];
    // Usually slots come one after the other, each in the weights' order: try there first.
    for (int i = 0; training && i < training->tensor_count; i++) {
        const struct pawl_entry *entry = &training->tensors[i];
        if (entry->of == weight && !strcmp(entry->slot, slot)) return entry;
    }
    return NULL;
}

// How many elements a source has; -1: there is no such source.
static int64_t source_elements(const struct origin *from, int source)
{
    if (from->params)
        return source < from->document->bindings->count
                   ? pawl_tensor_elements(&from->document->bindings->items[source].tensor) : -1;
    if (source >= from->document->weight_count) return -1;
    const struct pawl_entry *entry = entry_of(from->document, source, from->slot);
    return entry ? pawl_tensor_elements(&entry->tensor) : -1;
}

static int fetch_source(const struct origin *from, int source, int64_t start, int64_t count,
                        enum pawl_dtype dtype, void *out)
{
    if (!from->params)
        return pawl_document_fetch_as(from->document,
                                      entry_of(from->document, source, from->slot), start, count,
                                      dtype, out);
    return pawl_document_fetch_param(from->document, source, from->slot, dtype, out);
}

static int check_part(const struct origin *from, const struct pawl_binding *target,
                      const struct pawl_bound *part)
{
    const int64_t room = pawl_tensor_elements(&target->tensor);
    int64_t has = part->count;

    if (part->source != PAWL_ZEROS) {
        has = source_elements(from, part->source);
        if (has < 0)
            return pawl_fail(PAWL_ENONE, "'%s' has no source for its %s", target->tensor.name,
                             from->slot ? from->slot : "weight");
        const int rc = pawl_relayout_check(&part->relayout, has);
        if (rc) return rc;
    }
    if (part->start < 0 || part->count < 0 || part->at < 0 || part->count > has
        || part->start > has - part->count || part->count > room || part->at > room - part->count)
        return pawl_fail(PAWL_EINVAL, "a part of '%s' lies outside", target->tensor.name);
    return 0;
}

static void combine(void *out, const void *part, enum pawl_dtype dtype, int64_t count, double scale,
                    bool add)
{
    const size_t bytes = pawl_dtype_bytes(dtype);

    for (int64_t i = 0; i < count; i++) {
        char *to = (char *)out + (size_t)i * bytes;
        double value = pawl_element((const char *)part + (size_t)i * bytes, dtype) * scale;
        if (add) value += pawl_element(to, dtype);
        const float narrow = (float)value;
        if (dtype == PAWL_F64)
            memcpy(to, &value, sizeof(value));
        else
            pawl_cast(to, dtype, &narrow, PAWL_F32, 1);
    }
}

// One part into its place. Sources that lie as they should are read there directly.
static int fetch_part(const struct origin *from, const struct pawl_bound *part,
                      enum pawl_dtype dtype, char *out)
{
    const size_t bytes = pawl_dtype_bytes(dtype);
    const bool as_is = !pawl_relayout_moves(&part->relayout) && part->scale == 1 && !part->add;
    const int64_t has = source_elements(from, part->source);
    void *whole = NULL, *laid = NULL;

    if (as_is && (!from->params || (!part->start && part->count == has)))
        return fetch_source(from, part->source, part->start, part->count, dtype, out);
    if ((part->scale != 1 || part->add) && !pawl_dtype_casts(dtype))
        return pawl_fail(PAWL_EINVAL, "%s values cannot be summed", pawl_dtype_name(dtype));
    int rc = pawl_alloc(&whole, (size_t)has * bytes + 1, "a tensor");
    if (!rc) rc = fetch_source(from, part->source, 0, has, dtype, whole);
    if (!rc && !part->add && part->scale == 1)
        pawl_relayout_apply(&part->relayout, out, whole, bytes, part->start, part->count);
    else if (!rc)
        rc = pawl_alloc(&laid, (size_t)part->count * bytes + 1, "a tensor");
    if (!rc && laid) {
        pawl_relayout_apply(&part->relayout, laid, whole, bytes, part->start, part->count);
        combine(out, laid, dtype, part->count, part->scale, part->add);
    }
    pawl_free(whole);
    pawl_free(laid);
    return rc;
}

static int fetch(const struct origin *from, const struct pawl_binding *target,
                 enum pawl_dtype dtype, char *out)
{
    const size_t bytes = pawl_dtype_bytes(dtype);
    int64_t covered = 0;
    int rc = 0;

    for (int i = 0; !rc && i < target->part_count; i++) {
        const struct pawl_bound *part = &target->parts[i];
        char *to = out + (size_t)part->at * bytes;
        rc = check_part(from, target, part);
        if (rc) break;
        if (part->source == PAWL_ZEROS)
            memset(to, 0, (size_t)part->count * bytes);
        else
            rc = fetch_part(from, part, dtype, to);
        if (!part->add) covered += part->count;
    }
    if (!rc && covered != pawl_tensor_elements(&target->tensor))
        rc = pawl_fail(PAWL_EINVAL, "'%s' is put together from %lld of %lld elements",
                       target->tensor.name, (long long)covered,
                       (long long)pawl_tensor_elements(&target->tensor));
    return rc;
}

int pawl_document_fetch_param(const struct pawl_document *document, int param, const char *slot,
                              enum pawl_dtype dtype, void *out)
{
    const struct origin from = { document, slot, false };
    const struct pawl_binding *target = &document->bindings->items[param];
    const double scale = document->training ? document->training->momentum_scale : 0;

    const int rc = fetch(&from, target, dtype, out);
    if (rc || !slot || scale == 0 || scale == 1 || strcmp(slot, "momentum_buffer")) return rc;
    combine(out, out, dtype, pawl_tensor_elements(&target->tensor), scale, false);
    return 0;
}

int pawl_document_fetch_target(const struct pawl_document *document,
                               const struct pawl_binding *target, const char *slot,
                               enum pawl_dtype dtype, void *out)
{
    const struct origin from = { document, slot, true };

    return fetch(&from, target, dtype, out);
}

bool pawl_document_has_slot(const struct pawl_document *document, int param, const char *slot)
{
    const struct pawl_binding *binding = &document->bindings->items[param];

    for (int i = 0; i < binding->part_count; i++)
        if (binding->parts[i].source != PAWL_ZEROS
            && !entry_of(document, binding->parts[i].source, slot))
            return false;
    return binding->part_count > 0;
}

enum pawl_dtype pawl_document_param_dtype(const struct pawl_document *document, int param)
{
    const struct pawl_binding *binding = &document->bindings->items[param];

    for (int i = 0; i < binding->part_count; i++)
        if (binding->parts[i].source != PAWL_ZEROS)
            return document->weights[binding->parts[i].source].tensor.dtype;
    return PAWL_F32;
}
