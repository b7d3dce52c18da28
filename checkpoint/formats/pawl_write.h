// pawl_write.h - writes a document as a run directory that holds one snapshot.

#ifndef PAWL_PAWL_WRITE_H
#define PAWL_PAWL_WRITE_H

#include "checkpoint/document.h"

// The `write` of the format's row. The whole snapshot is in memory once: its shard is written the
// way the saver writes it, with the same checksums and the same commit.
int pawl_write_run(const struct pawl_document *document, const char *path,
                   const struct pawl_write_options *options);

#endif
