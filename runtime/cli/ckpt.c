// ckpt.c - pawl ckpt ls|show|prune|rm|pin|unpin DIR [STEP...].

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "checkpoint/lease.h"
#include "checkpoint/run.h"
#include "checkpoint/suggest.h"
#include "checkpoint/text.h"
#include "kernels/memory.h"
#include "runtime/cli/exits.h"
#include "runtime/cli/files.h"
#include "runtime/cli/listing.h"
#include "runtime/cli/verbs.h"
#include "runtime/report/words.h"

struct ckpt {
    const struct pawl_options *options;
    const char *where;
    struct pawl_run run;
    bool *marks;  // of run.snapshots: chosen
};

// ---- showing

static void add_json(struct pawl_text *text, const struct pawl_snapshot *s)
{
    pawl_text_format(text, "{\"step\": %" PRIu64 ", \"epoch\": ", s->step);
    if (s->epoch >= 0)
        pawl_text_format(text, "%" PRId64, s->epoch);
    else
        pawl_text_format(text, "null");
    pawl_text_format(text, ", \"state\": \"%s\", \"bytes\": %" PRIu64 ", \"ranks\": %d, \"path\": ",
                     pawl_snapshot_state_name(s->state), s->bytes, s->ranks);
    pawl_text_string(text, s->path);
    pawl_text_format(text, ", \"pinned\": %s, \"metric\": ", s->pinned ? "true" : "false");
    pawl_text_number(text, s->metric);
    pawl_text_format(text, ", \"why\": ");
    if (s->why[0])
        pawl_text_string(text, s->why);
    else
        pawl_text_format(text, "null");
    pawl_text_format(text, "}");
}

// The snapshots whose mark is set (marks NULL: all) as a JSON array.
static void add_list(struct pawl_text *text, const struct pawl_run *run, const bool *marks)
{
    const char *comma = "";

    pawl_text_format(text, "[");
    for (int i = 0; i < run->count; i++) {
        if (marks && !marks[i]) continue;
        pawl_text_format(text, "%s\n ", comma);
        add_json(text, &run->snapshots[i]);
        comma = ",";
    }
    pawl_text_format(text, "]");
}

static int put(struct pawl_text *text)
{
    const int rc = text->rc;

    if (!rc) fwrite(text->bytes, 1, text->size, stdout);
    pawl_text_free(text);
    return rc;
}

static int table_of(const struct pawl_run *run, const bool *marks)
{
    struct pawl_table table = { .columns = 7, .right = 1 << 0 | 1 << 1 | 1 << 3 | 1 << 4 };
    static const char *const titles[] = { "step", "epoch", "state", "bytes", "ranks", "", "path" };
    char bytes[PAWL_WORDS], epoch[24];
    struct pawl_listing page;

    pawl_listing_open(&page);
    for (int c = 0; c < 7; c++)
        pawl_table_cell(&table, "%s", titles[c]);
    for (int i = 0; i < run->count; i++) {
        const struct pawl_snapshot *s = &run->snapshots[i];
        if (marks && !marks[i]) continue;
        snprintf(epoch, sizeof(epoch), "%" PRId64, s->epoch);
        pawl_table_cell(&table, "%" PRIu64, s->step);
        pawl_table_cell(&table, "%s", s->epoch < 0 ? "-" : epoch);
        pawl_table_cell(&table, "%s", pawl_snapshot_state_name(s->state));
        pawl_table_cell(&table, "%s", pawl_words_bytes(bytes, (double)s->bytes));
        pawl_table_cell(&table, "%d", s->ranks);
        pawl_table_cell(&table, "%s", s->pinned ? "pinned" : "");
        pawl_table_cell(&table, "%s", s->why[0] ? s->why : s->path);
    }
    return pawl_table_print(&table, &page);
}

// --verify: what is called durable has been read to the last byte.
static void verify_all(struct pawl_run *run)
{
    for (int i = 0; i < run->count; i++) {
        struct pawl_snapshot *s = &run->snapshots[i];
        const int rc = s->state == PAWL_DURABLE ? pawl_snapshot_verify(s) : 0;
        if (!rc) continue;
        s->state = rc == PAWL_ECORRUPT ? PAWL_DAMAGED : PAWL_UNREADABLE;
        snprintf(s->why, sizeof(s->why), "%.511s", pawl_error());
    }
}

static int list(struct ckpt *c)
{
    struct pawl_text text = { 0 };

    if (c->options->verify) verify_all(&c->run);
    if (c->options->json) {
        add_list(&text, &c->run, NULL);
        pawl_text_format(&text, "\n");
        return put(&text);
    }
    if (!c->run.count) {
        printf("no snapshots in %s\n", c->where);
        return 0;
    }
    return table_of(&c->run, NULL);
}

static void show_one(const struct pawl_snapshot *s)
{
    char bytes[PAWL_WORDS];
    struct pawl_listing page;

    pawl_listing_open(&page);
    printf("%s\n", s->path);
    pawl_listing_line(&page, "state   %s%s%s", pawl_snapshot_state_name(s->state),
                      s->why[0] ? ": " : "", s->why);
    pawl_listing_line(&page, "step    %" PRIu64, s->step);
    if (s->epoch >= 0) pawl_listing_line(&page, "epoch   %" PRId64, s->epoch);
    if (!isnan(s->metric)) pawl_listing_line(&page, "metric  %.9g", s->metric);
    pawl_listing_line(&page, "lease   %u", s->lease);
    pawl_listing_line(&page, "bytes   %s", pawl_words_bytes(bytes, (double)s->bytes));
    pawl_listing_line(&page, "ranks   %d", s->ranks);
    pawl_listing_line(&page, "pinned  %s", s->pinned ? "yes" : "no");
}

// ---- choosing

static int read_step(uint64_t *out, const char *text)
{
    int used = 0;

    if (sscanf(text, "%20" SCNu64 "%n", out, &used) != 1 || text[used] || text[0] == '-')
        return pawl_fail(PAWL_EINVAL, "'%.40s' is not a step. try: pawl ckpt ls DIR", text);
    return 0;
}

// Marks the snapshots of the steps on the command line; newest: only the newest durable attempt.
static int mark_steps(struct ckpt *c, bool newest)
{
    uint64_t step;

    if (c->options->argument_count < 3)
        return pawl_fail(PAWL_EINVAL, "which steps? try: pawl ckpt ls %s", c->where);
    for (int k = 2; k < c->options->argument_count; k++) {
        bool found = false;
        const int rc = read_step(&step, c->options->arguments[k]);
        if (rc) return rc;
        for (int i = 0; i < c->run.count; i++) {
            const struct pawl_snapshot *s = &c->run.snapshots[i];
            if (s->step != step || (newest && (found || s->state != PAWL_DURABLE))) continue;
            c->marks[i] = found = true;
        }
        if (!found)
            return pawl_fail(PAWL_ENONE, "%s has no %ssnapshot of step %" PRIu64, c->where,
                             newest ? "durable " : "", step);
    }
    return 0;
}

static int count_marks(const struct ckpt *c, uint64_t *bytes)
{
    int count = 0;

    *bytes = 0;
    for (int i = 0; i < c->run.count; i++) {
        if (!c->marks[i]) continue;
        count++;
        *bytes += c->run.snapshots[i].bytes;
    }
    return count;
}

static int show(struct ckpt *c)
{
    struct pawl_text text = { 0 };
    int chosen = -1;

    if (c->options->argument_count > 2) {
        const int rc = mark_steps(c, false);
        if (rc) return rc;
    }
    for (int i = 0; i < c->run.count && chosen < 0; i++) {
        const bool durable = c->run.snapshots[i].state == PAWL_DURABLE;
        if (c->options->argument_count > 2 ? c->marks[i] : durable) chosen = i;
    }
    if (chosen < 0)
        return pawl_fail(PAWL_ENONE, "%s has no durable snapshot. try: pawl ckpt ls %s", c->where,
                         c->where);
    if (c->options->json) {
        add_json(&text, &c->run.snapshots[chosen]);
        pawl_text_format(&text, "\n");
        return put(&text);
    }
    show_one(&c->run.snapshots[chosen]);
    return 0;
}

// ---- removing

// The answer of a person at a terminal; without one, -y is needed.
static int confirm(const struct ckpt *c, int count, uint64_t bytes)
{
    char answer[16] = "", words[PAWL_WORDS];

    if (c->options->yes) return 0;
    if (!isatty(STDIN_FILENO))
        return pawl_fail(PAWL_EINVAL, "%d snapshots would be removed from %s. try: -y, or "
                         "--dry-run", count, c->where);
    fprintf(stderr, "remove %d snapshots (%s)? [y/N] ", count,
            pawl_words_bytes(words, (double)bytes));
    if (fgets(answer, sizeof(answer), stdin) && (answer[0] == 'y' || answer[0] == 'Y')) return 0;
    return pawl_fail(PAWL_EINVAL, "nothing was removed");
}

// Oldest first, so that an interruption leaves the newest. Whoever trains holds the lease, and its
// own retention must not meet this one.
static int remove_marked(struct ckpt *c)
{
    struct pawl_lease lease = { .fd = -1 };

    int rc = pawl_lease_take(&lease, c->where);
    for (int i = c->run.count - 1; i >= 0 && !rc; i--)
        if (c->marks[i]) rc = pawl_snapshot_remove(c->where, &c->run.snapshots[i]);
    pawl_lease_drop(&lease);
    return rc;
}

static int remove_chosen(struct ckpt *c)
{
    const bool dry = c->options->dry_run;
    struct pawl_text text = { 0 };
    char words[PAWL_WORDS];
    uint64_t bytes;
    int rc = 0;

    const int count = count_marks(c, &bytes);
    if (!c->options->json && count) rc = table_of(&c->run, c->marks);
    if (!rc && count && !dry) rc = confirm(c, count, bytes);
    if (!rc && count && !dry) rc = remove_marked(c);
    if (rc) return rc;
    if (c->options->json) {
        pawl_text_format(&text, "{\"dry_run\": %s, \"bytes\": %" PRIu64 ", \"removed\": ",
                         dry ? "true" : "false", bytes);
        add_list(&text, &c->run, c->marks);
        pawl_text_format(&text, "}\n");
        return put(&text);
    }
    printf("%s %d snapshot%s, %s\n", dry ? "would remove" : "removed", count,
           count == 1 ? "" : "s", pawl_words_bytes(words, (double)bytes));
    return 0;
}

static int prune(struct ckpt *c)
{
    const char *keep = c->options->keep ? c->options->keep : "latest=3";
    const int rc = pawl_run_prune(&c->run, keep, c->marks);

    return rc ? rc : remove_chosen(c);
}

static int rm(struct ckpt *c)
{
    const int rc = mark_steps(c, false);

    for (int i = 0; i < c->run.count && !rc; i++)
        if (c->marks[i] && c->run.snapshots[i].pinned)
            return pawl_fail(PAWL_EINVAL, "step %" PRIu64 " is pinned. try: pawl ckpt unpin %s "
                             "%" PRIu64, c->run.snapshots[i].step, c->where,
                             c->run.snapshots[i].step);
    return rc ? rc : remove_chosen(c);
}

static int set_pins(struct ckpt *c, bool pin)
{
    int rc = mark_steps(c, pin);

    for (int i = 0; i < c->run.count && !rc; i++) {
        struct pawl_snapshot *s = &c->run.snapshots[i];
        if (!c->marks[i] || c->options->dry_run) continue;
        rc = pawl_snapshot_pin(s, pin);
        if (!rc && !c->options->json) printf("%s step %" PRIu64 "\n", pin ? "pinned" : "unpinned",
                                             s->step);
        s->pinned = pin;
    }
    if (!rc && c->options->json) {
        struct pawl_text text = { 0 };
        add_list(&text, &c->run, c->marks);
        pawl_text_format(&text, "\n");
        rc = put(&text);
    }
    return rc;
}

static int pin(struct ckpt *c) { return set_pins(c, true); }
static int unpin(struct ckpt *c) { return set_pins(c, false); }

// ---- the table

static const struct {
    const char *name;
    int (*act)(struct ckpt *c);
} actions[] = {
    { "ls", list }, { "show", show }, { "prune", prune },
    { "rm", rm },   { "pin", pin },   { "unpin", unpin },
};
enum { ACTIONS = sizeof(actions) / sizeof(actions[0]) };

static int find_action(int *out, const char *word)
{
    const char *names[ACTIONS];
    char hint[64];

    for (int i = 0; i < ACTIONS; i++) {
        names[i] = actions[i].name;
        if (strcmp(word, names[i])) continue;
        *out = i;
        return 0;
    }
    return pawl_fail(PAWL_EINVAL, "ckpt has no '%.40s'%s; it has ls, show, prune, rm, pin, unpin",
                     word, pawl_suggest_text(hint, sizeof(hint), word, names, ACTIONS));
}

int pawl_verb_ckpt(const struct pawl_options *options)
{
    struct ckpt c = { .options = options, .where = options->arguments[1] };
    int action = 0;

    int rc = find_action(&action, options->arguments[0]);
    if (!rc && !pawl_run_is(c.where))
        rc = pawl_fail(PAWL_ENONE, "%s: there is no run directory by that name", c.where);
    if (!rc) rc = pawl_run_list(&c.run, c.where);
    if (!rc) rc = pawl_alloc(&c.marks, sizeof(*c.marks) * (size_t)c.run.count, "marks");
    if (!rc) rc = actions[action].act(&c);
    pawl_free(c.marks);
    pawl_run_free(&c.run);
    return rc ? pawl_exit_telling_file(rc) : PAWL_EXIT_DONE;
}
