// dcp_write.h - a directory that torch.distributed.checkpoint loads. See pawl_format.write.

#ifndef PAWL_DCP_WRITE_H
#define PAWL_DCP_WRITE_H

#include "checkpoint/document.h"

// {"model": state_dict, "optim": optimizer.state_dict()}, and the epoch. Each tensor is one chunk.
// PAWL_ENOTSUP: a training state that did not come from a file of torch.
int pawl_dcp_write(const struct pawl_document *document, const char *path,
                   const struct pawl_write_options *options);

#endif
