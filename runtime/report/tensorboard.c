// tensorboard.c - scalars in TensorBoard's event files.
//
//     file   = record...            TFRecord: u64 length, crc, bytes, crc of bytes; little-endian
//     bytes  = protobuf Event { 1: double wall_time, 2: int64 step,
//                               3: string file_version | 5: Summary }
//     Summary = { 1: Value { 1: string tag, 2: float simple_value } ... }
//
// The crc is CRC32C, rotated right by 15 and with 0xa282ead8 added, as TFRecord masks it.

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "checkpoint/sums.h"
#include "kernels/error.h"
#include "kernels/io.h"
#include "kernels/memory.h"
#include "runtime/report/sink.h"

enum {
    EVENT_BYTES = 1024,  // of one event with all its scalars
    BUFFER_BYTES = 1 << 16,
    WRITE_NS = 2000000000,  // a reader of the file is at most this far behind
    DENSE_STEPS = 10000,    // every step up to here, then every second, every fourth, ...
};

struct board {
    const struct pawl_told *told;
    int fd;
    off_t written;
    size_t used;  // of buffer
    int64_t written_ns;
    uint64_t steps;
    int rc;  // the first failure; nothing is written after it
    unsigned char *buffer;
    char path[4096];
};

static bool wanted(const struct pawl_told *told)
{
    return told->options.tensorboard;
}

// ---- records

static uint32_t masked_crc(const void *bytes, size_t size)
{
    const uint32_t crc = pawl_crc32c(bytes, size);

    return ((crc >> 15) | (crc << 17)) + 0xa282ead8u;
}

static void put_bytes(struct board *b, const void *bytes, size_t size)
{
    memcpy(b->buffer + b->used, bytes, size);
    b->used += size;
}

static void put_u32(struct board *b, uint32_t value)
{
    const uint32_t little = htole32(value);

    put_bytes(b, &little, sizeof(little));
}

static void write_out(struct board *b)
{
    const int rc = b->rc ? 0 : pawl_io_write_all(b->fd, b->buffer, b->used, b->written);

    if (rc) {
        b->rc = pawl_fail(PAWL_EIO, "%s: cannot be written: %s", b->path, strerror(-rc));
        fprintf(stderr, "pawl: %s; the run goes on\n", pawl_error());
    }
    b->written += (off_t)b->used;
    b->used = 0;
}

static void put_record(struct board *b, const unsigned char *event, size_t size)
{
    const uint64_t length = htole64((uint64_t)size);

    if (b->used + size + 16 > BUFFER_BYTES)
        write_out(b);
    put_bytes(b, &length, sizeof(length));
    put_u32(b, masked_crc(&length, sizeof(length)));
    put_bytes(b, event, size);
    put_u32(b, masked_crc(event, size));
}

// ---- protobuf

struct message {
    unsigned char bytes[EVENT_BYTES];
    size_t size;
};

static void add_byte(struct message *m, unsigned byte)
{
    m->bytes[m->size++] = (uint8_t)byte;
}

static void add_varint(struct message *m, uint64_t value)
{
    for (; value >= 0x80; value >>= 7)
        add_byte(m, (unsigned)(value & 0x7f) | 0x80);
    add_byte(m, (unsigned)value);
}

static void add_bytes(struct message *m, unsigned field, const void *bytes, size_t size)
{
    add_byte(m, field << 3 | 2);
    add_varint(m, size);
    memcpy(m->bytes + m->size, bytes, size);
    m->size += size;
}

static void begin_event(struct message *m, uint64_t step)
{
    const double wall = (double)pawl_io()->wall_ns() / 1e9;
    uint64_t bits;

    m->size = 0;
    memcpy(&bits, &wall, sizeof(bits));
    bits = htole64(bits);
    add_byte(m, 1 << 3 | 1);
    memcpy(m->bytes + m->size, &bits, sizeof(bits));
    m->size += sizeof(bits);
    add_byte(m, 2 << 3 | 0);
    add_varint(m, step);
}

// One Value into a Summary; no number is left out.
static void add_scalar(struct message *summary, const char *tag, double number)
{
    const float narrow = (float)number;
    struct message value = { .size = 0 };
    uint32_t bits;

    if (!isfinite(number))
        return;
    memcpy(&bits, &narrow, sizeof(bits));
    bits = htole32(bits);
    add_bytes(&value, 1, tag, strlen(tag));
    add_byte(&value, 2 << 3 | 5);
    memcpy(value.bytes + value.size, &bits, sizeof(bits));
    value.size += sizeof(bits);
    add_bytes(summary, 1, value.bytes, value.size);
}

static void put_summary(struct board *b, uint64_t step, const struct message *summary)
{
    struct message event;

    if (!summary->size)
        return;
    begin_event(&event, step);
    add_bytes(&event, 5, summary->bytes, summary->size);
    put_record(b, event.bytes, event.size);
}

// ---- the sink

static int make_directories(const char *path)
{
    char part[4096];

    if (snprintf(part, sizeof(part), "%s", path) >= (int)sizeof(part))
        return -ENAMETOOLONG;
    for (char *c = part + 1; *c; c++) {
        if (*c != '/')
            continue;
        *c = '\0';
        const int rc = pawl_io()->mkdir(part, 0777);
        if (rc && rc != -EEXIST)
            return rc;
        *c = '/';
    }
    const int rc = pawl_io()->mkdir(part, 0777);
    return rc == -EEXIST ? 0 : rc;
}

static void put_version(struct board *b)
{
    static const char version[] = "brain.Event:2";
    struct message event;

    begin_event(&event, 0);
    add_bytes(&event, 3, version, sizeof(version) - 1);
    put_record(b, event.bytes, event.size);
}

static int open_board(void **self, const struct pawl_told *told)
{
    struct board *b = NULL;
    char host[65] = "host";
    int rc = pawl_alloc(&b, sizeof(*b), "report");

    if (rc)
        return rc;
    b->told = told;
    if ((rc = pawl_alloc(&b->buffer, BUFFER_BYTES, "report")))
        goto out;
    gethostname(host, sizeof(host) - 1);
    // The reader orders a run's files by name, so a resumed run's comes after.
    snprintf(b->path, sizeof(b->path), "%.3900s/events.out.tfevents.%010lld.%s.%ld.0",
             told->options.tensorboard, (long long)(told->open_wall_ns / 1000000000), host,
             (long)getpid());
    const int made = make_directories(told->options.tensorboard);
    b->fd = made ? made : pawl_io()->open(b->path, O_WRONLY | O_CREAT | O_EXCL, 0666);
    if (b->fd < 0) {
        rc = pawl_fail(PAWL_EIO, "%s: cannot be made: %s", b->path, strerror(-b->fd));
        goto out;
    }
    put_version(b);
    write_out(b);
    *self = b;
out:
    if (rc) {
        pawl_free(b->buffer);
        pawl_free(b);
    }
    return rc;
}

static void step(struct board *b, const struct pawl_report_step *s)
{
    const double seconds = (double)(s->end_ns - s->start_ns) / 1e9;
    struct message summary = { .size = 0 };
    uint64_t stride = 1;

    while (b->steps >= DENSE_STEPS * stride)
        stride *= 2;
    if (b->steps++ % stride)
        return;
    add_scalar(&summary, "loss", s->loss);
    add_scalar(&summary, "learning_rate", s->rate_lr);
    add_scalar(&summary, "grad_norm", s->grad_norm);
    add_scalar(&summary, "step_ms", seconds * 1e3);
    add_scalar(&summary, "rate", b->told->start.units_per_step / seconds);
    put_summary(b, s->step, &summary);
}

static void take(void *self, const struct pawl_fact *fact)
{
    struct board *b = self;
    struct message summary = { .size = 0 };

    if (b->rc)
        return;
    if (fact->kind == PAWL_FACT_STEP) {
        step(b, &fact->step);
    } else if (fact->kind == PAWL_FACT_EVAL) {
        add_scalar(&summary, "val_loss", fact->eval.record.loss);
        add_scalar(&summary, "val_accuracy", fact->eval.record.accuracy);
        put_summary(b, fact->eval.record.step, &summary);
    } else if (fact->kind == PAWL_FACT_SAVE && fact->save->state == PAWL_SAVE_DURABLE) {
        const struct pawl_save_event *e = fact->save;

        add_scalar(&summary, "save/stall_ms", (double)e->stall_ns / 1e6);
        add_scalar(&summary, "save/write_ms", (double)(e->write_end_ns - e->write_start_ns) / 1e6);
        put_summary(b, e->step, &summary);
    }
    if (fact->kind == PAWL_FACT_DONE || fact->at_ns - b->written_ns >= WRITE_NS) {
        write_out(b);
        b->written_ns = fact->at_ns;
    }
}

static int close_board(void *self)
{
    struct board *b = self;
    int rc;

    write_out(b);
    const int closed = pawl_io()->close(b->fd);
    rc = b->rc;
    if (!rc && closed)
        rc = pawl_fail(PAWL_EIO, "%s: %s", b->path, strerror(-closed));
    pawl_free(b->buffer);
    pawl_free(b);
    return rc;
}

const struct pawl_sink_kind pawl_sink_tensorboard = { "tensorboard", wanted, open_board,
                                                      take,          NULL,   close_board };
