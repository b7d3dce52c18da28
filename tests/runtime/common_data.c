#include "tests/runtime/data_support.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <zlib.h>

static char directory[64];
static pid_t owner;

static int remove_entry(const char *path, const struct stat *of, int kind, struct FTW *where)
{
    (void)of, (void)kind, (void)where;
    return remove(path);
}

static void remove_directory(void)
{
    if (getpid() == owner)
        nftw(directory, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

const char *make_directory(void)
{
    strcpy(directory, "/tmp/pawl-data-XXXXXX");
    cr_assert(mkdtemp(directory));
    owner = getpid();
    atexit(remove_directory);
    return directory;
}

const char *at(const char *where, const char *name)
{
    static char paths[8][4200];
    static int next;

    char *path = paths[next++ % 8];
    snprintf(path, sizeof(paths[0]), "%s/%s", where, name);
    return path;
}

void write_bytes(const char *path, const void *bytes, size_t size)
{
    FILE *file = fopen(path, "wb");

    cr_assert(file, "%s", path);
    cr_assert_eq(fwrite(bytes, 1, size, file), size);
    cr_assert_eq(fclose(file), 0);
}

void write_text(const char *path, const char *text)
{
    write_bytes(path, text, strlen(text));
}

void write_gzip(const char *path, const void *bytes, size_t size)
{
    gzFile file = gzopen(path, "wb9");

    cr_assert(file, "%s", path);
    cr_assert_eq(gzwrite(file, bytes, (unsigned)size), (int)size);
    cr_assert_eq(gzclose(file), Z_OK);
}

void write_npy(const char *path, int version, const char *header, const void *bytes, size_t size)
{
    const size_t length = strlen(header);
    const size_t begin = version == 1 ? 10 : 12;
    unsigned char *file = calloc(1, begin + length + size);

    memcpy(file, "\x93NUMPY", 6);
    file[6] = (unsigned char)version;
    file[8] = (unsigned char)(length & 255);
    file[9] = (unsigned char)(length >> 8);
    memcpy(file + begin, header, length);
    if (size)
        memcpy(file + begin + length, bytes, size);
    write_bytes(path, file, begin + length + size);
    free(file);
}

int try_open(const char *source, const struct pawl_data_options *options)
{
    struct pawl_data *data = NULL;

    const int rc = pawl_data_open(&data, source, options);
    pawl_data_close(data);
    return rc;
}

struct pawl_data *open_plain(const char *source)
{
    struct pawl_data *data = NULL;

    const int rc =
        pawl_data_open(&data, source, &(struct pawl_data_options){ .sequence = 4, .seed = 1 });
    cr_assert_eq(rc, 0, "%s: %s", source, rc ? pawl_error() : "");
    return data;
}
