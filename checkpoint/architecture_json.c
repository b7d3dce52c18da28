// architecture_json.c - an architecture as JSON and back, driven by the fields of layers.c.

#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "checkpoint/architecture.h"
#include "checkpoint/layers.h"
#include "checkpoint/names.h"
#include "checkpoint/suggest.h"
#include "checkpoint/text.h"
#include "kernels/memory.h"

enum { JSON_BYTES_MAX = 16 << 20, SCHEMA = 1 };

// ---- writing

static bool standard(const struct pawl_field *field, const void *at)
{
    const int64_t *count = at, usual = (int64_t)field->standard;

    switch (field->type) {
    case PAWL_FIELD_NAME: return !*(const char *)at;
    case PAWL_FIELD_REAL: return !(*(const double *)at < field->standard)
                                 && !(*(const double *)at > field->standard);
    case PAWL_FIELD_BOOL: return *(const bool *)at == (usual != 0);
    case PAWL_FIELD_COUNT: return *count == usual;
    case PAWL_FIELD_PAIR: return count[0] == usual && count[1] == usual;
    case PAWL_FIELD_PADS:
        return count[0] == usual && count[1] == usual && count[2] == usual && count[3] == usual;
    case PAWL_FIELD_ACTIVATION:
    case PAWL_FIELD_PADDING: return *(const unsigned *)at == (unsigned)usual;
    case PAWL_FIELD_SHAPE: break;
    }
    return false;
}

static void write_field(struct pawl_text *text, const struct pawl_field *field, const void *at)
{
    const int64_t *number = at;
    const struct pawl_shape *shape = at;

    switch (field->type) {
    case PAWL_FIELD_COUNT: pawl_text_format(text, "%lld", (long long)*number); break;
    case PAWL_FIELD_PAIR:
        pawl_text_format(text, "[%lld, %lld]", (long long)number[0], (long long)number[1]);
        break;
    case PAWL_FIELD_PADS:
        pawl_text_format(text, "[%lld, %lld, %lld, %lld]", (long long)number[0],
                         (long long)number[1], (long long)number[2], (long long)number[3]);
        break;
    case PAWL_FIELD_BOOL: pawl_text_format(text, *(const bool *)at ? "true" : "false"); break;
    case PAWL_FIELD_REAL: pawl_text_number(text, *(const double *)at); break;
    case PAWL_FIELD_ACTIVATION:
        pawl_text_string(text, pawl_activation_names[*(const unsigned *)at]);
        break;
    case PAWL_FIELD_PADDING:
        pawl_text_string(text, pawl_padding_names[*(const unsigned *)at]);
        break;
    case PAWL_FIELD_NAME: pawl_text_string(text, at); break;
    case PAWL_FIELD_SHAPE:
        for (int d = 0; d < shape->rank; d++)
            pawl_text_format(text, "%s%lld", d ? ", " : "[", (long long)shape->dim[d]);
        pawl_text_format(text, "]");
        break;
    }
}

void pawl_layer_config_to_json(struct pawl_text *text, const struct pawl_layer *layer)
{
    const struct pawl_layer_row *row = &pawl_layer_rows[layer->kind];
    const char *comma = "";

    pawl_text_format(text, "{");
    for (int i = 0; i < row->field_count; i++) {
        const struct pawl_field *field = &row->fields[i];
        const void *at = (const char *)layer + field->offset;

        if ((field->flags & PAWL_FIELD_QUIET) && standard(field, at)) continue;
        pawl_text_format(text, "%s\"%s\": ", comma, field->name);
        write_field(text, field, at);
        comma = ", ";
    }
    pawl_text_format(text, "}");
}

int pawl_architecture_to_json(char **out, const struct pawl_architecture *architecture)
{
    struct pawl_text text = { 0 };

    pawl_text_format(&text, "{\"pawl\": %d, \"name\": ", SCHEMA);
    pawl_text_string(&text, architecture->name);
    pawl_text_format(&text, ", \"loss\": ");
    pawl_text_string(&text, architecture->loss);
    pawl_text_format(&text, ",\n \"layers\": [");
    for (int i = 0; i < architecture->layer_count; i++) {
        const struct pawl_layer *layer = &architecture->layers[i];
        pawl_text_format(&text, "%s{\"name\": ", i ? ",\n  " : "\n  ");
        pawl_text_string(&text, layer->name);
        pawl_text_format(&text, ", \"kind\": \"%s\", \"inputs\": [",
                      pawl_layer_rows[layer->kind].name);
        for (int k = 0; k < layer->input_count; k++) {
            if (k) pawl_text_format(&text, ", ");
            pawl_text_string(&text, architecture->layers[layer->input[k]].name);
        }
        pawl_text_format(&text, "], \"config\": ");
        pawl_layer_config_to_json(&text, layer);
        pawl_text_format(&text, "}");
    }
    pawl_text_format(&text, "\n ]}\n");
    return pawl_text_take(&text, out, NULL);
}

// ---- reading

static int corrupt(const char *where, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static int corrupt(const char *where, const char *format, ...)
{
    char words[512];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(words, sizeof(words), format, arguments);
    va_end(arguments);
    return pawl_fail(PAWL_ECORRUPT, "architecture, %.300s: %s", where, words);
}

// Copies a JSON string into a char array.
static int take_string(char *to, size_t to_bytes, const json_t *value, const char *where,
                       const char *field)
{
    const char *string = json_string_value(value);

    if (!string || strlen(string) != json_string_length(value))
        return corrupt(where, "'%s' must be a string", field);
    if (strlen(string) >= to_bytes)
        return corrupt(where, "'%s' is longer than %zu bytes", field, to_bytes - 1);
    snprintf(to, to_bytes, "%s", string);
    return 0;
}

static int take_choice(unsigned *to, const json_t *value, const char *const *known, int count,
                       const char *where, const char *field)
{
    const char *string = json_string_value(value);
    char hint[96];

    if (!string) return corrupt(where, "'%s' must be a string", field);
    for (int i = 0; i < count; i++)
        if (strcmp(string, known[i]) == 0) {
            *to = (unsigned)i;
            return 0;
        }
    return corrupt(where, "%s '%.80s' is unknown%s", field, string,
                   pawl_suggest_text(hint, sizeof(hint), string, known, count));
}

static int take_counts(int64_t *to, int count, const json_t *value, const char *where,
                       const char *field)
{
    for (int i = 0; i < count; i++) {
        const json_t *item = json_array_get(value, (size_t)i);
        if (!json_is_integer(item))
            return corrupt(where, "'%s' must hold whole numbers", field);
        to[i] = json_integer_value(item);
    }
    return 0;
}

static int take_field(void *at, const struct pawl_field *field, const json_t *value,
                      const char *where)
{
    struct pawl_shape *shape = at;
    const size_t size = json_array_size(value);

    switch (field->type) {
    case PAWL_FIELD_COUNT:
        if (!json_is_integer(value))
            return corrupt(where, "'%s' must be a whole number", field->name);
        *(int64_t *)at = json_integer_value(value);
        return 0;
    case PAWL_FIELD_PAIR:
        if (json_is_integer(value)) {
            ((int64_t *)at)[0] = ((int64_t *)at)[1] = json_integer_value(value);
            return 0;
        }
        if (size != 2) return corrupt(where, "'%s' must be [height, width]", field->name);
        return take_counts(at, 2, value, where, field->name);
    case PAWL_FIELD_PADS:
        if (size != 4)
            return corrupt(where, "'%s' must be [top, bottom, left, right]", field->name);
        return take_counts(at, 4, value, where, field->name);
    case PAWL_FIELD_BOOL:
        if (!json_is_boolean(value))
            return corrupt(where, "'%s' must be true or false", field->name);
        *(bool *)at = json_is_true(value);
        return 0;
    case PAWL_FIELD_REAL:
        if (!json_is_number(value)) return corrupt(where, "'%s' must be a number", field->name);
        *(double *)at = json_number_value(value);
        return 0;
    case PAWL_FIELD_ACTIVATION:
        return take_choice(at, value, pawl_activation_names, PAWL_ACTIVATIONS, where, field->name);
    case PAWL_FIELD_PADDING:
        return take_choice(at, value, pawl_padding_names, 2, where, field->name);
    case PAWL_FIELD_NAME:
        return take_string(at, PAWL_NAME_MAX + 1, value, where, field->name);
    case PAWL_FIELD_SHAPE:
        if (size < 1 || size > PAWL_SHAPE_MAX)
            return corrupt(where, "'%s' must be a list of 1 to %d dimensions", field->name,
                           PAWL_SHAPE_MAX);
        shape->rank = (int)size;
        return take_counts(shape->dim, (int)size, value, where, field->name);
    }
    return 0;
}

// Every member of an object is one of the known names.
static int only(const json_t *object, const char *const *known, int count, const char *where,
                const char *what)
{
    char hint[96];
    const char *key;
    json_t *value;

    json_object_foreach((json_t *)(uintptr_t)object, key, value) {
        int i = 0;
        while (i < count && strcmp(key, known[i]))
            i++;
        if (i == count)
            return corrupt(where, "%s has no field '%.80s'%s", what, key,
                           pawl_suggest_text(hint, sizeof(hint), key, known, count));
    }
    return 0;
}

static int take_config(struct pawl_layer *layer, const json_t *config, const char *where)
{
    const struct pawl_layer_row *row = &pawl_layer_rows[layer->kind];
    const char *known[16];

    if (config && !json_is_object(config)) return corrupt(where, "'config' must be an object");
    for (int i = 0; i < row->field_count; i++)
        known[i] = row->fields[i].name;
    int rc = config ? only(config, known, row->field_count, where, row->name) : 0;
    for (int i = 0; i < row->field_count && !rc; i++) {
        const struct pawl_field *field = &row->fields[i];
        const json_t *value = json_object_get(config, field->name);
        if (value)
            rc = take_field((char *)layer + field->offset, field, value, where);
        else if (field->flags & PAWL_FIELD_REQUIRED)
            rc = corrupt(where, "%s needs '%s'", row->name, field->name);
    }
    return rc;
}

static int take_layer(struct pawl_architecture *architecture, const json_t *from, int i)
{
    static const char *const members[] = { "name", "kind", "inputs", "config" };
    const char *kinds[PAWL_LAYER_KINDS];
    char where[PAWL_NAME_MAX + 32], name[PAWL_NAME_MAX + 1 - 16];
    struct pawl_layer *layer;
    unsigned kind = 0;

    snprintf(where, sizeof(where), "layer %d", i);
    if (!json_is_object(from)) return corrupt(where, "it must be an object");
    int rc = take_string(name, sizeof(name), json_object_get(from, "name"), where, "name");
    if (rc) return rc;
    snprintf(where, sizeof(where), "layer '%s'", name);
    for (int k = 0; k < PAWL_LAYER_KINDS; k++)
        kinds[k] = pawl_layer_rows[k].name;
    rc = only(from, members, 4, where, "a layer");
    if (!rc)
        rc = take_choice(&kind, json_object_get(from, "kind"), kinds, PAWL_LAYER_KINDS, where,
                         "kind");
    if (!rc)
        rc = pawl_architecture_append(architecture, (enum pawl_layer_kind)kind, name, &layer);
    return rc ? rc : take_config(layer, json_object_get(from, "config"), where);
}

static int take_inputs(struct pawl_architecture *architecture, const json_t *inputs, int i,
                       const struct pawl_names *names)
{
    struct pawl_layer *layer = &architecture->layers[i];
    const size_t count = json_array_size(inputs);

    if (!inputs) return 0;  // append has chosen the layer before
    if (!json_is_array(inputs) || count > PAWL_INPUTS_MAX)
        return corrupt(layer->name, "'inputs' must be a list of at most %d names", PAWL_INPUTS_MAX);
    for (size_t k = 0; k < count; k++) {
        const char *name = json_string_value(json_array_get(inputs, k));
        layer->input[k] = name ? pawl_names_find(names, name) : -1;
        if (layer->input[k] < 0 || layer->input[k] >= i)
            return corrupt(layer->name, "its input '%.80s' is no layer before it",
                           name ? name : "(not a string)");
    }
    layer->input_count = (int)count;
    return 0;
}

static int take_layers(struct pawl_architecture *architecture, const json_t *layers)
{
    const size_t count = json_array_size(layers);
    struct pawl_names names = { 0 };
    int rc = 0;

    if (count < 1 || count > PAWL_LAYERS_MAX)
        return corrupt("layers", "it must be a list of 1 to %d layers", PAWL_LAYERS_MAX);
    for (int i = 0; i < (int)count && !rc; i++)
        rc = take_layer(architecture, json_array_get(layers, (size_t)i), i);
    if (!rc)
        rc = pawl_names_build(&names, (int)count, architecture->layers[0].name,
                              sizeof(*architecture->layers));
    for (int i = 0; i < (int)count && !rc; i++)
        rc = take_inputs(architecture,
                         json_object_get(json_array_get(layers, (size_t)i), "inputs"), i, &names);
    pawl_names_free(&names);
    return rc;
}

static int take_architecture(struct pawl_architecture *made, const json_t *root)
{
    static const char *const members[] = { "pawl", "name", "loss", "layers" };
    const json_t *schema = json_object_get(root, "pawl"), *loss = json_object_get(root, "loss");

    if (!json_is_object(root) || !schema)
        return corrupt("top", "it is not pawl's schema: no member 'pawl'");
    if (!json_is_integer(schema) || json_integer_value(schema) != SCHEMA)
        return corrupt("pawl", "this version reads schema %d only", SCHEMA);
    int rc = only(root, members, 4, "top", "an architecture");
    if (!rc)
        rc = take_string(made->name, sizeof(made->name), json_object_get(root, "name"), "top",
                         "name");
    if (!rc && loss) rc = take_string(made->loss, sizeof(made->loss), loss, "top", "loss");
    return rc ? rc : take_layers(made, json_object_get(root, "layers"));
}

int pawl_architecture_from_json(struct pawl_architecture *out, const char *json)
{
    struct pawl_architecture made = { 0 };
    const size_t size = strlen(json);
    json_error_t error;

    if (size > JSON_BYTES_MAX)
        return corrupt("top", "%zu bytes of JSON are more than %d", size, JSON_BYTES_MAX);
    json_t *root = json_loadb(json, size, JSON_REJECT_DUPLICATES, &error);
    if (!root)
        return corrupt("top", "it is not JSON: line %d, column %d: %s", error.line, error.column,
                       error.text);
    int rc = take_architecture(&made, root);
    json_decref(root);
    if (!rc) rc = pawl_architecture_check(&made);
    // To whoever wrote the file, a model that makes no sense is a file that is wrong.
    if (rc == PAWL_EINVAL) rc = pawl_fail(PAWL_ECORRUPT, "architecture, %s", pawl_error());
    if (rc)
        pawl_architecture_free(&made);
    else
        *out = made;
    return rc;
}
