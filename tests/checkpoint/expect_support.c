// expect_support.c - files that frameworks wrote, held against a table of what is in them.

#include "tests/checkpoint/expect_support.h"

#include <criterion/criterion.h>
#include <ctype.h>
#include <regex.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "checkpoint/document.h"

const char *data_path(const char *name)
{
    static char paths[4][600];
    static int turn;
    const char *source = getenv("PAWL_SOURCE");
    char *path = paths[turn++ % 4];

    snprintf(path, sizeof(*paths), "%s/tests/checkpoint/data/%s", source ? source : ".", name);
    return path;
}

static uint32_t crc_of(const struct pawl_document *document, const struct pawl_entry *entry)
{
    char *bytes = malloc(entry->tensor.size_bytes + 1);
    uint32_t crc = 1;

    cr_expect_eq(pawl_document_fetch(document, entry, bytes), 0, "%s", pawl_error());
    crc = (uint32_t)crc32(0, (const unsigned char *)bytes, (unsigned)entry->tensor.size_bytes);
    free(bytes);
    return crc;
}

// part, name, dtype, shape, crc32
static void expect_tensor(const struct pawl_document *document, const char *file, char **field)
{
    const bool weight = !strcmp(field[0], "weight");
    const struct pawl_training *training = document->training;
    const struct pawl_entry *table = weight ? document->weights : training ? training->tensors
                                                                           : NULL;
    const int count = weight ? document->weight_count : training ? training->tensor_count : 0;
    char shape[128], crc[16];

    for (int i = 0; i < count; i++) {
        const struct pawl_tensor *tensor = &table[i].tensor;
        if (strcmp(tensor->name, field[1])) continue;
        pawl_shape_text(shape, sizeof(shape), tensor->rank, tensor->dim);
        snprintf(crc, sizeof(crc), "%08x", crc_of(document, &table[i]));
        cr_expect_str_eq(pawl_dtype_name(tensor->dtype), field[2], "%s: %s", file, field[1]);
        cr_expect_str_eq(shape, field[3], "%s: %s", file, field[1]);
        cr_expect_str_eq(crc, field[4], "%s: %s", file, field[1]);
        return;
    }
    cr_expect_fail("%s: tensor '%s' is not there", file, field[1]);
}

// file, name, format, optimizer, step, epoch
static struct pawl_document *expect_file(const char *directory, char **field)
{
    struct pawl_document *document = NULL;
    char name[512];

    snprintf(name, sizeof(name), "%s/%s", directory, field[1]);
    cr_assert_eq(pawl_document_read(&document, data_path(name)), 0, "%s", pawl_error());
    cr_expect_str_eq(document->format, field[2], "%s", name);
    cr_expect_eq(!!document->training, atoi(field[5]) >= 0 || strcmp(field[3], "-"), "%s", name);
    if (!document->training) return document;
    const json_t *optimizer = document->training->optimizer;
    const char *kind = json_string_value(json_object_get(optimizer, "kind"));
    cr_expect_str_eq(kind ? kind : "-", field[3], "%s", name);
    cr_expect_eq(document->training->step, strtoull(field[4], NULL, 10), "%s", name);
    cr_expect_eq(document->training->epoch, atoi(field[5]), "%s", name);
    return document;
}

static int split(char *line, char **field, int most)
{
    int count = 0;

    line[strcspn(line, "\n")] = 0;
    for (char *at = line; at && count < most; count++) {
        field[count] = at;
        at = strchr(at, '\t');
        if (at) *at++ = 0;
    }
    return count;
}

void expect_files(const char *directory)
{
    struct pawl_document *document = NULL;
    char name[512], line[2048], *field[6];
    int tensors = 0, weights = 0;

    snprintf(name, sizeof(name), "%s/EXPECT.tsv", directory);
    FILE *table = fopen(data_path(name), "r");
    cr_assert_not_null(table, "%s", name);
    while (fgets(line, sizeof(line), table)) {
        if (*line == '#') continue;
        const int fields = split(line, field, 6);
        if (fields == 6) {
            cr_expect(!document || weights == document->weight_count, "%s: more weights than %d",
                      document ? document->path : "", weights);
            pawl_document_free(document);
            document = expect_file(directory, field);
            weights = 0;
        } else if (fields == 5) {
            expect_tensor(document, document->path, field);
            weights += !strcmp(field[0], "weight");
            tensors++;
        }
    }
    cr_expect_gt(tensors, 0);
    pawl_document_free(document);
    fclose(table);
}

// ---- verdicts

// Each of the comma's groups is a pattern that the message (without the path) must match.
static void expect_words(const char *file, char *groups)
{
    char said[2048];
    const char *words = pawl_error(), *at = strstr(words, file);

    snprintf(said, sizeof(said), "%s", at ? at + strlen(file) : words);
    for (char *group = strtok(groups, ","); group; group = strtok(NULL, ",")) {
        regex_t pattern;
        cr_assert_eq(regcomp(&pattern, group, REG_EXTENDED | REG_ICASE | REG_NOSUB), 0);
        cr_expect_eq(regexec(&pattern, said, 0, NULL, 0), 0, "%s: '%s' lacks %s", file, said,
                     group);
        regfree(&pattern);
    }
}

static int read_whole(const char *path)
{
    struct pawl_document *document = NULL;
    int rc = pawl_document_read(&document, path);

    for (int i = 0; !rc && i < document->weight_count; i++) {
        char *bytes = malloc(document->weights[i].tensor.size_bytes + 1);
        rc = pawl_document_fetch(document, &document->weights[i], bytes);
        free(bytes);
    }
    pawl_document_free(document);
    return rc;
}

void expect_verdicts(const char *directory)
{
    char name[512], line[2048], *field[4];
    int files = 0;

    snprintf(name, sizeof(name), "%s/EXPECT.tsv", directory);
    FILE *table = fopen(data_path(name), "r");
    cr_assert_not_null(table, "%s", name);
    while (fgets(line, sizeof(line), table)) {
        if (*line == '#' || split(line, field, 4) < 3) continue;
        snprintf(name, sizeof(name), "%s/%s", directory, field[0]);
        const int rc = read_whole(data_path(name));
        if (!strcmp(field[1], "read"))
            cr_expect_eq(rc, 0, "%s: %s", field[0], pawl_error());
        else
            cr_expect(rc == PAWL_ECORRUPT || rc == PAWL_ENONE, "%s gave %d", field[0], rc);
        if (rc) expect_words(field[0], field[2]);
        files++;
    }
    cr_expect_gt(files, 0);
    fclose(table);
}

// ---- two documents

static void expect_same_table(const struct pawl_document *a, const struct pawl_entry *first,
                              const struct pawl_document *b, const struct pawl_entry *second,
                              int count)
{
    for (int i = 0; i < count; i++) {
        const struct pawl_entry *other = NULL;
        for (int k = 0; k < count && !other; k++)
            if (!strcmp(second[k].tensor.name, first[i].tensor.name)) other = &second[k];
        cr_assert_not_null(other, "%s", first[i].tensor.name);
        cr_expect_eq(other->tensor.dtype, first[i].tensor.dtype, "%s", first[i].tensor.name);
        cr_expect_eq(other->tensor.rank, first[i].tensor.rank, "%s", first[i].tensor.name);
        cr_expect_eq(crc_of(a, &first[i]), crc_of(b, other), "%s", first[i].tensor.name);
    }
}

void expect_same_tensors(const struct pawl_document *a, const struct pawl_document *b)
{
    cr_assert_eq(a->weight_count, b->weight_count);
    expect_same_table(a, a->weights, b, b->weights, a->weight_count);
    if (!a->training || !b->training) return;
    cr_assert_eq(a->training->tensor_count, b->training->tensor_count);
    expect_same_table(a, a->training->tensors, b, b->training->tensors, a->training->tensor_count);
}
