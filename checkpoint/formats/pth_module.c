// pth_module.c - an architecture from the modules of torch.nn: containers, the input, the ends.

#include "checkpoint/formats/pth_module.h"

#include <stdio.h>
#include <string.h>

#include "kernels/memory.h"

enum { DEPTH_MAX = 32, SIDE_MAX = 512, TOKENS = 1024 };

// ---- attributes

int64_t pawl_pth_count(const struct pawl_py *module, const char *key, int64_t usual)
{
    int64_t value = usual;

    pawl_py_integer(pawl_py_get(module->state, key), &value);
    return value;
}

double pawl_pth_real(const struct pawl_py *module, const char *key, double usual)
{
    double value = usual;

    pawl_py_number(pawl_py_get(module->state, key), &value);
    return value;
}

bool pawl_pth_flag(const struct pawl_py *module, const char *key, bool usual)
{
    return pawl_pth_count(module, key, usual) != 0;
}

bool pawl_pth_pair(const struct pawl_py *module, const char *key, int spatial, int64_t out[2])
{
    const struct pawl_py *value = pawl_py_get(module->state, key);

    if (pawl_py_integer(value, &out[1])) {
        out[0] = spatial == 1 ? 1 : out[1];
        return true;
    }
    if (spatial == 1) {
        out[0] = 1;
        return pawl_py_integer(pawl_py_item(value, 0), &out[1]);
    }
    return pawl_py_integer(pawl_py_item(value, 0), &out[0])
           && pawl_py_integer(pawl_py_item(value, 1), &out[1]);
}

bool pawl_pth_has(const struct pawl_py *module, const char *parameter)
{
    return pawl_pth_is_tensor(pawl_py_get(pawl_pth_dict_of(module, "_parameters"), parameter));
}

const struct pawl_py *pawl_pth_child(const struct pawl_py *module, const char *name)
{
    const struct pawl_py *child = pawl_py_get(pawl_pth_dict_of(module, "_modules"), name);

    return pawl_pth_is_module(child) ? child : NULL;
}

// ---- layers

int pawl_pth_layer(struct pawl_pth_build *b, enum pawl_layer_kind kind, const char *suffix,
                   struct pawl_layer **out)
{
    char name[2 * PAWL_NAME_MAX];
    struct pawl_layer *layer = NULL;

    snprintf(name, sizeof(name), "%s%s%s", b->name, suffix && *b->name ? "." : "",
             suffix ? suffix : *b->name ? "" : "model");
    const int rc = pawl_architecture_append(b->out, kind, name, &layer);
    if (!rc && out) *out = layer;
    return rc;
}

int pawl_pth_input(struct pawl_pth_build *b, int rank, const int64_t *dim, bool tokens)
{
    struct pawl_layer *layer = NULL;

    if (b->out->layer_count) return 0;
    const int rc = pawl_architecture_append(b->out, PAWL_INPUT, "input", &layer);
    if (rc) return rc;
    layer->in.tokens = tokens;
    layer->in.shape.rank = rank;
    memcpy(layer->in.shape.dim, dim, sizeof(*dim) * (size_t)rank);
    b->spatial = rank - 1;
    return 0;
}

int pawl_pth_channels_last(struct pawl_pth_build *b, bool last)
{
    static const int64_t to_last[2][3] = { { 1, 0 }, { 1, 2, 0 } };
    static const int64_t to_first[2][3] = { { 1, 0 }, { 2, 0, 1 } };
    struct pawl_layer *layer = NULL;
    char name[64];

    if (b->channels_last == last || b->spatial < 1 || b->spatial > 2) return 0;
    snprintf(name, sizeof(name), "channels_%s_%d", last ? "last" : "first", ++b->permutes);
    const int rc = pawl_architecture_append(b->out, PAWL_PERMUTE, name, &layer);
    if (rc) return rc;
    layer->permute.order.rank = b->spatial + 1;
    memcpy(layer->permute.order.dim, last ? to_last[b->spatial - 1] : to_first[b->spatial - 1],
           sizeof(int64_t) * (size_t)(b->spatial + 1));
    b->channels_last = last;
    return 0;
}

// ---- containers

struct frame {
    const struct pawl_py *module;
    uint32_t next;
    size_t prefix;
};

static bool is_container(const char *class)
{
    return !strcmp(class, "torch.nn.modules.container.Sequential")
           || !strcmp(class, "torch.nn.parallel.data_parallel.DataParallel")
           || !strcmp(class, "torch.nn.parallel.distributed.DistributedDataParallel");
}

// Goes through containers in order; stops at the first module that nothing stands for.
static int add_all(struct pawl_pth_build *b, const struct pawl_py *root)
{
    struct frame frame[DEPTH_MAX] = { { root, 0, 0 } };
    int depth = 1, rc = 0;

    if (!is_container(pawl_py_called(root))) return pawl_pth_add_module(b, root);
    while (depth && !rc && !b->why) {
        struct frame *f = &frame[depth - 1];
        const struct pawl_py *children = pawl_pth_dict_of(f->module, "_modules");
        b->name[f->prefix] = 0;
        if (2 * f->next >= children->count) {
            depth--;
            continue;
        }
        const char *key = pawl_py_text(children->item[2 * f->next]);
        const struct pawl_py *child = children->item[2 * f->next++ + 1];
        const size_t left = sizeof(b->name) - f->prefix;
        if (!key || !pawl_pth_is_module(child)
            || snprintf(b->name + f->prefix, left, "%s%s", f->prefix ? "." : "", key) >= (int)left)
            b->why = "a child that is no module";
        else if (!is_container(pawl_py_called(child)))
            rc = pawl_pth_add_module(b, child);
        else if (depth == DEPTH_MAX)
            b->why = "containers too deep";
        else
            frame[depth++] = (struct frame){ child, 0, strlen(b->name) };
    }
    return rc;
}

// ---- the size of images, which a file of torch does not have

static bool fits(const struct pawl_pth_build *b, int64_t height, int64_t width)
{
    struct pawl_architecture *architecture = b->out;
    struct pawl_shape *shape = &architecture->layers[0].in.shape;
    struct pawl_param param[PAWL_PARAMS_MAX];

    shape->dim[1] = shape->rank == 3 ? height : width;
    if (shape->rank == 3) shape->dim[2] = width;
    if (pawl_architecture_check(architecture)) return false;
    for (int i = 0; i < architecture->layer_count; i++)
        if (b->inputs[i]) {
            pawl_layer_params(architecture, i, param);
            if (param[0].dim[1] != b->inputs[i]) return false;
        }
    return true;
}

// The smallest square that every layer's weights fit, else the smallest rectangle.
static bool guess_size(const struct pawl_pth_build *b)
{
    const int rank = b->out->layers[0].in.shape.rank;

    for (int64_t side = 1; side <= SIDE_MAX; side++)
        if (fits(b, side, side)) return true;
    for (int64_t height = 1; rank == 3 && height <= 64; height++)
        for (int64_t width = 1; width < height; width++)
            if (fits(b, height, width)) return true;
    return false;
}

static int end_build(struct pawl_pth *pth, struct pawl_pth_build *b)
{
    struct pawl_architecture *out = b->out;
    struct pawl_shape *shape;
    char text[96];
    int rc = 0;

    if (!b->why && !out->layer_count) b->why = "no layer with weights";
    if (!b->why) rc = pawl_pth_channels_last(b, false);
    if (b->why || rc) return rc;
    shape = &out->layers[0].in.shape;
    if (b->guessed && !guess_size(b)) {
        b->why = "an image size that fits its layers could not be found";
        return 0;
    }
    if (b->dropped)
        pawl_document_warn(pth->document, "the dropout inside of encoder layers is left out");
    if (b->guessed)
        pawl_document_warn(pth->document, "the file does not say how large images are: %s is the "
                           "least that its layers fit; data of another size are taken",
                           pawl_shape_text(text, sizeof(text), shape->rank, shape->dim));
    return pawl_architecture_check(out);
}

int pawl_pth_take_architecture(struct pawl_pth *pth, const struct pawl_py *module)
{
    struct pawl_document *document = pth->document;
    struct pawl_architecture made = { .name = "torch" };
    struct pawl_pth_build *b = NULL;
    const char *class = pawl_py_called(module);

    int rc = pawl_alloc(&b, sizeof(*b), "an architecture");
    if (rc) return rc;
    b->out = &made;
    rc = add_all(b, module);
    if (!rc) rc = end_build(pth, b);
    if (!rc && !b->why) rc = pawl_alloc(&document->architecture, sizeof(made), "an architecture");
    if (!rc && !b->why) {
        *document->architecture = made;
        pawl_free(b);
        return 0;
    }
    pawl_architecture_free(&made);
    if (rc != PAWL_ENOMEM)
        pawl_document_warn(document, "the weights are read, but not the architecture of this %s: "
                           "module '%s': %s. try: --arch MODEL beside it", strrchr(class, '.')
                       ? strrchr(class, '.') + 1 : class, b->name, b->why ? b->why : pawl_error());
    pawl_free(b);
    return rc == PAWL_ENOMEM ? rc : 0;
}
