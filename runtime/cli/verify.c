// verify.c - pawl verify PATH: reads every byte that can be checked, changes nothing.

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "checkpoint/document.h"
#include "checkpoint/run.h"
#include "checkpoint/text.h"
#include "kernels/io.h"
#include "kernels/memory.h"
#include "runtime/cli/exits.h"
#include "runtime/cli/files.h"
#include "runtime/cli/listing.h"
#include "runtime/cli/verbs.h"
#include "runtime/report/words.h"

// What was found so far.
struct findings {
    bool json;
    struct pawl_text text;  // of JSON
    int whole, damaged, unreadable, uncommitted;
    char first[1024];  // the first thing that is wrong
};

// One line per snapshot.
static void tell(struct findings *f, const struct pawl_snapshot *s, const char *state,
                 const char *why)
{
    char bytes[PAWL_WORDS], clean[1024];

    if (f->json) {
        pawl_text_format(&f->text, "%s\n  {\"step\": %" PRIu64 ", \"state\": \"%s\", \"bytes\": %"
                         PRIu64 ", \"path\": ", f->text.size ? "," : "", s->step, state, s->bytes);
        pawl_text_string(&f->text, s->path);
        pawl_text_format(&f->text, ", \"why\": ");
        if (*why)
            pawl_text_string(&f->text, why);
        else
            pawl_text_format(&f->text, "null");
        pawl_text_format(&f->text, "}");
        return;
    }
    pawl_words_clean(clean, sizeof(clean), *why ? why : s->path);
    printf("%-11s  step %-8" PRIu64 "  %8s  %s\n", state, s->step,
           pawl_words_bytes(bytes, (double)s->bytes), clean);
}

static void check_snapshot(struct findings *f, const struct pawl_snapshot *s)
{
    const char *state = pawl_snapshot_state_name(s->state), *why = s->why;
    enum pawl_snapshot_state found = s->state;

    if (found == PAWL_DURABLE) {
        const int rc = pawl_snapshot_verify(s);
        if (rc) found = rc == PAWL_ECORRUPT || rc == PAWL_ENONE ? PAWL_DAMAGED : PAWL_UNREADABLE;
        state = rc ? pawl_snapshot_state_name(found) : "whole";
        why = rc ? pawl_error() : "";
    }
    f->whole += found == PAWL_DURABLE;
    f->damaged += found == PAWL_DAMAGED;
    f->unreadable += found == PAWL_UNREADABLE;
    f->uncommitted += found == PAWL_UNCOMMITTED;
    if (!f->first[0] && (found == PAWL_DAMAGED || found == PAWL_UNREADABLE))
        snprintf(f->first, sizeof(f->first), "%s", why);
    tell(f, s, state, found == PAWL_UNCOMMITTED ? "never committed" : why);
}

static int finish(struct findings *f)
{
    const bool fine = !f->damaged && !f->unreadable;

    if (f->json) {
        printf("{\"ok\": %s, \"format\": \"pawl\", \"whole\": %d, \"damaged\": %d, "
               "\"unreadable\": %d, \"uncommitted\": %d,\n \"snapshots\": [%s]}\n",
               fine && f->whole ? "true" : "false", f->whole, f->damaged, f->unreadable,
               f->uncommitted, f->text.size ? f->text.bytes : "");
        return f->text.rc;
    }
    if (f->whole + f->uncommitted + f->damaged + f->unreadable > 1)
        printf("%d whole, %d damaged, %d unreadable, %d uncommitted\n", f->whole, f->damaged,
               f->unreadable, f->uncommitted);
    return 0;
}

// What is wrong, for stderr and the exit code.
static int judge(const struct findings *f, const char *path, bool run)
{
    if (f->damaged)
        return pawl_fail(PAWL_ECORRUPT, "%s: damaged: %.800s. try: pawl ckpt ls %s", path, f->first,
                         path);
    if (f->unreadable) return pawl_fail(PAWL_EIO, "%s: unreadable: %.800s", path, f->first);
    if (!f->whole && !run)
        return pawl_fail(PAWL_ECORRUPT, "%s: the snapshot was never committed", path);
    if (!f->whole) return pawl_fail(PAWL_ENONE, "%s: no snapshot was ever committed here", path);
    return 0;
}

static int verify_snapshots(struct findings *f, const char *path)
{
    const bool run = !pawl_snapshot_is(path);
    struct pawl_snapshot one;
    struct pawl_run all = { 0 };
    int rc;

    if (run) {
        rc = pawl_run_list(&all, path);
        for (int i = 0; i < all.count && !rc; i++)
            check_snapshot(f, &all.snapshots[i]);
        pawl_run_free(&all);
    } else {
        rc = pawl_snapshot_look(&one, path);
        if (!rc) check_snapshot(f, &one);
    }
    if (!rc) rc = finish(f);
    return rc ? rc : judge(f, path, run);
}

// ---- other formats

static int read_all(const struct pawl_document *document, uint64_t *bytes)
{
    struct pawl_tensor_facts facts;
    int rc = 0;

    for (int i = 0; i < document->weight_count && !rc; i++) {
        rc = pawl_tensor_facts(&facts, document, &document->weights[i], false);
        *bytes += document->weights[i].tensor.size_bytes;
    }
    return rc;
}

static int verify_file(bool json, const char *path)
{
    struct pawl_document *document = NULL;
    char size[PAWL_WORDS];
    uint64_t bytes = 0;

    int rc = pawl_document_read(&document, path);
    if (!rc && document->stop[0])
        rc = pawl_fail(PAWL_ECORRUPT, "%s: %s", path, document->stop);
    if (!rc) rc = pawl_document_verify(document);
    if (!rc) rc = read_all(document, &bytes);
    if (!rc && json)
        printf("{\"ok\": true, \"format\": \"%s\", \"tensors\": %d, \"bytes\": %" PRIu64 "}\n",
               document->format, document->weight_count, bytes);
    if (!rc && !json)
        printf("whole        %s, %d tensors, %s; %s, and every byte can be read\n",
               document->format, document->weight_count, pawl_words_bytes(size, (double)bytes),
               pawl_document_has_checksums(document)
                   ? "its structure and its checksums hold"
                   : "the format has no checksums: its structure was checked");
    pawl_document_free(document);
    return rc;
}

int pawl_verb_verify(const struct pawl_options *options)
{
    const char *path = options->arguments[0];
    struct findings findings = { .json = options->json };

    const int rc = pawl_snapshot_is(path) || pawl_run_is(path)
                       ? verify_snapshots(&findings, path)
                       : verify_file(options->json, path);
    pawl_text_free(&findings.text);
    return rc ? pawl_exit_telling_file(rc) : PAWL_EXIT_DONE;
}
