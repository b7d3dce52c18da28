// tokens.c - uint16 little-endian tokens in one file, read as batches need them.

#include <string.h>

#include "kernels/io.h"
#include "kernels/memory.h"
#include "runtime/data/source.h"

struct tokens {
    int fd;
    uint8_t *raw;  // (sequence + 1, 2)
};

static void close_tokens(struct pawl_source *source)
{
    struct tokens *tokens = source->state;

    if (!tokens)
        return;
    if (tokens->fd >= 0)
        pawl_io()->close(tokens->fd);
    pawl_free(tokens->raw);
    pawl_free(tokens);
}

static int open_tokens(struct pawl_source *source, const char *where,
                       const struct pawl_data_options *options)
{
    struct tokens *tokens;
    uint64_t bytes;

    int rc = pawl_alloc(&tokens, sizeof(*tokens), "token file");
    if (rc)
        return rc;
    tokens->fd = -1;
    source->state = tokens;
    rc = pawl_source_open_file(&tokens->fd, &bytes, where);
    if (rc)
        return rc;
    if (!bytes)
        return pawl_fail(PAWL_ENONE, "%s: is empty", where);
    if (bytes % 2)
        return pawl_fail(PAWL_ECORRUPT,
                         "%s: has %llu bytes, an odd number: uint16 tokens have two each", where,
                         (unsigned long long)bytes);
    source->count = bytes / 2;
    source->classes = 65536;
    rc = pawl_alloc(&tokens->raw, 2 * ((size_t)options->sequence + 1), "tokens of a sample");
    if (rc)
        return rc;
    return pawl_source_add(source, where, pawl_source_base(where), bytes);
}

static int read_tokens(struct pawl_source *source, uint64_t at, int64_t count, int32_t *out)
{
    const struct tokens *tokens = source->state;

    const int rc =
        pawl_source_read(tokens->fd, source->files[0].path, tokens->raw, 2 * (size_t)count, 2 * at);
    if (rc)
        return rc;
    for (int64_t i = 0; i < count; i++)
        out[i] = tokens->raw[2 * i] | tokens->raw[2 * i + 1] << 8;
    return 0;
}

const struct pawl_source_row pawl_source_tokens = {
    .name = "tokens",
    .open = open_tokens,
    .close = close_tokens,
    .tokens = read_tokens,
};
