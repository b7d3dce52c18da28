// model.c - lays an architecture out in slabs.

#include "runtime/model.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "kernels/memory.h"
#include "kernels/philox.h"
#include "runtime/upload.h"

enum { GRAIN_BYTES = 64 };

static size_t padded(size_t bytes)
{
    return (bytes + GRAIN_BYTES - 1) / GRAIN_BYTES * GRAIN_BYTES;
}

// Which of the stretches a parameter belongs to: the four segments, and state.
static int stretch_of(const struct pawl_param *param, size_t bytes)
{
    if (!param->trainable) return PAWL_SEGMENTS;
    return (bytes % GRAIN_BYTES ? 2 : 0) + (param->decay ? 0 : 1);
}

static int param_bytes(const struct pawl_param *param, size_t *bytes)
{
    int64_t count;
    const int rc = pawl_shape_count(&count, param->rank, param->dim);

    if (!rc) *bytes = (size_t)count * sizeof(float);
    return rc;
}

static int place(struct pawl_model *model, int layer, int i, const struct pawl_param *param,
                 size_t *end)
{
    struct pawl_tensor *tensor = &model->tensors[model->tensor_count];
    size_t bytes;
    int rc = param_bytes(param, &bytes);

    if (rc) return rc;
    *tensor = (struct pawl_tensor){ .dtype = PAWL_F32, .rank = param->rank, .offset_bytes = *end,
                                    .size_bytes = bytes };
    if (snprintf(tensor->name, sizeof(tensor->name), "%s.%s",
                 model->architecture.layers[layer].name, param->suffix) > PAWL_NAME_MAX)
        return pawl_fail(PAWL_EINVAL, "the name of layer %d is too long", layer);
    for (int d = 0; d < PAWL_RANK_MAX; d++)
        tensor->dim[d] = d < param->rank ? param->dim[d] : 1;
    model->param_of[layer][i] = model->tensor_count++;
    model->param_count += (int64_t)(bytes / sizeof(float));
    *end += padded(bytes);
    return 0;
}

// One pass over the layers per stretch keeps the forward order inside each.
static int lay_out(struct pawl_model *model)
{
    struct pawl_param param[PAWL_PARAMS_MAX];
    size_t end = 0, bytes;
    int rc;

    for (int stretch = 0; stretch <= PAWL_SEGMENTS; stretch++) {
        const size_t start = end;
        if (stretch == PAWL_SEGMENTS) {
            model->trained_count = model->tensor_count;
            model->trained_floats = (int64_t)(end / sizeof(float));
        }
        for (int l = 0; l < model->architecture.layer_count; l++) {
            const int count = pawl_layer_params(&model->architecture, l, param);
            for (int i = 0; i < count; i++) {
                rc = param_bytes(&param[i], &bytes);
                if (!rc && stretch_of(&param[i], bytes) == stretch)
                    rc = place(model, l, i, &param[i], &end);
                if (rc) return rc;
            }
        }
        if (stretch == PAWL_SEGMENTS) break;
        model->segment[stretch] = (struct pawl_segment){
            (int64_t)(start / sizeof(float)), (int64_t)((end - start) / sizeof(float)),
            stretch % 2 == 0
        };
    }
    model->slab_floats = (int64_t)(end / sizeof(float));
    return 0;
}

static int count_params(const struct pawl_architecture *architecture)
{
    struct pawl_param param[PAWL_PARAMS_MAX];
    int count = 0;

    for (int l = 0; l < architecture->layer_count; l++)
        count += pawl_layer_params(architecture, l, param);
    return count;
}

static int take_slabs(struct pawl_model *model, bool train, int moments)
{
    const size_t bytes = (size_t)model->slab_floats * sizeof(float);
    int rc = pawl_device_alloc(model->device, &model->param, bytes, PAWL_ON_DEVICE);

    if (!rc && train) rc = pawl_device_alloc(model->device, &model->grad, bytes, PAWL_ON_DEVICE);
    for (int i = 0; !rc && i < moments; i++)
        rc = pawl_device_alloc(model->device, &model->moment[i], bytes, PAWL_ON_DEVICE);
    if (!rc && model->type == PAWL_BF16)
        rc = pawl_device_alloc(model->device, &model->rounded,
                               (size_t)model->slab_floats * model->value_bytes, PAWL_ON_DEVICE);
    return rc;
}

static const char *const type_names[] = { [PAWL_F32] = "fp32", [PAWL_BF16] = "bf16" };

const char *pawl_model_type_name(enum pawl_dtype type) { return type_names[type]; }

int pawl_model_parse_type(enum pawl_dtype *out, const char *name)
{
    *out = name && !strcmp(name, type_names[PAWL_BF16]) ? PAWL_BF16 : PAWL_F32;
    if (!name || !strcmp(name, type_names[*out])) return 0;
    return pawl_fail(PAWL_EINVAL, "--dtype %.16s is unknown; known: fp32 bf16", name);
}

int pawl_model_open(struct pawl_model **out, const struct pawl_architecture *architecture,
                    struct pawl_device *device, enum pawl_dtype type, bool train, int moments)
{
    struct pawl_model *model = NULL;

    if (type == PAWL_BF16 && !device->bf16)
        return pawl_fail(PAWL_ENOTSUP, "device '%.32s' computes in fp32 only. try: --dtype fp32",
                         device->kind->name);
    int rc = pawl_alloc(&model, sizeof(*model), "the model");
    if (rc) return rc;
    model->device = device;
    model->type = type;
    model->ops = type == PAWL_BF16 ? device->bf16 : device->ops;
    model->value_bytes = pawl_dtype_bytes(type);
    model->stale = true;
    rc = pawl_architecture_copy(&model->architecture, architecture);
    if (rc) goto out;
    const int layers = architecture->layer_count;
    rc = pawl_alloc(&model->param_of, (size_t)layers * sizeof(*model->param_of), "the model");
    if (rc) goto out;
    for (int l = 0; l < layers; l++)
        for (int i = 0; i < PAWL_PARAMS_MAX; i++)
            model->param_of[l][i] = -1;
    rc = pawl_alloc(&model->tensors, (size_t)(count_params(architecture) + 1)
                    * sizeof(*model->tensors), "the model");
    if (!rc) rc = lay_out(model);
    if (!rc) rc = take_slabs(model, train, moments);
    if (rc) goto out;
    *out = model;
    return 0;
out:
    pawl_model_close(model);
    return rc;
}

void pawl_model_close(struct pawl_model *model)
{
    if (!model) return;
    const size_t bytes = (size_t)model->slab_floats * sizeof(float);
    pawl_device_free(model->device, model->rounded,
                     (size_t)model->slab_floats * model->value_bytes, PAWL_ON_DEVICE);
    pawl_device_free(model->device, model->param, bytes, PAWL_ON_DEVICE);
    pawl_device_free(model->device, model->grad, bytes, PAWL_ON_DEVICE);
    for (int i = 0; i < PAWL_MOMENTS_MAX; i++)
        pawl_device_free(model->device, model->moment[i], bytes, PAWL_ON_DEVICE);
    pawl_architecture_free(&model->architecture);
    pawl_free(model->tensors);
    pawl_free(model->param_of);
    pawl_free(model);
}

// Two normal draws from one block (Box and Muller, 1958), in double.
static void normal_pair(struct pawl_philox block, double scale, float out[2])
{
    const double u = ((double)block.word[0] + 1.0) / 4294967296.0;
    const double angle = 6.283185307179586 * ((double)block.word[1] / 4294967296.0);
    const double radius = scale * sqrt(-2.0 * log(u));

    out[0] = (float)(radius * cos(angle));
    out[1] = (float)(radius * sin(angle));
}

static void draw(float *out, int64_t count, const struct pawl_param *param, uint64_t seed,
                 uint32_t stream)
{
    const bool constant = param->init != PAWL_INIT_NORMAL && param->init != PAWL_INIT_UNIFORM;
    const float value = param->init == PAWL_INIT_ONE        ? 1.0f
                        : param->init == PAWL_INIT_CONSTANT ? (float)param->scale
                                                            : 0.0f;
    float pair[2] = { value, value };

    for (int64_t i = 0; i < count; i++) {
        if (i % 2 == 0 && !constant) {
            const struct pawl_philox block = pawl_philox(seed, (uint64_t)i / 2, stream, 0x1417);
            for (int j = 0; j < 2; j++)
                pair[j] = (float)(param->scale * (2.0 * (double)pawl_uniform(block.word[j]) - 1.0));
            if (param->init == PAWL_INIT_NORMAL) normal_pair(block, param->scale, pair);
        }
        out[i] = pair[i % 2];
    }
}

int pawl_model_init(struct pawl_model *model, uint64_t seed)
{
    struct pawl_param param[PAWL_PARAMS_MAX];
    struct pawl_upload upload;
    int rc = pawl_upload_open(&upload, model);

    for (int l = 0; !rc && l < model->architecture.layer_count; l++) {
        const int count = pawl_layer_params(&model->architecture, l, param);
        for (int i = 0; !rc && i < count; i++) {
            const int t = model->param_of[l][i];
            draw(pawl_upload_at(&upload, model->param, t),
                 (int64_t)(model->tensors[t].size_bytes / sizeof(float)), &param[i], seed,
                 (uint32_t)(l * PAWL_PARAMS_MAX + i));
            rc = pawl_upload_send(&upload);
        }
    }
    pawl_upload_close(&upload);
    model->stale = true;
    return rc;
}

void pawl_model_round(struct pawl_model *model, struct pawl_stream *stream)
{
    if (model->rounded && model->stale)
        model->ops->narrow(stream, model->rounded, model->param, model->slab_floats);
    model->stale = false;
}

int pawl_model_find(const struct pawl_model *model, const char *name)
{
    for (int i = 0; i < model->tensor_count; i++)
        if (!strcmp(model->tensors[i].name, name)) return i;
    return -1;
}
