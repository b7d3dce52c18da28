// trace.h - an I/O table that passes everything on to another and tells what changed storage.
//
//     pawl_trace_begin(each, context);
//     ... save, load, whatever is to be watched ...
//     pawl_trace_end();                          // the old table is back
//
// each() gets one line per call that creates, writes, syncs, renames or removes, after it returned:
//
//     mkdir runs/a/step-0000000000000001-00000001 = 0
//     write runs/a/step-0000000000000001-00000001/shard-00000.safetensors 0+8192 = 8192
//     rename_noreplace runs/a/.../MANIFEST.tmp-00000001 runs/a/.../MANIFEST = 0
//
// A transfer of a queue is told when it was submitted, without a result. Threads: calls may come
// from any, each() runs in them, one at a time; begin and end while nothing is in progress.

#ifndef PAWL_TRACE_H
#define PAWL_TRACE_H

#include "kernels/io.h"

void pawl_trace_begin(void (*each)(void *context, const char *line), void *context);
void pawl_trace_end(void);

#endif
