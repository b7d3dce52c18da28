// data.c - which source is meant, which part of it, and which sample a number stands for.

#include "runtime/data/data.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "kernels/io.h"
#include "kernels/memory.h"
#include "runtime/data/inside.h"
#include "runtime/data/recognise.h"

static const int64_t SEQUENCE_MAX = 1 << 24;

static int check_options(const struct pawl_data_options *options, bool tokens)
{
    if (!(options->fraction >= 0 && options->fraction < 1))
        return pawl_fail(PAWL_EINVAL, "the fraction for validation must be at least 0 and below 1");
    if (tokens && (options->sequence < 1 || options->sequence > SEQUENCE_MAX))
        return pawl_fail(PAWL_EINVAL, "the sequence must be 1 to %lld tokens, not %lld",
                         (long long)SEQUENCE_MAX, (long long)options->sequence);
    return 0;
}

// Which of the source's tokens or rows belong to the part asked for.
static int choose_part(struct pawl_data *data)
{
    const struct pawl_data_options *options = &data->options;
    const uint64_t all = data->source.count;
    const bool validate = options->part == PAWL_DATA_VALIDATE;

    data->begin = 0;
    data->count = all;
    if (options->fraction <= 0)
        return 0;
    uint64_t kept = (uint64_t)((double)all * options->fraction);
    if (!kept)
        kept = 1;
    if (kept >= all)
        return pawl_fail(PAWL_EINVAL, "%s: nothing is left when %g of it is kept for validation",
                         data->name, options->fraction);
    data->begin = validate ? all - kept : 0;
    data->count = validate ? kept : all - kept;
    return 0;
}

static int cut_windows(struct pawl_data *data)
{
    const uint64_t sequence = (uint64_t)data->options.sequence;

    // A window needs its successors, too: y is x one token further.
    if (data->count <= sequence)
        return pawl_fail(PAWL_EINVAL,
                         "%s: %llu tokens to %s on; a sample needs %llu. try: a smaller --seq",
                         data->name, (unsigned long long)data->count,
                         data->options.part == PAWL_DATA_VALIDATE ? "validate" : "train",
                         (unsigned long long)sequence + 1);
    data->info.kind = PAWL_DATA_TOKENS;
    data->info.samples = (data->count - 1) / sequence;
    data->info.shape = (struct pawl_shape){ .rank = 1, .dim = { data->options.sequence } };
    data->info.tokens = true;
    data->info.labels = data->options.sequence;
    data->x_each = data->options.sequence;
    return pawl_alloc(&data->window, (sequence + 1) * sizeof(int32_t), "tokens of a sample");
}

static void take_rows(struct pawl_data *data)
{
    data->info.kind = PAWL_DATA_ARRAYS;
    data->info.samples = data->count;
    data->info.shape = data->source.shape;
    data->info.targets = data->source.targets;
    data->info.tokens = data->source.tokens;
    data->info.labels = data->source.labels;
    data->x_each = 1;
    for (int i = 0; i < data->info.shape.rank; i++)
        data->x_each *= data->info.shape.dim[i];
}

static void say_size(char *out, size_t out_bytes, double bytes)
{
    static const char *const units[] = { "bytes", "kB", "MB", "GB", "TB" };
    int unit = 0;

    for (; bytes >= 1000 && unit < 4; unit++)
        bytes /= 1000;
    snprintf(out, out_bytes, unit && bytes < 10 ? "%.1f %s" : "%.0f %s", bytes, units[unit]);
}

static void say_words(struct pawl_data *data)
{
    struct pawl_data_info *info = &data->info;
    char size[32], shape[128];
    uint64_t bytes = 0;

    for (size_t i = 0; i < data->source.file_count; i++)
        bytes += data->source.files[i].bytes;
    say_size(size, sizeof(size), (double)bytes);
    int at = snprintf(info->words, sizeof(info->words), "%s: ", data->source.row->name);
    if (info->kind == PAWL_DATA_TOKENS) {
        snprintf(info->words + at, sizeof(info->words) - (size_t)at, "%zu file%s, %s",
                 data->source.file_count, data->source.file_count == 1 ? "" : "s", size);
        return;
    }
    pawl_shape_text(shape, sizeof(shape), info->shape.rank, info->shape.dim);
    at += snprintf(info->words + at, sizeof(info->words) - (size_t)at, "%llu samples of %s, ",
                   (unsigned long long)info->samples, shape);
    snprintf(info->words + at, sizeof(info->words) - (size_t)at, "%lld %s",
             (long long)(info->classes ? info->classes : info->targets),
             info->classes ? "classes" : "targets");
}

static int open_source(struct pawl_data *data)
{
    const struct pawl_source_row *row;
    const char *where;

    int rc = pawl_recognise(&row, &where, data->name);
    if (!rc)
        rc = check_options(&data->options, row->tokens != NULL);
    if (rc)
        return rc;
    data->source.row = row;
    rc = row->open(&data->source, where, &data->options);
    if (!rc)
        rc = choose_part(data);
    if (rc)
        return rc;
    data->info.classes = data->source.classes;
    data->info.own_test = data->source.own_test;
    if (row->tokens)
        rc = cut_windows(data);
    else
        take_rows(data);
    if (rc)
        return rc;
    data->order = pawl_order(data->info.samples, data->options.seed);
    say_words(data);
    return 0;
}

int pawl_data_open(struct pawl_data **out, const char *source,
                   const struct pawl_data_options *options)
{
    struct pawl_data *data;

    int rc = pawl_alloc(&data, sizeof(*data), "data");
    if (rc)
        return rc;
    data->options = *options;
    if (options->part == PAWL_DATA_VALIDATE)
        data->options.shuffle = false;
    rc = pawl_strdup(&data->name, source);
    if (!rc)
        rc = open_source(data);
    if (rc) {
        pawl_data_close(data);
        return rc;
    }
    *out = data;
    return 0;
}

void pawl_data_close(struct pawl_data *data)
{
    if (!data)
        return;
    if (data->source.row)
        data->source.row->close(&data->source);
    for (size_t i = 0; i < data->source.file_count; i++)
        pawl_free(data->source.files[i].path);
    pawl_free(data->source.files);
    pawl_free(data->window);
    pawl_free(data->name);
    pawl_free(data);
}

const struct pawl_data_info *pawl_data_info(const struct pawl_data *data)
{
    return &data->info;
}

int pawl_data_expect(struct pawl_data *data, int64_t classes, int64_t vocab)
{
    const struct pawl_source *source = &data->source;

    data->vocab = vocab;
    data->limit = source->classes > classes ? classes : 0;
    if (!data->limit || !source->row->label)
        return 0;
    // The labels are in memory: all of them are looked at before the first step.
    for (uint64_t row = 0; row < source->count; row++) {
        const int64_t label = source->row->label(source, row);
        if (label >= classes)
            return pawl_fail(PAWL_ECORRUPT,
                             "%s: label %lld at row %llu; the model's classes are 0..%lld",
                             source->files[1].path, (long long)label, (unsigned long long)row,
                             (long long)classes - 1);
    }
    return 0;
}

// ---- batches

static int check_tokens(const struct pawl_data *data, uint64_t at, int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        if (data->window[i] >= data->limit)
            return pawl_fail(PAWL_ECORRUPT, "%s: token %d at place %llu; the model's are 0..%lld",
                             data->name, data->window[i], (unsigned long long)at + (uint64_t)i,
                             (long long)data->limit - 1);
    return 0;
}

// Window `place` of an epoch begins at the epoch's offset plus place * sequence. The last one may
// then reach too far: it is moved back, so that the end of the text is seen in every epoch.
static uint64_t window_begin(const struct pawl_data *data, uint64_t epoch, uint64_t place)
{
    const uint64_t sequence = (uint64_t)data->options.sequence;
    const uint64_t last = data->count - sequence - 1;

    uint64_t at = place * sequence;
    if (data->options.shuffle)
        at += pawl_order_offset(&data->order, epoch, sequence);
    return data->begin + (at < last ? at : last);
}

static int read_window(struct pawl_data *data, uint64_t at, int32_t *x, int32_t *y)
{
    const int64_t sequence = data->options.sequence;

    int rc = data->source.row->tokens(&data->source, at, sequence + 1, data->window);
    if (!rc && data->limit)
        rc = check_tokens(data, at, sequence + 1);
    if (rc)
        return rc;
    memcpy(x, data->window, (size_t)sequence * sizeof(*x));
    memcpy(y, data->window + 1, (size_t)sequence * sizeof(*y));
    return 0;
}

static int read_arrays(struct pawl_data *data, uint64_t row, int32_t *x, int32_t *y)
{
    int rc = data->source.row->array(&data->source, row, x, y);

    for (int64_t i = 0; !rc && data->info.tokens && i < data->x_each; i++)
        if (x[i] < 0 || (data->vocab && x[i] >= data->vocab))
            rc = pawl_fail(PAWL_ECORRUPT, "%s: token %d in row %llu; the model's are 0..%lld",
                           data->source.files[0].path, x[i], (unsigned long long)row,
                           (long long)data->vocab - 1);
    return rc;
}

int pawl_data_batch(struct pawl_data *data, uint64_t first, int64_t rows, void *x, void *y)
{
    const int64_t y_each = data->info.labels ? data->info.labels : data->info.targets;
    int rc = 0;

    for (int64_t i = 0; i < rows && !rc; i++) {
        const uint64_t number = first + (uint64_t)i;
        const uint64_t epoch = number / data->info.samples;
        uint64_t place = number % data->info.samples;
        if (data->options.shuffle)
            place = pawl_order_place(&data->order, epoch, place);
        // Tokens, floats and classes all have four bytes.
        int32_t *row_x = (int32_t *)x + i * data->x_each, *row_y = (int32_t *)y + i * y_each;
        if (data->info.kind == PAWL_DATA_TOKENS)
            rc = read_window(data, window_begin(data, epoch, place), row_x, row_y);
        else
            rc = read_arrays(data, data->begin + place, row_x, row_y);
    }
    return rc;
}
