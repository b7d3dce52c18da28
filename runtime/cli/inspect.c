// inspect.c - pawl inspect PATH [PATTERN].

#include "runtime/cli/inspect.h"

#include <fnmatch.h>
#include <stdio.h>
#include <string.h>

#include "checkpoint/source.h"
#include "checkpoint/suggest.h"
#include "kernels/memory.h"
#include "runtime/cli/exits.h"
#include "runtime/cli/files.h"
#include "runtime/cli/verbs.h"

bool pawl_inspect_wants(const struct pawl_inspect *inspect, const struct pawl_entry *entry)
{
    return !inspect->pattern || fnmatch(inspect->pattern, entry->tensor.name, 0) == 0;
}

void pawl_inspect_total(const struct pawl_entry *table, int count, int64_t *elements,
                        uint64_t *bytes)
{
    *elements = 0;
    *bytes = 0;
    for (int i = 0; i < count; i++) {
        *elements += pawl_tensor_elements(&table[i].tensor);
        *bytes += table[i].tensor.size_bytes;
    }
}

// PAWL_ENONE with the nearest name, when a pattern is given and chooses nothing.
static int check_pattern(const struct pawl_inspect *inspect)
{
    const struct pawl_document *document = inspect->document;
    const struct pawl_training *training = document->training;
    const int states = training ? training->tensor_count : 0, all = document->weight_count + states;
    const char **names = NULL;
    bool any = false;
    char hint[400];

    if (!inspect->pattern) return 0;
    int rc = pawl_alloc(&names, sizeof(*names) * (size_t)all, "names");
    for (int i = 0; i < all && !rc; i++) {
        const struct pawl_entry *entry = i < document->weight_count
                                             ? &document->weights[i]
                                             : &training->tensors[i - document->weight_count];
        names[i] = entry->tensor.name;
        any |= pawl_inspect_wants(inspect, entry);
    }
    if (!rc && !any)
        rc = pawl_fail(PAWL_ENONE, "%s: no tensor is called '%.255s'%s. try: a pattern such as "
                       "'*.weight'", document->path, inspect->pattern,
                       pawl_suggest_text(hint, sizeof(hint), inspect->pattern, names, all));
    pawl_free(names);
    return rc;
}

static int load_architecture(struct pawl_inspect *inspect)
{
    char *json = NULL;

    if (!inspect->document->architecture) return 0;
    const int rc = pawl_architecture_to_json(&json, inspect->document->architecture);
    if (rc) return rc;
    inspect->architecture = json_loads(json, 0, NULL);
    pawl_free(json);
    return inspect->architecture ? 0 : pawl_fail(PAWL_ENOMEM, "no memory for the architecture");
}

int pawl_verb_inspect(const struct pawl_options *options)
{
    struct pawl_document *document = NULL;
    struct pawl_inspect inspect = {
        .pattern = options->argument_count > 1 ? options->arguments[1] : NULL,
        .crc = options->crc,
        .stats = options->stats,
    };

    int rc = pawl_source_open(&document, options->arguments[0], NULL);
    inspect.document = document;
    // Figures of elements are figures of verified elements; names and shapes alone read no payload.
    if (!rc && (options->crc || options->stats)) rc = pawl_document_verify(document);
    if (!rc) rc = check_pattern(&inspect);
    if (!rc) rc = load_architecture(&inspect);
    if (!rc) rc = options->json ? pawl_inspect_json(&inspect) : pawl_inspect_human(&inspect);
    json_decref(inspect.architecture);
    pawl_document_free(document);
    return rc ? pawl_exit_telling_file(rc) : PAWL_EXIT_DONE;
}
