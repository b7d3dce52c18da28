// cut_support.h - a model of power cuts: records what a run does to its files, then makes what a
// storage may hold if the power fails after any of it.
//
// The recorder is an I/O table over the real one. A cut after k operations is made from the
// record alone, by one of two models of what survives:
//
//     CUT_STRICT   what POSIX promises: only what was synced. Of the rest any part may survive:
//                  single writes, torn at 512 bytes; single names of a directory. A synced file may
//                  have no name yet.
//     CUT_JOURNAL  as ext4: names survive in the order in which they were changed, up to any
//                  point after the last sync of anything. Unsynced data as above.
//
// Threads: the recorder may be called from any; the rest from one.

#ifndef CUT_SUPPORT_H
#define CUT_SUPPORT_H

#include <stdbool.h>
#include <stdint.h>

enum cut_model { CUT_STRICT, CUT_JOURNAL };

// A sync that the recorder pretends to have seen but leaves out: a mutant of the protocol.
enum cut_mutant {
    CUT_CORRECT,
    CUT_NO_RUN_SYNC,       // of the run's directory, after mkdir
    CUT_NO_SHARD_SYNC,
    CUT_NO_SUMS_SYNC,
    CUT_NO_DOCUMENT_SYNC,
    CUT_NO_MANIFEST_SYNC,
    CUT_NO_NAMES_SYNC,     // of the snapshot's directory, before MANIFEST gets its name
    CUT_NO_COMMIT_SYNC,    // of the snapshot's directory, after that
    CUT_NO_REMOVAL_SYNC,   // of the snapshot's directory, after MANIFEST was removed
    CUT_NO_SETTLE_SYNC,    // by recovery
    CUT_MUTANTS
};

const char *cut_mutant_name(enum cut_mutant mutant);

// Records what happens in root, an empty directory, until cut_record_end.
void cut_record_begin(const char *root, enum cut_mutant mutant);
void cut_record_end(void);
// From here on (in the record) the run has promised that step.
void cut_promise(uint64_t step);
// The recorder's view of what happens now: CUT_NO_SETTLE_SYNC only drops syncs in a recovery.
void cut_recovering(bool recovering);
// The next sync that commits (MANIFEST's directory after its rename) fails, once.
void cut_fail_commit(void);

int cut_operations(void);
// Makes in directory (empty) what survives a cut after the first k operations; the newest step
// promised by then. seed chooses among what may survive.
uint64_t cut_make(const char *directory, int k, enum cut_model model, uint64_t seed);

#endif
