// pth_file.c - the containers of torch.save, and where each storage lies in them.

#include "checkpoint/formats/pth_file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "checkpoint/containers/bytes.h"
#include "kernels/memory.h"

enum { RECORD_MAX = 64, STORAGES_MAX = 1 << 17 };

// ---- zip

static const struct pawl_zip_member *record(const struct pawl_pth *pth, const char *name)
{
    char path[600];

    snprintf(path, sizeof(path), "%s%s", pth->root, name);
    return pawl_zip_find(pth->zip, path);
}

// The root is what stands before the first '/' of the first member, and every other has it too.
static int take_root(struct pawl_pth *pth)
{
    const struct pawl_zip *zip = pth->zip;
    const char *slash = zip->count ? strchr(zip->members[0].name, '/') : NULL;

    if (!slash || slash - zip->members[0].name >= (int)sizeof(pth->root) - 1)
        return pawl_fail(PAWL_ECORRUPT, "%s: a zip archive, but none of torch: its first member "
                         "has no folder", pth->what);
    snprintf(pth->root, sizeof(pth->root), "%.*s", (int)(slash - zip->members[0].name) + 1,
             zip->members[0].name);
    return 0;
}

static int check_small(struct pawl_pth *pth, const struct pawl_zip_member *member,
                       const char *wanted, const char *words)
{
    char *text = NULL;

    int rc = pawl_zip_load(pth->zip, member, RECORD_MAX, &text, NULL);
    if (!rc && wanted && strcmp(text, wanted))
        rc = pawl_fail(PAWL_ECORRUPT, "%s: %s is '%.32s', and %s", pth->what, member->name, text,
                       words);
    if (!rc && !wanted && (atoi(text) < 1 || atoi(text) > 10))
        rc = pawl_fail(PAWL_ECORRUPT, "%s: %s is '%.32s', %s", pth->what, member->name, text,
                       words);
    pawl_free(text);
    return rc;
}

static int check_records(struct pawl_pth *pth)
{
    const struct pawl_zip_member *version = record(pth, "version"), *order;

    if (record(pth, "constants.pkl"))
        return pawl_fail(PAWL_ECORRUPT, "%s: a TorchScript archive (it has constants.pkl): its "
                         "model is code, which pawl does not run. try: torch.save(torch.jit.load("
                         "...).state_dict(), FILE)", pth->what);
    if (!version) version = record(pth, ".data/version");
    if (!version)
        return pawl_fail(PAWL_ECORRUPT, "%s: it has no 'version' record, without which torch "
                         "refuses it too", pth->what);
    int rc = check_small(pth, version, NULL, "which is no version from 1 to 10");
    order = record(pth, "byteorder");
    if (!rc && order)
        rc = check_small(pth, order, "little", "only little-endian files are read");
    return rc;
}

static int open_zip(struct pawl_pth *pth, int file, const uint64_t range[2])
{
    const struct pawl_zip_member *object = NULL;
    int at = 0;

    int rc = pawl_zip_open(&pth->zip, pth->document, file, range, pth->what);
    if (!rc) rc = take_root(pth);
    if (!rc) rc = check_records(pth);
    if (rc) return rc;
    object = record(pth, "data.pkl");
    if (!object)
        return pawl_fail(PAWL_ECORRUPT, "%s: a zip archive, but none of torch: it lacks %sdata.pkl",
                         pth->what, pth->root);
    rc = pawl_alloc(&pth->member_files, sizeof(int) * (size_t)pth->zip->count, "storages");
    for (int i = 0; i < pth->zip->count && !rc; i++)
        pth->member_files[i] = -1;
    if (!rc) rc = pawl_zip_file(pth->zip, object, false, &at);
    if (!rc)
        rc = pawl_pickle_read(&pth->pickle, pth->document, at, (uint64_t[2]){ 0, object->size },
                              pth->what);
    return rc;
}

// ---- stream

static int by_key(const void *a, const void *b)
{
    const struct pawl_pth_storage *x = a, *y = b;

    return strcmp(x->key, y->key);
}

static struct pawl_pth_storage *find_storage(const struct pawl_pth *pth, const char *key)
{
    struct pawl_pth_storage wanted = { .key = key };

    return bsearch(&wanted, pth->storages, (size_t)pth->storage_count, sizeof(wanted), by_key);
}

// Bytes per element of each storage, by the persistent ids: ('storage', class, key, ...).
static int take_storages(struct pawl_pth *pth)
{
    const struct pawl_pickle *p = pth->pickle;
    int kept = 0;

    int rc = pawl_alloc(&pth->storages, sizeof(*pth->storages) * (p->persistent_count + 1u),
                        "storages");
    for (uint32_t i = 0; i < p->persistent_count && !rc; i++) {
        const struct pawl_py *id = p->persistent[i]->item[0];
        const char *kind = pawl_py_text(pawl_py_item(id, 0));
        const char *key = pawl_py_text(pawl_py_item(id, 2));
        enum pawl_dtype dtype;
        bool untyped;
        if (!kind || strcmp(kind, "storage")) continue;  // ('module', class, source file, source)
        if (!key || !pawl_pth_dtype(pawl_py_called(pawl_py_item(id, 1)), &dtype, &untyped))
            rc = pawl_fail(PAWL_ECORRUPT, "%s: storage '%.64s' is of the unknown type '%.64s'",
                           pth->what, key ? key : "", pawl_py_called(pawl_py_item(id, 1)));
        else
            pth->storages[pth->storage_count++] = (struct pawl_pth_storage){
                key, 0, untyped ? 1 : pawl_dtype_bytes(dtype)
            };
    }
    if (rc) return rc;
    qsort(pth->storages, (size_t)pth->storage_count, sizeof(*pth->storages), by_key);
    for (int i = 0; i < pth->storage_count; i++)  // each once
        if (!kept || strcmp(pth->storages[kept - 1].key, pth->storages[i].key))
            pth->storages[kept++] = pth->storages[i];
    pth->storage_count = kept;
    return 0;
}

// The payloads follow in the order of the list of keys.
static int place_storages(struct pawl_pth *pth, const struct pawl_py *keys, uint64_t at,
                          uint64_t end)
{
    unsigned char count[8];
    int rc = 0;

    if (!pawl_py_is(keys, PAWL_PY_LIST))
        return pawl_fail(PAWL_ECORRUPT, "%s: the list of storages is none", pth->what);
    for (uint32_t i = 0; i < keys->count && !rc; i++) {
        const char *key = pawl_py_text(keys->item[i]);
        struct pawl_pth_storage *storage = key ? find_storage(pth, key) : NULL;
        uint64_t bytes = 0;
        if (!storage || storage->offset)
            return pawl_fail(PAWL_ECORRUPT, "%s: its list of storages has '%.64s', which no tensor "
                             "names, or twice", pth->what, key ? key : "");
        if (end - at < sizeof(count))
            return pawl_fail(PAWL_ECORRUPT, "%s: truncated: it ends at byte %llu, before storage "
                             "'%.64s'", pth->what, (unsigned long long)end, key);
        rc = pawl_document_read_at(pth->document, pth->file, at, count, sizeof(count));
        if (rc) return rc;
        at += sizeof(count);
        if (__builtin_mul_overflow(pawl_u64(count), storage->bytes, &bytes) || bytes > end - at)
            return pawl_fail(PAWL_ECORRUPT, "%s: truncated: it ends at byte %llu, inside storage "
                             "'%.64s' of %llu elements", pth->what, (unsigned long long)end, key,
                             (unsigned long long)pawl_u64(count));
        *storage = (struct pawl_pth_storage){ storage->key, at, bytes };
        at += bytes;
    }
    if (!rc && at != end)
        rc = pawl_fail(PAWL_ECORRUPT, "%s: %llu bytes after the last storage belong to nothing",
                       pth->what, (unsigned long long)(end - at));
    return rc;
}

static int next_pickle(struct pawl_pth *pth, struct pawl_pickle **out, uint64_t *at, uint64_t end)
{
    const uint64_t range[2] = { *at, end - *at };

    const int rc = pawl_pickle_read(out, pth->document, pth->file, range, pth->what);
    if (!rc) *at = (*out)->end;
    return rc;
}

static int check_machine(const struct pawl_pth *pth, const struct pawl_py *machine)
{
    const struct pawl_py *little = pawl_py_get(machine, "little_endian");

    if (!pawl_py_is(little, PAWL_PY_BOOL) || little->integer) return 0;
    return pawl_fail(PAWL_ECORRUPT, "%s: it was saved by a big-endian machine", pth->what);
}

static int open_stream(struct pawl_pth *pth, uint64_t at, uint64_t end)
{
    struct pawl_pickle *before = NULL, *keys = NULL;
    int64_t version = 0;
    int rc = 0;

    for (int i = 0; i < 3 && !rc; i++) {  // the magic, the protocol, the machine
        pawl_pickle_free(before);
        before = NULL;
        rc = next_pickle(pth, &before, &at, end);
        if (!rc && i == 1 && (!pawl_py_integer(before->root, &version) || version != 1001))
            rc = pawl_fail(PAWL_ECORRUPT, "%s: a stream of protocol %lld, not 1001", pth->what,
                           (long long)version);
        if (!rc && i == 2) rc = check_machine(pth, before->root);
    }
    if (!rc) rc = next_pickle(pth, &pth->pickle, &at, end);
    if (!rc) rc = take_storages(pth);
    if (!rc) rc = next_pickle(pth, &keys, &at, end);
    if (!rc) rc = place_storages(pth, keys->root, at, end);
    pawl_pickle_free(before);
    pawl_pickle_free(keys);
    return rc;
}

// ---- both

static int open_any(struct pawl_pth *pth, const uint64_t range[2])
{
    static const unsigned char magic[] = { 0x80, 2, 0x8a, 10, 0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20,
                                           0x6a, 0xa8, 0x50, 0x19 };
    unsigned char head[512] = "";
    const size_t size = range[1] < sizeof(head) ? (size_t)range[1] : sizeof(head);

    const int rc = pawl_document_read_at(pth->document, pth->file, range[0], head, size);
    if (rc) return rc;
    if (!memcmp(head, magic, sizeof(magic))) return open_stream(pth, range[0], range[0] + range[1]);
    if (!memcmp(head, "PK", 2)) return open_zip(pth, pth->file, range);
    if (size > 262 && !memcmp(head + 257, "ustar", 5))
        return pawl_fail(PAWL_ECORRUPT, "%s: a tar archive, the format of torch 0.1, is not read. "
                         "try: torch.save(torch.load(FILE, weights_only=False), NEW)", pth->what);
    return pawl_fail(PAWL_ECORRUPT, "%s: byte 0: no signature of a format of torch: neither a zip "
                     "archive nor a stream of pickles begins like this", pth->what);
}

int pawl_pth_open(struct pawl_pth **out, struct pawl_document *document, int file,
                  const uint64_t range[2], const char *what)
{
    struct pawl_pth *pth = NULL;

    int rc = pawl_alloc(&pth, sizeof(*pth), "a file of torch");
    if (rc) return rc;
    pth->document = document;
    pth->what = what;
    pth->file = file;
    rc = open_any(pth, range);
    if (rc)
        pawl_pth_close(pth);
    else
        *out = pth;
    return rc;
}

void pawl_pth_close(struct pawl_pth *pth)
{
    if (!pth) return;
    pawl_pickle_free(pth->pickle);
    pawl_zip_free(pth->zip);
    pawl_free(pth->member_files);
    pawl_free(pth->storages);
    pawl_free(pth);
}
