// document.c - which format a path is of, architectures as files, pieces in several files.

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "checkpoint/document.h"
#include "kernels/io.h"
#include "kernels/memory.h"
#include "tests/checkpoint/document_support.h"

static struct pawl_document *document;

static void expect(int rc, int wanted, const char *words)
{
    cr_assert_eq(rc, wanted, "%d, not %d: %s", rc, wanted, pawl_error());
    cr_assert(strstr(pawl_error(), words), "'%s' lacks '%s'", pawl_error(), words);
    cr_assert_null(document);
}

static int read_text(const char *name, const char *text)
{
    write_bytes(scratch(name), text, strlen(text));
    return pawl_document_read(&document, scratch(name));
}

Test(document, says_what_a_path_is_not)
{
    expect(pawl_document_read(&document, scratch("missing")), PAWL_ENONE, "nothing by that name");
    expect(pawl_document_read(&document, scratch("missing/below")), PAWL_ENONE, "nothing");
    expect(read_text("empty", ""), PAWL_ECORRUPT, "empty");
    expect(read_text("text", "hello there"), PAWL_ENOTSUP, "safetensors");
    expect(read_text("page", "\n<HTML>"), PAWL_ECORRUPT, "web page");
    expect(read_text("lfs", "version https://git-lfs.github.com/spec/v1\n"), PAWL_ECORRUPT, "LFS");
    expect(read_text("other.json", "{\"model_type\": \"bert\"}"), PAWL_ECORRUPT, "gpt2 and llama");
    expect(read_text("text.json", "hello"), PAWL_ECORRUPT, "not JSON");
    cr_assert_eq(mkfifo(scratch("fifo"), 0600), 0);
    expect(pawl_document_read(&document, scratch("fifo")), PAWL_ECORRUPT, "regular");
    expect(pawl_document_read(&document, "/dev/null"), PAWL_ECORRUPT, "regular");
    cr_assert_eq(mkdir(scratch("directory"), 0700), 0);
    expect(pawl_document_read(&document, scratch("directory")), PAWL_ENONE, "no run");
}

Test(document, the_bytes_decide_not_the_name)
{
    write_safetensors_file(scratch("a.json"), "{}", 0);
    cr_assert_eq(pawl_document_read(&document, scratch("a.json")), 0, "%s", pawl_error());
    cr_assert_str_eq(document->format, "safetensors");
    pawl_document_free(document);
}

Test(document, an_architecture_is_a_file)
{
    struct pawl_architecture mlp = { 0 };
    struct pawl_document *made;

    cr_assert_eq(pawl_document_new(&made), 0);
    cr_assert_eq(pawl_document_write(made, scratch("m.json"), NULL), PAWL_ECORRUPT);
    cr_assert(strstr(pawl_error(), "no architecture"), "%s", pawl_error());
    cr_assert_eq(pawl_architecture_preset(&mlp, "mlp:4-3-2"), 0);
    cr_assert_eq(pawl_alloc(&made->architecture, sizeof(mlp), "test"), 0);
    *made->architecture = mlp;
    cr_assert_eq(pawl_document_write(made, scratch("m.json"), NULL), 0, "%s", pawl_error());
    cr_assert_eq(pawl_document_read(&document, scratch("m.json")), 0, "%s", pawl_error());
    cr_assert_str_eq(document->format, "architecture");
    cr_assert_eq(pawl_architecture_match(document->architecture, "a", &mlp, "b"), 0);
    cr_assert_eq(document->weight_count, 0);
    cr_assert_null(document->training);
    pawl_document_free(document);
    pawl_document_free(made);
}

Test(document, formats_are_found_by_name_or_suffix)
{
    const struct pawl_format *format;

    cr_assert_eq(pawl_format_find(&format, NULL, "x/y.SafeTensors"), 0);
    cr_assert_str_eq(format->name, "safetensors");
    cr_assert_eq(pawl_format_find(&format, "json", "x.safetensors"), 0);
    cr_assert_str_eq(format->name, "architecture");
    cr_assert_eq(pawl_format_find(&format, "safetensor", "x"), PAWL_EINVAL);
    cr_assert(strstr(pawl_error(), "did you mean 'safetensors'"), "%s", pawl_error());
    cr_assert_eq(pawl_format_find(&format, NULL, ".safetensors"), PAWL_EINVAL);
    cr_assert_eq(pawl_format_find(&format, NULL, "x.bin"), PAWL_EINVAL);
    cr_assert(strstr(pawl_error(), "--to"), "%s", pawl_error());
}

Test(document, pieces_are_joined_across_files)
{
    struct pawl_tensor tensor = { .name = "w", .dtype = PAWL_U16 };
    struct pawl_piece piece[3] = { { 0, 2, 4, 0 }, { 1, 0, 6, 2 }, { 0, 8, 2, 5 } };
    struct pawl_entry *entry;
    unsigned char all[12], part[12];
    int file;

    write_bytes(scratch("one"), "..abcd..kl", 10);
    write_bytes(scratch("two"), "efghij", 6);
    cr_assert_eq(pawl_document_new(&document), 0);
    cr_assert_eq(pawl_document_add_file(document, scratch("one"), &file, NULL), 0);
    cr_assert_eq(pawl_document_add_file(document, scratch("two"), &file, NULL), 0);
    cr_assert_eq(file, 1);
    cr_assert_eq(pawl_tensor_shape(&tensor, 2, (int64_t[]){ 2, 3 }), 0);
    cr_assert_eq(pawl_document_add_entry(&document->weights, &document->weight_count, &tensor, -1,
                                         0), 0);
    entry = &document->weights[0];
    cr_assert_eq(pawl_alloc(&entry->pieces, sizeof(piece), "test"), 0);
    memcpy(entry->pieces, piece, sizeof(piece));
    entry->piece_count = 3;
    cr_assert_eq(pawl_document_fetch(document, entry, all), 0, "%s", pawl_error());
    cr_assert_arr_eq(all, "abcdefghijkl", 12);
    for (size_t start = 0; start <= 12; start++)
        for (size_t size = 0; start + size <= 12; size++) {
            cr_assert_eq(pawl_document_fetch_part(document, entry, start, size, part), 0);
            cr_assert_arr_eq(part, all + start, size);
        }
    entry->piece_count = 2;
    cr_assert_eq(pawl_document_fetch(document, entry, all), PAWL_ECORRUPT);
    cr_assert(strstr(pawl_error(), "lack 2 bytes"), "%s", pawl_error());
    entry->pieces[1].offset_bytes = 1;
    cr_assert_eq(pawl_document_fetch(document, entry, all), PAWL_ECORRUPT);
    cr_assert(strstr(pawl_error(), "truncated"), "%s", pawl_error());
    pawl_document_free(document);
}

// ---- a disk that fails

static struct pawl_io faulty;
static const char *doing;

static ssize_t no_pread(int fd, void *bytes, size_t size, off_t offset)
{
    (void)fd, (void)bytes, (void)size, (void)offset;
    return -EIO;
}

static int reads;

static ssize_t no_first_pread(int fd, void *bytes, size_t size, off_t offset)
{
    return reads++ ? pawl_io_posix.pread(fd, bytes, size, offset) : -EIO;
}

static int no_open(const char *path, int flags, mode_t mode)
{
    (void)path, (void)flags, (void)mode;
    return -EMFILE;
}

static int no_fd(int fd)
{
    (void)fd;
    return -EIO;
}

static int no_rename(const char *from, const char *to)
{
    (void)from, (void)to;
    return -EACCES;
}

static int no_random(void *bytes, size_t size)
{
    (void)bytes, (void)size;
    return -EAGAIN;
}

static void expect_io(int rc, const char *words)
{
    cr_assert_eq(rc, PAWL_EIO, "%s: %d %s", doing, rc, pawl_error());
    cr_assert(strstr(pawl_error(), words), "%s: '%s' lacks '%s'", doing, pawl_error(), words);
}

Test(document, a_failing_disk_is_told)
{
    const struct pawl_write_options replace = { .force = true };

    write_safetensors_file(scratch("a.safetensors"), "{\"a\":{\"dtype\":\"U8\",\"shape\":[2],"
                           "\"data_offsets\":[0,2]}}", 2);
    cr_assert_eq(pawl_document_read(&document, scratch("a.safetensors")), 0);
    struct pawl_document *good = document;
    document = NULL;
    pawl_io_set(&faulty);

    doing = "open";
    faulty = pawl_io_posix;
    faulty.open = no_open;
    expect_io(pawl_document_read(&document, scratch("a.safetensors")), "Too many open files");
    expect_io(pawl_document_write(good, scratch("b.safetensors"), NULL), "cannot create");
    expect_io(pawl_document_can_write(scratch("b.safetensors"), false), "cannot create");
    doing = "pread";
    faulty = pawl_io_posix;
    faulty.pread = no_pread;
    expect_io(pawl_document_read(&document, scratch("a.safetensors")), "cannot read");
    expect_io(pawl_document_write(good, scratch("b.safetensors"), NULL), "cannot read");
    // A format is never guessed from bytes that were not read.
    faulty.pread = no_first_pread;
    expect_io(pawl_document_read(&document, scratch("a.safetensors")), "cannot read");
    doing = "fsync";
    faulty = pawl_io_posix;
    faulty.sync = no_fd;
    expect_io(pawl_document_write(good, scratch("b.safetensors"), NULL), "cannot fsync");
    doing = "rename";
    faulty = pawl_io_posix;
    faulty.rename = faulty.rename_noreplace = no_rename;
    expect_io(pawl_document_write(good, scratch("b.safetensors"), NULL), "Permission denied");
    expect_io(pawl_document_write(good, scratch("b.safetensors"), &replace), "Permission denied");
    doing = "random";
    faulty = pawl_io_posix;
    faulty.random = no_random;
    expect_io(pawl_document_write(good, scratch("b.safetensors"), NULL), "random");

    pawl_io_set(NULL);
    cr_assert_eq(scratch_entries(), 1);
    cr_assert_null(document);
    pawl_document_free(good);
}

Test(document, bounds_of_the_calls)
{
    char path[5000], bytes[16];
    int file = -1;

    memset(path, 'x', sizeof(path));
    path[sizeof(path) - 1] = 0;
    expect(pawl_document_read(&document, path), PAWL_EINVAL, "longer than 4095");
    write_safetensors_file(scratch("a.safetensors"), "{\"a\":{\"dtype\":\"U8\",\"shape\":[2],"
                           "\"data_offsets\":[0,2]}}", 2);
    cr_assert_eq(pawl_document_read(&document, scratch("a.safetensors")), 0);
    cr_assert_eq(pawl_document_fetch_as(document, document->weights, 0, 2, PAWL_F32, bytes),
                 PAWL_EINVAL);
    cr_assert(strstr(pawl_error(), "'a' is uint8, which does not become float32"), "%s",
              pawl_error());
    cr_assert_eq(pawl_document_add_file(document, "/tmp", &file, NULL), PAWL_ECORRUPT);
    cr_assert_eq(file, -1);
    pawl_document_free(document);
}

// The n-th request for memory fails: always an answer, and nothing is lost (the sanitizer looks).
static int64_t left;

static void *starve(void *context, void *memory, size_t bytes)
{
    (void)context;
    if (bytes && left-- <= 0) return NULL;
    if (bytes) return realloc(memory, bytes);
    free(memory);
    return NULL;
}

Test(document, no_memory_is_answered)
{
    const struct pawl_memory hook = { starve, NULL };
    int rc = PAWL_ENOMEM, tries = 0;

    write_safetensors_file(scratch("a.safetensors"), "{\"__metadata__\":{\"k\":\"v\"},"
                           "\"a\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]},"
                           "\"b\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[2,4]}}", 4);
    pawl_memory_set(&hook);
    for (; rc; tries++) {
        left = tries;
        rc = pawl_document_read(&document, scratch("a.safetensors"));
        cr_assert(rc == 0 || rc == PAWL_ENOMEM, "%d: %s", rc, pawl_error());
    }
    cr_assert_gt(tries, 8);
    rc = PAWL_ENOMEM;
    for (tries = 0; rc; tries++) {
        left = tries;
        rc = pawl_document_write(document, scratch("b.safetensors"), NULL);
        cr_assert(rc == 0 || rc == PAWL_ENOMEM, "%d: %s", rc, pawl_error());
        cr_assert_eq(scratch_entries(), rc ? 1 : 2);
    }
    cr_assert_gt(tries, 4);
    left = 1000;
    pawl_document_free(document);
    pawl_memory_set(NULL);
}

struct counting {
    int reads, frees;
};

static int count_up(void *context, uint64_t offset, void *out, size_t size)
{
    struct counting *counting = context;

    counting->reads++;
    for (size_t i = 0; i < size; i++)
        ((unsigned char *)out)[i] = (unsigned char)(offset + i);
    return 0;
}

static void count_free(void *context)
{
    ((struct counting *)context)->frees++;
}

Test(document, bytes_are_made_when_someone_asks)
{
    struct counting counting = { 0 };
    const struct pawl_made made = { 16, &counting, count_up, count_free };
    struct pawl_tensor tensor = { .name = "t", .dtype = PAWL_U8 };
    unsigned char out[4];
    int file;

    cr_assert_eq(pawl_document_new(&document), 0);
    cr_assert_eq(pawl_document_add_made(document, "whence", &made, &file), 0);
    cr_assert_eq(pawl_tensor_shape(&tensor, 1, (int64_t[]){ 8 }), 0);
    cr_assert_eq(pawl_document_add_entry(&document->weights, &document->weight_count, &tensor,
                                         file, 6), 0);
    cr_assert_eq(counting.reads, 0);
    cr_assert_eq(pawl_document_fetch_part(document, document->weights, 3, 4, out), 0);
    for (int i = 0; i < 4; i++)
        cr_assert_eq(out[i], 9 + i);
    cr_assert_eq(pawl_document_read_at(document, file, 13, out, 4), PAWL_ECORRUPT);
    cr_assert(strstr(pawl_error(), "whence: it ends at byte 16"), "%s", pawl_error());
    cr_assert_eq(counting.reads, 1);
    pawl_document_free(document);
    cr_assert_eq(counting.frees, 1);
}
