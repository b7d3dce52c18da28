// zip.c - an archive alone: every member loaded, and read as a file back to front.

#include "checkpoint/containers/zip.h"

#include "kernels/memory.h"
#include "tests/fuzz/support.h"

enum { MEMBERS_MAX = 16, SIZE_MAX_BYTES = 1 << 20, STEP = 100 };

// The archive lies in a file that is made, so no I/O is in the way.
struct bytes {
    const uint8_t *data;
};

static int read_bytes(void *context, uint64_t offset, void *out, size_t size)
{
    const struct bytes *from = context;

    for (size_t i = 0; i < size; i++)
        ((uint8_t *)out)[i] = from->data[offset + i];
    return 0;
}

static void use(const struct pawl_zip *zip, const struct pawl_zip_member *member, bool whole)
{
    char *bytes = NULL, part[STEP];
    int file;

    if (member->size > SIZE_MAX_BYTES) return;
    const int rc = pawl_zip_load(zip, member, SIZE_MAX_BYTES, &bytes, NULL);
    pawl_free(bytes);
    if (pawl_zip_file(zip, member, whole, &file)) return;
    const uint64_t last = member->size ? member->size - 1 : 0;
    for (uint64_t at = last / STEP * STEP, n = 0; n < 20; at -= STEP, n++) {
        const uint64_t left = member->size - at;
        const int got = pawl_document_read_at(zip->document, file, at, part,
                                              left < STEP ? (size_t)left : STEP);
        // A damaged member shows in every way of reading; in order, only in the last read.
        if ((!n || !whole) && !rc != !got) __builtin_trap();
        if (at < STEP) break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bytes bytes = { data };
    const struct pawl_made made = { size, &bytes, read_bytes, NULL };
    struct pawl_document *document = NULL;
    struct pawl_zip *zip = NULL;
    int file;

    if (pawl_document_new(&document)) return 0;
    if (!pawl_document_add_made(document, "a.zip", &made, &file)
        && !pawl_zip_open(&zip, document, file, (uint64_t[2]){ 0, size }, "a.zip"))
        for (int i = 0; i < zip->count && i < MEMBERS_MAX; i++)
            use(zip, &zip->members[i], i % 2);
    pawl_zip_free(zip);
    pawl_document_free(document);
    return 0;
}
