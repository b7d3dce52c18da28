// safetensors_format.c - the format `safetensors`: its row, and its exact writer.
//
// The writer's header is a multiple of 8 bytes. Tensors lie by falling element size, so that each
// is aligned to its own; within a size they keep the document's order.

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "checkpoint/cast.h"
#include "checkpoint/formats/formats.h"
#include "checkpoint/formats/hf.h"
#include "checkpoint/formats/safetensors.h"
#include "checkpoint/formats/safetensors_index.h"
#include "checkpoint/names.h"
#include "checkpoint/text.h"
#include "kernels/io.h"
#include "kernels/memory.h"

enum { HEADER_MAX = 100000000, CHUNK_BYTES = 4 << 20 };

static bool detect(const char *path, const unsigned char *head, size_t head_bytes, bool directory)
{
    uint64_t length = 0;
    char name[256];
    bool index;

    if (directory) return pawl_safetensors_in(path, name, &index);
    if (head_bytes < 10) return false;
    for (int i = 7; i >= 0; i--)
        length = length << 8 | head[i];
    const char *header = (const char *)head + 8;
    return length >= 2 && length <= HEADER_MAX && header[strspn(header, " \t\r\n")] == '{';
}

static int read_safetensors(struct pawl_document *document, const char *path)
{
    char name[256], file[4200];
    bool index = false;

    if (!pawl_safetensors_in(path, name, &index)) return pawl_safetensors_read(document, path);
    snprintf(file, sizeof(file), "%s/%s", path, name);
    const int rc = index ? pawl_safetensors_read_index(document, path, name)
                         : pawl_safetensors_read(document, file);
    return rc ? rc : pawl_hf_read_beside(document, path);
}

// ---- writing

struct writer {
    const struct pawl_document *document;
    const struct pawl_write_options *options;
    const char *path;
    int fd;
    int *order;  // indexes of weights, as they lie in the file
    struct pawl_text header;
    off_t at;
    char *chunk;  // CHUNK_BYTES
};

static enum pawl_dtype stored_as(const struct writer *w, const struct pawl_entry *entry)
{
    return w->options->cast && pawl_dtype_casts(entry->tensor.dtype) ? w->options->dtype
                                                                     : entry->tensor.dtype;
}

// Each weight's name once, and each element type one that the format has.
static int check_weights(const struct writer *w)
{
    const struct pawl_document *document = w->document;
    struct pawl_names names = { 0 };
    int rc = 0;

    for (int i = 0; i < document->weight_count && !rc; i++) {
        const struct pawl_tensor *tensor = &document->weights[i].tensor;
        if (!pawl_dtype_safetensors(stored_as(w, &document->weights[i])))
            rc = pawl_fail(PAWL_ENOTSUP, "tensor '%s' is %s, which safetensors cannot hold",
                           tensor->name, pawl_dtype_name(tensor->dtype));
        else if (strcmp(tensor->name, "__metadata__") == 0)
            rc = pawl_fail(PAWL_ENOTSUP, "a tensor called __metadata__ cannot be in safetensors");
    }
    if (rc || !document->weight_count) return rc;
    rc = pawl_names_build(&names, document->weight_count, document->weights[0].tensor.name,
                          sizeof(*document->weights));
    if (!rc && names.twice)
        rc = pawl_fail(PAWL_ECORRUPT, "two tensors are called '%s'", names.twice);
    pawl_names_free(&names);
    return rc;
}

static int choose_order(struct writer *w)
{
    const int count = w->document->weight_count;
    int n = 0;

    const int rc = pawl_alloc(&w->order, sizeof(int) * (size_t)count, "the order of tensors");
    for (size_t size = 16; size && !rc; size /= 2)
        for (int i = 0; i < count; i++)
            if (pawl_dtype_bytes(stored_as(w, &w->document->weights[i])) == size)
                w->order[n++] = i;
    return rc;
}

static void write_metadata(struct writer *w)
{
    json_t *metadata = w->document->metadata, *value;
    const char *key, *comma = "";

    pawl_text_format(&w->header, "\"__metadata__\":{");
    // Hugging Face's loaders refuse a file that does not say whose layout its tensors have.
    if (!json_object_get(metadata, "format")) {
        pawl_text_format(&w->header, "\"format\":\"pt\"");
        comma = ",";
    }
    json_object_foreach(metadata, key, value) {
        struct pawl_text text = { 0 };
        char *words = NULL;

        pawl_text_format(&w->header, "%s", comma);
        pawl_text_string(&w->header, key);
        pawl_text_format(&w->header, ":");
        if (json_is_string(value)) {
            pawl_text_string(&w->header, json_string_value(value));
        } else {  // the format holds text only: other values go in as their JSON
            pawl_text_json(&text, value);
            if (!w->header.rc) w->header.rc = pawl_text_take(&text, &words, NULL);
            if (words) pawl_text_string(&w->header, words);
            pawl_free(words);
        }
        comma = ",";
    }
    pawl_text_format(&w->header, "}");
}

static int build_header(struct writer *w)
{
    struct pawl_text *text = &w->header;
    uint64_t offset = 0;

    pawl_text_add(text, "\0\0\0\0\0\0\0\0{", 9);
    write_metadata(w);
    for (int i = 0; i < w->document->weight_count; i++) {
        const struct pawl_entry *entry = &w->document->weights[w->order[i]];
        const enum pawl_dtype dtype = stored_as(w, entry);
        const uint64_t size = entry->tensor.size_bytes / pawl_dtype_bytes(entry->tensor.dtype)
                              * pawl_dtype_bytes(dtype);

        pawl_text_format(text, ",");
        pawl_text_string(text, entry->tensor.name);
        pawl_text_format(text, ":{\"dtype\":\"%s\",\"shape\":[", pawl_dtype_safetensors(dtype));
        for (int d = 0; d < entry->tensor.rank; d++)
            pawl_text_format(text, "%s%lld", d ? "," : "", (long long)entry->tensor.dim[d]);
        pawl_text_format(text, "],\"data_offsets\":[%llu,%llu]}", (unsigned long long)offset,
                         (unsigned long long)(offset + size));
        offset += size;
    }
    pawl_text_format(text, "}");
    while (text->size % 8 && !text->rc)
        pawl_text_format(text, " ");
    if (text->rc) return text->rc;
    if (text->size - 8 > HEADER_MAX)
        return pawl_fail(PAWL_ENOTSUP, "the header of %d tensors is larger than safetensors allows",
                         w->document->weight_count);
    for (int i = 0; i < 8; i++)
        text->bytes[i] = (char)((text->size - 8) >> 8 * i & 0xff);
    return 0;
}

static int put(struct writer *w, const void *bytes, size_t size)
{
    const int rc = pawl_io_write_all(w->fd, bytes, size, w->at);

    w->at += (off_t)size;
    return rc ? pawl_io_fail(rc, "write", w->path) : 0;
}

static int put_tensor(struct writer *w, const struct pawl_entry *entry)
{
    const enum pawl_dtype dtype = stored_as(w, entry);
    const size_t element = pawl_dtype_bytes(dtype);
    const int64_t count = (int64_t)(entry->tensor.size_bytes
                                    / pawl_dtype_bytes(entry->tensor.dtype));
    const int64_t most = CHUNK_BYTES / (int64_t)element;
    int rc = 0;

    for (int64_t done = 0; done < count && !rc; done += most) {
        const int64_t now = count - done < most ? count - done : most;
        rc = pawl_document_fetch_as(w->document, entry, done, now, dtype, w->chunk);
        if (!rc) rc = put(w, w->chunk, (size_t)now * element);
    }
    return rc;
}

static int put_all(struct writer *w)
{
    w->fd = pawl_io()->open(w->path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0666);
    if (w->fd < 0) return pawl_io_fail(w->fd, "create", w->path);
    int rc = put(w, w->header.bytes, w->header.size);
    for (int i = 0; i < w->document->weight_count && !rc; i++)
        rc = put_tensor(w, &w->document->weights[w->order[i]]);
    const int synced = rc ? 0 : pawl_io()->sync(w->fd);
    const int closed = pawl_io()->close(w->fd);
    if (rc) return rc;
    return synced || closed ? pawl_io_fail(synced ? synced : closed, "fsync", w->path) : 0;
}

int pawl_safetensors_write(const struct pawl_document *document, const char *path,
                           const struct pawl_write_options *options)
{
    struct writer w = { .document = document, .options = options, .path = path };

    int rc = check_weights(&w);
    if (!rc) rc = choose_order(&w);
    if (!rc) rc = build_header(&w);
    if (!rc) rc = pawl_alloc(&w.chunk, CHUNK_BYTES, "a chunk");
    if (!rc) rc = put_all(&w);
    pawl_free(w.chunk);
    pawl_free(w.order);
    pawl_text_free(&w.header);
    return rc;
}

const struct pawl_format pawl_format_safetensors = {
    .name = "safetensors",
    .suffixes = ".safetensors",
    .parts = PAWL_PART_WEIGHTS,
    .detect = detect,
    .read = read_safetensors,
    .write = pawl_safetensors_write,
};
