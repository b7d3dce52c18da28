// hdf5_group.c - the links of a group: a B-tree of names, or messages in its header.

#include <stdio.h>
#include <string.h>

#include "checkpoint/containers/hdf5_inside.h"
#include "kernels/memory.h"

enum { NODES_MAX = 1 << 18 };

// One group of the old style.
struct group {
    struct pawl_hdf5 *h5;
    const char *path;
    char *names;  // its local heap's data
    size_t names_size;
    int nodes;    // looked at; bounded, because a node may be linked again and again
};

static int read_names(struct group *g, uint64_t heap)
{
    unsigned char head[32];
    struct pawl_hdf5_cursor at = { head, sizeof(head), 8, false };

    int rc = pawl_hdf5_read(g->h5, heap, head, sizeof(head));
    if (rc) return rc;
    const uint64_t size = pawl_hdf5_take(&at, 8);
    pawl_hdf5_take(&at, 8);
    const uint64_t data = pawl_hdf5_take(&at, 8);
    if (memcmp(head, "HEAP", 4) || size > g->h5->span.size_bytes)
        return pawl_hdf5_fail(g->h5, "no heap of names for group '%s' lies at byte %llu: damaged",
                              g->path, (unsigned long long)heap);
    rc = pawl_alloc(&g->names, (size_t)size + 1, "names of a group");
    if (!rc) rc = pawl_hdf5_read(g->h5, data, g->names, (size_t)size);
    g->names_size = (size_t)size;
    return rc;
}

static int add_symbol(struct group *g, struct pawl_hdf5_cursor *entry)
{
    const uint64_t name = pawl_hdf5_take(entry, 8), header = pawl_hdf5_take(entry, 8);
    const int cached = (int)pawl_hdf5_take(entry, 4);
    pawl_hdf5_skip(entry, 20);

    if (entry->over || name >= g->names_size)
        return pawl_hdf5_fail(g->h5, "a name in group '%s' lies beyond its heap: damaged", g->path);
    const char *text = g->names + name;  // the heap was given a zero at its end
    if (cached == 2)
        return pawl_hdf5_fail(g->h5, "'%s/%.80s' is a soft link; pawl follows only hard links",
                              g->path, text);
    return pawl_hdf5_add(g->h5, g->path, text, strlen(text), header);
}

static int read_symbols(struct group *g, uint64_t node)
{
    unsigned char head[8];
    unsigned char *bytes = NULL;

    int rc = pawl_hdf5_read(g->h5, node, head, sizeof(head));
    if (rc) return rc;
    const int count = head[6] | head[7] << 8;
    if (memcmp(head, "SNOD", 4))
        return pawl_hdf5_fail(g->h5, "no links of group '%s' lie at byte %llu: damaged", g->path,
                              (unsigned long long)node);
    rc = pawl_alloc(&bytes, (size_t)count * 40, "links of a group");
    if (!rc) rc = pawl_hdf5_read(g->h5, node + 8, bytes, (size_t)count * 40);
    struct pawl_hdf5_cursor at = { bytes, (size_t)count * 40, 0, false };
    for (int i = 0; !rc && i < count; i++)
        rc = add_symbol(g, &at);
    pawl_free(bytes);
    return rc;
}

static int read_leaf(void *of, struct pawl_hdf5_cursor *entry)
{
    struct group *g = of;

    pawl_hdf5_skip(entry, 8);  // its first name's place in the heap
    if (++g->nodes > NODES_MAX)
        return pawl_hdf5_fail(g->h5, "the tree of group '%s' is a loop", g->path);
    return read_symbols(g, pawl_hdf5_take(entry, 8));
}

static int read_old(struct pawl_hdf5 *h5, const char *path, const struct pawl_hdf5_message *symbols)
{
    struct pawl_hdf5_cursor at = { symbols->bytes, symbols->size, 0, false };
    struct group g = { .h5 = h5, .path = path };
    char what[600];
    const uint64_t tree = pawl_hdf5_take(&at, 8), heap = pawl_hdf5_take(&at, 8);

    if (at.over) return pawl_hdf5_fail(h5, "the links of group '%s' are cut", path);
    int rc = read_names(&g, heap);
    snprintf(what, sizeof(what), "%.300s: HDF5: group '%.200s'", h5->what, path);
    struct pawl_hdf5_tree walk = { .h5 = h5, .what = what, .kind = PAWL_HDF5_LINKS,
                                   .key_bytes = 8, .nodes_max = NODES_MAX,
                                   .entry = read_leaf, .of = &g };
    if (!rc) rc = pawl_hdf5_tree_walk(&walk, tree);
    pawl_free(g.names);
    return rc;
}

static int add_link(struct pawl_hdf5 *h5, const char *path, const struct pawl_hdf5_message *message)
{
    struct pawl_hdf5_cursor at = { message->bytes, message->size, 1, false };
    const int flags = (int)pawl_hdf5_take(&at, 1);
    const int type = flags & 8 ? (int)pawl_hdf5_take(&at, 1) : 0;

    pawl_hdf5_skip(&at, (flags & 4 ? 8 : 0) + (flags & 16 ? 1 : 0));
    const uint64_t length = pawl_hdf5_take(&at, 1 << (flags & 3));
    const char *name = (const char *)pawl_hdf5_skip(&at, length);
    const uint64_t header = type ? 0 : pawl_hdf5_take(&at, 8);
    if (at.over || !name) return pawl_hdf5_fail(h5, "a link in group '%s' is cut", path);
    if (type)
        return pawl_hdf5_fail(h5, "'%s/%.*s' is %s link; pawl follows only hard links", path,
                              length < 80 ? (int)length : 80, name,
                              type == 1 ? "a soft" : type == 64 ? "an external" : "a user-defined");
    return pawl_hdf5_add(h5, path, name, (size_t)length, header);
}

// Many links of the new style lie in a fractal heap, which neither h5py's nor Keras' defaults make.
static int check_dense(struct pawl_hdf5 *h5, const char *path,
                       const struct pawl_hdf5_message *info)
{
    struct pawl_hdf5_cursor at = { info->bytes, info->size, 1, false };
    const int flags = (int)pawl_hdf5_take(&at, 1);

    pawl_hdf5_skip(&at, flags & 1 ? 8 : 0);
    const uint64_t heap = pawl_hdf5_take(&at, 8);
    if (at.over) return pawl_hdf5_fail(h5, "group '%s' is cut", path);
    if (heap == PAWL_HDF5_UNDEFINED) return 0;
    return pawl_hdf5_fail(h5, "group '%s' stores its links densely (libver='latest'), which pawl "
                          "does not read. try: h5repack --low=0 --high=0", path);
}

int pawl_hdf5_group_read(struct pawl_hdf5 *h5, const char *path,
                         const struct pawl_hdf5_header *header)
{
    const struct pawl_hdf5_message *symbols = pawl_hdf5_message(header, PAWL_HDF5_SYMBOLS);
    const struct pawl_hdf5_message *info = pawl_hdf5_message(header, PAWL_HDF5_LINK_INFO);
    int rc = symbols ? read_old(h5, path, symbols) : 0;

    if (!rc && info) rc = check_dense(h5, path, info);
    for (int i = 0; !rc && i < header->count; i++)
        if (header->messages[i].type == PAWL_HDF5_LINK)
            rc = add_link(h5, path, &header->messages[i]);
    return rc;
}
