// pth_write.h - files that torch.load reads (torch 1.6 on). See pawl_format.write.

#ifndef PAWL_PTH_WRITE_H
#define PAWL_PTH_WRITE_H

#include "checkpoint/document.h"

// A state_dict; loads with weights_only=True and mmap=True.
int pawl_pth_write_state(const struct pawl_document *document, const char *path,
                         const struct pawl_write_options *options);
// {epoch, model_state_dict, optimizer_state_dict, loss}, and what was beside them.
int pawl_pth_write_checkpoint(const struct pawl_document *document, const char *path,
                              const struct pawl_write_options *options);
// A module, an nn.Sequential; loads with weights_only=False. PAWL_ENOTSUP: the layer that it cannot
// hold.
int pawl_pth_write_model(const struct pawl_document *document, const char *path,
                         const struct pawl_write_options *options);

#endif
