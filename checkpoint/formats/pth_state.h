// pth_state.h - from the values in a file of torch to the parts of a document.

#ifndef PAWL_PTH_STATE_H
#define PAWL_PTH_STATE_H

#include "checkpoint/formats/pth_file.h"

enum { PAWL_PTH_STEPS_MAX = 1 << 22 };  // values looked at in one walk

// Appends every tensor within a dict or list of dicts, under its path: "net.0.weight".
int pawl_pth_collect(struct pawl_pth *pth, const struct pawl_py *value, struct pawl_entry **table,
                     int *count);

// A module (a call of a class whose state has _parameters and _modules)?
bool pawl_pth_is_module(const struct pawl_py *value);
// Its dicts of that name ("_parameters", "_buffers", "_modules"), or NULL.
const struct pawl_py *pawl_pth_dict_of(const struct pawl_py *module, const char *name);
// Appends the parameters and persistent buffers of a module and those inside it, as state_dict()
// names and orders them.
int pawl_pth_collect_module(struct pawl_pth *pth, const struct pawl_py *module,
                            struct pawl_entry **table, int *count);

// A value as JSON. What JSON has no word for becomes an object with one key: {"$tuple": [...]},
// {"$bytes": "00ff"}, {"$integer": "1180..."}, {"$global": "torch.float32"}, {"$float": "nan"},
// {"$call": "torch.device", "with": [...]}, {"$set": [...]}, {"$dict": [key, value, ...]}.
// Tensors become {"$tensor": NAME}, and an entry of that name in *table; table NULL: they are left
// out of dicts, and null elsewhere.
int pawl_pth_json(struct pawl_pth *pth, const struct pawl_py *value, const char *name,
                  struct pawl_entry **table, int *count, json_t **out);

// {"state": ..., "param_groups": ...}: fills training->optimizer, step, tensors ("state.0.exp_avg")
// and rest["torch"]: what writing it again needs.
bool pawl_pth_is_optimizer(const struct pawl_py *value);
int pawl_pth_take_optimizer(struct pawl_pth *pth, const struct pawl_py *value,
                            struct pawl_training *training);

// The same in parts, for those who have param_groups as JSON: the hyper-parameters, and which
// weight each moment PREFIXstate.N.SLOT belongs to.
int pawl_pth_take_groups(struct pawl_document *document, const json_t *groups);
int pawl_pth_assign(struct pawl_document *document, const char *prefix, const json_t *groups);

// pth-model: makes the architecture when every module is one that pawl knows; else a warning that
// names the first that is not.
int pawl_pth_take_architecture(struct pawl_pth *pth, const struct pawl_py *module);

#endif
