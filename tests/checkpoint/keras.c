// keras.c - Keras' files: what Keras and tf_keras wrote is read, what is damaged or dangerous is
// refused, and what is written holds the same.

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "checkpoint/binding.h"
#include "checkpoint/document.h"
#include "checkpoint/source.h"
#include "tests/checkpoint/document_support.h"
#include "tests/checkpoint/expect_support.h"

Test(keras, files_of_keras)
{
    expect_files("keras");
}

Test(keras, damaged_and_dangerous_files)
{
    expect_verdicts("keras/bad");
}

// Code in a file stops prediction, not reading: its weights are there, and nothing was run.
Test(keras, code_is_named_and_never_run)
{
    static const char *const files[][3] = {
        { "keras/bad/lambda.keras", "Lambda", "never run" },
        { "keras/bad/custom-layer.keras", "Swirl", "builtin" },
    };

    for (int i = 0; i < 2; i++) {
        struct pawl_document *document = NULL;
        cr_assert_eq(pawl_document_read(&document, data_path(files[i][0])), 0, "%s", pawl_error());
        cr_expect_null(document->architecture);
        cr_expect_gt(document->weight_count, 0);
        cr_expect(strstr(document->stop, files[i][1]), "%s", document->stop);
        cr_expect(strstr(document->stop, files[i][2]), "%s", document->stop);
        pawl_document_free(document);
    }
}

// Every parameter and moment of both, whatever the files call them.
static void expect_same_params(struct pawl_document *a, struct pawl_document *b, const char *what)
{
    static const char *const slots[] = { NULL, "exp_avg", "exp_avg_sq", "momentum_buffer" };
    int compared = 0;

    cr_assert_eq(pawl_document_bind(a), 0, "%s: %s", what, pawl_error());
    cr_assert_eq(pawl_document_bind(b), 0, "%s: %s", what, pawl_error());
    cr_assert_eq(a->bindings->count, b->bindings->count, "%s", what);
    // As stored: weights alone from Keras 2 do not say the rate that momentum holds.
    const double scale = a->training ? a->training->momentum_scale : 0;
    if (a->training) a->training->momentum_scale = 0;
    if (b->training) b->training->momentum_scale = 0;
    for (int i = 0; i < a->bindings->count; i++)
        for (int s = 0; s < 4; s++) {
            const size_t size = a->bindings->items[i].tensor.size_bytes;
            float *x = malloc(size), *y = malloc(size);
            if (!slots[s] || (a->training && b->training
                              && pawl_document_has_slot(a, i, slots[s]))) {
                cr_expect_eq(pawl_document_fetch_param(a, i, slots[s], PAWL_F32, x), 0);
                cr_expect_eq(pawl_document_fetch_param(b, i, slots[s], PAWL_F32, y), 0, "%s: %s",
                             what, pawl_error());
                cr_expect_arr_eq(x, y, size, "%s: parameter %d, %s", what, i,
                                 slots[s] ? slots[s] : "itself");
                compared++;
            }
            free(x);
            free(y);
        }
    if (a->training) a->training->momentum_scale = scale;
    cr_expect_geq(compared, a->bindings->count);
}

Test(keras, each_format_goes_around)
{
    static const char *const formats[][2] = { { "keras", "a.keras" }, { "keras-h5", "a.h5" },
                                              { "keras-weights", "a.weights.h5" },
                                              { "h5-weights", "b.h5" } };
    static const char *const files[] = { "keras/keras-mlp/model.keras", "keras/keras-mlp/model.h5",
                                         "keras/tfkeras-cnn/model.h5",
                                         "keras/keras-residual/model.keras" };

    for (int i = 0; i < 4; i++) {
        struct pawl_document *from = NULL;
        cr_assert_eq(pawl_document_read(&from, data_path(files[i])), 0, "%s", pawl_error());
        for (int f = 0; f < 4; f++) {
            const struct pawl_write_options options = { .format = formats[f][0], .force = true };
            struct pawl_document *back = NULL;
            const char *path = scratch(formats[f][1]);
            cr_assert_eq(pawl_document_write(from, path, &options), 0, "%s", pawl_error());
            cr_assert_eq(pawl_source_open(&back, path, f < 2 ? NULL : data_path(files[i])), 0,
                         "%s to %s: %s", files[i], formats[f][0], pawl_error());
            cr_expect_str_eq(back->format, formats[f][0]);
            if (f < 3) cr_expect_eq(back->training->step, from->training->step);
            expect_same_params(from, back, formats[f][0]);
            pawl_document_free(back);
        }
        pawl_document_free(from);
    }
}

Test(keras, the_wrong_key_is_told_apart)
{
    struct pawl_document *document = NULL;
    const int rc = pawl_source_open(&document, data_path("keras/keras-mlp/model.weights.h5"),
                                    "mlp:12-17-8-5");

    cr_assert_eq(rc, PAWL_ECORRUPT);
    cr_expect(strstr(pawl_error(), "do not fit"), "%s", pawl_error());
    cr_expect(strstr(pawl_error(), "[12, 17]"), "%s", pawl_error());
    cr_expect(strstr(pawl_error(), "[12, 16]"), "%s", pawl_error());
}
