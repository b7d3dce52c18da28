// cut_support.c - records operations on files and plays them back into a storage that lost power.

#include "cut_support.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kernels/io.h"

enum { OPERATIONS = 40000, NODES = 4000, DESCRIPTORS = 1024, NAME = 64, SECTOR = 512 };

enum what { CREATE, WRITE, EXTEND, SYNC, RENAME, REMOVE, PROMISE };

struct operation {
    enum what what;
    int node;    // the file, or the directory whose names change
    int entry;   // CREATE: the new node; RENAME: the node that is renamed
    char name[NAME], to[NAME];
    uint64_t offset, size;  // PROMISE: offset is the step
    char *bytes;
};

struct node {
    bool directory;
    int parent;
    char name[NAME];  // as the program sees it; "" when removed
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;  // guards everything here
static struct operation operations[OPERATIONS];
static int operation_count;
static struct node nodes[NODES];
static int node_count;
static int node_of[DESCRIPTORS];  // -1: not ours
static char root_path[4096];
static enum cut_mutant mutant;
static bool recovering, fail_commit;

const char *cut_mutant_name(enum cut_mutant which)
{
    static const char *const names[CUT_MUTANTS] = {
        "correct", "no sync of the run", "no sync of the shard", "no sync of the sums",
        "no sync of the document", "no sync of the manifest", "no sync of the names",
        "no sync after the commit", "no sync after a manifest's removal",
        "no sync in recovery",
    };

    return names[which];
}

static void give_up(const char *words)
{
    fprintf(stderr, "cut_support: %s\n", words);
    abort();
}

// ---- paths

static int child(int parent, const char *name, size_t length)
{
    for (int i = 0; i < node_count; i++)
        if (nodes[i].parent == parent && strlen(nodes[i].name) == length
            && !strncmp(nodes[i].name, name, length))
            return i;
    return -1;
}

// The node of a path, and its directory and last name. -1: not there; *parent -1: not in root.
static int resolve(const char *path, int *parent, char name[NAME])
{
    const size_t length = strlen(root_path);
    int node = 0;

    *parent = -1;
    if (strncmp(path, root_path, length) || (path[length] && path[length] != '/')) return -1;
    for (const char *next = path + length; *next;) {
        next += strspn(next, "/");
        const size_t part = strcspn(next, "/");
        if (!part) break;
        if (node < 0 || part >= NAME) return *parent = -1;
        *parent = node;
        snprintf(name, NAME, "%.*s", (int)part, next);
        node = child(node, next, part);
        next += part;
    }
    return node;
}

static int add_node(int parent, const char *name, bool directory)
{
    if (node_count == NODES) give_up("too many files");
    nodes[node_count] = (struct node){ .directory = directory, .parent = parent };
    snprintf(nodes[node_count].name, NAME, "%s", name);
    return node_count++;
}

static struct operation *record(enum what what, int node)
{
    if (operation_count == OPERATIONS) give_up("too many operations");
    struct operation *operation = &operations[operation_count++];
    *operation = (struct operation){ .what = what, .node = node };
    return operation;
}

static void record_create(int parent, const char *name, bool directory, int *node)
{
    *node = add_node(parent, name, directory);
    struct operation *operation = record(CREATE, parent);
    operation->entry = *node;
    snprintf(operation->name, NAME, "%s", name);
}

// ---- the table

static int cut_open(const char *path, int flags, mode_t mode)
{
    char name[NAME] = "";
    int parent;

    const int fd = pawl_io_posix.open(path, flags, mode);
    if (fd < 0) return fd;
    if (fd >= DESCRIPTORS) give_up("too many descriptors");
    pthread_mutex_lock(&lock);
    int node = resolve(path, &parent, name);
    if (node < 0 && parent >= 0 && flags & O_CREAT) record_create(parent, name, false, &node);
    node_of[fd] = node;
    pthread_mutex_unlock(&lock);
    return fd;
}

static ssize_t cut_pwrite(int fd, const void *bytes, size_t size, off_t offset)
{
    const ssize_t done = pawl_io_posix.pwrite(fd, bytes, size, offset);

    if (done <= 0 || node_of[fd] < 0) return done;
    pthread_mutex_lock(&lock);
    struct operation *operation = record(WRITE, node_of[fd]);
    operation->offset = (uint64_t)offset;
    operation->size = (uint64_t)done;
    operation->bytes = malloc((size_t)done);
    if (!operation->bytes) give_up("no memory");
    memcpy(operation->bytes, bytes, (size_t)done);
    pthread_mutex_unlock(&lock);
    return done;
}

static int cut_reserve(int fd, off_t size)
{
    const int rc = pawl_io_posix.reserve(fd, size);

    if (rc || node_of[fd] < 0) return rc;
    pthread_mutex_lock(&lock);
    record(EXTEND, node_of[fd])->size = (uint64_t)size;
    pthread_mutex_unlock(&lock);
    return 0;
}

static bool ends(const char *name, const char *with)
{
    const size_t a = strlen(name), b = strlen(with);

    return a >= b && !strcmp(name + a - b, with);
}

// Whether the last change of a directory's names was of that kind and name.
static bool last_change(int directory, enum what what, const char *name)
{
    for (int i = operation_count; i--;) {
        const struct operation *operation = &operations[i];
        if (operation->node != directory || operation->what == SYNC) continue;
        return operation->what == what
               && !strcmp(what == RENAME ? operation->to : operation->name, name);
    }
    return false;
}

static bool is_commit(int node)
{
    return node > 0 && nodes[node].directory && last_change(node, RENAME, "MANIFEST");
}

static enum cut_mutant site(int node)  // which sync this is
{
    const char *name = nodes[node].name;

    if (recovering) return CUT_NO_SETTLE_SYNC;
    if (!node) return CUT_NO_RUN_SYNC;
    if (!nodes[node].directory) {
        if (ends(name, ".safetensors")) return CUT_NO_SHARD_SYNC;
        if (ends(name, ".sums")) return CUT_NO_SUMS_SYNC;
        if (!strcmp(name, "document.json")) return CUT_NO_DOCUMENT_SYNC;
        if (!strncmp(name, "MANIFEST", 8)) return CUT_NO_MANIFEST_SYNC;
        return CUT_CORRECT;
    }
    if (last_change(node, REMOVE, "MANIFEST")) return CUT_NO_REMOVAL_SYNC;
    return is_commit(node) ? CUT_NO_COMMIT_SYNC : CUT_NO_NAMES_SYNC;
}

static int cut_sync(int fd)
{
    const int rc = pawl_io_posix.sync(fd);

    if (rc || node_of[fd] < 0) return rc;
    pthread_mutex_lock(&lock);
    const bool fails = fail_commit && is_commit(node_of[fd]);
    if (fails) fail_commit = false;
    if (!fails && (mutant == CUT_CORRECT || site(node_of[fd]) != mutant))
        record(SYNC, node_of[fd]);
    pthread_mutex_unlock(&lock);
    return fails ? -EIO : 0;
}

static int cut_mkdir(const char *path, mode_t mode)
{
    char name[NAME] = "";
    int parent, node;

    const int rc = pawl_io_posix.mkdir(path, mode);
    if (rc) return rc;
    pthread_mutex_lock(&lock);
    resolve(path, &parent, name);
    if (parent >= 0) record_create(parent, name, true, &node);
    pthread_mutex_unlock(&lock);
    return 0;
}

static void record_rename(const char *from, const char *to)
{
    char old[NAME] = "", fresh[NAME] = "";
    int from_parent, to_parent;

    pthread_mutex_lock(&lock);
    const int node = resolve(from, &from_parent, old), gone = resolve(to, &to_parent, fresh);
    if (from_parent != to_parent) give_up("a rename between directories");
    if (gone >= 0) nodes[gone].name[0] = 0;
    struct operation *operation = record(RENAME, from_parent);
    operation->entry = node;
    snprintf(operation->name, NAME, "%s", old);
    snprintf(operation->to, NAME, "%s", fresh);
    snprintf(nodes[node].name, NAME, "%s", fresh);
    pthread_mutex_unlock(&lock);
}

static int renamed(int rc, const char *from, const char *to)
{
    if (!rc) record_rename(from, to);
    return rc;
}

static int cut_rename(const char *from, const char *to)
{
    return renamed(pawl_io_posix.rename(from, to), from, to);
}

static int cut_rename_noreplace(const char *from, const char *to)
{
    return renamed(pawl_io_posix.rename_noreplace(from, to), from, to);
}

static void record_remove(const char *path)
{
    char name[NAME] = "";
    int parent;

    pthread_mutex_lock(&lock);
    const int node = resolve(path, &parent, name);
    if (node > 0) {
        nodes[node].name[0] = 0;
        snprintf(record(REMOVE, parent)->name, NAME, "%s", name);
    }
    pthread_mutex_unlock(&lock);
}

static int removed(int rc, const char *path)
{
    if (!rc) record_remove(path);
    return rc;
}

static int cut_unlink(const char *path) { return removed(pawl_io_posix.unlink(path), path); }
static int cut_rmdir(const char *path) { return removed(pawl_io_posix.rmdir(path), path); }

void cut_record_begin(const char *root, enum cut_mutant which)
{
    static struct pawl_io table;

    for (int i = 0; i < operation_count; i++)
        free(operations[i].bytes);
    operation_count = node_count = 0;
    mutant = which;
    recovering = fail_commit = false;
    snprintf(root_path, sizeof(root_path), "%s", root);
    add_node(-1, "", true);
    for (int i = 0; i < DESCRIPTORS; i++)
        node_of[i] = -1;
    table = pawl_io_posix;
    table.name = "cut";
    table.open = cut_open;
    table.pwrite = cut_pwrite;
    table.reserve = cut_reserve;
    table.datasync = cut_sync;
    table.sync = cut_sync;
    table.mkdir = cut_mkdir;
    table.rename = cut_rename;
    table.rename_noreplace = cut_rename_noreplace;
    table.unlink = cut_unlink;
    table.rmdir = cut_rmdir;
    pawl_io_set(&table);
}

void cut_record_end(void) { pawl_io_set(NULL); }
int cut_operations(void) { return operation_count; }
void cut_recovering(bool now) { recovering = now; }
void cut_fail_commit(void) { fail_commit = true; }

void cut_promise(uint64_t step)
{
    pthread_mutex_lock(&lock);
    record(PROMISE, -1)->offset = step;
    pthread_mutex_unlock(&lock);
}

// ---- what survives

struct entry {
    char name[NAME];
    int node;  // -1: no entry
};

// A storage: what every node is for certain, and which operations are still in the balance.
static struct stored {
    char *bytes;
    uint64_t size;
    struct entry entries[256];
    int entry_count;
    int pending[4096], pending_count;
} *stored;

static uint64_t random_state;

static bool chance(int percent)
{
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (int)((random_state >> 33) % 100) < percent;
}

static void grow(struct stored *file, uint64_t size)
{
    if (size <= file->size) return;
    file->bytes = realloc(file->bytes, size);
    if (!file->bytes) give_up("no memory");
    memset(file->bytes + file->size, 0, size - file->size);
    file->size = size;
}

static void set_entry(struct stored *directory, const char *name, int node)
{
    for (int i = 0; i < directory->entry_count; i++)
        if (!strcmp(directory->entries[i].name, name)) {
            directory->entries[i].node = node;
            return;
        }
    if (directory->entry_count == 256) give_up("too many names");
    struct entry *entry = &directory->entries[directory->entry_count++];
    snprintf(entry->name, NAME, "%s", name);
    entry->node = node;
}

// torn: only some of the sectors.
static void apply(const struct operation *operation, bool torn)
{
    struct stored *of = &stored[operation->node];

    switch (operation->what) {
    case CREATE: set_entry(of, operation->name, operation->entry); break;
    case REMOVE: set_entry(of, operation->name, -1); break;
    case RENAME:
        set_entry(of, operation->name, -1);
        set_entry(of, operation->to, operation->entry);
        break;
    case EXTEND: grow(of, operation->size); break;
    case WRITE:
        grow(of, operation->offset + operation->size);
        for (uint64_t at = 0; at < operation->size; at += SECTOR) {
            const uint64_t left = operation->size - at;
            if (!torn || chance(50))
                memcpy(of->bytes + operation->offset + at, operation->bytes + at,
                       left < SECTOR ? left : SECTOR);
        }
        break;
    case SYNC:
    case PROMISE: break;
    }
}

static void settle(struct stored *node)
{
    for (int i = 0; i < node->pending_count; i++)
        apply(&operations[node->pending[i]], false);
    node->pending_count = 0;
}

static void play(int k, enum cut_model model, uint64_t *promised)
{
    for (int i = 0; i < k; i++) {
        const struct operation *operation = &operations[i];
        if (operation->what == PROMISE) {
            *promised = operation->offset;
            continue;
        }
        struct stored *node = &stored[operation->node];
        if (operation->what != SYNC) {
            if (node->pending_count == 4096) give_up("too many pending operations");
            node->pending[node->pending_count++] = i;
            continue;
        }
        settle(node);
        // A journal is committed as a whole: with it every change of names before.
        for (int j = 0; model == CUT_JOURNAL && j < node_count; j++)
            if (nodes[j].directory) settle(&stored[j]);
    }
}

static int later(const void *a, const void *b)
{
    return *(const int *)a - *(const int *)b;
}

// Of the names in the balance: any of them, or, with a journal, the first ones.
static void survive_names(enum cut_model model, int percent)
{
    static int all[OPERATIONS];
    int count = 0;

    for (int j = 0; j < node_count; j++)
        for (int i = 0; nodes[j].directory && i < stored[j].pending_count; i++)
            all[count++] = stored[j].pending[i];
    qsort(all, (size_t)count, sizeof(int), later);
    for (int i = 0; i < count; i++) {
        if (chance(percent))
            apply(&operations[all[i]], false);
        else if (model == CUT_JOURNAL)
            return;
    }
}

static void survive_data(int percent)
{
    for (int j = 0; j < node_count; j++)
        for (int i = 0; !nodes[j].directory && i < stored[j].pending_count; i++)
            if (chance(percent)) apply(&operations[stored[j].pending[i]], chance(30));
}

static void put_out(const char *directory, int node)
{
    char path[8192];

    for (int i = 0; i < stored[node].entry_count; i++) {
        const struct entry *entry = &stored[node].entries[i];
        if (entry->node < 0) continue;
        snprintf(path, sizeof(path), "%s/%s", directory, entry->name);
        if (nodes[entry->node].directory) {
            if (mkdir(path, 0777)) give_up(path);
            put_out(path, entry->node);
            continue;
        }
        const int fd = open(path, O_WRONLY | O_CREAT | O_EXCL, 0666);
        if (fd < 0) give_up(path);
        if (stored[entry->node].size
            && write(fd, stored[entry->node].bytes, stored[entry->node].size)
                   != (ssize_t)stored[entry->node].size)
            give_up(path);
        close(fd);
    }
}

uint64_t cut_make(const char *directory, int k, enum cut_model model, uint64_t seed)
{
    static const int percents[] = { 50, 0, 100, 20, 80, 50 };
    uint64_t promised = 0;

    stored = calloc((size_t)node_count, sizeof(*stored));
    if (!stored) give_up("no memory");
    random_state = seed * 0x9e3779b97f4a7c15u + 1;
    play(k, model, &promised);
    // Names and data are drawn apart: all names and no data is a cut worth its own seed.
    survive_names(model, percents[seed % 6]);
    survive_data(percents[seed / 6 % 6]);
    put_out(directory, 0);
    for (int i = 0; i < node_count; i++)
        free(stored[i].bytes);
    free(stored);
    return promised;
}
