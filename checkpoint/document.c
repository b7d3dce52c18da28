// document.c - the table of formats, files and pieces: reading a document and writing one down.

#include "checkpoint/document.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "checkpoint/binding.h"
#include "checkpoint/cast.h"
#include "checkpoint/document_inside.h"
#include "checkpoint/formats/formats.h"
#include "checkpoint/names.h"
#include "checkpoint/sandbox.h"
#include "checkpoint/suggest.h"
#include "kernels/io.h"
#include "kernels/memory.h"

enum { HEAD_BYTES = 4096, CAST_CHUNK = 4096 };

static const struct pawl_format *const formats[] = {
    &pawl_format_pawl,
    &pawl_format_safetensors,
    &pawl_format_npz,  // before the other zip archives: its members are arrays
    &pawl_format_pth,
    &pawl_format_pth_checkpoint,
    &pawl_format_pth_model,
    &pawl_format_dcp,
    &pawl_format_savedmodel,
    &pawl_format_keras,
    &pawl_format_keras_weights,  // its suffix ends in the next one's
    &pawl_format_keras_h5,
    &pawl_format_h5_weights,
    &pawl_format_hf,
    &pawl_format_architecture,
};

enum { FORMATS = sizeof(formats) / sizeof(*formats) };

static const char KNOWN[] = "pawl, safetensors, pth, pth-checkpoint, pth-model, dcp, npz, "
                            "savedmodel, keras, keras-h5, keras-weights, "
                            "h5-weights, hf, architecture (.json)";

// ---- files

// Opens a file or directory for reading without hanging on a FIFO.
static int open_path(const char *path, int *fd, struct stat *of)
{
    const int opened = pawl_io()->open(path, O_RDONLY | O_NONBLOCK, 0);

    if (opened == -ENOENT || opened == -ENOTDIR)
        return pawl_fail(PAWL_ENONE, "%s: there is nothing by that name", path);
    if (opened < 0) return pawl_io_fail(opened, "open", path);
    const int rc = pawl_io()->fstat(opened, of);
    if (rc) {
        pawl_io()->close(opened);
        return pawl_io_fail(rc, "look at", path);
    }
    *fd = opened;
    return 0;
}

int pawl_files_append(struct pawl_files *files, struct pawl_file *added, const char *path)
{
    int rc = pawl_realloc(&files->file, sizeof(*added) * ((size_t)files->count + 1), "open files");

    if (!rc) rc = pawl_strdup(&added->path, path);
    if (!rc) files->file[files->count++] = *added;
    return rc;
}

int pawl_document_add_made(struct pawl_document *document, const char *path,
                           const struct pawl_made *made, int *file)
{
    struct pawl_file added = { .fd = -1, .size = made->size_bytes, .made = *made };
    const int rc = pawl_files_append(document->files, &added, path);

    if (!rc) *file = document->files->count - 1;
    return rc;
}

int pawl_document_add_file(struct pawl_document *document, const char *path, int *file,
                           uint64_t *size)
{
    struct pawl_file added = { .fd = -1 };
    struct stat of;

    int rc = open_path(path, &added.fd, &of);
    if (rc) return rc;
    if (!S_ISREG(of.st_mode))
        rc = pawl_fail(PAWL_ECORRUPT, "%s: it is not a regular file", path);
    added.size = (uint64_t)of.st_size;
    if (!rc) rc = pawl_files_append(document->files, &added, path);
    if (rc) {
        pawl_io()->close(added.fd);
        return rc;
    }
    *file = document->files->count - 1;
    if (size) *size = added.size;
    return 0;
}

int pawl_document_read_at(const struct pawl_document *document, int file, uint64_t offset,
                          void *out, size_t size)
{
    const struct pawl_file *from = &document->files->file[file];

    if (offset > from->size || size > from->size - offset)
        return pawl_fail(PAWL_ECORRUPT, "%s: it ends at byte %llu, but %zu bytes are expected at "
                         "%llu: truncated", from->path, (unsigned long long)from->size, size,
                         (unsigned long long)offset);
    if (from->fd < 0) return from->made.read(from->made.context, offset, out, size);
    const int rc = pawl_io_read_all(from->fd, out, size, (off_t)offset);
    if (rc == -ENODATA)
        return pawl_fail(PAWL_ECORRUPT, "%s: it became shorter while it was read", from->path);
    return rc ? pawl_io_fail(rc, "read", from->path) : 0;
}

static void free_files(struct pawl_files *files)
{
    if (!files) return;
    // The last first: what is made may be made from the files before it.
    for (int i = files->count - 1; i >= 0; i--) {
        struct pawl_file *file = &files->file[i];
        if (file->fd >= 0) pawl_io()->close(file->fd);
        if (file->made.free) file->made.free(file->made.context);
        pawl_free(file->path);
    }
    pawl_sandbox_free(files->sandbox);
    pawl_free(files->file);
    pawl_free(files);
}

// ---- entries

int pawl_tensor_shape(struct pawl_tensor *tensor, int rank, const int64_t *dim)
{
    int64_t count, bytes;

    int rc = pawl_shape_count(&count, rank, dim);
    if (rc) return rc;
    if (__builtin_mul_overflow(count, (int64_t)pawl_dtype_bytes(tensor->dtype), &bytes))
        return pawl_fail(PAWL_EINVAL, "a shape's size in bytes overflows 64 bits");
    tensor->rank = rank;
    for (int d = 0; d < PAWL_RANK_MAX; d++)
        tensor->dim[d] = d < rank ? dim[d] : 1;
    tensor->size_bytes = (size_t)bytes;
    return 0;
}

int pawl_document_add_entry(struct pawl_entry **table, int *count, const struct pawl_tensor *tensor,
                            int file, uint64_t offset)
{
    struct pawl_entry entry = { .tensor = *tensor, .of = -1 };
    int rc = 0;

    if (*count >= PAWL_TENSORS_MAX)
        return pawl_fail(PAWL_ECORRUPT, "more than %d tensors", PAWL_TENSORS_MAX);
    if ((*count & (*count - 1)) == 0)  // room for twice as many, whenever a power of two is full
        rc = pawl_realloc(table, sizeof(entry) * (*count ? 2 * (size_t)*count : 1), "tensors");
    if (!rc && file >= 0) rc = pawl_alloc(&entry.pieces, sizeof(*entry.pieces), "a piece");
    if (rc) return rc;
    if (file >= 0) {
        entry.piece_count = 1;
        entry.pieces[0] = (struct pawl_piece){ file, offset, tensor->size_bytes, 0 };
    }
    (*table)[(*count)++] = entry;
    return 0;
}

static void free_entries(struct pawl_entry *table, int count)
{
    for (int i = 0; i < count; i++)
        pawl_free(table[i].pieces);
    pawl_free(table);
}

const struct pawl_entry *pawl_document_find(const struct pawl_document *document, const char *name)
{
    for (int i = 0; i < document->weight_count; i++)
        if (strcmp(document->weights[i].tensor.name, name) == 0) return &document->weights[i];
    for (int i = 0; document->training && i < document->training->tensor_count; i++)
        if (strcmp(document->training->tensors[i].tensor.name, name) == 0)
            return &document->training->tensors[i];
    return NULL;
}

int pawl_document_fetch_part(const struct pawl_document *document, const struct pawl_entry *entry,
                             uint64_t start, size_t size, void *out)
{
    const size_t element = pawl_dtype_bytes(entry->tensor.dtype);
    char *to = out;
    int rc = 0;

    if (start > entry->tensor.size_bytes || size > entry->tensor.size_bytes - start)
        return pawl_fail(PAWL_EINVAL, "tensor '%s' has %zu bytes", entry->tensor.name,
                         entry->tensor.size_bytes);
    for (int i = 0; i < entry->piece_count && size && !rc; i++) {
        const struct pawl_piece *piece = &entry->pieces[i];
        const uint64_t first = (uint64_t)piece->start * element;
        if (start < first || start - first >= piece->size_bytes) continue;

        const uint64_t left = piece->size_bytes - (start - first);
        const size_t now = left < size ? (size_t)left : size;
        rc = pawl_document_read_at(document, piece->file, piece->offset_bytes + (start - first), to,
                                   now);
        to += now;
        start += now;
        size -= now;
    }
    if (!rc && size)
        rc = pawl_fail(PAWL_ECORRUPT, "tensor '%s': its pieces lack %zu bytes", entry->tensor.name,
                       size);
    return rc;
}

int pawl_document_fetch(const struct pawl_document *document, const struct pawl_entry *entry,
                        void *out)
{
    return pawl_document_fetch_part(document, entry, 0, entry->tensor.size_bytes, out);
}

int pawl_document_fetch_as(const struct pawl_document *document, const struct pawl_entry *entry,
                           int64_t start, int64_t count, enum pawl_dtype dtype, void *out)
{
    const enum pawl_dtype from = entry->tensor.dtype;
    const size_t from_bytes = pawl_dtype_bytes(from), to_bytes = pawl_dtype_bytes(dtype);
    char chunk[CAST_CHUNK * 8];  // 8 bytes: the largest type that casts
    int rc = 0;

    if (from == dtype)
        return pawl_document_fetch_part(document, entry, (uint64_t)start * from_bytes,
                                        (size_t)count * from_bytes, out);
    if (!pawl_dtype_casts(from) || !pawl_dtype_casts(dtype))
        return pawl_fail(PAWL_EINVAL, "tensor '%s' is %s, which does not become %s",
                         entry->tensor.name, pawl_dtype_name(from), pawl_dtype_name(dtype));
    for (int64_t done = 0; done < count && !rc; done += CAST_CHUNK) {
        const int64_t now = count - done < CAST_CHUNK ? count - done : CAST_CHUNK;
        rc = pawl_document_fetch_part(document, entry, (uint64_t)(start + done) * from_bytes,
                                      (size_t)now * from_bytes, chunk);
        if (!rc) pawl_cast((char *)out + (size_t)done * to_bytes, dtype, chunk, from, now);
    }
    return rc;
}

// ---- documents

int pawl_document_new(struct pawl_document **out)
{
    struct pawl_document *document = NULL;

    int rc = pawl_alloc(&document, sizeof(*document), "a document");
    if (rc) return rc;
    rc = pawl_alloc(&document->files, sizeof(*document->files), "open files");
    document->metadata = json_object();
    document->warnings = json_array();
    if (!rc && (!document->metadata || !document->warnings))
        rc = pawl_fail(PAWL_ENOMEM, "no memory for a document");
    if (rc)
        pawl_document_free(document);
    else
        *out = document;
    return rc;
}

bool pawl_training_as_keras(const struct pawl_training *training)
{
    const char *as = json_string_value(json_object_get(training->optimizer, "convention"));

    return as && strcmp(as, "keras") == 0;
}

void pawl_document_keep(struct pawl_document *document, unsigned parts)
{
    struct pawl_training *training = document->training;

    if (!(parts & PAWL_PART_WEIGHTS)) {
        free_entries(document->weights, document->weight_count);
        document->weights = NULL;
        document->weight_count = 0;
    }
    if (!(parts & PAWL_PART_TRAINING) && training) {
        free_entries(training->tensors, training->tensor_count);
        json_decref(training->optimizer);
        json_decref(training->rest);
        pawl_free(training);
        document->training = NULL;
    }
    if (!(parts & PAWL_PART_ARCHITECTURE)) {
        pawl_architecture_free(document->architecture);
        pawl_free(document->architecture);
        document->architecture = NULL;
    }
}

void pawl_document_free(struct pawl_document *document)
{
    if (!document) return;
    pawl_document_keep(document, 0);
    if (document->bindings) pawl_bindings_free(document->bindings);
    pawl_free(document->bindings);
    free_files(document->files);
    json_decref(document->metadata);
    json_decref(document->warnings);
    pawl_free(document);
}

void pawl_document_warn(struct pawl_document *document, const char *format, ...)
{
    char words[1024];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(words, sizeof(words), format, arguments);
    va_end(arguments);
    json_array_append_new(document->warnings, json_string(words));
}

// ---- which format

static bool ends_in(const char *path, const char *suffix, size_t length)
{
    const size_t size = strlen(path);

    return size > length && strncasecmp(path + size - length, suffix, length) == 0;
}

static const struct pawl_format *by_suffix(const char *path)
{
    for (int i = 0; i < FORMATS; i++)
        for (const char *s = formats[i]->suffixes; *s; s += strspn(s, " ")) {
            const size_t length = strcspn(s, " ");
            if (ends_in(path, s, length)) return formats[i];
            s += length;
        }
    return NULL;
}

int pawl_format_find(const struct pawl_format **out, const char *name, const char *path)
{
    const char *names[FORMATS];
    char hint[96];

    if (!name) {
        *out = by_suffix(path);
        return *out ? 0 : pawl_fail(PAWL_EINVAL, "%s: no format is known by that suffix. try: --to "
                                    "NAME, one of %s", path, KNOWN);
    }
    if (!strcmp(name, "json")) name = "architecture";  // what its suffix suggests
    for (int i = 0; i < FORMATS; i++) {
        names[i] = formats[i]->name;
        if (strcmp(name, names[i])) continue;
        *out = formats[i];
        return 0;
    }
    return pawl_fail(PAWL_EINVAL, "format '%.40s' is unknown%s; this version has %s", name,
                     pawl_suggest_text(hint, sizeof(hint), name, names, FORMATS), KNOWN);
}

// What people hand over instead of the model that they meant.
static int explain(const char *path, const char *head, size_t size, bool directory)
{
    char start[64] = "";

    if (directory)
        return pawl_fail(PAWL_ENONE, "%s: the directory holds no run, no snapshot and no model "
                         "that this version reads; it reads %s", path, KNOWN);
    if (!size) return pawl_fail(PAWL_ECORRUPT, "%s: the file is empty", path);
    const size_t blanks = strspn(head, " \t\r\n");
    snprintf(start, sizeof(start), "%s", head + blanks);
    if (strncmp(start, "version https://git-lfs", 23) == 0)
        return pawl_fail(PAWL_ECORRUPT, "%s: it is a Git LFS pointer, not the file itself. try: "
                         "git lfs pull", path);
    if (strncasecmp(start, "<!doctype html", 14) == 0 || strncasecmp(start, "<html", 5) == 0)
        return pawl_fail(PAWL_ECORRUPT, "%s: it is an HTML web page, not a model. try: download it "
                         "again, signed in", path);
    return pawl_fail(PAWL_ENOTSUP, "%s: it is in no format that this version reads; it reads %s",
                     path, KNOWN);
}

static int look(const char *path, char head[HEAD_BYTES + 1], size_t *size, bool *directory)
{
    struct stat of;
    int fd = -1;

    int rc = open_path(path, &fd, &of);
    if (rc) return rc;
    *directory = S_ISDIR(of.st_mode);
    *size = 0;
    if (!S_ISDIR(of.st_mode) && !S_ISREG(of.st_mode))
        rc = pawl_fail(PAWL_ECORRUPT, "%s: it is neither a regular file nor a directory", path);
    if (!rc && !*directory) {
        *size = of.st_size < HEAD_BYTES ? (size_t)of.st_size : HEAD_BYTES;
        const int error = pawl_io_read_all(fd, head, *size, 0);
        if (error) rc = pawl_io_fail(error, "read", path);
    }
    head[*size] = 0;
    pawl_io()->close(fd);
    return rc;
}

static int choose(const struct pawl_format **out, const char *path)
{
    char head[HEAD_BYTES + 1];
    bool directory;
    size_t size;

    const int rc = look(path, head, &size, &directory);
    if (rc) return rc;
    for (int i = 0; i < FORMATS; i++)
        if (formats[i]->detect(path, (unsigned char *)head, size, directory)) {
            *out = formats[i];
            return 0;
        }
    const int why = explain(path, head, size, directory);
    // A name is no proof of a format, but it tells which reader's complaint will help.
    *out = why == PAWL_ENOTSUP && !directory ? by_suffix(path) : NULL;
    return *out ? 0 : why;
}

// "optimizer.<slot>.<weight>": which moment of which weight.
static int recognise_moments(struct pawl_document *document)
{
    struct pawl_training *training = document->training;
    struct pawl_names names = { 0 };

    if (!training || !training->tensor_count || !document->weight_count) return 0;
    const int rc = pawl_names_build(&names, document->weight_count,
                                    document->weights[0].tensor.name, sizeof(*document->weights));
    for (int i = 0; !rc && i < training->tensor_count; i++) {
        struct pawl_entry *entry = &training->tensors[i];
        const char *name = entry->tensor.name, *slot = name + 10;
        if (entry->slot[0] || strncmp(name, "optimizer.", 10)) continue;
        const size_t length = strcspn(slot, ".");
        if (!slot[length] || length >= sizeof(entry->slot)) continue;
        const int weight = pawl_names_find(&names, slot + length + 1);
        if (weight < 0) continue;
        snprintf(entry->slot, sizeof(entry->slot), "%.*s", (int)length, slot);
        entry->of = weight;
    }
    pawl_names_free(&names);
    return rc;
}

static const struct pawl_format *format_of(const struct pawl_document *document)
{
    for (int i = 0; i < FORMATS; i++)
        if (!strcmp(formats[i]->name, document->format)) return formats[i];
    return NULL;
}

int pawl_document_verify_here(const struct pawl_document *document)
{
    const struct pawl_format *format = format_of(document);

    return format && format->verify ? format->verify(document) : 0;
}

bool pawl_document_has_checksums(const struct pawl_document *document)
{
    const struct pawl_format *format = format_of(document);

    // The stream of torch before 1.6 and a lone .npy are read by formats that else have checksums.
    const bool bare = !strcmp(document->format_version, "stream")
                      || !strcmp(document->format_version, "npy");
    return format && (format->verify || (format->summed && !bare));
}

bool pawl_document_is_own(const char *path)
{
    char head[HEAD_BYTES + 1];
    bool directory;
    size_t size;

    return !look(path, head, &size, &directory)
           && pawl_format_pawl.detect(path, (unsigned char *)head, size, directory);
}

int pawl_document_read_here(struct pawl_document *document, const char *path)
{
    const struct pawl_format *format = NULL;

    int rc = choose(&format, path);
    if (rc) return rc;
    snprintf(document->format, sizeof(document->format), "%s", format->name);
    rc = format->read(document, path);
    return rc ? rc : recognise_moments(document);
}
