// files.c - what the verbs about model files share.

#include "runtime/cli/files.h"

#include <math.h>
#include <zlib.h>

#include "checkpoint/cast.h"
#include "kernels/memory.h"
#include "runtime/cli/exits.h"

enum { CHUNK_BYTES = 1 << 20 };

int pawl_exit_telling_file(int rc)
{
    const int status = pawl_exit_telling(rc);

    return rc == PAWL_ENOTSUP ? PAWL_EXIT_DATA : status;
}

struct sums {
    double min, max, sum;
    int64_t numbers;
};

static void count(struct pawl_tensor_facts *facts, struct sums *sums, const char *bytes,
                  size_t size, enum pawl_dtype dtype)
{
    const size_t element = pawl_dtype_bytes(dtype);

    for (size_t at = 0; at < size; at += element) {
        const double value = pawl_element(bytes + at, dtype);
        if (isnan(value)) {
            facts->nan++;
            continue;
        }
        facts->inf += isinf(value) != 0;
        facts->zeros += !(value < 0 || value > 0);
        if (!(value >= sums->min)) sums->min = value;  // also when min is still NaN
        if (!(value <= sums->max)) sums->max = value;
        sums->sum += value;
        sums->numbers++;
    }
}

int pawl_tensor_facts(struct pawl_tensor_facts *out, const struct pawl_document *document,
                      const struct pawl_entry *entry, bool figures)
{
    const struct pawl_tensor *tensor = &entry->tensor;
    struct pawl_tensor_facts facts = { .real = tensor->dtype != PAWL_C64
                                               && tensor->dtype != PAWL_C128 };
    struct sums sums = { (double)NAN, (double)NAN, 0, 0 };
    unsigned long crc = crc32(0, NULL, 0);
    char *chunk = NULL;

    int rc = pawl_alloc(&chunk, CHUNK_BYTES, "a chunk");
    for (uint64_t at = 0; at < tensor->size_bytes && !rc; at += CHUNK_BYTES) {
        const uint64_t left = tensor->size_bytes - at;
        const size_t now = left < CHUNK_BYTES ? (size_t)left : CHUNK_BYTES;
        rc = pawl_document_fetch_part(document, entry, at, now, chunk);
        if (rc) break;
        crc = crc32(crc, (const unsigned char *)chunk, (unsigned)now);
        if (figures && facts.real) count(&facts, &sums, chunk, now, tensor->dtype);
    }
    pawl_free(chunk);
    if (rc) return rc;
    facts.crc32 = (uint32_t)crc;
    facts.min = sums.min;
    facts.max = sums.max;
    facts.mean = sums.numbers ? sums.sum / (double)sums.numbers : (double)NAN;
    *out = facts;
    return 0;
}
