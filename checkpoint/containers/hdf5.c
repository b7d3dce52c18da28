// hdf5.c - opens an HDF5 file and lists what is in it.

#include "checkpoint/containers/hdf5.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "checkpoint/containers/hdf5_inside.h"
#include "kernels/memory.h"

enum { WINDOW_BYTES = 16384, SUPERBLOCK_BYTES = 104 };

static const unsigned char SIGNATURE[8] = "\x89HDF\r\n\x1a\n";

int pawl_hdf5_fail(const struct pawl_hdf5 *h5, const char *format, ...)
{
    char words[700];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(words, sizeof(words), format, arguments);
    va_end(arguments);
    return pawl_fail(PAWL_ECORRUPT, "%s: HDF5: %s", h5->what, words);
}

bool pawl_hdf5_begins(const unsigned char *bytes, size_t size)
{
    return size >= sizeof(SIGNATURE) && memcmp(bytes, SIGNATURE, sizeof(SIGNATURE)) == 0;
}

// ---- bytes

uint64_t pawl_hdf5_take(struct pawl_hdf5_cursor *cursor, int bytes)
{
    const unsigned char *from = pawl_hdf5_skip(cursor, (uint64_t)bytes);
    uint64_t value = 0;

    for (int i = bytes - 1; from && i >= 0; i--)
        value = value << 8 | from[i];
    return value;
}

const unsigned char *pawl_hdf5_skip(struct pawl_hdf5_cursor *cursor, uint64_t bytes)
{
    const unsigned char *from = cursor->bytes + cursor->at;

    if (cursor->over || bytes > cursor->size - cursor->at) {
        cursor->over = true;
        return NULL;
    }
    cursor->at += (size_t)bytes;
    return from;
}

// Small reads come out of a window, because metadata lie together.
int pawl_hdf5_read(struct pawl_hdf5 *h5, uint64_t at, void *out, size_t size)
{
    if (at > h5->span.size_bytes || size > h5->span.size_bytes - at)
        return pawl_hdf5_fail(h5, "the file ends at byte %llu, but %zu bytes are expected at %llu: "
                              "truncated or damaged", (unsigned long long)h5->span.size_bytes, size,
                              (unsigned long long)at);
    if (size > WINDOW_BYTES)
        return pawl_document_read_at(h5->document, h5->file, h5->span.offset_bytes + at, out, size);
    if (at < h5->window_at || at - h5->window_at > h5->window_size
        || size > h5->window_size - (at - h5->window_at)) {
        const uint64_t left = h5->span.size_bytes - at;
        const size_t now = left < WINDOW_BYTES ? (size_t)left : WINDOW_BYTES;
        h5->window_size = 0;
        const int rc = pawl_document_read_at(h5->document, h5->file, h5->span.offset_bytes + at,
                                             h5->window, now);
        if (rc) return rc;
        h5->window_at = at;
        h5->window_size = now;
    }
    memcpy(out, h5->window + (at - h5->window_at), size);
    return 0;
}

// ---- objects

// Puts the address among those seen. 1: it was there already.
static int see(struct pawl_hdf5 *h5, uint64_t address)
{
    if (2 * (h5->seen_count + 1) > h5->seen_room) {
        uint64_t *old = h5->seen, *fresh = NULL;
        const size_t room = h5->seen_room, more = room ? 2 * room : 64;
        const int rc = pawl_alloc(&fresh, more * sizeof(*fresh), "addresses of groups");
        if (rc) return rc;
        h5->seen = fresh;
        h5->seen_room = more;
        h5->seen_count = 0;
        for (size_t i = 0; i < room; i++)
            if (old[i]) see(h5, old[i]);
        pawl_free(old);
    }
    size_t i = (size_t)((address * 0x9e3779b97f4a7c15u) >> 20) % h5->seen_room;
    for (; h5->seen[i]; i = (i + 1) % h5->seen_room)
        if (h5->seen[i] == address) return 1;
    h5->seen[i] = address;
    h5->seen_count++;
    return 0;
}

int pawl_hdf5_add(struct pawl_hdf5 *h5, const char *parent, const char *name, size_t name_bytes,
                  uint64_t header)
{
    const size_t before = strlen(parent), size = before + (before ? 1 : 0) + name_bytes;
    struct pawl_hdf5_object object = { .header = header };
    int rc = 0;

    if (!name_bytes || memchr(name, 0, name_bytes) || memchr(name, '/', name_bytes))
        return pawl_hdf5_fail(h5, "a link in '%s' has a name that is none", parent);
    if (size > PAWL_HDF5_PATH_MAX)
        return pawl_hdf5_fail(h5, "the path '%.40s...' is longer than %d bytes: groups nested too "
                              "deep, or in a loop", parent, PAWL_HDF5_PATH_MAX);
    if (h5->object_count >= PAWL_HDF5_OBJECTS_MAX)
        return pawl_hdf5_fail(h5, "more than %d objects", PAWL_HDF5_OBJECTS_MAX);
    if (!header)
        return pawl_hdf5_fail(h5, "link '%s/%.*s' leads nowhere", parent, (int)name_bytes, name);
    if (h5->object_count == h5->object_room) {
        const int room = h5->object_room ? 2 * h5->object_room : 16;
        rc = pawl_realloc(&h5->objects, (size_t)room * sizeof(object), "objects of an HDF5 file");
        if (rc) return rc;
        h5->object_room = room;
    }
    rc = pawl_alloc(&object.path, size + 1, "a path");
    if (rc) return rc;
    snprintf(object.path, size + 1, "%s%s%.*s", parent, before ? "/" : "", (int)name_bytes, name);
    h5->objects[h5->object_count++] = object;
    return 0;
}

// Looks at one object: a dataset, or a group whose children join the list.
static int visit(struct pawl_hdf5 *h5, int i)
{
    struct pawl_hdf5_header header = { 0 };
    const char *path = h5->objects[i].path;

    int rc = pawl_hdf5_header_read(h5, h5->objects[i].header, &header);
    if (rc) return rc;
    h5->objects[i].dataset = pawl_hdf5_message(&header, PAWL_HDF5_LAYOUT) != NULL;
    if (!h5->objects[i].dataset) {
        rc = see(h5, h5->objects[i].header);
        if (rc == 1)
            rc = pawl_hdf5_fail(h5, "group '%s' is linked twice: a cycle, or a loop of links",
                                path);
        if (!rc) rc = pawl_hdf5_group_read(h5, path, &header);
    }
    pawl_hdf5_header_free(&header);
    return rc;
}

// Like strcmp, but runs of digits compare as numbers.
static int compare_paths(const char *a, const char *b)
{
    while (*a && *b) {
        if (isdigit((unsigned char)*a) && isdigit((unsigned char)*b)) {
            a += strspn(a, "0");
            b += strspn(b, "0");
            const size_t m = strspn(a, "0123456789"), n = strspn(b, "0123456789");
            if (m != n) return m < n ? -1 : 1;
            const int order = memcmp(a, b, m);
            if (order) return order;
            a += m;
            b += n;
        } else {
            // '/' is least of all, so that a group's children follow it at once.
            const int x = *a == '/' ? 1 : (unsigned char)*a + 1;
            const int y = *b == '/' ? 1 : (unsigned char)*b + 1;
            if (x != y) return x - y;
            a++;
            b++;
        }
    }
    return *a ? 1 : *b ? -1 : 0;
}

static int compare_objects(const void *a, const void *b)
{
    const char *p = ((const struct pawl_hdf5_object *)a)->path;
    const char *q = ((const struct pawl_hdf5_object *)b)->path;
    const int order = compare_paths(p, q);

    return order ? order : strcmp(p, q);
}

const struct pawl_hdf5_object *pawl_hdf5_objects(const struct pawl_hdf5 *h5, int *count)
{
    *count = h5->object_count;
    return h5->objects;
}

int pawl_hdf5_find(const struct pawl_hdf5 *h5, const char *path)
{
    const struct pawl_hdf5_object wanted = { .path = (char *)(uintptr_t)path };
    const struct pawl_hdf5_object *at = bsearch(&wanted, h5->objects, (size_t)h5->object_count,
                                                sizeof(wanted), compare_objects);

    return at ? (int)(at - h5->objects) : -1;
}

// ---- the superblock

static int check_end(const struct pawl_hdf5 *h5, uint64_t base, uint64_t end)
{
    if (base)
        return pawl_hdf5_fail(h5, "a user block of %llu bytes comes first, which pawl does not "
                              "read", (unsigned long long)base);
    if (end > h5->span.size_bytes)
        return pawl_hdf5_fail(h5, "the file ends at byte %llu, but its superblock says %llu: "
                              "truncated. try: copy or download it again",
                              (unsigned long long)h5->span.size_bytes, (unsigned long long)end);
    return 0;
}

static int old_superblock(struct pawl_hdf5 *h5, struct pawl_hdf5_cursor *from, uint64_t *root)
{
    from->at = 13;
    const int offsets = (int)pawl_hdf5_take(from, 1), lengths = (int)pawl_hdf5_take(from, 1);
    from->at = from->bytes[8] == 1 ? 28 : 24;
    const uint64_t base = pawl_hdf5_take(from, 8);
    pawl_hdf5_take(from, 8);
    const uint64_t end = pawl_hdf5_take(from, 8);
    pawl_hdf5_skip(from, 16);  // a driver's block, and where the root's name would be
    *root = pawl_hdf5_take(from, 8);
    if (from->over || offsets != 8 || lengths != 8)
        return pawl_hdf5_fail(h5, "its superblock is cut or has addresses that are not 8 bytes");
    return check_end(h5, base, end);
}

static int new_superblock(struct pawl_hdf5 *h5, struct pawl_hdf5_cursor *from, uint64_t *root)
{
    from->at = 9;
    const int offsets = (int)pawl_hdf5_take(from, 1), lengths = (int)pawl_hdf5_take(from, 1);
    pawl_hdf5_take(from, 1);
    const uint64_t base = pawl_hdf5_take(from, 8);
    pawl_hdf5_take(from, 8);
    const uint64_t end = pawl_hdf5_take(from, 8);
    *root = pawl_hdf5_take(from, 8);
    const uint32_t sum = (uint32_t)pawl_hdf5_take(from, 4);
    if (from->over || offsets != 8 || lengths != 8)
        return pawl_hdf5_fail(h5, "its superblock is cut or has addresses that are not 8 bytes");
    if (sum != pawl_hdf5_lookup3(from->bytes, 44))
        return pawl_hdf5_fail(h5, "the superblock's checksum is wrong: damaged");
    return check_end(h5, base, end);
}

static int superblock(struct pawl_hdf5 *h5, uint64_t *root)
{
    unsigned char bytes[SUPERBLOCK_BYTES] = { 0 };
    const uint64_t size = h5->span.size_bytes;
    struct pawl_hdf5_cursor from = { bytes, size < sizeof(bytes) ? (size_t)size : sizeof(bytes),
                                     0, false };

    const int rc = pawl_hdf5_read(h5, 0, bytes, from.size);
    if (rc) return rc;
    if (!pawl_hdf5_begins(bytes, from.size))
        return pawl_fail(PAWL_ECORRUPT, "%s: it does not begin with HDF5's signature", h5->what);
    switch (bytes[8]) {
    case 0:
    case 1: return old_superblock(h5, &from, root);
    case 2:
    case 3: return new_superblock(h5, &from, root);
    default:
        return pawl_hdf5_fail(h5, "superblock version %d; pawl reads 0 to 3", bytes[8]);
    }
}

// ---- opening

static int read_tree(struct pawl_hdf5 *h5)
{
    uint64_t root = 0;
    int rc = superblock(h5, &root);

    if (rc) return rc;
    rc = pawl_alloc(&h5->objects, sizeof(*h5->objects) * 16, "objects of an HDF5 file");
    if (!rc) rc = pawl_strdup(&h5->objects[0].path, "");
    if (rc) return rc;
    h5->object_room = 16;
    h5->object_count = 1;
    h5->objects[0].header = root;
    for (int i = 0; !rc && i < h5->object_count; i++)
        rc = visit(h5, i);
    if (rc) return rc;
    qsort(h5->objects, (size_t)h5->object_count, sizeof(*h5->objects), compare_objects);
    for (int i = 1; i < h5->object_count; i++)
        if (!strcmp(h5->objects[i - 1].path, h5->objects[i].path))
            return pawl_hdf5_fail(h5, "the name '%s' is there twice", h5->objects[i].path);
    return 0;
}

int pawl_hdf5_open(struct pawl_hdf5 **out, struct pawl_document *document, int file,
                   const struct pawl_hdf5_span *span)
{
    struct pawl_hdf5 *h5 = NULL;

    int rc = pawl_alloc(&h5, sizeof(*h5), "an HDF5 file");
    if (rc) return rc;
    h5->document = document;
    h5->file = file;
    h5->span = *span;
    h5->what = document->path;
    rc = pawl_alloc(&h5->window, WINDOW_BYTES, "an HDF5 file");
    if (!rc) rc = read_tree(h5);
    if (rc)
        pawl_hdf5_close(h5);
    else
        *out = h5;
    return rc;
}

void pawl_hdf5_close(struct pawl_hdf5 *h5)
{
    if (!h5) return;
    for (int i = 0; i < h5->object_count; i++)
        pawl_free(h5->objects[i].path);
    pawl_free(h5->objects);
    pawl_free(h5->seen);
    pawl_free(h5->window);
    pawl_free(h5->heap);
    pawl_free(h5);
}
