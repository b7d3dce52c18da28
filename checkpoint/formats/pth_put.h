// pth_put.h - an object of torch being written: its pickle, and the storages that it names.
//
//     struct pawl_pth_writer w;
//     pawl_pth_create(&w, document, options);
//     pawl_pth_put_tensor(&w, entry, PAWL_PTH_PLAIN);     // into the pickle; its bytes come later
//     rc = pawl_pth_finish(&w, fd, path, base, &bytes);  // the archive: pickle, storages, version
//
// Entries over the same bytes of one file share a storage, so that tied weights stay tied.
// Memory: the pickle, one number per tensor, and a chunk of 4 MiB.

#ifndef PAWL_PTH_PUT_H
#define PAWL_PTH_PUT_H

#include "checkpoint/containers/pickle_write.h"
#include "checkpoint/binding.h"

struct pawl_pth_writer {
    const struct pawl_document *document;
    bool cast;                // weights of a floating type become dtype
    enum pawl_dtype dtype;
    const struct pawl_bindings *targets;  // the weights in torch's layout; NULL: as they lie
    struct pawl_text text;    // the pickle
    struct pawl_pth_stored {
        const struct pawl_entry *entry;
        enum pawl_dtype dtype;
        int64_t scalar;       // entry and target NULL: a counter of this value
        const struct pawl_binding *target;  // put together from parameters, or their moments:
        const char *slot;     // NULL: the weight
    } *stored;
    int stored_count;
    int *sorted;              // by place in the source, to find what is shared
    int sorted_count;
};

enum pawl_pth_kind { PAWL_PTH_PLAIN, PAWL_PTH_MOMENT, PAWL_PTH_PARAMETER };

void pawl_pth_create(struct pawl_pth_writer *w, const struct pawl_document *document,
                     const struct pawl_write_options *options);
// PLAIN may be cast; MOMENT never is; PARAMETER is PLAIN in an nn.Parameter.
void pawl_pth_put_tensor(struct pawl_pth_writer *w, const struct pawl_entry *entry,
                         enum pawl_pth_kind kind);
// The same for a target of pawl_pth_targets; slot NULL: the weight, else that moment. Both must
// outlive the writer.
void pawl_pth_put_target(struct pawl_pth_writer *w, const struct pawl_binding *target,
                         const char *slot, enum pawl_pth_kind kind);
// A tensor of no dimensions that is not in the document: float32 for steps, else int64.
void pawl_pth_put_scalar(struct pawl_pth_writer *w, int64_t value, enum pawl_dtype dtype);
// What pawl_pth_json made (pth_state.h), as it was. Its tensors come from the training state.
void pawl_pth_put_json(struct pawl_pth_writer *w, const json_t *value);
// Ends the pickle and writes the archive to fd from byte base on; frees what the writer holds.
int pawl_pth_finish(struct pawl_pth_writer *w, int fd, const char *path, uint64_t base,
                    uint64_t *bytes);
void pawl_pth_abandon(struct pawl_pth_writer *w);

#endif
