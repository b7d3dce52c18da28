// inspect_human.c - a document for people: architecture, weights, training state, apart.

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "kernels/memory.h"
#include "runtime/cli/files.h"
#include "runtime/cli/inspect.h"
#include "runtime/cli/listing.h"
#include "runtime/report/words.h"

// ---- architecture

// A run's data are lists of files, thousands of them: the first few by name.
static void add_list(struct pawl_text *text, const json_t *list)
{
    enum { NAMED = 3 };
    const size_t count = json_array_size(list);

    for (size_t i = 0; i < count && i < NAMED; i++) {
        const char *path = json_string_value(json_object_get(json_array_get(list, i), "path"));
        pawl_text_format(text, "%s%s", i ? ", " : "", path ? path : "?");
    }
    if (count > NAMED) pawl_text_format(text, " and %zu more", count - NAMED);
}

static void add_value(struct pawl_text *text, const json_t *value)
{
    if (json_is_object(json_array_get(value, 0))) {
        add_list(text, value);
    } else if (json_is_string(value)) {
        pawl_text_format(text, "%s", json_string_value(value));
    } else if (json_is_integer(json_array_get(value, 0))) {
        for (size_t i = 0; i < json_array_size(value); i++)
            pawl_text_format(text, "%s%lld", i ? "x" : "",
                             (long long)json_integer_value(json_array_get(value, i)));
    } else {
        pawl_text_json(text, value);
    }
}

// Whether a field says what everyone expects: those are left out.
static bool usual(const char *key, const json_t *value)
{
    const json_t *first = json_is_array(value) ? json_array_get(value, 0) : value;
    const bool one = json_is_integer(first) && json_integer_value(first) == 1
                     && (!json_is_array(value)
                         || json_integer_value(json_array_get(value, 1)) == 1);

    if (json_is_false(value) || strcmp(key, "shape") == 0) return true;
    if (strcmp(key, "padding") == 0) return strcmp(json_string_value(value), "valid") == 0;
    if (strcmp(key, "activation") == 0) return strcmp(json_string_value(value), "linear") == 0;
    return one && (!strcmp(key, "stride") || !strcmp(key, "dilation") || !strcmp(key, "groups"));
}

// "units 256, bias, relu"
static void config_words(struct pawl_text *text, json_t *config)
{
    const char *key, *comma = "";
    json_t *value;

    json_object_foreach(config, key, value) {
        if (usual(key, value)) continue;
        pawl_text_format(text, "%s", comma);
        if (strcmp(key, "activation")) pawl_text_format(text, "%s", key);
        if (!json_is_true(value)) {
            if (strcmp(key, "activation")) pawl_text_format(text, " ");
            add_value(text, value);
        }
        comma = ", ";
    }
    pawl_text_add(text, "", 0);
}

static int show_architecture(const struct pawl_inspect *inspect, const struct pawl_listing *page)
{
    const struct pawl_architecture *architecture = inspect->document->architecture;
    struct pawl_table table = { .columns = 4 };
    char shape[96], number[PAWL_GROUPED];
    struct pawl_text words = { 0 };

    if (!architecture) {
        pawl_listing_head(page, "ARCHITECTURE", "absent");
        return 0;
    }
    pawl_listing_head(page, "ARCHITECTURE", "%s, %d layers, %s parameters%s%s", architecture->name,
                      architecture->layer_count,
                      pawl_grouped(number, pawl_architecture_params(architecture)),
                      architecture->loss[0] ? ", loss " : "", architecture->loss);
    for (int i = 0; i < architecture->layer_count; i++) {
        const struct pawl_layer *layer = &architecture->layers[i];
        json_t *json = json_array_get(json_object_get(inspect->architecture, "layers"), (size_t)i);

        pawl_text_clear(&words);
        config_words(&words, json_object_get(json, "config"));
        pawl_table_cell(&table, "%s", layer->name);
        pawl_table_cell(&table, "%s", pawl_layer_kind_name(layer->kind));
        pawl_table_cell(&table, "%s", pawl_shape_text(shape, sizeof(shape), layer->out.rank,
                                                      layer->out.dim));
        pawl_table_cell(&table, "%s", words.rc ? "" : words.bytes);
    }
    pawl_text_free(&words);
    return pawl_table_print(&table, page);
}

// ---- tensors

static void add_figures(struct pawl_table *table, const struct pawl_tensor_facts *facts)
{
    if (!facts->real) {
        pawl_table_cell(table, "complex");
        return;
    }
    pawl_table_cell(table, "min %.4g  max %.4g  mean %.4g  zeros %lld  nan %lld  inf %lld",
                    facts->min, facts->max, facts->mean, (long long)facts->zeros,
                    (long long)facts->nan, (long long)facts->inf);
}

static int list_tensors(const struct pawl_inspect *inspect, const struct pawl_listing *page,
                        const struct pawl_entry *entries, int count)
{
    struct pawl_table table = { .columns = 4 + inspect->crc + inspect->stats, .right = 1 << 3 };
    struct pawl_tensor_facts facts;
    char shape[128], bytes[PAWL_WORDS];
    int rc = 0;

    for (int i = 0; i < count && !rc; i++) {
        const struct pawl_tensor *tensor = &entries[i].tensor;
        if (!pawl_inspect_wants(inspect, &entries[i])) continue;
        pawl_table_cell(&table, "%s", tensor->name);
        pawl_table_cell(&table, "%s", pawl_dtype_name(tensor->dtype));
        pawl_table_cell(&table, "%s",
                        pawl_shape_text(shape, sizeof(shape), tensor->rank, tensor->dim));
        pawl_table_cell(&table, "%s", pawl_words_bytes(bytes, (double)tensor->size_bytes));
        if (inspect->crc || inspect->stats)
            rc = pawl_tensor_facts(&facts, inspect->document, &entries[i], inspect->stats);
        if (!rc && inspect->crc) pawl_table_cell(&table, "%08x", facts.crc32);
        if (!rc && inspect->stats) add_figures(&table, &facts);
    }
    if (rc) {
        pawl_text_free(&table.cells);
        return rc;
    }
    return pawl_table_print(&table, page);
}

static int show_weights(const struct pawl_inspect *inspect, const struct pawl_listing *page)
{
    const struct pawl_document *document = inspect->document;
    char number[PAWL_GROUPED], words[PAWL_WORDS];
    int64_t elements;
    uint64_t bytes;

    if (!document->weight_count) {
        pawl_listing_head(page, "WEIGHTS", "absent");
        return 0;
    }
    pawl_inspect_total(document->weights, document->weight_count, &elements, &bytes);
    pawl_listing_head(page, "WEIGHTS", "%d tensors, %s parameters, %s", document->weight_count,
                      pawl_grouped(number, elements), pawl_words_bytes(words, (double)bytes));
    return list_tensors(inspect, page, document->weights, document->weight_count);
}

// ---- training state

// "optimizer.exp_avg.fc1.weight" belongs to the slot "optimizer.exp_avg", "master.x" to "master".
static int slot_length(const char *name)
{
    const char *dot = strchr(name, '.');

    if (dot && strncmp(name, "optimizer.", 10) == 0) dot = strchr(dot + 1, '.');
    return dot ? (int)(dot - name) : (int)strlen(name);
}

// The tensors of each slot in one line; slots lie together.
static int list_slots(const struct pawl_training *training, const struct pawl_listing *page)
{
    struct pawl_table table = { .columns = 3, .right = 1 << 1 | 1 << 2 };
    char words[PAWL_WORDS];

    for (int i = 0, next; i < training->tensor_count; i = next) {
        const char *name = training->tensors[i].tensor.name;
        const int length = slot_length(name);
        uint64_t bytes = 0;

        for (next = i; next < training->tensor_count; next++) {
            const struct pawl_tensor *tensor = &training->tensors[next].tensor;
            if (slot_length(tensor->name) != length || strncmp(tensor->name, name, (size_t)length))
                break;
            bytes += tensor->size_bytes;
        }
        pawl_table_cell(&table, "%.*s", length, name);
        pawl_table_cell(&table, "%d tensors", next - i);
        pawl_table_cell(&table, "%s", pawl_words_bytes(words, (double)bytes));
    }
    return pawl_table_print(&table, page);
}

// Each member of an object on its own line, its name before it.
static void show_object(const struct pawl_listing *page, const char *title, json_t *object)
{
    struct pawl_text text = { 0 };
    const char *key;
    json_t *value;

    if (json_is_object(object) && title) {
        config_words(&text, object);
        if (!text.rc) pawl_listing_line(page, "%-12s %s", title, text.bytes);
        pawl_text_free(&text);
        return;
    }
    json_object_foreach(object, key, value) {
        pawl_text_clear(&text);
        if (json_is_object(value)) {
            show_object(page, key, value);
            continue;
        }
        add_value(&text, value);
        if (!text.rc) pawl_listing_line(page, "%-12s %s", key, text.bytes);
    }
    pawl_text_free(&text);
}

static int show_training(const struct pawl_inspect *inspect, const struct pawl_listing *page)
{
    const struct pawl_training *training = inspect->document->training;
    char epoch[32] = "", loss[64] = "", words[PAWL_WORDS];

    if (!training) {
        pawl_listing_head(page, "TRAINING STATE", "absent");
        return 0;
    }
    if (training->epoch >= 0) snprintf(epoch, sizeof(epoch), ", epoch %lld",
                                       (long long)training->epoch);
    if (!isnan(training->loss))
        snprintf(loss, sizeof(loss), ", loss %s", pawl_words_loss(words, training->loss));
    pawl_listing_head(page, "TRAINING STATE", "step %llu%s%s", (unsigned long long)training->step,
                      epoch, loss);
    show_object(page, "optimizer", training->optimizer);
    show_object(page, NULL, training->rest);
    return inspect->pattern
               ? list_tensors(inspect, page, training->tensors, training->tensor_count)
               : list_slots(training, page);
}

// ---- all

int pawl_inspect_human(const struct pawl_inspect *inspect)
{
    const struct pawl_document *document = inspect->document;
    struct pawl_listing page;
    size_t i;
    json_t *warning;

    pawl_listing_open(&page);
    printf("%s%s%s\n", page.bold ? "\x1b[1m" : "", document->path, page.bold ? "\x1b[0m" : "");
    pawl_listing_line(&page, "format %s%s%s", document->format,
                      document->format_version[0] ? " " : "", document->format_version);
    int rc = inspect->pattern ? 0 : show_architecture(inspect, &page);
    if (!rc) rc = show_weights(inspect, &page);
    if (!rc) rc = show_training(inspect, &page);
    if (rc || inspect->pattern) return rc;
    if (json_object_size(document->metadata)) {
        const size_t entries = json_object_size(document->metadata);
        pawl_listing_head(&page, "METADATA", "%zu %s", entries, entries == 1 ? "entry" : "entries");
        show_object(&page, NULL, document->metadata);
    }
    json_array_foreach(document->warnings, i, warning)
        fprintf(stderr, "pawl: warning: %s\n", json_string_value(warning));
    return 0;
}
