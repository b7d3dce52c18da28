// model_support.h - a document of a model's own: architecture, weights, moments, made as needed.

#ifndef MODEL_SUPPORT_H
#define MODEL_SUPPORT_H

#include "checkpoint/document.h"

// json: pawl's architecture. optimizer: {"kind": ...} of step 7, or NULL. slots: the names of its
// moments, up to a NULL. Every parameter is LAYER.SUFFIX, and no two hold the same values.
struct pawl_document *make_model(const char *json, const char *optimizer,
                                 const char *const *slots);
// Every parameter of a is one of b, by name, bit for bit; likewise those moments. Binds both.
void expect_same_model(struct pawl_document *a, struct pawl_document *b, const char *const *slots,
                       const char *what);

#endif
