// plan_window.c - the window that a convolution or a pooling layer moves over images.

#include "runtime/plan_inside.h"

bool plan_is_conv(enum pawl_layer_kind kind)
{
    return kind == PAWL_CONV1D || kind == PAWL_CONV2D;
}

bool plan_is_transposed(enum pawl_layer_kind kind)
{
    return kind == PAWL_CONV1D_TRANSPOSE || kind == PAWL_CONV2D_TRANSPOSE;
}

// A shape as an image: 1-d kinds see one of height 1, global ones every axis but the last as one.
static void image_of(const struct pawl_shape *shape, bool global, int64_t image[3])
{
    const int rank = shape->rank;

    image[2] = shape->dim[rank - 1];
    image[0] = !global && rank == 3 ? shape->dim[0] : 1;
    image[1] = 1;
    for (int d = !global && rank == 3 ? 1 : 0; d < rank - 1; d++)
        image[1] *= shape->dim[d];
}

void plan_window(const struct pawl_plan *plan, int l, struct pawl_window *w)
{
    const struct pawl_layer *layer = &plan->architecture.layers[l];
    const bool turned = plan_is_transposed(layer->kind), conv = turned || plan_is_conv(layer->kind);
    const bool global = layer->kind == PAWL_GLOBAL_MAX_POOL || layer->kind == PAWL_GLOBAL_AVG_POOL;
    const int64_t *kernel = conv ? layer->conv.kernel : layer->pool.size;
    const int64_t *stride = conv ? layer->conv.stride : layer->pool.stride;
    const int64_t *pads = conv ? layer->conv.pads : layer->pool.pads;
    const bool same = !global && (conv ? layer->conv.padding : layer->pool.padding) == PAWL_SAME;
    int64_t in[3], out[3];

    // The convolution that a transposed one transposes goes from its output to its input.
    image_of(&plan->architecture.layers[layer->input[0]].out, global, turned ? out : in);
    image_of(&layer->out, global, turned ? in : out);
    *w = (struct pawl_window){
        .batch = plan->options.batch, .in_h = in[0], .in_w = in[1], .in_c = in[2],
        .out_h = out[0], .out_w = out[1], .out_c = out[2], .kernel_h = in[0], .kernel_w = in[1],
        .stride_h = 1, .stride_w = 1, .dilation_h = 1, .dilation_w = 1, .groups = 1,
    };
    if (global) return;
    w->kernel_h = kernel[0];
    w->kernel_w = kernel[1];
    w->stride_h = stride[0];
    w->stride_w = stride[1];
    w->pad_top = pads[0];
    w->pad_left = pads[2];
    w->count_pads = !conv && layer->pool.count_pads;
    if (conv) {
        w->dilation_h = layer->conv.dilation[0];
        w->dilation_w = layer->conv.dilation[1];
        w->groups = layer->conv.groups;
    }
    if (!same) return;
    const int64_t over_h = (w->out_h - 1) * w->stride_h + (w->kernel_h - 1) * w->dilation_h + 1
                           - w->in_h;
    const int64_t over_w = (w->out_w - 1) * w->stride_w + (w->kernel_w - 1) * w->dilation_w + 1
                           - w->in_w;
    w->pad_top = over_h > 0 ? over_h / 2 : 0;
    w->pad_left = over_w > 0 ? over_w / 2 : 0;
}
