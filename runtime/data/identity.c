// identity.c - what a snapshot remembers of its data, and whether these are still the same.
//
// A run that resumes on other data would go on without a word and be a different run. So names and
// sizes are kept, and of text, which is read whole anyway, a checksum too. A modification time
// would say less: copies change it and edits may not.

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "kernels/memory.h"
#include "runtime/data/inside.h"

enum { LISTED_MAX = 1000 };

static const char *name_of(const struct pawl_source_file *file)
{
    return file->path + file->name_at;
}

// The name as JSON can hold it: in a name that is no UTF-8, every byte beyond ASCII becomes '?'.
static json_t *json_name(const char *name)
{
    char plain[4096];
    json_t *text = json_string(name);

    if (text)
        return text;
    snprintf(plain, sizeof(plain), "%s", name);
    for (char *at = plain; *at; at++)
        if ((unsigned char)*at >= 0x80)
            *at = '?';
    return json_string(plain);
}

static uint32_t crc_of(const struct pawl_source *source)
{
    char number[64];
    uint32_t crc = 0;

    for (size_t i = 0; i < source->file_count; i++) {
        const struct pawl_source_file *file = &source->files[i];
        crc = pawl_source_crc(crc, name_of(file), strlen(name_of(file)) + 1);
        const int length = snprintf(number, sizeof(number), "%" PRIu64 " %08x\n", file->bytes,
                                    file->contents ? file->crc : 0);
        crc = pawl_source_crc(crc, number, (size_t)length);
    }
    return crc;
}

static json_t *json_crc(uint32_t crc)
{
    char text[16];

    snprintf(text, sizeof(text), "%08x", crc);
    return json_string(text);
}

static json_t *json_file(const struct pawl_source_file *file)
{
    json_t *entry = json_object();

    json_object_set_new(entry, "path", json_name(name_of(file)));
    json_object_set_new(entry, "bytes", json_integer((json_int_t)file->bytes));
    if (file->contents)
        json_object_set_new(entry, "crc32c", json_crc(file->crc));
    return entry;
}

json_t *pawl_data_identity(const struct pawl_data *data)
{
    const struct pawl_source *source = &data->source;
    json_t *identity = json_object(), *files = json_array();
    uint64_t bytes = 0;
    int bad = 0;

    for (size_t i = 0; i < source->file_count; i++) {
        bytes += source->files[i].bytes;
        if (i < LISTED_MAX)
            bad |= json_array_append_new(files, json_file(&source->files[i]));
    }
    bad |= json_object_set_new(identity, "source", json_name(data->name));
    bad |= json_object_set_new(identity, "kind", json_string(source->row->name));
    bad |= json_object_set_new(identity, "files", files);
    bad |=
        json_object_set_new(identity, "file_count", json_integer((json_int_t)source->file_count));
    bad |= json_object_set_new(identity, "bytes", json_integer((json_int_t)bytes));
    // The order of samples hangs on these as well.
    bad |= json_object_set_new(identity, "shuffle", json_boolean(data->options.shuffle));
    bad |= json_object_set_new(identity, "held_back", json_real(data->options.fraction));
    bad |= json_object_set_new(identity, "sequence", json_integer(data->options.sequence));
    bad |= json_object_set_new(identity, "crc32c", json_crc(crc_of(source)));
    if (!bad)
        return identity;
    json_decref(identity);
    pawl_fail(PAWL_ENOMEM, "no memory for the identity of %s", data->name);
    return NULL;
}

// ---- comparing

static const char *text_at(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));

    return text ? text : "";
}

static json_t *find_by_name(const json_t *files, const char *name, size_t hint)
{
    json_t *file = json_array_get(files, hint);

    // Both lists have one order, so the place is nearly always the same.
    if (file && !strcmp(text_at(file, "path"), name))
        return file;
    for (size_t i = 0; i < json_array_size(files); i++) {
        file = json_array_get(files, i);
        if (!strcmp(text_at(file, "path"), name))
            return file;
    }
    return NULL;
}

__attribute__((format(printf, 3, 4))) static int differ(const struct pawl_data *data,
                                                        const char *name, const char *format, ...)
{
    char words[128];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(words, sizeof(words), format, arguments);
    va_end(arguments);
    return pawl_fail(PAWL_ECORRUPT,
                     "%s: %s %s, so the run would not be the one that was saved. try: the data as "
                     "it was, or a new --out",
                     data->name, name, words);
}

static int compare_files(const struct pawl_data *data, const json_t *now, const json_t *then)
{
    // A list that was cut off cannot tell what is new.
    const bool complete = json_array_size(then) < LISTED_MAX && json_array_size(now) < LISTED_MAX;

    for (size_t i = 0; i < json_array_size(then); i++) {
        const json_t *old = json_array_get(then, i);
        const char *name = text_at(old, "path");
        const json_t *new = find_by_name(now, name, i);
        const long long had = json_integer_value(json_object_get(old, "bytes"));
        if (!new &&complete)
            return differ(data, name, "is gone; at the snapshot it had %lld bytes", had);
        if (!new)
            continue;
        const long long has = json_integer_value(json_object_get(new, "bytes"));
        if (has != had)
            return differ(data, name, "has %lld bytes; at the snapshot it had %lld", has, had);
        if (strcmp(text_at(new, "crc32c"), text_at(old, "crc32c")))
            return differ(data, name,
                          "has other contents than at the snapshot (%lld bytes both "
                          "times)",
                          had);
    }
    for (size_t i = 0; complete && i < json_array_size(now); i++) {
        const json_t *new = json_array_get(now, i);
        const char *name = text_at(new, "path");
        if (!find_by_name(then, name, i))
            return differ(data, name, "is new; it has %lld bytes",
                          json_integer_value(json_object_get(new, "bytes")));
    }
    return 0;
}

static int compare(const struct pawl_data *data, const json_t *now, const json_t *then)
{
    if (strcmp(text_at(now, "kind"), text_at(then, "kind")))
        return pawl_fail(PAWL_ECORRUPT, "%s: is %s; the snapshot was trained on %s (%s)",
                         data->name, text_at(now, "kind"), text_at(then, "kind"),
                         text_at(then, "source"));
    const int rc =
        compare_files(data, json_object_get(now, "files"), json_object_get(then, "files"));
    if (rc)
        return rc;
    const long long files = json_integer_value(json_object_get(now, "file_count"));
    const long long files_then = json_integer_value(json_object_get(then, "file_count"));
    if (files != files_then)
        return differ(data, "it", "has %lld files; at the snapshot it had %lld", files, files_then);
    const long long bytes = json_integer_value(json_object_get(now, "bytes"));
    const long long bytes_then = json_integer_value(json_object_get(then, "bytes"));
    if (bytes != bytes_then)
        return differ(data, "it", "has %lld bytes; at the snapshot it had %lld", bytes, bytes_then);
    if (strcmp(text_at(now, "crc32c"), text_at(then, "crc32c")))
        return differ(data, "it",
                      "has other names or contents than at the snapshot (%lld bytes "
                      "both times)",
                      bytes);
    return 0;
}

// What was saved without a field is taken as it is.
static int compare_order(const json_t *now, const json_t *then)
{
    static const char *const fields[][2] = { { "shuffle", "--shuffle" },
                                             { "held_back", "the fraction in --val" },
                                             { "sequence", "--seq" } };

    for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
        const json_t *was = json_object_get(then, fields[i][0]);
        if (was && !json_equal((json_t *)(uintptr_t)was, json_object_get(now, fields[i][0])))
            return pawl_fail(PAWL_ECORRUPT,
                             "%s is not what it was when the run began, and the order of its data "
                             "hangs on it. try: the value in run.json, or another --out",
                             fields[i][1]);
    }
    return 0;
}

int pawl_data_same(const struct pawl_data *data, const json_t *identity)
{
    json_t *now = pawl_data_identity(data);

    if (!now)
        return PAWL_ENOMEM;
    int rc = compare_order(now, identity);
    if (!rc)
        rc = compare(data, now, identity);
    json_decref(now);
    return rc;
}
