// manifest.c - writes and reads the commit record.

#include "checkpoint/manifest.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include <jansson.h>

#include "checkpoint/sums.h"
#include "kernels/memory.h"

enum { TRAILER_BYTES = 16 };  // "crc32c 89abcdef\n"

int pawl_manifest_new(struct pawl_manifest *out, int ranks)
{
    struct pawl_manifest manifest = { .ranks = ranks, .epoch = -1, .metric = NAN };

    manifest.file_count = 1 + 2 * ranks;
    int rc = pawl_alloc(&manifest.files, (size_t)manifest.file_count * sizeof(*manifest.files),
                        "the manifest");
    if (rc) return rc;
    strcpy(manifest.files[0].name, "document.json");
    for (int i = 0; i < ranks; i++) {
        snprintf(pawl_manifest_shard(&manifest, i)->name, sizeof(manifest.files->name),
                 "shard-%05d.safetensors", i);
        snprintf(pawl_manifest_sums(&manifest, i)->name, sizeof(manifest.files->name),
                 "shard-%05d.sums", i);
    }
    *out = manifest;
    return 0;
}

void pawl_manifest_free(struct pawl_manifest *manifest)
{
    for (int i = 0; manifest->files && i < manifest->file_count; i++)
        pawl_free(manifest->files[i].digests);
    pawl_free(manifest->files);
    manifest->files = NULL;
}

static bool is_shard(int index)
{
    return index % 2 == 1;
}

static void write_file(struct pawl_text *text, const struct pawl_manifest_file *file, bool shard)
{
    pawl_text_format(text, "{\"name\":\"%s\",\"bytes\":%llu", file->name,
                     (unsigned long long)file->bytes);
    if (!shard) pawl_text_format(text, ",\"crc32c\":\"%08lx\"", (unsigned long)file->crc);
    for (int i = 0; i < file->digest_count; i++) {
        const struct pawl_manifest_digest *digest = &file->digests[i];
        pawl_text_format(text, "%s{\"offset\":%llu,\"bytes\":%llu,\"sum\":\"%016llx%016llx\"}",
                         i ? "," : ",\"digests\":[", (unsigned long long)digest->offset,
                         (unsigned long long)digest->bytes, (unsigned long long)digest->sum[0],
                         (unsigned long long)digest->sum[1]);
    }
    if (file->digest_count) pawl_text_add(text, "]", 1);
    pawl_text_add(text, "}", 1);
}

int pawl_manifest_write(struct pawl_text *text, const struct pawl_manifest *manifest)
{
    char job[33];

    pawl_text_clear(text);
    pawl_job_text(job, manifest->attempt.job);
    pawl_text_format(text, "{\"pawl\":1,\"job\":\"%s\",\"step\":%llu,\"lease\":%lu", job,
                     (unsigned long long)manifest->attempt.step,
                     (unsigned long)manifest->attempt.lease);
    if (manifest->has_previous)
        pawl_text_format(text, ",\"previous\":{\"step\":%llu,\"lease\":%lu}",
                         (unsigned long long)manifest->previous_step,
                         (unsigned long)manifest->previous_lease);
    else
        pawl_text_format(text, ",\"previous\":null");
    pawl_text_format(text, ",\"ranks\":%d,\"epoch\":", manifest->ranks);
    if (manifest->epoch < 0)
        pawl_text_format(text, "null");
    else
        pawl_text_format(text, "%lld", (long long)manifest->epoch);
    pawl_text_format(text, ",\"metric\":");
    pawl_text_number(text, manifest->metric);
    pawl_text_format(text, ",\"files\":[");
    for (int i = 0; i < manifest->file_count; i++) {
        if (i) pawl_text_add(text, ",", 1);
        write_file(text, &manifest->files[i], is_shard(i));
    }
    pawl_text_format(text, "]}\n");
    if (!text->rc)
        pawl_text_format(text, "crc32c %08lx\n",
                         (unsigned long)pawl_crc32c(text->bytes, text->size));
    return pawl_text_check(text);
}

// A whole number from 0 to max, or false.
static bool whole(const json_t *value, uint64_t max, uint64_t *out)
{
    if (!json_is_integer(value) || json_integer_value(value) < 0
        || (uint64_t)json_integer_value(value) > max)
        return false;
    *out = (uint64_t)json_integer_value(value);
    return true;
}

// Exactly so many words of 8 digits each.
static bool read_hex(const json_t *value, uint32_t *out, size_t words)
{
    const char *text = json_string_value(value);
    unsigned long word = 0;

    if (!text || strlen(text) != 8 * words || strspn(text, "0123456789abcdef") != 8 * words)
        return false;
    for (size_t i = 0; i < words; i++) {
        if (sscanf(text + 8 * i, "%8lx", &word) != 1) return false;
        out[i] = (uint32_t)word;
    }
    return true;
}

// Ascending, none beside or over another's bytes, all within the file.
static bool read_digest(const json_t *entry, const struct pawl_manifest_file *file,
                        struct pawl_manifest_digest *out, uint64_t from)
{
    uint32_t words[4];

    if (!whole(json_object_get(entry, "offset"), file->bytes, &out->offset)
        || !whole(json_object_get(entry, "bytes"), file->bytes - out->offset, &out->bytes)
        || !read_hex(json_object_get(entry, "sum"), words, 4))
        return false;
    out->sum[0] = (uint64_t)words[0] << 32 | words[1];
    out->sum[1] = (uint64_t)words[2] << 32 | words[3];
    return out->bytes && out->offset >= from;
}

static int read_digests(const json_t *digests, struct pawl_manifest_file *file, const char *path)
{
    const size_t count = json_array_size(digests);
    uint64_t from = 0;

    if (!count || count > INT32_MAX) return 0;
    int rc = pawl_alloc(&file->digests, count * sizeof(*file->digests), "digests");
    if (rc) return rc;
    for (size_t i = 0; i < count; i++) {
        struct pawl_manifest_digest *digest = &file->digests[i];
        if (!read_digest(json_array_get(digests, i), file, digest, from))
            return pawl_fail(PAWL_ECORRUPT, "%s: digest %zu of %s makes no sense", path, i,
                             file->name);
        from = digest->offset + digest->bytes;
        file->digest_count++;
    }
    return 0;
}

static bool read_file(const json_t *entry, struct pawl_manifest_file *file, bool shard)
{
    const char *name = json_string_value(json_object_get(entry, "name"));

    if (!name || strcmp(name, file->name)) return false;
    if (!whole(json_object_get(entry, "bytes"), INT64_MAX, &file->bytes)) return false;
    return shard || read_hex(json_object_get(entry, "crc32c"), &file->crc, 1);
}

static bool read_identity(const json_t *root, struct pawl_manifest *out)
{
    const char *job = json_string_value(json_object_get(root, "job"));
    const json_t *previous = json_object_get(root, "previous");
    const json_t *epoch = json_object_get(root, "epoch"), *metric = json_object_get(root, "metric");
    uint64_t lease, value;

    if (!job || !pawl_job_parse(job, out->attempt.job)) return false;
    if (!whole(json_object_get(root, "step"), INT64_MAX, &out->attempt.step)) return false;
    if (!whole(json_object_get(root, "lease"), UINT32_MAX, &lease)) return false;
    out->attempt.lease = (uint32_t)lease;
    if (json_is_object(previous)) {
        if (!whole(json_object_get(previous, "step"), INT64_MAX, &out->previous_step)) return false;
        if (!whole(json_object_get(previous, "lease"), UINT32_MAX, &lease)) return false;
        out->previous_lease = (uint32_t)lease;
        out->has_previous = true;
    }
    if (json_is_integer(epoch)) {
        if (!whole(epoch, INT64_MAX, &value)) return false;
        out->epoch = (int64_t)value;
    }
    if (json_is_number(metric)) out->metric = json_number_value(metric);
    return true;
}

static int read_object(struct pawl_manifest *out, const json_t *root, const char *path)
{
    const json_t *files = json_object_get(root, "files");
    struct pawl_manifest manifest;
    uint64_t version = 0, ranks = 0;

    if (whole(json_object_get(root, "pawl"), INT64_MAX, &version) && version > 1)
        return pawl_fail(PAWL_ENOTSUP, "%s: version %llu is newer than this pawl", path,
                         (unsigned long long)version);
    if (version != 1 || !whole(json_object_get(root, "ranks"), PAWL_RANKS_MAX, &ranks) || !ranks)
        return pawl_fail(PAWL_ECORRUPT, "%s: not a manifest", path);
    int rc = pawl_manifest_new(&manifest, (int)ranks);
    if (rc) return rc;
    if (!read_identity(root, &manifest)) {
        rc = pawl_fail(PAWL_ECORRUPT, "%s: its identity cannot be read", path);
        goto out;
    }
    if (json_array_size(files) != (size_t)manifest.file_count) {
        rc = pawl_fail(PAWL_ECORRUPT, "%s: lists %zu files instead of %d", path,
                       json_array_size(files), manifest.file_count);
        goto out;
    }
    for (int i = 0; i < manifest.file_count && !rc; i++) {
        const json_t *entry = json_array_get(files, (size_t)i);
        if (!read_file(entry, &manifest.files[i], is_shard(i)))
            rc = pawl_fail(PAWL_ECORRUPT, "%s: its entry for %s makes no sense", path,
                           manifest.files[i].name);
        else if (is_shard(i))
            rc = read_digests(json_object_get(entry, "digests"), &manifest.files[i], path);
    }
    if (rc) goto out;
    *out = manifest;
    return 0;
out:
    pawl_manifest_free(&manifest);
    return rc;
}

int pawl_manifest_read(struct pawl_manifest *out, const char *bytes, size_t size, const char *path)
{
    char trailer[TRAILER_BYTES + 1];

    if (size < TRAILER_BYTES + 2)
        return pawl_fail(PAWL_ECORRUPT, "%s: cut short at %zu bytes", path, size);
    const size_t body = size - TRAILER_BYTES;
    snprintf(trailer, sizeof(trailer), "crc32c %08lx\n", (unsigned long)pawl_crc32c(bytes, body));
    if (memcmp(trailer, bytes + body, TRAILER_BYTES))
        return pawl_fail(PAWL_ECORRUPT, "%s: its own checksum does not hold", path);
    json_t *root = json_loadb(bytes, body, JSON_REJECT_DUPLICATES, NULL);
    if (!root) return pawl_fail(PAWL_ECORRUPT, "%s: not JSON", path);
    const int rc = read_object(out, root, path);
    json_decref(root);
    return rc;
}
