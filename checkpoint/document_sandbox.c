// document_sandbox.c - reads a document in a process without rights, and takes over what it found.
//
//     parent                              child
//     pawl_document_read   -- fork -->    pawl_document_read_here, files through the broker
//     decode and check     <-- TABLES     encode
//     fetch of made bytes  -- READ -->    made.read            (inflate, gather)
//     verify               -- VERIFY ->   format->verify
//
// Bytes that lie in a file as they are never pass through the child: the parent preads them from
// the descriptor that its broker opened.

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "checkpoint/document_inside.h"
#include "checkpoint/sandbox.h"
#include "kernels/io.h"
#include "kernels/memory.h"

enum { TABLES_BYTES_MAX = 512 << 20 };
enum { TABLES = 16, FAILED, READ, VERIFY, BYTES };

// ---- the child

struct job {
    struct pawl_document *document;
    const char *path;
    struct pawl_packet packet;
};

static void send_failure(struct job *job, int code)
{
    job->packet.kind = FAILED;
    job->packet.a = code;
    job->packet.size = (uint32_t)snprintf(job->packet.bytes, 1024, "%s", pawl_error()) + 1;
    if (job->packet.size > 1024) job->packet.size = 1024;
    if (pawl_packet_send(0, &job->packet, -1)) _exit(1);
}

static void send_tables(struct job *job)
{
    struct pawl_text text = { 0 };
    const int rc = pawl_document_encode(&text, job->document, pawl_sandbox_number);

    if (rc) {
        send_failure(job, rc);
        _exit(0);
    }
    for (size_t at = 0; at == 0 || at < text.size; at += PAWL_SANDBOX_PACKET_BYTES) {
        const size_t left = text.size - at;
        job->packet.kind = TABLES;
        job->packet.a = (int64_t)text.size;
        job->packet.size = left < PAWL_SANDBOX_PACKET_BYTES ? (uint32_t)left
                                                             : PAWL_SANDBOX_PACKET_BYTES;
        memcpy(job->packet.bytes, text.bytes + at, job->packet.size);
        if (pawl_packet_send(0, &job->packet, -1)) _exit(1);
    }
    pawl_text_free(&text);
}

static int serve_read(struct job *job)
{
    uint64_t asked[3] = { 0 };  // file, offset, bytes

    if (job->packet.size != sizeof(asked)) return PAWL_EINVAL;
    memcpy(asked, job->packet.bytes, sizeof(asked));
    for (uint64_t done = 0; done < asked[2];) {
        const uint64_t left = asked[2] - done;
        const size_t now = left < PAWL_SANDBOX_PACKET_BYTES ? (size_t)left
                                                             : PAWL_SANDBOX_PACKET_BYTES;
        const int rc = pawl_document_read_at(job->document, (int)asked[0], asked[1] + done,
                                             job->packet.bytes, now);
        if (rc) return rc;
        job->packet.kind = BYTES;
        job->packet.size = (uint32_t)now;
        if (pawl_packet_send(0, &job->packet, -1)) _exit(1);
        done += now;
    }
    return 0;
}

static void child(void *context)
{
    struct job *job = context;
    int rc = pawl_document_read_here(job->document, job->path);

    if (rc) {
        send_failure(job, rc);
        return;
    }
    send_tables(job);
    while (!pawl_packet_recv(0, &job->packet, NULL)) {
        rc = PAWL_EINVAL;
        if (job->packet.kind == READ) rc = serve_read(job);
        if (job->packet.kind == VERIFY) {
            rc = pawl_document_verify_here(job->document);
            if (!rc) {
                job->packet.kind = BYTES;
                job->packet.size = 0;
                if (pawl_packet_send(0, &job->packet, -1)) return;
            }
        }
        if (rc) send_failure(job, rc);
    }
}

// ---- the parent

// A failure's code and words, as the child told them; its words may be anything.
static int told(const struct pawl_sandbox *sandbox)
{
    const struct pawl_packet *packet = &sandbox->packet;
    char words[1024];
    size_t size = packet->size < sizeof(words) ? packet->size : sizeof(words) - 1;

    memcpy(words, packet->bytes, size);
    words[size] = 0;
    for (size_t i = 0; words[i]; i++)
        if ((unsigned char)words[i] < 0x20 || words[i] == 0x7f) words[i] = '?';
    return pawl_fail(packet->a >= PAWL_ENOTSUP && packet->a < 0 ? (int)packet->a : PAWL_ECORRUPT,
                     "%s", words);
}

struct far {
    struct pawl_sandbox *sandbox;
    int file;
};

static int far_read(void *context, uint64_t offset, void *out, size_t size)
{
    const struct far *far = context;
    struct pawl_packet *packet = &far->sandbox->packet;
    const uint64_t asked[3] = { (uint64_t)far->file, offset, size };
    char *to = out;

    packet->kind = READ;
    packet->size = sizeof(asked);
    memcpy(packet->bytes, asked, sizeof(asked));
    // A child that is gone is noticed by the next packet, which says why.
    if (size) (void)pawl_packet_send(far->sandbox->channel, packet, -1);
    while (size) {
        const int rc = pawl_sandbox_next(far->sandbox);
        if (rc) return rc;
        if (packet->kind != BYTES || !packet->size || packet->size > size)
            return told(far->sandbox);
        memcpy(to, packet->bytes, packet->size);
        to += packet->size;
        size -= packet->size;
    }
    return 0;
}

static void far_free(void *context)
{
    struct far *far = context;

    pawl_sandbox_free(far->sandbox);
    pawl_free(far);
}

// The file of an answer: a descriptor that the broker opened, with the size that it has; or bytes
// to be made, of a size that only the child knows.
static int take_file(void *context, struct pawl_file *file, int number, int index)
{
    struct pawl_sandbox *sandbox = context;
    struct far *far = NULL;
    struct stat of;

    if (number >= 0) {
        if (number >= sandbox->opened_count || sandbox->opened[number] < 0) return -1;
        if (pawl_io_posix.fstat(sandbox->opened[number], &of) || !S_ISREG(of.st_mode)) return -1;
        file->fd = sandbox->opened[number];
        file->size = (uint64_t)of.st_size;
        sandbox->opened[number] = -1;
        return 0;
    }
    if (pawl_alloc(&far, sizeof(*far), "a file in a sandbox")) return -1;
    far->sandbox = sandbox;
    far->file = index;
    sandbox->users++;
    file->made = (struct pawl_made){ file->size, far, far_read, far_free };
    return 0;
}

static int take_tables(struct pawl_sandbox *sandbox, struct pawl_document *document)
{
    const struct pawl_wire_files files = { take_file, sandbox };
    struct pawl_packet *packet = &sandbox->packet;
    char *bytes = NULL;
    size_t size = 0, got = 0;

    int rc = pawl_sandbox_next(sandbox);
    if (!rc && packet->kind != TABLES) return told(sandbox);
    if (!rc && (packet->a < 0 || packet->a > TABLES_BYTES_MAX))
        rc = pawl_fail(PAWL_ECORRUPT, "%s: its tables are too large", document->path);
    if (!rc) size = (size_t)packet->a;
    if (!rc) rc = pawl_alloc(&bytes, size + 1, "tables");
    while (!rc) {
        if (packet->kind != TABLES || packet->size > size - got) {
            rc = told(sandbox);
            break;
        }
        memcpy(bytes + got, packet->bytes, packet->size);
        got += packet->size;
        if (got == size) break;
        rc = pawl_sandbox_next(sandbox);
    }
    if (!rc) rc = pawl_document_decode(document, bytes, size, &files);
    pawl_free(bytes);
    return rc;
}

static int read_apart(struct pawl_document *document, const char *path)
{
    struct pawl_sandbox *sandbox = NULL;
    struct job *job = NULL;

    int rc = pawl_alloc(&job, sizeof(*job), "a reader");
    if (rc) return rc;
    *job = (struct job){ .document = document, .path = path };
    rc = pawl_sandbox_start(&sandbox, path, child, job);
    pawl_free(job);
    if (rc) return rc;
    rc = take_tables(sandbox, document);
    if (rc) {
        pawl_sandbox_free(sandbox);
        return rc;
    }
    pawl_sandbox_trust_time(sandbox);
    document->files->sandbox = sandbox;
    return 0;
}

// A test's own pawl_io() has no descriptors that a kernel could hand over; and whoever looks for a
// bug wants one process.
static bool apart(const char *path)
{
    const char *wish = getenv("PAWL_SANDBOX");

    if (pawl_io() != &pawl_io_posix || (wish && strcmp(wish, "off") == 0)) return false;
    return !pawl_document_is_own(path);
}

int pawl_document_read(struct pawl_document **out, const char *path)
{
    struct pawl_document *document = NULL;

    if (strlen(path) >= sizeof(document->path))
        return pawl_fail(PAWL_EINVAL, "the path is longer than %zu bytes",
                         sizeof(document->path) - 1);
    int rc = pawl_document_new(&document);
    if (rc) return rc;
    snprintf(document->path, sizeof(document->path), "%s", path);
    rc = apart(path) ? read_apart(document, path) : pawl_document_read_here(document, path);
    if (rc)
        pawl_document_free(document);
    else
        *out = document;
    return rc;
}

int pawl_document_verify(const struct pawl_document *document)
{
    struct pawl_sandbox *sandbox = document->files->sandbox;

    if (!sandbox) return pawl_document_verify_here(document);
    sandbox->packet.kind = VERIFY;
    sandbox->packet.size = 0;
    (void)pawl_packet_send(sandbox->channel, &sandbox->packet, -1);
    const int rc = pawl_sandbox_next(sandbox);
    if (rc) return rc;
    return sandbox->packet.kind == BYTES ? 0 : told(sandbox);
}
