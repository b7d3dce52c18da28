// inspect_json.c - a document as one JSON object.

#include <stdio.h>

#include "kernels/memory.h"
#include "runtime/cli/files.h"
#include "runtime/cli/inspect.h"

static int add_facts(struct pawl_text *text, const struct pawl_inspect *inspect,
                     const struct pawl_entry *entry)
{
    struct pawl_tensor_facts facts;

    if (!inspect->crc && !inspect->stats) return 0;
    const int rc = pawl_tensor_facts(&facts, inspect->document, entry, inspect->stats);
    if (rc) return rc;
    if (inspect->crc) pawl_text_format(text, ", \"crc32\": \"%08x\"", facts.crc32);
    if (!inspect->stats) return 0;
    if (!facts.real) {
        pawl_text_format(text, ", \"min\": null, \"max\": null, \"mean\": null, \"zeros\": null, "
                         "\"nan\": null, \"inf\": null");
        return 0;
    }
    pawl_text_format(text, ", \"min\": ");
    pawl_text_number(text, facts.min);
    pawl_text_format(text, ", \"max\": ");
    pawl_text_number(text, facts.max);
    pawl_text_format(text, ", \"mean\": ");
    pawl_text_number(text, facts.mean);
    pawl_text_format(text, ", \"zeros\": %lld, \"nan\": %lld, \"inf\": %lld",
                     (long long)facts.zeros, (long long)facts.nan, (long long)facts.inf);
    return 0;
}

static int add_tensors(struct pawl_text *text, const struct pawl_inspect *inspect,
                       const struct pawl_entry *table, int count)
{
    const char *comma = "";
    int rc = 0;

    pawl_text_format(text, "\"tensors\": [");
    for (int i = 0; i < count && !rc; i++) {
        const struct pawl_tensor *tensor = &table[i].tensor;
        if (!pawl_inspect_wants(inspect, &table[i])) continue;
        pawl_text_format(text, "%s\n  {\"name\": ", comma);
        pawl_text_string(text, tensor->name);
        pawl_text_format(text, ", \"dtype\": \"%s\", \"shape\": [", pawl_dtype_name(tensor->dtype));
        for (int d = 0; d < tensor->rank; d++)
            pawl_text_format(text, "%s%lld", d ? ", " : "", (long long)tensor->dim[d]);
        pawl_text_format(text, "], \"bytes\": %zu", tensor->size_bytes);
        rc = add_facts(text, inspect, &table[i]);
        pawl_text_format(text, "}");
        comma = ",";
    }
    pawl_text_format(text, "]");
    return rc;
}

static void add_architecture(struct pawl_text *text, json_t *architecture)
{
    const json_t *layers = json_object_get(architecture, "layers");

    if (!architecture) {
        pawl_text_format(text, "null");
        return;
    }
    pawl_text_format(text, "{\"name\": ");
    pawl_text_json(text, json_object_get(architecture, "name"));
    pawl_text_format(text, ", \"loss\": ");
    pawl_text_json(text, json_object_get(architecture, "loss"));
    pawl_text_format(text, ", \"layers\": [");
    for (size_t i = 0; i < json_array_size(layers); i++) {
        pawl_text_format(text, "%s\n  ", i ? "," : "");
        pawl_text_json(text, json_array_get(layers, i));
    }
    pawl_text_format(text, "]}");
}

static int add_weights(struct pawl_text *text, const struct pawl_inspect *inspect)
{
    const struct pawl_document *document = inspect->document;
    int64_t elements;
    uint64_t bytes;

    pawl_inspect_total(document->weights, document->weight_count, &elements, &bytes);
    pawl_text_format(text, "{\"count\": %d, \"params\": %lld, \"bytes\": %llu, ",
                     document->weight_count, (long long)elements, (unsigned long long)bytes);
    const int rc = add_tensors(text, inspect, document->weights, document->weight_count);
    pawl_text_format(text, "}");
    return rc;
}

static int add_training(struct pawl_text *text, const struct pawl_inspect *inspect)
{
    const struct pawl_training *training = inspect->document->training;

    if (!training) {
        pawl_text_format(text, "null");
        return 0;
    }
    pawl_text_format(text, "{\"optimizer\": ");
    pawl_text_json(text, training->optimizer);
    pawl_text_format(text, ", \"step\": %llu, \"epoch\": ", (unsigned long long)training->step);
    if (training->epoch >= 0)
        pawl_text_format(text, "%lld", (long long)training->epoch);
    else
        pawl_text_format(text, "null");
    pawl_text_format(text, ", \"loss\": ");
    pawl_text_number(text, training->loss);
    pawl_text_format(text, ", \"rest\": ");
    pawl_text_json(text, training->rest);
    pawl_text_format(text, ", ");
    const int rc = add_tensors(text, inspect, training->tensors, training->tensor_count);
    pawl_text_format(text, "}");
    return rc;
}

int pawl_inspect_json(const struct pawl_inspect *inspect)
{
    const struct pawl_document *document = inspect->document;
    struct pawl_text text = { 0 };
    char *bytes = NULL;
    size_t size = 0;

    pawl_text_format(&text, "{\"format\": \"%s\", \"format_version\": ", document->format);
    if (document->format_version[0])
        pawl_text_string(&text, document->format_version);
    else
        pawl_text_format(&text, "null");
    pawl_text_format(&text, ", \"path\": ");
    pawl_text_string(&text, document->path);
    pawl_text_format(&text, ",\n \"architecture\": ");
    add_architecture(&text, inspect->architecture);
    pawl_text_format(&text, ",\n \"weights\": ");
    int rc = add_weights(&text, inspect);
    pawl_text_format(&text, ",\n \"training\": ");
    if (!rc) rc = add_training(&text, inspect);
    pawl_text_format(&text, ",\n \"metadata\": ");
    pawl_text_json(&text, document->metadata);
    pawl_text_format(&text, ",\n \"warnings\": ");
    pawl_text_json(&text, document->warnings);
    pawl_text_format(&text, "}\n");
    if (!rc) rc = pawl_text_take(&text, &bytes, &size);
    if (!rc) fwrite(bytes, 1, size, stdout);  // main tells when stdout did not take it
    pawl_text_free(&text);
    pawl_free(bytes);
    return rc;
}
