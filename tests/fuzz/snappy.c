// snappy.c - the decoder, with buffers of exactly the sizes it is told.

#include "checkpoint/containers/snappy.h"

#include <stdlib.h>

#include "tests/fuzz/support.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t length = 0;

    if (pawl_snappy_length(&length, data, size)) return 0;
    unsigned char *out = malloc(length ? length : 1);
    (void)pawl_snappy_decode(out, length, data, size);
    free(out);
    return 0;
}
