// layout.c - lays the tensors out in the file and writes the header that says so.

#include "checkpoint/layout.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "kernels/memory.h"

enum { HEADER_ALIGN = 4096, DATA_ALIGN = 64, HEADER_MAX = 100000000 };  // what readers accept

static int check_name(const char *name)
{
    if (!*name || strlen(name) > PAWL_NAME_MAX)
        return pawl_fail(PAWL_EINVAL, "a tensor's name must have 1 to %d bytes", PAWL_NAME_MAX);
    if (!strcmp(name, "__metadata__"))
        return pawl_fail(PAWL_EINVAL, "no tensor can be called __metadata__");
    json_t *text = json_string(name);
    if (!text) return pawl_fail(PAWL_EINVAL, "a tensor's name is not UTF-8: %s", name);
    json_decref(text);
    return 0;
}

static int fill(struct pawl_part *part, const char *name, void *memory, enum pawl_dtype dtype,
                int rank, const int64_t *dim)
{
    struct pawl_tensor *tensor = &part->tensor;
    int64_t count;

    if (dtype < 0 || dtype >= PAWL_DTYPES || !pawl_dtype_safetensors(dtype))
        return pawl_fail(PAWL_EINVAL, "tensor %s: its element type cannot be saved", name);
    if (rank < 0 || rank > PAWL_RANK_MAX)
        return pawl_fail(PAWL_EINVAL, "tensor %s: rank %d is not 0 to %d", name, rank,
                         PAWL_RANK_MAX);
    const int rc = pawl_shape_count(&count, rank, dim);
    if (rc) return rc;
    if (count > INT64_MAX / 16) return pawl_fail(PAWL_EINVAL, "tensor %s is too large", name);
    strcpy(tensor->name, name);
    tensor->dtype = dtype;
    tensor->rank = rank;
    for (int i = 0; i < PAWL_RANK_MAX; i++)
        tensor->dim[i] = i < rank ? dim[i] : 1;
    tensor->size_bytes = (size_t)count * pawl_dtype_bytes(dtype);
    if (tensor->size_bytes && !memory)
        return pawl_fail(PAWL_EINVAL, "tensor %s has no memory", name);
    part->memory = memory;
    return 0;
}

int pawl_layout_add(struct pawl_layout *layout, const char *name, void *memory,
                    enum pawl_dtype dtype, int rank, const int64_t *dim)
{
    int rc = check_name(name);

    if (rc) return rc;
    if (layout->part_count == layout->part_room) {
        const int room = layout->part_room ? 2 * layout->part_room : 64;
        rc = pawl_realloc(&layout->parts, (size_t)room * sizeof(*layout->parts), "tensor table");
        if (rc) return rc;
        layout->part_room = room;
    }
    rc = fill(&layout->parts[layout->part_count], name, memory, dtype, rank, dim);
    if (!rc) layout->part_count++;
    return rc;
}

// ---- order and offsets

static int compare_names(const void *a, const void *b, void *context)
{
    const struct pawl_layout *layout = context;

    return strcmp(layout->parts[*(const int *)a].tensor.name,
                  layout->parts[*(const int *)b].tensor.name);
}

static int sort_names(struct pawl_layout *layout)
{
    for (int i = 0; i < layout->part_count; i++)
        layout->by_name[i] = i;
    qsort_r(layout->by_name, (size_t)layout->part_count, sizeof(int), compare_names, layout);
    for (int i = 1; i < layout->part_count; i++)
        if (!compare_names(&layout->by_name[i - 1], &layout->by_name[i], layout))
            return pawl_fail(PAWL_EINVAL, "two tensors are called %s",
                             layout->parts[layout->by_name[i]].tensor.name);
    return 0;
}

const struct pawl_part *pawl_layout_find(const struct pawl_layout *layout, const char *name)
{
    int low = 0, high = layout->part_count;

    while (low < high) {
        const int middle = low + (high - low) / 2;
        const struct pawl_part *part = &layout->parts[layout->by_name[middle]];
        const int order = strcmp(name, part->tensor.name);
        if (!order) return part;
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return NULL;
}

// 0 for tensors that keep the alignment; of the others, larger elements first.
static int rank_of(const struct pawl_tensor *tensor)
{
    if (tensor->size_bytes % DATA_ALIGN == 0) return 0;
    return 100 - (int)pawl_dtype_bytes(tensor->dtype);
}

static int compare_places(const void *a, const void *b, void *context)
{
    const struct pawl_layout *layout = context;
    const int i = *(const int *)a, j = *(const int *)b;
    const int order = rank_of(&layout->parts[i].tensor) - rank_of(&layout->parts[j].tensor);

    return order ? order : i - j;
}

// Offsets from the start of the data, for now.
static int place(struct pawl_layout *layout)
{
    uint64_t offset = 0;

    for (int i = 0; i < layout->part_count; i++)
        layout->order[i] = i;
    qsort_r(layout->order, (size_t)layout->part_count, sizeof(int), compare_places, layout);
    for (int i = 0; i < layout->part_count; i++) {
        struct pawl_tensor *tensor = &layout->parts[layout->order[i]].tensor;
        tensor->offset_bytes = offset;
        if (tensor->size_bytes > INT64_MAX / 2 - offset)
            return pawl_fail(PAWL_EINVAL, "the state is too large for one file");
        offset += tensor->size_bytes;
    }
    layout->data_bytes = offset;
    return 0;
}

// ---- the header

// Wide enough for every attempt, so that the header's length never changes.
#define IDENTITY "{\"format\":\"pt\",\"pawl\":\"1\",\"job\":\"%s\",\"step\":\"%016llx\"," \
                 "\"lease\":\"%08lx\"}"
enum { IDENTITY_BYTES = 128 };

static size_t identity(char text[IDENTITY_BYTES], const struct pawl_attempt *attempt)
{
    char job[33];

    pawl_job_text(job, attempt->job);
    return (size_t)snprintf(text, IDENTITY_BYTES, IDENTITY, job,
                            (unsigned long long)attempt->step, (unsigned long)attempt->lease);
}

static void write_shape(struct pawl_text *text, const struct pawl_tensor *tensor)
{
    for (int i = 0; i < tensor->rank; i++)
        pawl_text_format(text, "%s%lld", i ? "," : "", (long long)tensor->dim[i]);
}

static void write_header_entry(struct pawl_text *text, const struct pawl_tensor *tensor)
{
    pawl_text_add(text, ",", 1);
    pawl_text_string(text, tensor->name);
    pawl_text_format(text, ":{\"dtype\":\"%s\",\"shape\":[",
                     pawl_dtype_safetensors(tensor->dtype));
    write_shape(text, tensor);
    pawl_text_format(text, "],\"data_offsets\":[%llu,%llu]}",
                     (unsigned long long)tensor->offset_bytes,
                     (unsigned long long)(tensor->offset_bytes + tensor->size_bytes));
}

static int write_header(struct pawl_layout *layout)
{
    struct pawl_text *text = &layout->header;
    char words[IDENTITY_BYTES];

    pawl_text_add(text, "\0\0\0\0\0\0\0\0", 8);
    pawl_text_format(text, "{\"__metadata__\":");
    layout->identity_at = text->size;
    pawl_text_add(text, words, identity(words, &(struct pawl_attempt){ 0 }));
    for (int i = 0; i < layout->part_count; i++)
        write_header_entry(text, &layout->parts[layout->order[i]].tensor);
    pawl_text_add(text, "}", 1);
    while (!text->rc && text->size % HEADER_ALIGN)
        pawl_text_add(text, " ", 1);
    if (text->rc) return text->rc;
    if (text->size - 8 > HEADER_MAX)
        return pawl_fail(PAWL_EINVAL, "%d tensors: too many for a safetensors header",
                         layout->part_count);
    for (int i = 0; i < 8; i++)
        text->bytes[i] = (char)((text->size - 8) >> (8 * i) & 0xff);
    return 0;
}

void pawl_layout_identify(const struct pawl_layout *layout, char *out,
                          const struct pawl_attempt *attempt)
{
    char words[IDENTITY_BYTES];

    memcpy(out, layout->header.bytes, layout->header.size);
    memcpy(out + layout->identity_at, words, identity(words, attempt));
}

// ---- the index of document.json, and the stretches

static int write_index(struct pawl_layout *layout, const char *shard_name)
{
    struct pawl_text *text = &layout->index;

    pawl_text_add(text, "[", 1);
    for (int i = 0; i < layout->part_count; i++) {
        const struct pawl_tensor *tensor = &layout->parts[i].tensor;
        pawl_text_format(text, "%s\n{\"name\":", i ? "," : "");
        pawl_text_string(text, tensor->name);
        pawl_text_format(text, ",\"dtype\":\"%s\",\"shape\":[", pawl_dtype_name(tensor->dtype));
        write_shape(text, tensor);
        pawl_text_format(text, "],\"pieces\":[");
        if (tensor->size_bytes)
            pawl_text_format(text, "{\"file\":\"%s\",\"offset\":%llu,\"bytes\":%llu,\"start\":0}",
                             shard_name, (unsigned long long)tensor->offset_bytes,
                             (unsigned long long)tensor->size_bytes);
        pawl_text_format(text, "]}");
    }
    pawl_text_format(text, "\n]");
    return pawl_text_check(text);
}

static int compare_stretches(const void *a, const void *b)
{
    const uintptr_t x = (uintptr_t)((const struct pawl_stretch *)a)->memory;
    const uintptr_t y = (uintptr_t)((const struct pawl_stretch *)b)->memory;

    return x < y ? -1 : x > y;
}

static void join(struct pawl_layout *layout)
{
    struct pawl_stretch *last = NULL;

    for (int i = 0; i < layout->part_count; i++) {
        const struct pawl_part *part = &layout->parts[layout->order[i]];
        if (!part->tensor.size_bytes) continue;
        if (last && last->memory + last->size_bytes == part->memory) {
            last->size_bytes += part->tensor.size_bytes;
            continue;
        }
        last = &layout->stretches[layout->stretch_count++];
        *last = (struct pawl_stretch){ part->memory, part->tensor.offset_bytes,
                                       part->tensor.size_bytes };
    }
    memcpy(layout->in_file, layout->stretches, (size_t)layout->stretch_count * sizeof(*last));
    qsort(layout->stretches, (size_t)layout->stretch_count, sizeof(*last), compare_stretches);
}

// All but the parts, so that a finish that failed can be tried again.
static void clear(struct pawl_layout *layout)
{
    pawl_free(layout->order);
    pawl_free(layout->by_name);
    pawl_free(layout->stretches);
    pawl_free(layout->in_file);
    pawl_text_free(&layout->header);
    pawl_text_free(&layout->index);
    *layout = (struct pawl_layout){ .parts = layout->parts, .part_count = layout->part_count,
                                    .part_room = layout->part_room };
}

int pawl_layout_finish(struct pawl_layout *layout, const char *shard_name)
{
    const size_t count = layout->part_count ? (size_t)layout->part_count : 1;

    clear(layout);
    int rc = pawl_alloc(&layout->order, count * sizeof(int), "tensor order");
    if (!rc) rc = pawl_alloc(&layout->by_name, count * sizeof(int), "tensor names");
    if (!rc)
        rc = pawl_alloc(&layout->stretches, count * sizeof(*layout->stretches), "stretches");
    if (!rc) rc = pawl_alloc(&layout->in_file, count * sizeof(*layout->in_file), "stretches");
    if (!rc) rc = sort_names(layout);
    if (!rc) rc = place(layout);
    if (!rc) rc = write_header(layout);
    if (rc) return rc;
    for (int i = 0; i < layout->part_count; i++)
        layout->parts[i].tensor.offset_bytes += layout->header.size;
    layout->file_bytes = layout->header.size + layout->data_bytes;
    join(layout);
    return write_index(layout, shard_name);
}

void pawl_layout_free(struct pawl_layout *layout)
{
    clear(layout);
    pawl_free(layout->parts);
    *layout = (struct pawl_layout){ 0 };
}
