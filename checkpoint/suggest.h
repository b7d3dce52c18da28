// suggest.h - "did you mean": the known word nearest to a wrong one.
//
// Threads: any; nothing is kept and nothing is allocated.

#ifndef PAWL_SUGGEST_H
#define PAWL_SUGGEST_H

#include <stddef.h>

// The known word with the fewest insertions, deletions, replacements and swaps of neighbours from
// `wrong` (Damerau-Levenshtein, letter case ignored), or NULL when none is near: more than a third
// of the letters would change. The first of equals wins. Words beyond 64 bytes are never near.
const char *pawl_suggest(const char *wrong, const char *const *known, int count);

// Writes " (did you mean 'WORD'?)" or, when nothing is near, "" and returns text: for the end of an
// error's first clause.
const char *pawl_suggest_text(char *text, size_t text_bytes, const char *wrong,
                              const char *const *known, int count);

#endif
