// document_wire.c - a document's tables as bytes, from a process that nobody trusts.
//
// Numbers are varints; strings and structures are {varint size, bytes}. The receiver takes nothing
// on faith: names end, types and shapes are recomputed, pieces lie within their files, indices
// exist, JSON is parsed again.

#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "checkpoint/binding.h"
#include "checkpoint/containers/protobuf.h"
#include "checkpoint/document_inside.h"
#include "kernels/io.h"
#include "kernels/memory.h"

// ---- out

static void put(struct pawl_text *out, uint64_t number)
{
    pawl_pb_put_varint(out, number);
}

static void put_bytes(struct pawl_text *out, const void *bytes, size_t size)
{
    put(out, size);
    pawl_text_add(out, bytes, size);
}

static void put_string(struct pawl_text *out, const char *string)
{
    put_bytes(out, string, strlen(string));
}

static void put_json(struct pawl_text *out, const json_t *value)
{
    char *text = value ? json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT) : NULL;

    if (value && !text && !out->rc) out->rc = pawl_fail(PAWL_ENOMEM, "no memory for JSON");
    put_string(out, text ? text : "");
    free(text);
}

static void put_tensor(struct pawl_text *out, const struct pawl_tensor *tensor)
{
    put_string(out, tensor->name);
    put(out, tensor->dtype);
    put(out, (uint64_t)tensor->rank);
    for (int d = 0; d < tensor->rank; d++)
        put(out, (uint64_t)tensor->dim[d]);
}

static void put_entries(struct pawl_text *out, const struct pawl_entry *table, int count)
{
    put(out, (uint64_t)count);
    for (int i = 0; i < count; i++) {
        const struct pawl_entry *entry = &table[i];
        put_tensor(out, &entry->tensor);
        put_string(out, entry->slot);
        put(out, (uint64_t)(entry->of + 1));
        put(out, entry->has_crc);
        put(out, entry->crc32c);
        put(out, (uint64_t)entry->piece_count);
        for (int p = 0; p < entry->piece_count; p++) {
            put(out, (uint64_t)entry->pieces[p].file);
            put(out, entry->pieces[p].offset_bytes);
            put(out, entry->pieces[p].size_bytes);
            put(out, (uint64_t)entry->pieces[p].start);
        }
    }
}

static void put_architecture(struct pawl_text *out, const struct pawl_architecture *architecture)
{
    char *json = NULL;
    const int rc = architecture ? pawl_architecture_to_json(&json, architecture) : 0;

    if (rc && !out->rc) out->rc = rc;
    put_string(out, json ? json : "");
    pawl_free(json);
}

static void put_bindings(struct pawl_text *out, const struct pawl_bindings *bindings)
{
    put(out, bindings ? (uint64_t)bindings->count + 1 : 0);
    for (int i = 0; bindings && i < bindings->count; i++) {
        put_tensor(out, &bindings->items[i].tensor);
        put(out, (uint64_t)bindings->items[i].part_count);
        put_bytes(out, bindings->items[i].part_count ? (void *)bindings->items[i].parts : "",
                  sizeof(struct pawl_bound) * (size_t)bindings->items[i].part_count);
    }
}

int pawl_document_encode(struct pawl_text *out, const struct pawl_document *document,
                         int (*number)(int fd))
{
    const struct pawl_training *training = document->training;

    put_string(out, document->format);
    put_string(out, document->format_version);
    put_string(out, document->stop);
    put(out, (uint64_t)document->files->count);
    for (int i = 0; i < document->files->count; i++) {
        const struct pawl_file *file = &document->files->file[i];
        put(out, (uint64_t)(file->fd < 0 ? 0 : number(file->fd) + 1));
        put(out, file->size);
        put_string(out, file->path);
    }
    put_architecture(out, document->architecture);
    put_entries(out, document->weights, document->weight_count);
    put(out, training != NULL);
    if (training) {
        put(out, training->step);
        put(out, (uint64_t)training->epoch);
        put_bytes(out, &training->loss, sizeof(training->loss));
        put_bytes(out, &training->momentum_scale, sizeof(training->momentum_scale));
        put_json(out, training->optimizer);
        put_json(out, training->rest);
        put_entries(out, training->tensors, training->tensor_count);
    }
    put_json(out, document->metadata);
    put_json(out, document->warnings);
    put_bindings(out, document->bindings);
    return pawl_text_check(out);
}

// ---- in

struct input {
    struct pawl_pb in;
    int rc;  // the first failure; what follows it reads zeros
};

static void bad(struct input *input, const char *what)
{
    if (!input->rc)
        input->rc = pawl_fail(PAWL_ECORRUPT, "%s: its reader, a process without rights, answers "
                              "nonsense (%s): the file is hostile", input->in.what, what);
}

static uint64_t take(struct input *input, uint64_t most)
{
    uint64_t value = 0;

    if (input->rc) return 0;
    if (pawl_pb_varint(&input->in, &value) || value > most) {
        bad(input, "a number");
        return 0;
    }
    return value;
}

static const void *take_bytes(struct input *input, size_t *size)
{
    const size_t length = (size_t)take(input, SIZE_MAX);

    *size = 0;
    if (!input->rc && length > input->in.size - input->in.at) bad(input, "a length");
    if (input->rc) return "";
    *size = length;
    input->in.at += length;
    return input->in.bytes + input->in.at - length;
}

static void take_string(struct input *input, char *out, size_t room)
{
    size_t size;
    const char *bytes = take_bytes(input, &size);

    if (size >= room || memchr(bytes, 0, size)) {
        bad(input, "a name");
        size = 0;
    }
    memcpy(out, bytes, size);
    out[size] = 0;
}

// NULL stays what it is when nothing was sent.
static void take_json(struct input *input, json_t **out, bool (*is)(const json_t *value))
{
    size_t size;
    const char *bytes = take_bytes(input, &size);

    if (!size) return;
    json_t *value = json_loadb(bytes, size, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
    if (!value || !is(value)) {
        bad(input, "JSON");
        json_decref(value);
        return;
    }
    json_decref(*out);
    *out = value;
}

static bool is_object(const json_t *value)
{
    return json_is_object(value);
}

static bool is_warnings(const json_t *value)
{
    bool fine = json_is_array(value);

    for (size_t i = 0; i < json_array_size(value); i++)
        fine &= json_is_string(json_array_get(value, i));
    return fine;
}

static bool is_any(const json_t *value)
{
    return value != NULL;
}

static void take_tensor(struct input *input, struct pawl_tensor *tensor)
{
    int64_t dim[PAWL_RANK_MAX];

    take_string(input, tensor->name, sizeof(tensor->name));
    tensor->dtype = (enum pawl_dtype)take(input, PAWL_DTYPES - 1);
    const int rank = (int)take(input, PAWL_RANK_MAX);
    for (int d = 0; d < rank; d++)
        dim[d] = (int64_t)take(input, INT64_MAX);
    if (!input->rc && pawl_tensor_shape(tensor, rank, dim)) bad(input, "a shape");
}

// One piece, which begins where the one before ended.
static void take_piece(struct input *input, const struct pawl_files *files,
                       const struct pawl_tensor *tensor, struct pawl_piece *piece, uint64_t *end)
{
    const uint64_t element = pawl_dtype_bytes(tensor->dtype);

    piece->file = (int)take(input, INT32_MAX);
    piece->offset_bytes = take(input, UINT64_MAX);
    piece->size_bytes = take(input, UINT64_MAX);
    piece->start = (int64_t)take(input, INT64_MAX);
    if (input->rc) return;
    if (piece->file >= files->count) {
        bad(input, "a piece's file");
        return;
    }
    const uint64_t size = files->file[piece->file].size;
    uint64_t start = 0;
    if (piece->offset_bytes > size || piece->size_bytes > size - piece->offset_bytes
        || __builtin_mul_overflow((uint64_t)piece->start, element, &start) || start != *end
        || piece->size_bytes > tensor->size_bytes - *end)
        bad(input, "a piece");
    else
        *end += piece->size_bytes;
}

static void take_entry(struct input *input, const struct pawl_files *files,
                       struct pawl_entry *entry, int weights)
{
    uint64_t end = 0;

    take_string(input, entry->slot, sizeof(entry->slot));
    entry->of = (int)take(input, (uint64_t)weights) - 1;
    entry->has_crc = take(input, 1);
    entry->crc32c = (uint32_t)take(input, UINT32_MAX);
    const size_t count = (size_t)take(input, input->in.size);
    if (input->rc || !count) return;
    input->rc = pawl_alloc(&entry->pieces, sizeof(*entry->pieces) * count, "pieces");
    for (size_t p = 0; p < count && !input->rc; p++) {
        take_piece(input, files, &entry->tensor, &entry->pieces[p], &end);
        entry->piece_count++;
    }
}

// weights: how many weights a moment may be of; -1: these are the weights.
static void take_entries(struct input *input, const struct pawl_files *files,
                         struct pawl_entry **table, int *count, int weights)
{
    const int wanted = (int)take(input, PAWL_TENSORS_MAX);

    for (int i = 0; i < wanted && !input->rc; i++) {
        struct pawl_tensor tensor = { .name = "" };
        take_tensor(input, &tensor);
        if (!input->rc) input->rc = pawl_document_add_entry(table, count, &tensor, -1, 0);
        // A weight's own `of` is what its reader likes, such as a layer: no index of a weight.
        if (!input->rc)
            take_entry(input, files, &(*table)[i], weights < 0 ? PAWL_TENSORS_MAX : weights);
    }
}

static void take_files(struct input *input, struct pawl_document *document,
                       const struct pawl_wire_files *files)
{
    const int count = (int)take(input, 1 << 16);
    char path[sizeof(document->path) + 256];

    for (int i = 0; i < count && !input->rc; i++) {
        struct pawl_file file = { .fd = -1 };
        const int number = (int)take(input, INT32_MAX) - 1;
        file.size = take(input, INT64_MAX);
        take_string(input, path, sizeof(path));
        if (input->rc) return;
        if (files->take(files->context, &file, number, i)) {
            bad(input, "a file");
            return;
        }
        input->rc = pawl_files_append(document->files, &file, path);
        if (input->rc && file.fd >= 0) pawl_io()->close(file.fd);
        if (input->rc && file.made.free) file.made.free(file.made.context);
    }
}

static void take_architecture(struct input *input, struct pawl_document *document)
{
    size_t size;
    const char *bytes = take_bytes(input, &size);
    char *json = NULL;

    if (input->rc || !size) return;
    int rc = pawl_alloc(&json, size + 1, "an architecture");
    if (!rc) memcpy(json, bytes, size);
    if (!rc) rc = pawl_alloc(&document->architecture, sizeof(*document->architecture),
                             "an architecture");
    if (!rc) rc = pawl_architecture_from_json(document->architecture, json);
    pawl_free(json);
    input->rc = rc;
}

static void take_bindings(struct input *input, struct pawl_document *document)
{
    const int count = (int)take(input, PAWL_TENSORS_MAX + 1);

    if (input->rc || !count) return;
    input->rc = pawl_alloc(&document->bindings, sizeof(*document->bindings), "bindings");
    for (int i = 0; i < count - 1 && !input->rc; i++) {
        struct pawl_tensor tensor = { .name = "" };
        size_t size = 0;
        take_tensor(input, &tensor);
        const size_t parts = (size_t)take(input, PAWL_TENSORS_MAX);
        const unsigned char *bytes = take_bytes(input, &size);
        if (size != parts * sizeof(struct pawl_bound)) bad(input, "bindings");
        if (!input->rc)
            input->rc = pawl_bindings_add(document->bindings, tensor.name, tensor.dtype,
                                          tensor.rank, tensor.dim);
        for (size_t p = 0; p < parts && !input->rc; p++) {
            struct pawl_bound part;  // used only after pawl_relayout_check and bounds of its own
            memcpy(&part, bytes + p * sizeof(part), sizeof(part));
            const unsigned char add = bytes[p * sizeof(part) + offsetof(struct pawl_bound, add)];
            if (part.source < PAWL_ZEROS || part.source >= document->weight_count || add > 1)
                bad(input, "a binding");
            else
                input->rc = pawl_bind_part(document->bindings, &part);
        }
    }
}

static void take_double(struct input *input, double *out)
{
    size_t size;
    const void *bytes = take_bytes(input, &size);

    if (size == sizeof(*out))
        memcpy(out, bytes, size);
    else
        bad(input, "a number");
}

static void take_training(struct input *input, struct pawl_document *document)
{
    if (!take(input, 1)) return;
    input->rc = pawl_alloc(&document->training, sizeof(*document->training), "training state");
    if (input->rc) return;
    struct pawl_training *training = document->training;
    training->step = take(input, UINT64_MAX);
    training->epoch = (int64_t)take(input, UINT64_MAX);
    if (training->epoch < -1) training->epoch = -1;
    take_double(input, &training->loss);
    take_double(input, &training->momentum_scale);
    take_json(input, &training->optimizer, is_object);
    take_json(input, &training->rest, is_any);
    take_entries(input, document->files, &training->tensors, &training->tensor_count,
                 document->weight_count);
}

int pawl_document_decode(struct pawl_document *document, const void *bytes, size_t size,
                         const struct pawl_wire_files *files)
{
    struct input input = { .rc = 0 };

    pawl_pb_open(&input.in, bytes, size, document->path, 0);
    take_string(&input, document->format, sizeof(document->format));
    take_string(&input, document->format_version, sizeof(document->format_version));
    take_string(&input, document->stop, sizeof(document->stop));
    take_files(&input, document, files);
    take_architecture(&input, document);
    take_entries(&input, document->files, &document->weights, &document->weight_count, -1);
    take_training(&input, document);
    take_json(&input, &document->metadata, is_object);
    take_json(&input, &document->warnings, is_warnings);
    take_bindings(&input, document);
    if (!input.rc && input.in.at != input.in.size) bad(&input, "more than a document");
    return input.rc;
}
