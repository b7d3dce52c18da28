// convert.c - pawl convert IN OUT.

#include <stdio.h>
#include <string.h>

#include "checkpoint/source.h"
#include "kernels/memory.h"
#include "runtime/cli/exits.h"
#include "runtime/cli/files.h"
#include "runtime/cli/verbs.h"

static unsigned parts_of(const struct pawl_document *document)
{
    return (document->architecture ? PAWL_PART_ARCHITECTURE : 0u)
           | (document->weight_count ? PAWL_PART_WEIGHTS : 0u)
           | (document->training ? PAWL_PART_TRAINING : 0u);
}

// "architecture, training state"
static const char *part_words(char text[64], unsigned parts)
{
    static const char *const names[] = { "architecture", "weights", "training state" };

    text[0] = 0;
    for (int i = 0; i < 3; i++)
        if (parts >> i & 1) {
            if (text[0]) strcat(text, ", ");
            strcat(text, names[i]);
        }
    return text;
}

static const char *carries_words(unsigned parts)
{
    if (parts == PAWL_PART_WEIGHTS) return "weights only";
    if (parts == PAWL_PART_ARCHITECTURE) return "an architecture only";
    if (!(parts & PAWL_PART_ARCHITECTURE)) return "weights and training state only";
    return "architecture and weights only";
}

// The parts that --only does not name leave the document, as asked for.
static int keep_only(struct pawl_document *document, const char *only)
{
    char words[64];

    if (document->stop[0] && !document->architecture && (!only || strcmp(only, "weights")))
        return pawl_fail(PAWL_ECORRUPT, "%s: %s. try: --only weights", document->path,
                         document->stop);
    if (!only) return 0;
    const unsigned kept = strcmp(only, "weights") == 0 ? PAWL_PART_WEIGHTS : PAWL_PART_ARCHITECTURE;
    if (!(parts_of(document) & kept))
        return pawl_fail(PAWL_ECORRUPT, "%s holds no %s", document->path, part_words(words, kept));
    pawl_document_keep(document, kept);
    return 0;
}

// Says what the target cannot carry. *strict: that is an error.
static int tell_dropped(const struct pawl_document *document, const struct pawl_format *format,
                        bool strict)
{
    const unsigned has = parts_of(document), dropped = has & ~format->parts;
    char words[64];

    if (!(has & format->parts))
        return pawl_fail(PAWL_ECORRUPT, "%s holds nothing that %s can carry: it carries %s",
                         document->path, format->name, carries_words(format->parts));
    if (!dropped) return 0;
    if (strict)
        return pawl_fail(PAWL_ECORRUPT, "%s: --strict: %s would be dropped (%s carries %s)",
                         document->path, part_words(words, dropped), format->name,
                         carries_words(format->parts));
    fprintf(stderr, "dropped: %s (%s carries %s)\n", part_words(words, dropped), format->name,
            carries_words(format->parts));
    return 0;
}

static int convert(struct pawl_document *document, const struct pawl_options *options)
{
    struct pawl_write_options how = { .format = options->format, .force = options->force };
    const struct pawl_format *format = NULL;

    int rc = pawl_format_find(&format, options->format, options->arguments[1]);
    if (!rc && !format->write)
        rc = pawl_fail(PAWL_EINVAL, "this version reads %s and does not write it. try: another "
                       "--to", format->name);
    if (!rc && options->dtype) {
        how.cast = true;
        rc = pawl_dtype_parse(&how.dtype, options->dtype);
    }
    if (!rc) rc = keep_only(document, options->only);
    if (rc) return pawl_exit_telling_file(rc);
    rc = pawl_document_can_write(options->arguments[1], options->force);
    if (rc) {
        pawl_exit_telling(rc);
        return pawl_exit_of_output(rc);
    }
    rc = tell_dropped(document, format, options->strict);
    if (!rc) rc = pawl_document_verify(document);
    if (!rc) rc = pawl_document_write(document, options->arguments[1], &how);
    return rc ? pawl_exit_telling_file(rc) : PAWL_EXIT_DONE;
}

int pawl_verb_convert(const struct pawl_options *options)
{
    struct pawl_document *document = NULL;

    const int rc = pawl_source_open(&document, options->arguments[0], options->arch);
    if (rc) return pawl_exit_telling_file(rc);
    const int status = convert(document, options);
    pawl_document_free(document);
    return status;
}
