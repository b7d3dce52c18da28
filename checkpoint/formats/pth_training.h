// pth_training.h - parts of files of torch that several writers share.

#ifndef PAWL_PTH_TRAINING_H
#define PAWL_PTH_TRAINING_H

#include "checkpoint/formats/pth_put.h"

// Creates path, writes the archive and makes it durable; ends the writer either way.
int pawl_pth_save(struct pawl_pth_writer *w, const char *path);
// The weights as an OrderedDict, onto the pickle's stack.
void pawl_pth_put_state(struct pawl_pth_writer *w);
// {"state": ..., "param_groups": ...} from the document's training state.
void pawl_pth_put_optimizer(struct pawl_pth_writer *w);

#endif
