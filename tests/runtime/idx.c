// idx: images and labels of the MNIST family, well-formed and not.

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kernels/memory.h"
#include "tests/runtime/data_support.h"

enum { ROWS = 6, HEIGHT = 2, WIDTH = 3, PIXELS = HEIGHT * WIDTH };

// IMAGES bytes: pixel k of image i is 40 i + k. Label of image i: i % 4.
static size_t make_images(unsigned char *out, int rows)
{
    const unsigned char header[16] = { 0, 0, 8, 3,      0, 0, 0, (unsigned char)rows,
                                       0, 0, 0, HEIGHT, 0, 0, 0, WIDTH };
    memcpy(out, header, sizeof(header));
    for (int i = 0; i < rows * PIXELS; i++)
        out[16 + i] = (unsigned char)(i / PIXELS * 40 + i % PIXELS);
    return 16 + (size_t)rows * PIXELS;
}

static size_t make_labels(unsigned char *out, int rows)
{
    const unsigned char header[8] = { 0, 0, 8, 1, 0, 0, 0, (unsigned char)rows };

    memcpy(out, header, sizeof(header));
    for (int i = 0; i < rows; i++)
        out[8 + i] = (unsigned char)(i % 4);
    return 8 + (size_t)rows;
}

typedef void writer(const char *path, const void *bytes, size_t size);

static void write_set(const char *root, const char *images, const char *labels, int rows,
                      writer *write)
{
    unsigned char bytes[256];

    write(at(root, images), bytes, make_images(bytes, rows));
    write(at(root, labels), bytes, make_labels(bytes, rows));
}

static const char *named(const char *path)
{
    static char text[4300];

    snprintf(text, sizeof(text), "idx:%s", path);
    return text;
}

static void assert_good(const char *source, int rows)
{
    struct pawl_data *data = open_plain(source);
    const struct pawl_data_info *info = pawl_data_info(data);
    float x[ROWS * PIXELS];
    int32_t y[ROWS];

    cr_assert_eq(info->kind, PAWL_DATA_ARRAYS);
    cr_assert_eq(info->samples, rows);
    cr_assert(info->shape.rank == 3 && info->shape.dim[0] == HEIGHT && info->shape.dim[1] == WIDTH
              && info->shape.dim[2] == 1);
    cr_assert_eq(info->classes, 4);
    cr_assert_eq(pawl_data_batch(data, 0, rows, x, y), 0);
    for (int i = 0; i < rows * PIXELS; i++)
        cr_assert_eq(x[i], (float)(i / PIXELS * 40 + i % PIXELS) / 255.0f);
    for (int i = 0; i < rows; i++)
        cr_assert_eq(y[i], i % 4);
    pawl_data_close(data);
}

Test(idx, is_read_under_each_of_its_names)
{
    const char *root = make_directory();

    write_set(root, "train-images-idx3-ubyte", "train-labels.idx1-ubyte", ROWS, write_bytes);
    assert_good(named(root), ROWS);
    assert_good(root, ROWS);
    unlink(at(root, "train-images-idx3-ubyte"));
    unlink(at(root, "train-labels.idx1-ubyte"));
    write_set(root, "train-images.idx3-ubyte.gz", "train-labels-idx1-ubyte.gz", ROWS, write_gzip);
    assert_good(root, ROWS);
    // What counts is the content, not the name.
    write_set(root, "train-images.idx3-ubyte.gz", "train-labels-idx1-ubyte.gz", ROWS, write_bytes);
    assert_good(root, ROWS);
}

static uint64_t samples_of(const char *source, enum pawl_data_part part, double fraction,
                           int32_t *first_label)
{
    struct pawl_data *data = NULL;
    float x[PIXELS];
    const struct pawl_data_options options = { .part = part, .fraction = fraction };

    cr_assert_eq(pawl_data_open(&data, source, &options), 0, "%s", pawl_error());
    const uint64_t samples = pawl_data_info(data)->samples;
    cr_assert_eq(pawl_data_batch(data, 0, 1, x, first_label), 0);
    pawl_data_close(data);
    return samples;
}

static bool has_test(const char *root)
{
    struct pawl_data *data = open_plain(root);
    const bool has = pawl_data_info(data)->own_test;

    pawl_data_close(data);
    return has;
}

Test(idx, validates_on_t10k_or_on_a_fraction)
{
    const char *root = make_directory();
    const struct pawl_data_options validate = { .part = PAWL_DATA_VALIDATE };
    int32_t label;

    write_set(root, "train-images-idx3-ubyte", "train-labels-idx1-ubyte", ROWS, write_bytes);
    assert_fails(try_open(named(root), &validate), PAWL_ENONE, "no t10k-images-idx3-ubyte");
    cr_assert_eq(samples_of(root, PAWL_DATA_VALIDATE, 0.34, &label), 2);
    cr_assert_eq(label, 0);  // of row 4
    cr_assert_eq(samples_of(root, PAWL_DATA_TRAIN, 0.34, &label), 4);
    cr_assert_not(has_test(root));
    write_set(root, "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte", 3, write_bytes);
    cr_assert_eq(samples_of(root, PAWL_DATA_VALIDATE, 0, &label), 3);
    cr_assert_eq(samples_of(root, PAWL_DATA_TRAIN, 0, &label), ROWS);
    cr_assert(has_test(root));
}

Test(idx, labels_beyond_the_model_are_named)
{
    const char *root = make_directory();

    write_set(root, "train-images-idx3-ubyte", "train-labels-idx1-ubyte", ROWS, write_bytes);
    struct pawl_data *data = open_plain(root);
    cr_assert_eq(pawl_data_expect(data, 4, 0), 0);
    assert_fails(pawl_data_expect(data, 3, 0), PAWL_ECORRUPT,
                 "train-labels-idx1-ubyte: label 3 at row 3; the model's classes are 0..2");
    pawl_data_close(data);
}

// What an attacker or a broken copy may leave: bytes [at, at + n) are replaced, then cut or grown.
struct damage {
    const char *words;
    bool labels;  // of the labels' file, else of the images'
    size_t place;
    unsigned char byte;
    long longer;  // bytes added (negative: cut off)
};

static const struct damage damages[] = {
    { "is no IDX file: it begins with 01 00", false, 0, 1, 0 },
    { "IDX type 0x0d of rank 3", false, 2, 13, 0 },
    { "IDX type 0x08 of rank 5", false, 3, 5, 0 },
    { "rank 1 at byte 3; images have rank", false, 3, 1, -38 },
    { "the header claims 7247757348 bytes, which a file of", false, 8, 0x18, 0 },
    { "header claims more than 8 GiB", false, 4, 0xff, 0 },
    { "count 0 at byte 4 is 0", false, 7, 0, 0 },
    { "cannot hold", false, 7, 100, 0 },
    { "7 labels of rank 1; ", true, 7, 7, 1 },
    { "5 labels of rank 1; ", true, 7, 5, -1 },
    { "ends at byte 10", false, 0, 0, -42 },
    { "train-labels", true, 0, 0, -1 },
    { "than its header says", true, 0, 0, 1 },
};

static void *no_large_memory(void *context, void *memory, size_t bytes)
{
    (void)context;
    if (bytes > 1 << 20)
        return NULL;
    if (bytes)
        return realloc(memory, bytes);
    free(memory);
    return NULL;
}

static void assert_damage_is_found(const char *root, const struct damage *damage, writer *write)
{
    unsigned char bytes[512] = { 0 };
    const struct pawl_data_options options = { 0 };
    const char *name = damage->labels ? "train-labels-idx1-ubyte" : "train-images-idx3-ubyte";

    write_set(root, "train-images-idx3-ubyte", "train-labels-idx1-ubyte", ROWS, write);
    const size_t size = damage->labels ? make_labels(bytes, ROWS) : make_images(bytes, ROWS);
    bytes[damage->place] = damage->byte;
    write(at(root, name), bytes, size + (size_t)damage->longer);
    const int rc = try_open(named(root), &options);
    cr_assert_eq(rc, PAWL_ECORRUPT, "%s: %d %s", damage->words, rc, rc ? pawl_error() : "");
    // A packed file's length says less, so its words may differ: they name the file all the same.
    const char *words = write == write_bytes ? damage->words : name;
    cr_assert(strstr(pawl_error(), words), "no \"%s\" in: %s", words, pawl_error());
}

// No claim costs memory: the hook refuses anything above 1 MiB, and that would be PAWL_ENOMEM.
Test(idx, damage_is_found_before_memory_is_taken)
{
    const char *root = make_directory();

    pawl_memory_set(&(struct pawl_memory){ .resize = no_large_memory });
    for (size_t i = 0; i < sizeof(damages) / sizeof(*damages); i++) {
        assert_damage_is_found(root, &damages[i], write_bytes);
        assert_damage_is_found(root, &damages[i], write_gzip);
    }
}

static size_t read_back(const char *path, unsigned char *out, size_t room)
{
    FILE *file = fopen(path, "rb");
    const size_t size = fread(out, 1, room, file);

    fclose(file);
    return size;
}

// Every cut and every flipped bit of a packed file is found, or harmless: deflate ends within a
// byte and leaves up to seven bits that mean nothing. (gzip's header has more, so it is left out.)
Test(idx, a_damaged_gzip_never_passes)
{
    const char *root = make_directory();
    const char *path = at(root, "train-images-idx3-ubyte");
    const struct pawl_data_options options = { 0 };
    unsigned char bytes[512], packed[512];
    int harmless = 0;

    write_set(root, "train-images-idx3-ubyte", "train-labels-idx1-ubyte", ROWS, write_gzip);
    const size_t size = read_back(path, packed, sizeof(packed));
    for (size_t cut = 0; cut < size; cut++) {
        write_bytes(path, packed, cut);
        cr_assert_eq(try_open(named(root), &options), PAWL_ECORRUPT, "cut at %zu", cut);
    }
    for (size_t bit = 80; bit < 8 * size; bit++) {
        memcpy(bytes, packed, size);
        bytes[bit / 8] ^= (unsigned char)(1 << bit % 8);
        write_bytes(path, bytes, size);
        const int rc = try_open(named(root), &options);
        if (rc) {
            cr_assert_eq(rc, PAWL_ECORRUPT, "bit %zu: %s", bit, pawl_error());
        } else {
            assert_good(named(root), ROWS);
            harmless++;
        }
    }
    cr_assert_leq(harmless, 7);
    memcpy(bytes, packed, size);
    bytes[size] = 'x';
    write_bytes(path, bytes, size + 1);
    assert_fails(try_open(named(root), &options), PAWL_ECORRUPT, "something follows");
}

// 100 MB of zeroes pack to 100 kB; the header speaks of 36 bytes.
Test(idx, a_bomb_is_not_unpacked)
{
    const char *root = make_directory();
    const struct pawl_data_options options = { 0 };
    unsigned char *bytes = calloc(1, 100000000);

    write_set(root, "train-images-idx3-ubyte", "train-labels-idx1-ubyte", ROWS, write_gzip);
    make_images(bytes, ROWS);
    write_gzip(at(root, "train-images-idx3-ubyte"), bytes, 100000000);
    free(bytes);
    pawl_memory_set(&(struct pawl_memory){ .resize = no_large_memory });
    assert_fails(try_open(named(root), &options), PAWL_ECORRUPT,
                 "unpacks to more than its header says");
}

Test(idx, says_what_is_not_there)
{
    const char *root = make_directory();
    const struct pawl_data_options options = { .sequence = 4 };

    assert_fails(try_open(named(root), &options), PAWL_ENONE, "no train-images-idx3-ubyte or");
    assert_fails(try_open(named(at(root, "gone")), &options), PAWL_ENONE, "no train-images");
    write_set(root, "train-images-idx3-ubyte", "train-labels-idx1-ubyte", ROWS, write_bytes);
    assert_fails(try_open(at(root, "train-images-idx3-ubyte"), &options), PAWL_EINVAL,
                 "is an IDX file. try: idx:");
    assert_fails(try_open(named(at(root, "train-images-idx3-ubyte")), &options), PAWL_ENONE,
                 "Not a directory");
    write_gzip(at(root, "packed"), "some text", 9);
    assert_fails(try_open(at(root, "packed"), &options), PAWL_EINVAL, "packed: is compressed");
    unlink(at(root, "train-labels-idx1-ubyte"));
    assert_fails(try_open(root, &options), PAWL_ENONE, "no train-labels-idx1-ubyte");
    mkfifo(at(root, "train-labels-idx1-ubyte"), 0666);
    assert_fails(try_open(root, &options), PAWL_ECORRUPT, "is a FIFO");
}

Test(idx, reads_fashion_mnist)
{
    const char *root = "/usr/share/datasets/fashion-mnist";
    float x[784];
    int32_t y[4];
    double sum = 0;

    if (access(root, R_OK))
        cr_skip_test("no dataset-fashion-mnist here");
    struct pawl_data *data = open_plain(named(root));
    cr_assert_eq(pawl_data_info(data)->samples, 60000);
    cr_assert_eq(pawl_data_info(data)->classes, 10);
    for (uint64_t i = 0; i < 60000; i++) {
        cr_assert_eq(pawl_data_batch(data, i, 1, x, y), 0);
        for (int k = 0; k < 784; k++)
            sum += x[k];
    }
    // The mean that everyone normalises this set with.
    cr_assert_float_eq(sum / 60000 / 784, 0.2860, 0.0001);
    pawl_data_close(data);
    cr_assert_eq(
        pawl_data_open(&data, root, &(struct pawl_data_options){ .part = PAWL_DATA_VALIDATE }), 0);
    cr_assert_eq(pawl_data_info(data)->samples, 10000);
    pawl_data_close(data);
}
