// binding.h - which tensors of a file are which parameters of a model, and the way back.
//
// A file keeps its own names, shapes and order; an architecture owns parameters LAYER.SUFFIX in
// pawl's layout. A binding says how a target is put together from sources:
//
//     target                      parts: source, how its axes are put, where it goes
//     "fc1.weight" (256, 784)     "dense/kernel" (784, 256), axes swapped
//     "attn.qkv.weight" (3c, c)   "q.weight" | "k.weight" | "v.weight", one below the other
//     "gru.bias" (3u)             the update and reset blocks of "bias" change places
//
// Reading: targets are parameters, sources the document's weights. Writing: targets are the
// file's tensors, sources the parameters. Moments follow their weight through the same parts.
//
//     rc = pawl_document_bind(document);              // needs document->architecture
//     rc = pawl_document_fetch_param(document, i, NULL, PAWL_F32, out);
//     rc = pawl_document_fetch_param(document, i, "exp_avg", PAWL_F32, out);
//
//     rc = pawl_bindings_add(&file, "fc1.weight", PAWL_F32, 2, (int64_t[]){ 784, 256 });
//     rc = pawl_bind_whole(&file, i, &(struct pawl_relayout){ ... });
//     rc = pawl_document_fetch_target(document, &file.items[0], NULL, PAWL_F32, out);
//
// Memory: bindings own their tables. Threads: one at a time per document.

#ifndef PAWL_BINDING_H
#define PAWL_BINDING_H

#include "checkpoint/document.h"
#include "checkpoint/relayout.h"

enum { PAWL_ZEROS = -1 };  // a source: zeros

// Elements [start, start + count) of the laid out source become elements [at, at + count) of the
// target, times scale. add: they are added to what earlier parts put there.
struct pawl_bound {
    int source;
    struct pawl_relayout relayout;
    int64_t start, count, at;
    double scale;
    bool add;
};

struct pawl_binding {
    struct pawl_tensor tensor;  // the target: name, shape; dtype as its sources have it
    int part_count;
    struct pawl_bound *parts;
};

struct pawl_bindings {
    struct pawl_binding *items;
    int count;
};

void pawl_bindings_free(struct pawl_bindings *bindings);  // accepts an empty one

// Appends a target without parts; the pawl_bind_ functions give the last one its parts.
int pawl_bindings_add(struct pawl_bindings *bindings, const char *name, enum pawl_dtype dtype,
                      int rank, const int64_t *dim);
// The target is the whole source, laid out so (NULL: as it lies).
int pawl_bind_whole(struct pawl_bindings *bindings, int source,
                    const struct pawl_relayout *relayout_or_null);
// Any part; its fields are checked when the binding is used.
int pawl_bind_part(struct pawl_bindings *bindings, const struct pawl_bound *part);
// The index of a target by name, or -1.
int pawl_bindings_find(const struct pawl_bindings *bindings, const char *name);

// One way in which files name and lay out weights. Fills *out with one target per parameter (see
// pawl_bindings_params) whose sources are document->weights. 0: everything fits and no weight is
// left over that should not be. PAWL_ECORRUPT: it is not this way, or a misfit, in words that name
// layer, tensor, both shapes, how many match, are missing and are unexpected, and the likely
// reason. *fit: how many parameters found their tensor, for choosing whose words to show.
struct pawl_binder {
    const char *name;
    int (*bind)(struct pawl_bindings *out, const struct pawl_document *document, int *fit);
};

// The words of a misfit, the same for every binder: note each parameter, then end.
struct pawl_fit {
    int match, missing, differ;
    char first[768];
};

// wanted: the parameter by its name in the model and its shape in the file's layout. found: the
// weight of the file, or NULL. Whether it fits (dimensions of 1 do not count; floating types cast).
bool pawl_fit_note(struct pawl_fit *fit, const struct pawl_tensor *wanted,
                   const struct pawl_entry *found);
// unexpected: how many weights of the file no parameter wants, and the first such, or NULL.
int pawl_fit_end(const struct pawl_fit *fit, const struct pawl_document *document, int unexpected,
                 const char *unexpected_name);

// Appends a target for every parameter of the architecture, in order of layers, without parts.
int pawl_bindings_params(struct pawl_bindings *out, const struct pawl_architecture *architecture);

// Fills document->bindings for document->architecture: as the reader said, else the first binder
// that fits. PAWL_ECORRUPT: the lock-and-key message. PAWL_EINVAL: there is no architecture.
int pawl_document_bind(struct pawl_document *document);

// Where `like` (a file of another format, with bindings) has the same tensors by name and shape:
// the same bindings. *same: whether they were taken.
int pawl_document_bind_like(struct pawl_document *document, const struct pawl_document *like,
                            bool *same);

// Whether a moment of that slot exists for parameter i.
bool pawl_document_has_slot(const struct pawl_document *document, int param, const char *slot);
// Parameter i of document->bindings, whole, as dtype; slot NULL: the weight, else that moment.
int pawl_document_fetch_param(const struct pawl_document *document, int param, const char *slot,
                              enum pawl_dtype dtype, void *out);
// A target whose sources are parameters: what a writer puts into its file.
int pawl_document_fetch_target(const struct pawl_document *document,
                               const struct pawl_binding *target, const char *slot,
                               enum pawl_dtype dtype, void *out);
// The type in which a parameter is stored.
enum pawl_dtype pawl_document_param_dtype(const struct pawl_document *document, int param);

#endif
