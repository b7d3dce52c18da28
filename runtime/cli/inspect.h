// inspect.h - pawl inspect: a document for people and as JSON.

#ifndef PAWL_INSPECT_H
#define PAWL_INSPECT_H

#include "checkpoint/document.h"
#include "checkpoint/text.h"

struct pawl_inspect {
    const struct pawl_document *document;
    json_t *architecture;  // pawl's JSON of it, or NULL
    const char *pattern;   // of tensor names; NULL: all
    bool crc, stats;
};

bool pawl_inspect_wants(const struct pawl_inspect *inspect, const struct pawl_entry *entry);
// Sums over a table of tensors.
void pawl_inspect_total(const struct pawl_entry *table, int count, int64_t *elements,
                        uint64_t *bytes);

// Both return 0 or the failure of reading a tensor.
int pawl_inspect_json(const struct pawl_inspect *inspect);
int pawl_inspect_human(const struct pawl_inspect *inspect);

#endif
