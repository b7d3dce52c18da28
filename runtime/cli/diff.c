// diff.c - pawl diff A B.

#include "runtime/cli/diff.h"

#include <stdio.h>
#include <string.h>

#include "checkpoint/source.h"
#include "checkpoint/text.h"
#include "kernels/memory.h"
#include "runtime/cli/exits.h"
#include "runtime/cli/files.h"
#include "runtime/cli/listing.h"
#include "runtime/cli/verbs.h"
#include "runtime/report/words.h"

enum { ROWS_MAX = 20 };  // for people; --json lists all

// ---- for people

static const char *words_of(char *text, size_t text_bytes, const struct pawl_entry *entry)
{
    char shape[128];

    if (!entry) return "not there";
    snprintf(text, text_bytes, "%s %s", pawl_dtype_name(entry->tensor.dtype),
             pawl_shape_text(shape, sizeof(shape), entry->tensor.rank, entry->tensor.dim));
    return text;
}

static void add_row(struct pawl_table *table, const struct pawl_difference *d)
{
    char a[160], b[160], count[PAWL_GROUPED], all[PAWL_GROUPED];

    pawl_table_cell(table, "%s", (d->a ? d->a : d->b)->tensor.name);
    if (!d->a || !d->b || d->differing < 0) {
        pawl_table_cell(table, "A: %s   B: %s", words_of(a, sizeof(a), d->a),
                        words_of(b, sizeof(b), d->b));
        return;
    }
    const bool types = d->a->tensor.dtype != d->b->tensor.dtype;
    pawl_table_cell(table, "%s of %s elements differ, by at most %.6g%s%s%s%s",
                    pawl_grouped(count, d->differing), pawl_grouped(all, d->elements), d->largest,
                    types ? "; A: " : "", types ? words_of(a, sizeof(a), d->a) : "",
                    types ? ", B: " : "", types ? words_of(b, sizeof(b), d->b) : "");
}

static int show(const struct pawl_diff *diff)
{
    struct pawl_table table = { .columns = 2 };
    struct pawl_listing page;

    pawl_listing_open(&page);
    if (diff->architecture[0]) printf("architecture: %s\n", diff->architecture);
    if (diff->steps_differ)
        printf("step: A %llu, B %llu\n", (unsigned long long)diff->a->training->step,
               (unsigned long long)diff->b->training->step);
    for (int i = 0; i < diff->count && i < ROWS_MAX; i++)
        add_row(&table, &diff->differences[i]);
    const int rc = pawl_table_print(&table, &page);
    if (rc) return rc;
    if (diff->count > ROWS_MAX)
        printf("... and %d more. try: --json\n", diff->count - ROWS_MAX);
    if (diff->not_compared[0]) printf("not compared: %s\n", diff->not_compared);
    if (pawl_diff_is_same(diff))
        printf("identical: %lld tensors, %llu bytes\n", (long long)diff->same_tensors,
               (unsigned long long)diff->same_bytes);
    else
        printf("different: %d tensor%s; %lld are the same\n", diff->count,
               diff->count == 1 ? "" : "s", (long long)diff->same_tensors);
    return 0;
}

// ---- JSON

static void add_side(struct pawl_text *text, const struct pawl_entry *entry)
{
    if (!entry) {
        pawl_text_format(text, "null");
        return;
    }
    pawl_text_format(text, "{\"dtype\": \"%s\", \"shape\": [",
                     pawl_dtype_name(entry->tensor.dtype));
    for (int d = 0; d < entry->tensor.rank; d++)
        pawl_text_format(text, "%s%lld", d ? ", " : "", (long long)entry->tensor.dim[d]);
    pawl_text_format(text, "]}");
}

static void add_difference(struct pawl_text *text, const struct pawl_difference *d)
{
    pawl_text_format(text, "{\"name\": ");
    pawl_text_string(text, (d->a ? d->a : d->b)->tensor.name);
    pawl_text_format(text, ", \"a\": ");
    add_side(text, d->a);
    pawl_text_format(text, ", \"b\": ");
    add_side(text, d->b);
    if (d->differing < 0) {
        pawl_text_format(text, ", \"elements\": null, \"differing\": null, "
                         "\"max_abs_difference\": null}");
        return;
    }
    pawl_text_format(text, ", \"elements\": %lld, \"differing\": %lld, \"max_abs_difference\": ",
                     (long long)d->elements, (long long)d->differing);
    pawl_text_number(text, d->largest);
    pawl_text_format(text, "}");
}

static void add_step(struct pawl_text *text, const struct pawl_document *document)
{
    if (document->training)
        pawl_text_format(text, "%llu", (unsigned long long)document->training->step);
    else
        pawl_text_format(text, "null");
}

static int show_json(const struct pawl_diff *diff)
{
    struct pawl_text text = { 0 };

    pawl_text_format(&text, "{\"identical\": %s, \"identical_tensors\": %lld, \"identical_bytes\": "
                     "%llu, \"step\": {\"a\": ", pawl_diff_is_same(diff) ? "true" : "false",
                     (long long)diff->same_tensors, (unsigned long long)diff->same_bytes);
    add_step(&text, diff->a);
    pawl_text_format(&text, ", \"b\": ");
    add_step(&text, diff->b);
    pawl_text_format(&text, "},\n \"architecture\": ");
    if (diff->architecture[0])
        pawl_text_string(&text, diff->architecture);
    else
        pawl_text_format(&text, "null");
    pawl_text_format(&text, ", \"not_compared\": ");
    pawl_text_string(&text, diff->not_compared);
    pawl_text_format(&text, ",\n \"different\": [");
    for (int i = 0; i < diff->count; i++) {
        pawl_text_format(&text, "%s\n  ", i ? "," : "");
        add_difference(&text, &diff->differences[i]);
    }
    pawl_text_format(&text, "]}\n");
    const int rc = text.rc;
    if (!rc) fwrite(text.bytes, 1, text.size, stdout);
    pawl_text_free(&text);
    return rc;
}

int pawl_verb_diff(const struct pawl_options *options)
{
    struct pawl_document *a = NULL, *b = NULL;
    struct pawl_diff diff = { 0 };
    int status = PAWL_EXIT_DONE;

    int rc = pawl_source_open(&a, options->arguments[0], NULL);
    if (!rc) rc = pawl_source_open(&b, options->arguments[1], NULL);
    if (!rc) rc = pawl_document_verify(a);
    if (!rc) rc = pawl_document_verify(b);
    diff.a = a;
    diff.b = b;
    if (!rc) rc = pawl_diff_make(&diff);
    if (!rc) rc = options->json ? show_json(&diff) : show(&diff);
    if (rc)
        status = pawl_exit_telling_file(rc);
    else if (!pawl_diff_is_same(&diff))
        status = PAWL_EXIT_DIFFER;
    pawl_diff_free(&diff);
    pawl_document_free(a);
    pawl_document_free(b);
    return status;
}
