// predict.c - pawl predict: rows of X.npy through the model, into Y.npy.

#include <stdio.h>
#include <string.h>

#include "checkpoint/source.h"
#include "kernels/io.h"
#include "kernels/memory.h"
#include "runtime/cli/exits.h"
#include "runtime/cli/verbs.h"
#include "runtime/data/npy.h"
#include "runtime/infer.h"

// X against the model's input: (rows, shape...), dimensions of 1 aside.
static int check(const struct pawl_npy *x, const struct pawl_architecture *architecture,
                 const char *path)
{
    const struct pawl_layer *input = &architecture->layers[0];
    const struct pawl_shape *shape = &input->in.shape;
    int64_t want = 1, have = 1;
    char mine[96], theirs[96];

    for (int i = 0; i < shape->rank; i++)
        want *= shape->dim[i];
    for (int i = 1; i < x->rank; i++)
        have *= x->dim[i];
    pawl_shape_text(mine, sizeof(mine), shape->rank, shape->dim);
    pawl_shape_text(theirs, sizeof(theirs), x->rank, x->dim);
    if (input->in.tokens ? x->rank != 2 || have > want || have < 1 : x->rank < 1 || have != want)
        return pawl_fail(PAWL_ECORRUPT, "%s: shape %s; model '%s' takes rows of %s%s", path, theirs,
                         architecture->name, mine, input->in.tokens ? " tokens or fewer" : "");
    if (input->in.tokens != (x->dtype == PAWL_I32))
        return pawl_fail(PAWL_ECORRUPT, "%s: %s; model '%s' takes %s", path,
                         pawl_dtype_name(x->dtype), architecture->name,
                         input->in.tokens ? "integers, tokens" : "floats");
    const int64_t vocab = input->in.tokens && architecture->layer_count > 1
                              && architecture->layers[1].kind == PAWL_EMBEDDING
                          ? architecture->layers[1].embedding.vocab : INT32_MAX;
    const int32_t *tokens = x->data;
    for (int64_t i = 0; input->in.tokens && i < x->count; i++)
        if (tokens[i] < 0 || tokens[i] >= vocab)
            return pawl_fail(PAWL_ECORRUPT, "%s: token at element %lld is not in 0..%lld", path,
                             (long long)i, (long long)vocab - 1);
    return 0;
}

static int run_rows(struct pawl_infer *infer, const struct pawl_npy *x, int64_t batch, float **y,
                    int64_t *per_row)
{
    const bool tokens = pawl_infer_architecture(infer)->layers[0].in.tokens;
    const int64_t total = x->dim[0], features = x->count / (total ? total : 1);
    const float *out;
    int64_t rows, cols;
    int rc = 0;

    for (int64_t at = 0; !rc && at < total; at += batch) {
        const int64_t count = total - at < batch ? total - at : batch;
        rc = pawl_infer_run(infer, (const char *)x->data + (size_t)(at * features) * sizeof(float),
                            count, tokens ? features : 0, &out, &rows, &cols);
        if (!rc && !*y) {
            *per_row = rows / count * cols;
            rc = pawl_alloc(y, (size_t)(total * *per_row) * sizeof(float), "the predictions");
        }
        if (!rc) memcpy(*y + at * *per_row, out, (size_t)(count * *per_row) * sizeof(float));
    }
    return rc;
}

static int write_out(const struct pawl_infer *infer, const struct pawl_options *options,
                     const struct pawl_npy *x, const float *y, int64_t per_row)
{
    const struct pawl_architecture *architecture = pawl_infer_architecture(infer);
    const struct pawl_shape *shape = &architecture->layers[architecture->layer_count - 1].out;
    int64_t dim[PAWL_RANK_MAX] = { x->dim[0] };

    for (int i = 0; i < shape->rank; i++)
        dim[i + 1] = shape->dim[i];
    // Rows of tokens may be shorter than the model's context, and so are its outputs then.
    if (architecture->layers[0].in.tokens && shape->rank == 2) dim[1] = per_row / shape->dim[1];
    return pawl_npy_write(options->output, shape->rank + 1, dim, PAWL_F32, y);
}

static void tell(const struct pawl_options *options, int64_t rows, double seconds)
{
    if (options->json)
        printf("{\"event\":\"done\",\"rows\":%lld,\"seconds\":%.17g}\n", (long long)rows, seconds);
    else
        printf("%lld rows in %.3g s -> %s\n", (long long)rows, seconds, options->output);
}

static int refuse_existing(const struct pawl_options *options)
{
    struct stat of;

    if (!options->input || !options->output)
        return pawl_fail(PAWL_EINVAL, "predict needs --input X.npy and --output Y.npy");
    if (!options->force && !pawl_io()->lstat(options->output, &of))
        return pawl_fail(PAWL_EBUSY, "%s: is there already. try: --force", options->output);
    return 0;
}

int pawl_verb_predict(const struct pawl_options *options)
{
    const int64_t start = pawl_io()->now_ns(), batch = options->batch < 0 ? 64 : options->batch;
    struct pawl_document *document = NULL;
    struct pawl_infer *infer = NULL;
    struct pawl_npy x = { 0 };
    float *y = NULL;
    int64_t per_row = 0;

    int rc = refuse_existing(options);
    if (!rc) rc = pawl_source_open(&document, options->arguments[0], options->arch);
    if (!rc) rc = pawl_npy_read(options->input, &x);
    if (!rc && document->architecture && x.rank > 1)
        rc = pawl_architecture_resize(document->architecture, x.rank - 1, x.dim + 1);
    if (!rc)
        rc = pawl_infer_open(&infer, document,
                             &(struct pawl_infer_options){
                                 .device = options->device, .dtype = options->dtype,
                                 .batch = batch,
                                 .threads = options->threads < 0 ? 0 : (int)options->threads });
    if (!rc) rc = check(&x, pawl_infer_architecture(infer), options->input);
    if (!rc) rc = run_rows(infer, &x, batch, &y, &per_row);
    int status = pawl_exit_of(rc);
    if (!rc) {
        rc = write_out(infer, options, &x, y, per_row);
        status = pawl_exit_of_output(rc);
    }
    if (rc)
        fprintf(stderr, "pawl: %s\n", pawl_error());
    else
        tell(options, x.dim[0], (double)(pawl_io()->now_ns() - start) / 1e9);
    pawl_free(y);
    pawl_npy_free(&x);
    pawl_infer_close(infer);
    pawl_document_free(document);
    return status;
}
