// document_support.c - files and documents for the tests of formats.

#include "tests/checkpoint/document_support.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char directory[64];

static int delete(const char *path, const struct stat *of, int type, struct FTW *at)
{
    (void)of, (void)type, (void)at;
    return remove(path);
}

static void clean(void)
{
    nftw(directory, delete, 8, FTW_DEPTH | FTW_PHYS);
}

const char *scratch(const char *name)
{
    static char paths[8][512];
    static int turn;

    if (!directory[0]) {
        snprintf(directory, sizeof(directory), "/tmp/pawl-document-XXXXXX");
        cr_assert_not_null(mkdtemp(directory));
        atexit(clean);
    }
    char *path = paths[turn++ % 8];
    snprintf(path, sizeof(*paths), "%s/%s", directory, name);
    return path;
}

int scratch_entries(void)
{
    DIR *listing = opendir(directory);
    int count = -2;

    while (readdir(listing))
        count++;
    closedir(listing);
    return count;
}

void write_bytes(const char *path, const void *bytes, size_t size)
{
    FILE *file = fopen(path, "wb");

    cr_assert_not_null(file);
    cr_assert_eq(fwrite(bytes, 1, size, file), size);
    cr_assert_eq(fclose(file), 0);
}

void write_safetensors_with(const char *path, const char *header, const void *data, size_t size)
{
    const size_t length = strlen(header);
    char *bytes = calloc(1, 8 + length + size);

    for (int i = 0; i < 8; i++)
        bytes[i] = (char)(length >> 8 * i & 0xff);
    memcpy(bytes + 8, header, length);
    memcpy(bytes + 8 + length, data, size);
    write_bytes(path, bytes, 8 + length + size);
    free(bytes);
}

void write_safetensors_file(const char *path, const char *header, size_t data_bytes)
{
    unsigned char data[64];

    cr_assert_leq(data_bytes, sizeof(data));
    for (size_t i = 0; i < sizeof(data); i++)
        data[i] = (unsigned char)i;
    write_safetensors_with(path, header, data, data_bytes);
}

static char *read_bytes(const char *path, size_t *size)
{
    FILE *file = fopen(path, "rb");
    char *bytes = malloc(1 << 20);

    cr_assert_not_null(file);
    *size = fread(bytes, 1, 1 << 20, file);
    fclose(file);
    return bytes;
}

int same_files(const char *a, const char *b)
{
    size_t a_size, b_size;
    char *a_bytes = read_bytes(a, &a_size), *b_bytes = read_bytes(b, &b_size);
    const int same = a_size == b_size && memcmp(a_bytes, b_bytes, a_size) == 0;

    free(a_bytes);
    free(b_bytes);
    return same;
}

int exists(const char *path)
{
    return access(path, F_OK) == 0;
}
