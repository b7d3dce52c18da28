// verbs_support.h - the command as a user runs it: what it prints, where, and its exit code.

#ifndef VERBS_SUPPORT_H
#define VERBS_SUPPORT_H

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

enum { VERB_SAID_MAX = 1 << 18 };

extern char verb_out[VERB_SAID_MAX], verb_err[VERB_SAID_MAX];  // what the last one printed
extern json_t *verb_json;                                      // by verb_expect_json

// A scratch directory, gone into, with x.npy, y.npy and a run r of four snapshots: 2, 4, 6, 8.
void verb_start(void);

// Runs `pawl ARGUMENTS` by the shell in the scratch directory; its exit code.
int verb_run(const char *arguments);
// The same, which must end with that code and say what a user is owed with it.
void verb_expect(int wanted, const char *arguments);
void verb_expect_json(const char *arguments);
void verb_said(const char *where, const char *words);
json_t *verb_at(json_t *value, const char *path);  // "weights.tensors.0.name"
int64_t verb_number(const char *path);

void verb_slurp(const char *path, char *to);  // VERB_SAID_MAX
void verb_write_known(const char *path);      // a small safetensors file
void verb_write_npy(const char *path, const char *shape, const char *bytes, size_t size);
// The directory of a step of run r, and a file in it: valid until the next call.
const char *verb_snapshot(int step);
const char *verb_file(int step, const char *name);
void verb_flip(const char *path, long offset);  // negative: from the end

#endif
