// pth.c - files of torch: what torch wrote is read, what is damaged or dangerous is refused, and
// what is written holds the same.

#include <criterion/criterion.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "checkpoint/document.h"
#include "checkpoint/source.h"
#include "tests/checkpoint/document_support.h"
#include "tests/checkpoint/expect_support.h"

Test(pth, files_of_torch)
{
    expect_files("torch");
}

Test(pth, damaged_and_dangerous_files)
{
    expect_verdicts("torch/bad");
}

static struct pawl_document *again(const struct pawl_document *document, const char *format,
                                   const char *path)
{
    struct pawl_document *written = NULL;
    const struct pawl_write_options options = { .format = format, .force = true };

    cr_assert_eq(pawl_document_write(document, path, &options), 0, "%s", pawl_error());
    cr_assert_eq(pawl_document_read(&written, path), 0, "%s", pawl_error());
    cr_assert_str_eq(written->format, format);
    return written;
}

Test(pth, a_state_dict_goes_around)
{
    static const char *const names[] = { "torch/torch-mlp-weights_legacy.pth",
                                         "torch/torch-odd-tensors-tensors.pth" };

    for (int i = 0; i < 2; i++) {
        struct pawl_document *document = NULL;
        cr_assert_eq(pawl_document_read(&document, data_path(names[i])), 0);
        struct pawl_document *written = again(document, "pth", scratch("state.pth"));
        expect_same_tensors(document, written);
        pawl_document_free(document);
        pawl_document_free(written);
    }
}

Test(pth, a_checkpoint_goes_around_with_all_that_a_user_put_into_it)
{
    static const char *const names[] = { "torch/torch-mlp-checkpoint.pth",
                                         "torch/torch-cnn-checkpoint.pth",
                                         "torch/torch-mlp-checkpoint_legacy.pth" };

    for (int i = 0; i < 3; i++) {
        struct pawl_document *document = NULL;
        cr_assert_eq(pawl_document_read(&document, data_path(names[i])), 0);
        struct pawl_document *written = again(document, "pth-checkpoint", scratch("check.pth"));
        const struct pawl_training *a = document->training, *b = written->training;
        expect_same_tensors(document, written);
        cr_expect_eq(a->step, b->step);
        cr_expect_eq(a->epoch, b->epoch);
        cr_expect_eq(a->loss, b->loss);
        cr_expect(json_equal(a->optimizer, b->optimizer));
        cr_expect(json_equal(a->rest, b->rest));
        pawl_document_free(document);
        pawl_document_free(written);
    }
}

static void expect_moments(const struct pawl_document *a, const struct pawl_document *b)
{
    cr_assert_eq(a->training->tensor_count, b->training->tensor_count);
    for (int i = 0; i < a->training->tensor_count; i++) {
        const struct pawl_entry *mine = &a->training->tensors[i];
        const struct pawl_entry *theirs = &b->training->tensors[i];
        char one[1024], other[1024];
        cr_assert_eq(mine->tensor.size_bytes, theirs->tensor.size_bytes);
        cr_assert_leq(mine->tensor.size_bytes, sizeof(one));
        cr_expect_str_eq(mine->slot, theirs->slot);
        cr_expect_eq(mine->of, theirs->of);
        cr_assert_eq(pawl_document_fetch(a, mine, one), 0);
        cr_assert_eq(pawl_document_fetch(b, theirs, other), 0);
        cr_expect_eq(memcmp(one, other, mine->tensor.size_bytes), 0, "%s", mine->tensor.name);
    }
}

Test(pth, a_directory_goes_around)
{
    struct pawl_document *document = NULL;

    cr_assert_eq(pawl_document_read(&document, data_path("torch/torch-mlp-dcp")), 0, "%s",
                 pawl_error());
    struct pawl_document *written = again(document, "dcp", scratch("dcp"));
    expect_same_tensors(document, written);
    expect_moments(document, written);
    cr_expect_eq(written->training->step, 7);
    cr_expect(json_equal(document->training->optimizer, written->training->optimizer));
    struct pawl_document *checkpoint = again(written, "pth-checkpoint", scratch("from-dcp.pth"));
    expect_moments(document, checkpoint);
    pawl_document_free(document);
    pawl_document_free(written);
    pawl_document_free(checkpoint);
}

Test(pth, a_module_goes_around)
{
    static const char *const names[] = { "torch/torch-mlp-model.pth", "torch/torch-cnn-model.pth" };

    for (int i = 0; i < 2; i++) {
        struct pawl_document *document = NULL;
        cr_assert_eq(pawl_document_read(&document, data_path(names[i])), 0);
        struct pawl_document *written = again(document, "pth-model", scratch("model.pth"));
        expect_same_tensors(document, written);
        cr_assert_not_null(written->architecture);
        cr_expect_eq(pawl_architecture_match(document->architecture, "a", written->architecture,
                                             "b"), 0, "%s", pawl_error());
        pawl_document_free(document);
        pawl_document_free(written);
    }
}

Test(pth, what_no_sequential_can_hold_is_named)
{
    struct pawl_document *document = NULL;
    const struct pawl_write_options options = { .format = "pth-model" };
    const char *path = scratch("encoder.pth");

    cr_assert_eq(pawl_document_read(&document, data_path("torch/torch-encoder-model.pth")), 0);
    cr_expect_eq(pawl_document_write(document, path, &options), PAWL_ENOTSUP);
    cr_expect(strstr(pawl_error(), "layer '1.") && !exists(path), "%s", pawl_error());
    pawl_document_free(document);
}

// pawl's own layout (channels last, a flatten of height, width, channels) becomes torch's.
Test(pth, weights_of_pawl_get_the_layout_of_torch)
{
    static const char arch[] = "{\"pawl\": 1, \"name\": \"c\", \"loss\": \"mse\", \"layers\": ["
        "{\"name\": \"input\", \"kind\": \"input\", \"config\": {\"shape\": [2, 2, 3]}},"
        "{\"name\": \"c\", \"kind\": \"conv2d\", \"inputs\": [\"input\"], \"config\": "
        "{\"filters\": 2, \"kernel\": [1, 2], \"padding\": \"same\", \"bias\": false}},"
        "{\"name\": \"f\", \"kind\": \"flatten\", \"inputs\": [\"c\"], \"config\": {}},"
        "{\"name\": \"d\", \"kind\": \"dense\", \"inputs\": [\"f\"], \"config\": "
        "{\"units\": 1, \"bias\": false}}]}";
    static const char header[] = "{\"c.weight\":{\"dtype\":\"F32\",\"shape\":[2,1,2,3],"
        "\"data_offsets\":[0,48]},\"d.weight\":{\"dtype\":\"F32\",\"shape\":[1,8],"
        "\"data_offsets\":[48,80]}}";
    const char *weights = scratch("w.safetensors"), *json = scratch("a.json");
    const char *path = scratch("w.pth");
    struct pawl_document *document = NULL, *written = NULL;
    float data[20], got[12];

    for (int i = 0; i < 20; i++)
        data[i] = (float)i;
    write_safetensors_with(weights, header, data, sizeof(data));
    write_bytes(json, arch, strlen(arch));
    cr_assert_eq(pawl_source_open(&document, weights, json), 0, "%s", pawl_error());
    cr_assert_eq(pawl_document_write(document, path, NULL), 0, "%s", pawl_error());
    cr_assert_eq(pawl_document_read(&written, path), 0, "%s", pawl_error());
    cr_expect_eq(written->weights[0].tensor.dim[1], 3);
    cr_assert_eq(pawl_document_fetch(written, &written->weights[0], got), 0);
    for (int o = 0; o < 2; o++)
        for (int k = 0; k < 2; k++)
            for (int c = 0; c < 3; c++)
                cr_expect_eq(got[(o * 3 + c) * 2 + k], data[(o * 2 + k) * 3 + c]);
    cr_assert_eq(pawl_document_fetch(written, &written->weights[1], got), 0);
    for (int k = 0; k < 4; k++)
        for (int c = 0; c < 2; c++)
            cr_expect_eq(got[c * 4 + k], data[12 + k * 2 + c]);
    pawl_document_free(document);
    pawl_document_free(written);
}

Test(pth, values_that_are_no_tensors)
{
    struct pawl_document *document = NULL;
    json_t *wanted = json_loads("{\"lr\": 0.001, \"betas\": {\"$tuple\": [0.9, 0.999]}, \"none\":"
                                " null, \"big\": {\"$integer\": \"000000000000000040\"}, "
                                "\"dtype\": {\"$global\": \"torch.float32\"}}", 0, NULL);
    const char *key;
    json_t *value;

    cr_assert_eq(pawl_document_read(&document, data_path("torch/torch-odd-tensors-nested.pth")), 0);
    const json_t *config = json_object_get(document->metadata, "config");
    json_object_foreach(wanted, key, value) {
        char *text = json_dumps(json_object_get(config, key), JSON_ENCODE_ANY);
        cr_expect(json_equal(json_object_get(config, key), value), "%s is %s", key, text);
        free(text);
    }
    cr_expect_eq(json_integer_value(json_object_get(document->metadata, "epoch")), 3);
    cr_expect_eq(json_real_value(json_object_get(document->metadata, "numpy_scalar")), 0.25);
    cr_expect_null(json_object_get(document->metadata, "net"));
    json_decref(wanted);
    pawl_document_free(document);
}

Test(pth, tied_weights_share_their_bytes)
{
    struct pawl_document *document = NULL, *written = NULL;
    const char *path = scratch("tied.pth");

    cr_assert_eq(pawl_document_read(&document, data_path("torch/torch-mlp-weights.pth")), 0);
    strcpy(document->weights[1].tensor.name, "twin");
    document->weights[1].tensor = document->weights[0].tensor;
    strcpy(document->weights[1].tensor.name, "twin");
    document->weights[1].pieces[0] = document->weights[0].pieces[0];
    cr_assert_eq(pawl_document_write(document, path, NULL), 0, "%s", pawl_error());
    cr_assert_eq(pawl_document_read(&written, path), 0, "%s", pawl_error());
    cr_expect_eq(written->weights[0].pieces[0].file, written->weights[1].pieces[0].file);
    cr_expect_neq(written->weights[0].pieces[0].file, written->weights[2].pieces[0].file);
    pawl_document_free(document);
    pawl_document_free(written);
}
