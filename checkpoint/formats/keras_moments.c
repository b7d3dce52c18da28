// keras_moments.c - a Keras optimizer's variables: its scalars, and whose moment each other one is.

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "checkpoint/formats/keras_read.h"

// ---- the optimizer's scalars

static int fetch_number(const struct pawl_document *document, const struct pawl_entry *entry,
                        double *out)
{
    unsigned char bytes[8];
    float narrow;
    int64_t whole;
    int32_t small;
    const int rc = pawl_document_fetch(document, entry, bytes);

    memcpy(&narrow, bytes, 4);
    memcpy(&whole, bytes, 8);
    memcpy(&small, bytes, 4);
    if (rc) return rc;
    if (entry->tensor.dtype == PAWL_I64) *out = (double)whole;
    if (entry->tensor.dtype == PAWL_I32) *out = small;
    if (entry->tensor.dtype == PAWL_F32) *out = narrow;
    return 0;
}

// The first whole scalar is the iteration, the first floating one the rate.
int pawl_keras_scalars(struct pawl_document *document)
{
    struct pawl_training *training = document->training;
    bool rate = false, step = false;
    double value = -1;
    int rc = 0;

    if (!training) return 0;
    if (!training->optimizer) training->optimizer = json_object();
    for (int i = 0; !rc && i < training->tensor_count; i++) {
        const struct pawl_entry *entry = &training->tensors[i];
        const bool whole = entry->tensor.dtype == PAWL_I64 || entry->tensor.dtype == PAWL_I32;
        if (entry->tensor.rank || (!whole && entry->tensor.dtype != PAWL_F32)) continue;
        rc = fetch_number(document, entry, &value);
        if (!rc && whole && !step) {
            if (value < 0)
                return pawl_fail(PAWL_ECORRUPT, "%s: the optimizer's iteration is negative",
                                 document->path);
            training->step = (uint64_t)value;
            step = true;
        } else if (!rc && !whole && !rate && isfinite(value)) {
            json_object_set_new(training->optimizer, "learning_rate", json_real(value));
            rate = true;
        }
    }
    return rc;
}

// ---- moments

static const char *slot_of(const char *kind, int per, int i, int count, int trained)
{
    if (!strcmp(kind, "sgd")) return "momentum_buffer";
    if (!strcmp(kind, "rmsprop")) return i < trained ? "square_avg" : "momentum_buffer";
    (void)count;
    return i % per ? "exp_avg_sq" : "exp_avg";
}

// RMSprop keeps one slot of all variables after the other, Adam both of a variable together.
static int variable_of(const char *kind, int per, int i, int trained)
{
    return strcmp(kind, "rmsprop") ? i / per : i % trained;
}

void pawl_keras_scale_momentum(struct pawl_training *training)
{
    const double rate = json_number_value(json_object_get(training->optimizer, "learning_rate"));
    const char *kind = json_string_value(json_object_get(training->optimizer, "kind"));

    if (rate > 0 && kind)
        training->momentum_scale = !strcmp(kind, "sgd") ? -1 / rate : 1 / rate;
}

// Optimizers of early Keras 2 name each moment by its weight: "Adam/hidden/bias/m:0" belongs to
// "hidden/bias:0". False: there is a moment that is not named so.
static bool take_named(struct pawl_document *document)
{
    static const struct { const char *end, *slot; } ends[] = {
        { "/m:0", "exp_avg" }, { "/v:0", "exp_avg_sq" }, { "/momentum:0", "momentum_buffer" },
        { "/rms:0", "square_avg" },
    };
    struct pawl_training *training = document->training;
    char name[2 * PAWL_NAME_MAX];

    for (int t = 0; t < training->tensor_count; t++) {
        struct pawl_entry *entry = &training->tensors[t];
        const char *middle = strchr(entry->tensor.name, '/');
        size_t length = middle ? strlen(++middle) : 0;
        int found = -1, end = -1;
        if (!entry->tensor.rank) continue;
        for (int e = 0; e < 4; e++) {
            const size_t size = strlen(ends[e].end);
            if (length > size && !strcmp(middle + length - size, ends[e].end)) {
                length -= size;
                end = e;
                break;
            }
        }
        if (end < 0) return false;
        snprintf(name, sizeof(name), "%.*s:0", (int)length, middle);
        for (int w = 0; found < 0 && w < document->weight_count; w++)
            if (!strcmp(document->weights[w].tensor.name, name)) found = w;
        if (found < 0) return false;
        snprintf(entry->slot, sizeof(entry->slot), "%s", ends[end].slot);
        entry->of = found;
    }
    return true;
}

int pawl_keras_take_moments(struct pawl_document *document, const int *trained, int count)
{
    struct pawl_training *training = document->training;
    const char *kind;
    int moments = 0, i = 0;
    bool told = false;

    if (!training || !count) return 0;
    for (int t = 0; t < training->tensor_count; t++) {
        moments += training->tensors[t].tensor.rank > 0;
        told |= training->tensors[t].slot[0] != 0;
    }
    kind = json_string_value(json_object_get(training->optimizer, "kind"));
    if (!kind) {  // weights alone do not name their optimizer: two moments of each are Adam's
        kind = moments == 2 * count ? "adam" : "sgd";
        if (moments && moments != count && moments != 2 * count) kind = "unknown";
        json_object_set_new(training->optimizer, "kind", json_string(kind));
        json_object_set_new(training->optimizer, "convention", json_string("keras"));
        kind = json_string_value(json_object_get(training->optimizer, "kind"));
    }
    if (told) {  // a SavedModel's object graph says whose each moment is
        if (strncmp(kind, "adam", 4)) pawl_keras_scale_momentum(training);
        return 0;
    }
    if (strncmp(kind, "adam", 4)) pawl_keras_scale_momentum(training);
    if (moments && take_named(document)) return 0;
    const int per = moments / count;
    if (!moments || moments % count || per > 2
        || (strcmp(kind, "sgd") && strcmp(kind, "rmsprop") && per != 2)) {
        if (moments)
            pawl_document_warn(document, "%d optimizer tensors for %d variables: not %s's, kept as "
                               "they are", moments, count, kind);
        return 0;
    }
    for (int t = 0; t < training->tensor_count; t++) {
        struct pawl_entry *entry = &training->tensors[t];
        if (!entry->tensor.rank) continue;
        const int weight = trained[variable_of(kind, per, i, count)];
        const struct pawl_tensor *of = &document->weights[weight].tensor;
        if (of->rank != entry->tensor.rank || memcmp(of->dim, entry->tensor.dim, sizeof(of->dim)))
            return pawl_fail(PAWL_ECORRUPT, "%s: optimizer tensor '%s' has another shape than its "
                             "weight '%s'", document->path, entry->tensor.name, of->name);
        snprintf(entry->slot, sizeof(entry->slot), "%s", slot_of(kind, per, i, moments, count));
        entry->of = weight;
        i++;
    }
    return 0;
}
