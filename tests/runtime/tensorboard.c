// tensorboard: every record's checksums by a second implementation, and every field by its number.

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kernels/io.h"
#include "kernels/memory.h"
#include "tests/runtime/plain_report.h"

// CRC32C bit by bit, as its polynomial says.
static uint32_t crc32c(const unsigned char *bytes, size_t size)
{
    uint32_t crc = ~0u;

    for (size_t i = 0; i < size; i++) {
        crc ^= bytes[i];
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78u : 0);
    }
    return ~crc;
}

static uint32_t masked(const unsigned char *bytes, size_t size)
{
    const uint32_t crc = crc32c(bytes, size);

    return (crc >> 15 | crc << 17) + 0xa282ead8u;
}

static uint64_t little(const unsigned char *bytes, int size)
{
    uint64_t value = 0;

    for (int i = size - 1; i >= 0; i--)
        value = value << 8 | bytes[i];
    return value;
}

// ---- protobuf, read

struct field {
    unsigned number, type;
    uint64_t value;              // of types 0, 1 and 5
    const unsigned char *bytes;  // of type 2
    size_t size;
};

static uint64_t varint(const unsigned char **at, const unsigned char *end)
{
    uint64_t value = 0;

    for (int shift = 0;; shift += 7) {
        cr_assert(*at < end && shift < 64);
        value |= (uint64_t)(**at & 0x7f) << shift;
        if (!(*(*at)++ & 0x80))
            return value;
    }
}

static struct field next_field(const unsigned char **at, const unsigned char *end)
{
    const uint64_t key = varint(at, end);
    struct field f = { .number = (unsigned)(key >> 3), .type = (unsigned)(key & 7) };

    if (f.type == 0)
        f.value = varint(at, end);
    if (f.type == 2) {
        f.size = varint(at, end);
        f.bytes = *at;
        cr_assert_leq(f.size, (size_t)(end - *at));
        *at += f.size;
    }
    if (f.type == 1 || f.type == 5) {
        const int size = f.type == 1 ? 8 : 4;
        cr_assert_leq(size, end - *at);
        f.value = little(*at, size);
        *at += size;
    }
    cr_assert(f.type == 0 || f.type == 1 || f.type == 2 || f.type == 5);
    return f;
}

struct seen {
    int versions, losses, norms, vals, saves;
    uint64_t last_step;
};

static void read_scalar(const struct field *value, uint64_t step, struct seen *seen)
{
    const unsigned char *at = value->bytes, *end = at + value->size;
    const struct field tag = next_field(&at, end), number = next_field(&at, end);
    const uint32_t bits = (uint32_t)number.value;
    float scalar;

    cr_assert(at == end && tag.number == 1 && number.number == 2 && number.type == 5);
    memcpy(&scalar, &bits, sizeof(scalar));
    cr_assert(isfinite(scalar));
#define IS(name) (tag.size == strlen(name) && !memcmp(tag.bytes, name, tag.size))
    if (IS("loss")) {
        cr_expect_eq(scalar, (float)script_loss((int64_t)step));
        cr_expect_eq(step, ++seen->last_step);
        seen->losses++;
    }
    seen->norms += IS("grad_norm");
    seen->vals += IS("val_loss");
    seen->saves += IS("save/write_ms");
}

static void read_event(const unsigned char *at, size_t size, struct seen *seen)
{
    const unsigned char *end = at + size;
    struct field f = next_field(&at, end);
    uint64_t step;
    double wall;

    cr_assert(f.number == 1 && f.type == 1);
    memcpy(&wall, &f.value, sizeof(wall));
    cr_expect(wall > 1.6e9 && wall < 1e10);
    f = next_field(&at, end);
    cr_assert(f.number == 2 && f.type == 0);
    step = f.value;
    f = next_field(&at, end);
    cr_assert_eq(f.type, 2);
    cr_assert(at == end);
    if (f.number == 3) {
        cr_expect(f.size == 13 && !memcmp(f.bytes, "brain.Event:2", 13));
        seen->versions++;
        return;
    }
    cr_assert_eq(f.number, 5);
    for (at = f.bytes, end = at + f.size; at < end;) {
        const struct field value = next_field(&at, end);

        cr_assert(value.number == 1 && value.type == 2);
        read_scalar(&value, step, seen);
    }
}

static int keep_name(void *context, const char *name)
{
    snprintf(context, 256, "%s", name);
    return 0;
}

Test(tensorboard, every_record_is_whole_and_says_what_was_told)
{
    char directory[] = "/tmp/pawl-board-XXXXXX", board[64], name[256], path[400], command[64];
    struct script s = script_default();
    struct seen seen = { 0 };
    char *bytes = NULL;
    size_t size, at = 0;
    int status, records = 0;

    cr_assert(mkdtemp(directory));
    snprintf(board, sizeof(board), "%s/a/b", directory);  // made on the way
    s.options.tensorboard = board;
    s.options.quiet = true;
    const pid_t pid = fork();
    if (!pid)
        _exit(freopen("/dev/null", "w", stderr) && freopen("/dev/null", "w", stdout)
                  ? script_run(&s)
                  : 9);
    cr_assert(waitpid(pid, &status, 0) == pid && WIFEXITED(status) && !WEXITSTATUS(status));
    cr_assert_eq(pawl_io()->list(board, keep_name, name), 0);
    cr_expect_eq(strncmp(name, "events.out.tfevents.", 20), 0, "%s", name);
    snprintf(path, sizeof(path), "%s/%s", board, name);
    cr_assert_eq(pawl_io_read_file(path, &bytes, &size, 1 << 20), 0);

    const unsigned char *all = (const unsigned char *)bytes;
    for (; at < size; records++) {
        cr_assert_leq(at + 16, size);
        const uint64_t length = little(all + at, 8);
        cr_assert_eq(little(all + at + 8, 4), masked(all + at, 8));
        cr_assert_leq(length, size - at - 16);
        cr_assert_eq(little(all + at + 12 + length, 4), masked(all + at + 12, length));
        read_event(all + at + 12, length, &seen);
        at += 16 + length;
    }
    cr_expect(records == 206 && seen.versions == 1 && seen.losses == 200 && seen.norms == 100);
    cr_expect(seen.vals == 2 && seen.saves == 3);
    pawl_free(bytes);
    snprintf(command, sizeof(command), "rm -r %s", directory);
    cr_assert_eq(system(command), 0);
}
