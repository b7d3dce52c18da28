// table.c - LevelDB's tables. The checksums are those that the file has: see __wrap_pawl_crc32c.

#include "checkpoint/containers/table.h"

#include "checkpoint/containers/bytes.h"
#include "checkpoint/sums.h"
#include "tests/fuzz/support.h"

// A fuzzer finds no CRC. A block's stored one lies directly behind what it is of.
uint32_t __wrap_pawl_crc32c(const void *bytes, size_t size);

uint32_t __wrap_pawl_crc32c(const void *bytes, size_t size)
{
    return pawl_table_unmask(pawl_u32((const unsigned char *)bytes + size));
}

static int each(void *context, const unsigned char *key, size_t key_size,
                const unsigned char *value, size_t value_size)
{
    size_t *sum = context;

    for (size_t i = 0; i < key_size; i++) *sum += key[i];
    for (size_t i = 0; i < value_size; i++) *sum += value[i];
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t sum = 0;

    (void)pawl_table_read(data, size, "table", each, &sum);
    return 0;
}
