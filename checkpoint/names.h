// names.h - finds a name among many: a sorted index over strings that someone else owns.
//
//     rc = pawl_names_build(&names, count, first, stride);   // `first` is a char array in record 0
//     if (names.twice) ...                                   // a name that occurs more than once
//     int i = pawl_names_find(&names, "wte.weight");         // its record, or -1
//     pawl_names_free(&names);
//
// Sorted, not hashed: names come from untrusted files, and n log n holds for every choice of them.
// Memory: one pointer per name. Threads: constant once built.

#ifndef PAWL_NAMES_H
#define PAWL_NAMES_H

#include <stddef.h>

struct pawl_names {
    const char **sorted;
    int count;
    const char *first;  // name of record 0
    size_t stride;      // bytes from one record's name to the next one's
    const char *twice;  // the alphabetically first name that two records share, or NULL
};

// Names are zero-terminated arrays, stride bytes apart. 0 or PAWL_ENOMEM.
int pawl_names_build(struct pawl_names *out, int count, const char *first, size_t stride);
int pawl_names_find(const struct pawl_names *names, const char *name);
void pawl_names_free(struct pawl_names *names);

#endif
