// recover.h - reads snapshots back, believing nothing: what docs/snapshot.md calls recovery.
//
//     pawl_recover_manifest -> pawl_recover_document -> pawl_shard_read (each rank)
//
// Nothing here changes or removes anything. Threads: any.

#ifndef PAWL_RECOVER_H
#define PAWL_RECOVER_H

#include <jansson.h>

#include "checkpoint/layout.h"
#include "checkpoint/manifest.h"

// The manifest of a snapshot's directory, checked: its own checksum, its identity against the
// directory's name, each file there with its size. Errors that may pass are tried again.
// PAWL_ENONE: no MANIFEST, never committed. PAWL_ECORRUPT: file and reason. PAWL_EIO: unreadable,
// which says nothing about the snapshot.
int pawl_recover_manifest(struct pawl_manifest *out, const char *directory);

// Whether the directory has no MANIFEST any more, for certain.
bool pawl_recover_gone(const char *directory);

// Makes sure that what was read is on storage and not only in the page cache: a process may have
// died between the rename of MANIFEST and its fsync.
int pawl_recover_settle(const char *where, const char *directory);

// document.json against its checksum, parsed; every piece within its file.
int pawl_recover_document(json_t **out, const char *directory,
                          const struct pawl_manifest *manifest);

// Whether the document's tensors are exactly the layout's: names, element types and shapes.
// PAWL_ECORRUPT names the first that differs, and how many fit, are missing, are not expected.
int pawl_recover_match(const json_t *document, const struct pawl_layout *layout,
                       const char *directory);

#endif
