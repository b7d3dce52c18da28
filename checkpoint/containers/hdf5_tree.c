// hdf5_tree.c - walks a B-tree of version 1 from its root to the entries of its leaves: those of
// groups and of chunks are made alike (HDF5 File Format Specification, III.A.1).

#include <string.h>

#include "checkpoint/containers/hdf5_inside.h"
#include "kernels/memory.h"

enum { LEVELS_MAX = 16, HEAD_BYTES = 24, ADDRESS_BYTES = 8 };

// A node that is being walked, with the entries still to do.
struct node {
    unsigned char *bytes;
    int count, next, level;
};

static int tree_fail(const struct pawl_hdf5_tree *tree, const char *words)
{
    return pawl_fail(PAWL_ECORRUPT, "%s %s", tree->what, words);
}

static int read_node(struct pawl_hdf5_tree *tree, struct node *out, uint64_t address, int level)
{
    unsigned char head[HEAD_BYTES];

    // A tree holds no node twice, and none is smaller than its head.
    if (++tree->nodes > tree->nodes_max || tree->nodes > tree->h5->span.size_bytes / HEAD_BYTES)
        return tree_fail(tree, "has an index that goes in a loop");
    int rc = pawl_hdf5_read(tree->h5, address, head, sizeof(head));
    if (rc) return rc;
    const int count = head[6] | head[7] << 8;
    if (memcmp(head, "TREE", 4) || head[4] != tree->kind || head[5] >= LEVELS_MAX
        || (level >= 0 && head[5] != level) || (!count && tree->kind == PAWL_HDF5_CHUNKS))
        return tree_fail(tree, "has a damaged index");
    *out = (struct node){ NULL, count, 0, head[5] };
    const size_t size = (size_t)count * (tree->key_bytes + ADDRESS_BYTES);
    rc = pawl_alloc(&out->bytes, size + 1, "a tree node");
    if (!rc) rc = pawl_hdf5_read(tree->h5, address + HEAD_BYTES, out->bytes, size);
    if (rc) pawl_free(out->bytes);
    return rc;
}

// Levels shrink by one from node to child, so the stack cannot grow beyond them.
int pawl_hdf5_tree_walk(struct pawl_hdf5_tree *tree, uint64_t root)
{
    const size_t each = tree->key_bytes + ADDRESS_BYTES;
    struct node stack[LEVELS_MAX];
    int depth = 0;
    int rc = read_node(tree, &stack[0], root, -1);

    if (!rc) depth = 1;
    while (!rc && depth) {
        struct node *top = &stack[depth - 1];
        if (top->next == top->count) {
            pawl_free(top->bytes);
            depth--;
            continue;
        }
        struct pawl_hdf5_cursor at = { top->bytes + each * (size_t)top->next++, each, 0, false };
        if (!top->level) {
            rc = tree->entry(tree->of, &at);
            continue;
        }
        pawl_hdf5_skip(&at, tree->key_bytes);
        rc = read_node(tree, &stack[depth], pawl_hdf5_take(&at, ADDRESS_BYTES), top->level - 1);
        if (!rc) depth++;
    }
    while (depth)
        pawl_free(stack[--depth].bytes);
    return rc;
}
