// source.h - MODEL on a command line becomes a document.
//
// MODEL is a preset ("gpt:layers=6", "mlp:784-256-10", "cnn:fashion"), a file or a directory in any
// format that pawl reads. A preset is a name before a file of that name: "./gpt" means the file.
//
//     rc = pawl_source_open(&doc, "model.safetensors", "cnn:fashion");
//     ... doc->architecture, doc->weights, doc->training: what is there ...
//     pawl_document_free(doc);

#ifndef PAWL_SOURCE_H
#define PAWL_SOURCE_H

#include "checkpoint/document.h"

// arch: a second MODEL, whose architecture serves when the first has none; when both have one, they
// must match. NULL: none given. PAWL_ENONE: nothing by that name, with "did you mean".
// PAWL_EINVAL: a preset that makes no sense. PAWL_ECORRUPT: damaged, or the two do not fit.
PAWL_API int pawl_source_open(struct pawl_document **out, const char *model, const char *arch);

#endif
