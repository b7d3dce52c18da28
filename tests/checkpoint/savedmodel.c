// savedmodel.c - TensorFlow's directories: tests/data/savedmodel has three that it wrote itself.
//
// adam: tf_keras 2.21. slots: the same with a legacy optimizer. exported: Keras 3.15's export.

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include "checkpoint/binding.h"
#include "checkpoint/document.h"
#include "kernels/io.h"
#include "kernels/memory.h"

static const char *data(const char *name)
{
    static char path[4096];

    snprintf(path, sizeof(path), "%s/tests/data/savedmodel/%s", getenv("PAWL_SOURCE"), name);
    return path;
}

struct row {
    const char *name;
    unsigned crc;
    const char *slot;
    int of;
};

static void compare(const struct pawl_document *document, const struct pawl_entry *entry,
                    const struct row *row)
{
    unsigned char bytes[4096];

    cr_assert_str_eq(entry->tensor.name, row->name);
    cr_assert_str_eq(entry->slot, row->slot ? row->slot : "", "%s", row->name);
    cr_assert_eq(entry->of, row->slot ? row->of : -1, "%s: %d", row->name, entry->of);
    cr_assert_leq(entry->tensor.size_bytes, sizeof(bytes));
    cr_assert_eq(pawl_document_fetch(document, entry, bytes), 0);
    cr_assert_eq(crc32(0, bytes, (unsigned)entry->tensor.size_bytes), row->crc, "%s", row->name);
}

// Names, zlib's checksums as TensorFlow's own values gave them, and whose moments they are.
static const struct row weights[] = {
    { "hidden/kernel", 0xd03347b3, NULL, 0 }, { "hidden/bias", 0xbbb720d4, NULL, 0 },
    { "narrow/kernel", 0x6a51c3f6, NULL, 0 }, { "narrow/bias", 0xfda80db0, NULL, 0 },
    { "probs/kernel", 0x2ac27a52, NULL, 0 },  { "probs/bias", 0xc1214662, NULL, 0 },
};

static struct pawl_document *open_weights(const char *name)
{
    struct pawl_document *document = NULL;

    cr_assert_eq(pawl_document_read(&document, data(name)), 0, "%s", pawl_error());
    cr_assert_str_eq(document->format, "savedmodel");
    cr_assert_eq(document->weight_count, 6);
    for (int i = 0; i < 6; i++)
        compare(document, &document->weights[i], &weights[i]);
    cr_assert_eq(pawl_document_verify(document), 0, "%s", pawl_error());
    return document;
}

Test(savedmodel, weights_and_moments)
{
    static const struct row moments[] = {
        { "optimizer/_iterations", 0x6fe7d670, NULL, 0 },
        { "optimizer/_learning_rate", 0xfc066dfb, NULL, 0 },
        { "optimizer/_variables/1", 0xa9019a6d, "exp_avg", 0 },
        { "optimizer/_variables/2", 0xd119b881, "exp_avg_sq", 0 },
        { "optimizer/_variables/3", 0x65e4864b, "exp_avg", 1 },
        { "optimizer/_variables/4", 0x97cefc96, "exp_avg_sq", 1 },
        { "optimizer/_variables/5", 0x7d9eb5d1, "exp_avg", 2 },
        { "optimizer/_variables/6", 0xf3cf54de, "exp_avg_sq", 2 },
        { "optimizer/_variables/9", 0x45017e35, "exp_avg", 4 },
        { "optimizer/_variables/12", 0x2925a424, "exp_avg_sq", 5 },
    };
    struct pawl_document *document = open_weights("adam");

    cr_assert_str_eq(document->format_version, "2.21.0");
    cr_assert(document->training);
    cr_assert_eq(document->training->step, 7);
    cr_assert_eq(document->training->tensor_count, 14);
    cr_assert(document->architecture && document->bindings);
    cr_assert_eq(pawl_document_bind(document), 0);
    cr_assert_eq(pawl_architecture_params(document->architecture), 389);
    cr_assert_str_eq(document->architecture->loss, "cross-entropy");
    cr_assert_float_eq(json_real_value(json_object_get(document->training->optimizer,
                                                       "learning_rate")), 0.004, 1e-9);
    for (size_t i = 0; i < sizeof(moments) / sizeof(*moments); i++) {
        const struct pawl_entry *entry = pawl_document_find(document, moments[i].name);
        cr_assert(entry, "%s", moments[i].name);
        compare(document, entry, &moments[i]);
    }
    pawl_document_free(document);
}

Test(savedmodel, legacy_slots)
{
    struct pawl_document *document = NULL;
    int moments[2][6] = { 0 };

    cr_assert_eq(pawl_document_read(&document, data("slots")), 0, "%s", pawl_error());
    cr_assert_eq(document->weight_count, 6);
    cr_assert(document->training);
    cr_assert_eq(document->training->step, 7);
    cr_assert_eq(document->training->tensor_count, 17);
    for (int i = 0; i < 17; i++) {
        const struct pawl_entry *entry = &document->training->tensors[i];
        if (!entry->slot[0]) continue;
        cr_assert(entry->of >= 0 && entry->of < 6);
        const struct pawl_entry *weight = &document->weights[entry->of];
        cr_assert_eq(entry->tensor.size_bytes, weight->tensor.size_bytes);
        moments[strcmp(entry->slot, "exp_avg") != 0][entry->of]++;
    }
    for (int i = 0; i < 12; i++)
        cr_assert_eq(moments[i / 6][i % 6], 1);
    cr_assert_eq(pawl_document_verify(document), 0, "%s", pawl_error());
    pawl_document_free(document);
}

Test(savedmodel, an_export_holds_weights_alone)
{
    struct pawl_document *document = open_weights("exported");
    const char *warning = json_string_value(json_array_get(document->warnings, 0));

    cr_assert(!document->training && !document->architecture);
    cr_assert(warning && strstr(warning, "Keras 3 export"));
    pawl_document_free(document);
}

// ---- damage

static char copy[64];

static void put_file(const char *name, const char *bytes, size_t size)
{
    char path[256];

    snprintf(path, sizeof(path), "%s/%s", copy, name);
    unlink(path);
    if (bytes) cr_assert_eq(pawl_io_write_file(path, bytes, size, true), 0);
}

static const char *const files[] = {
    "saved_model.pb", "keras_metadata.pb", "variables/variables.index",
    "variables/variables.data-00000-of-00001",
};

static void copy_file(const char *name)
{
    char path[4200], *bytes;
    size_t size;

    snprintf(path, sizeof(path), "%s/%s", data("adam"), name);
    cr_assert_eq(pawl_io_read_file(path, &bytes, &size, 1 << 20), 0);
    put_file(name, bytes, size);
    pawl_free(bytes);
}

static void make_copy(void)
{
    char path[128];

    snprintf(copy, sizeof(copy), "/tmp/savedmodel-test-%d", (int)getpid());
    snprintf(path, sizeof(path), "%s/variables", copy);
    mkdir(copy, 0700);
    mkdir(path, 0700);
    for (int i = 0; i < 4; i++)
        copy_file(files[i]);
}

static void drop_copy(void)
{
    char path[128];

    for (int i = 0; i < 4; i++)
        put_file(files[i], NULL, 0);
    snprintf(path, sizeof(path), "%s/variables", copy);
    rmdir(path);
    rmdir(copy);
}

static int read_and_verify(void)
{
    struct pawl_document *document = NULL;
    int rc = pawl_document_read(&document, copy);

    if (!rc) rc = pawl_document_verify(document);
    pawl_document_free(document);
    return rc;
}

Test(savedmodel, whatever_is_cut_or_missing_is_named, .init = make_copy, .fini = drop_copy)
{
    cr_assert_eq(read_and_verify(), 0, "%s", pawl_error());
    for (int f = 0; f < 4; f++) {
        char path[4200], *bytes;
        size_t size;
        snprintf(path, sizeof(path), "%s/%s", data("adam"), files[f]);
        cr_assert_eq(pawl_io_read_file(path, &bytes, &size, 1 << 20), 0);
        put_file(files[f], bytes, size / 2);
        cr_assert_eq(read_and_verify(), PAWL_ECORRUPT, "%s cut", files[f]);
        cr_assert(strstr(pawl_error(), files[f]), "%s", pawl_error());
        put_file(files[f], NULL, 0);
        if (f >= 2) {
            cr_assert_eq(read_and_verify(), PAWL_ECORRUPT, "%s gone", files[f]);
            cr_assert(strstr(pawl_error(), files[f]), "%s", pawl_error());
        }
        copy_file(files[f]);
        pawl_free(bytes);
    }
    cr_assert_eq(read_and_verify(), 0, "%s", pawl_error());
}

Test(savedmodel, a_flipped_bit_of_a_tensor_is_seen, .init = make_copy, .fini = drop_copy)
{
    struct pawl_document *document = NULL;
    char path[256], byte;

    cr_assert_eq(pawl_document_read(&document, copy), 0);
    snprintf(path, sizeof(path), "%s/%s", copy, files[3]);
    const int fd = open(path, O_RDWR);
    for (int i = 0; i < document->weight_count; i++) {
        const struct pawl_entry *entry = &document->weights[i];
        const off_t at = (off_t)(entry->pieces[0].offset_bytes + entry->tensor.size_bytes / 2);
        cr_assert_eq(pread(fd, &byte, 1, at), 1);
        byte ^= 1;
        cr_assert_eq(pwrite(fd, &byte, 1, at), 1);
        cr_assert_eq(pawl_document_verify(document), PAWL_ECORRUPT);
        cr_assert(strstr(pawl_error(), entry->tensor.name), "%s", pawl_error());
        byte ^= 1;
        cr_assert_eq(pwrite(fd, &byte, 1, at), 1);
    }
    close(fd);
    cr_assert_eq(pawl_document_verify(document), 0);
    pawl_document_free(document);
}

// ---- writing

static void remove_tree(const char *path)
{
    char command[300];

    snprintf(command, sizeof(command), "rm -rf %s", path);
    cr_assert_eq(system(command), 0);
}

// Through pawl and back: every weight and moment bit-identical, the step, the architecture.
Test(savedmodel, round_trip)
{
    static const char *const slots[] = { NULL, "exp_avg", "exp_avg_sq" };
    const struct pawl_write_options options = { .format = "savedmodel" };
    struct pawl_document *from = NULL, *to = NULL;
    char path[64];
    float a[1024], b[1024];

    snprintf(path, sizeof(path), "/tmp/savedmodel-written-%d", (int)getpid());
    cr_assert_eq(pawl_document_read(&from, data("adam")), 0, "%s", pawl_error());
    cr_assert_eq(pawl_document_write(from, path, &options), 0, "%s", pawl_error());
    cr_assert_eq(pawl_document_read(&to, path), 0, "%s", pawl_error());
    cr_assert_eq(pawl_document_verify(to), 0, "%s", pawl_error());
    cr_assert_eq(to->training->step, 7);
    cr_assert_eq(pawl_architecture_match(from->architecture, "a", to->architecture, "b"), 0);
    cr_assert_eq(from->bindings->count, 6);
    cr_assert_eq(to->bindings->count, 6);
    for (int p = 0; p < 6; p++)
        for (int s = 0; s < 3; s++) {
            const size_t size = from->bindings->items[p].tensor.size_bytes;
            cr_assert_leq(size, sizeof(a));
            memset(a, 0, sizeof(a));
            memset(b, 1, sizeof(b));
            cr_assert_eq(pawl_document_fetch_param(from, p, slots[s], PAWL_F32, a), 0);
            cr_assert_eq(pawl_document_fetch_param(to, p, slots[s], PAWL_F32, b), 0);
            cr_assert_eq(memcmp(a, b, size), 0, "parameter %d, slot %d", p, s);
        }
    pawl_document_free(from);
    pawl_document_free(to);
    remove_tree(path);
}
