// wire.c - the answer of a reader that was taken over, as its parent decodes it.

#include <stdlib.h>

#include "checkpoint/binding.h"
#include "checkpoint/document_inside.h"
#include "tests/fuzz/support.h"

static int read_zeros(void *context, uint64_t offset, void *out, size_t size)
{
    (void)context, (void)offset;
    for (size_t i = 0; i < size; i++) ((char *)out)[i] = 0;
    return 0;
}

static int take_file(void *context, struct pawl_file *out, int number, int index)
{
    (void)context, (void)index;
    if (number > 8) return -1;
    out->made = (struct pawl_made){ out->size, NULL, read_zeros, NULL };
    return 0;
}

static void use(const struct pawl_document *document)
{
    for (int i = 0; document->bindings && i < document->bindings->count && i < 16; i++) {
        const struct pawl_tensor *tensor = &document->bindings->items[i].tensor;
        const size_t count = tensor->size_bytes / pawl_dtype_bytes(tensor->dtype);
        if (count > 1 << 16) continue;
        float *out = malloc(count * sizeof(*out) + 1);
        (void)pawl_document_fetch_param(document, i, NULL, PAWL_F32, out);
        (void)pawl_document_fetch_param(document, i, "exp_avg", PAWL_F32, out);
        free(out);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct pawl_wire_files files = { take_file, NULL };
    struct pawl_document *document = NULL;

    if (pawl_document_new(&document)) return 0;
    if (!pawl_document_decode(document, data, size, &files)) use(document);
    pawl_document_free(document);
    return 0;
}
