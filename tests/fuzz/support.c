// support.c - files in memory, and a document used in every way.

#include "tests/fuzz/support.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "checkpoint/binding.h"
#include "checkpoint/document_inside.h"
#include "kernels/device.h"
#include "kernels/io.h"

// No device is linked here: readers get by without one.
static int no_device(struct pawl_device **out, const char *name, int threads)
{
    (void)out;
    (void)threads;
    return pawl_fail(PAWL_ENOTSUP, "no device '%s' here", name);
}

extern const struct pawl_device_kind pawl_device_host, pawl_device_sim;
const struct pawl_device_kind pawl_device_host = { .name = "host", .open = no_device };
const struct pawl_device_kind pawl_device_sim = { .name = "sim", .open = no_device };

enum { FILES_MAX = 16, FETCH_MAX = 1 << 20, TENSORS_MAX = 32, PART_BYTES = 4096 };

static struct {
    char path[256];
    const unsigned char *bytes;
    size_t size;
} files[FILES_MAX];
static int file_count, open_count;

void fuzz_forget_files(void)
{
    file_count = 0;
}

// Bytes go with their exact size, so that a read behind them is seen.
void fuzz_put_file(const char *path, const void *bytes, size_t size)
{
    snprintf(files[file_count].path, sizeof(files[0].path), "%s", path);
    files[file_count].bytes = bytes;
    files[file_count++].size = size;
}

// ---- the table: a descriptor is a file's number, FILES_MAX + number for a directory

static int is_directory(const char *path)
{
    const size_t length = strlen(path);

    for (int i = 0; i < file_count; i++)
        if (!strncmp(files[i].path, path, length) && files[i].path[length] == '/') return 1;
    return 0;
}

static int memory_open(const char *path, int flags, mode_t mode)
{
    (void)flags, (void)mode;
    for (int i = 0; i < file_count; i++)
        if (!strcmp(files[i].path, path)) return open_count++, i;
    return is_directory(path) ? (open_count++, FILES_MAX) : -ENOENT;
}

static int memory_close(int fd)
{
    (void)fd;
    open_count--;
    return 0;
}

static ssize_t memory_pread(int fd, void *bytes, size_t size, off_t offset)
{
    if (fd < 0 || fd >= file_count || offset < 0) return -EBADF;
    const size_t at = (size_t)offset < files[fd].size ? (size_t)offset : files[fd].size;
    const size_t left = files[fd].size - at, now = size < left ? size : left;
    if (now) memcpy(bytes, files[fd].bytes + at, now);
    return (ssize_t)now;
}

static int memory_fstat(int fd, struct stat *out)
{
    memset(out, 0, sizeof(*out));
    out->st_mode = fd == FILES_MAX ? S_IFDIR : S_IFREG;
    out->st_size = fd == FILES_MAX ? 0 : (off_t)files[fd].size;
    return 0;
}

static int memory_list(const char *path, int (*each)(void *context, const char *name),
                       void *context)
{
    const size_t length = strlen(path);
    int rc = 0;

    if (!is_directory(path)) return -ENOTDIR;
    for (int i = 0; i < file_count && !rc; i++)
        if (!strncmp(files[i].path, path, length) && files[i].path[length] == '/'
            && !strchr(files[i].path + length + 1, '/'))
            rc = each(context, files[i].path + length + 1);
    return rc;
}

static void use_memory(void)
{
    static struct pawl_io table;

    table = pawl_io_posix;
    table.name = "memory";
    table.open = memory_open;
    table.close = memory_close;
    table.pread = memory_pread;
    table.fstat = memory_fstat;
    table.list = memory_list;
    pawl_io_set(&table);
}

// ---- a document, used

static void fail(const char *what)
{
    fprintf(stderr, "fuzz: %s: %s\n", what, pawl_error());
    abort();
}

static void use_entry(const struct pawl_document *document, const struct pawl_entry *entry)
{
    const size_t size = entry->tensor.size_bytes;
    char part[PART_BYTES];

    if (size > FETCH_MAX) return;
    char *whole = malloc(size ? size : 1);
    if (!pawl_document_fetch(document, entry, whole))
        for (size_t at = 0; at < size; at += PART_BYTES) {
            const size_t now = size - at < PART_BYTES ? size - at : PART_BYTES;
            if (pawl_document_fetch_part(document, entry, at, now, part)) fail("only as a whole");
            if (memcmp(part, whole + at, now)) fail("a part differs from the whole");
        }
    free(whole);
}

static int number_of(int fd)
{
    return fd;
}

static int take_file(void *context, struct pawl_file *out, int number, int index)
{
    const struct pawl_document *from = context;

    (void)number;
    out->size = from->files->file[index].size;
    return 0;
}

// What a reader in the sandbox may find, its parent must believe.
static void send_over(struct pawl_document *document)
{
    const struct pawl_wire_files wire = { take_file, document };
    struct pawl_document *back = NULL;
    struct pawl_text text = { 0 };

    if (pawl_document_new(&back)) return;
    if (pawl_document_encode(&text, document, number_of)) fail("cannot be sent");
    if (pawl_document_decode(back, text.bytes, text.size, &wire)) fail("is not believed");
    if (back->weight_count != document->weight_count) fail("tensors were lost");
    pawl_text_free(&text);
    pawl_document_free(back);
}

void fuzz_document(const char *path)
{
    struct pawl_document *document = NULL;

    use_memory();
    open_count = 0;
    if (!pawl_document_read(&document, path)) {
        for (int i = 0; i < document->weight_count && i < TENSORS_MAX; i++)
            use_entry(document, &document->weights[i]);
        for (int i = 0; document->training && i < document->training->tensor_count
                        && i < TENSORS_MAX; i++)
            use_entry(document, &document->training->tensors[i]);
        send_over(document);
        (void)pawl_document_verify(document);
        if (document->architecture) (void)pawl_document_bind(document);
    }
    pawl_document_free(document);
    if (open_count) fail("descriptors are left open");
}
