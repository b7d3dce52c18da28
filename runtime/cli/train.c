// train.c - pawl train: opens everything, runs the loop, writes the export.

#include <stdio.h>
#include <string.h>

#include "kernels/io.h"
#include "kernels/memory.h"
#include "runtime/cli/exits.h"
#include "runtime/cli/storage.h"
#include "runtime/cli/train.h"
#include "runtime/cli/verbs.h"
#include "runtime/signals.h"

const char *train_export_path(char path[4096], const char *text)
{
    const char *equals = strrchr(text, '=');

    snprintf(path, 4096, "%.*s", equals ? (int)(equals - text) : (int)strlen(text), text);
    return equals ? equals + 1 : NULL;
}

// The last snapshot, written in another format. The same command again replaces what it wrote.
static int export_model(const struct train *run)
{
    struct pawl_document *document = NULL;
    char path[4096];

    const char *format = train_export_path(path, run->options->export_to);
    int rc = pawl_document_read(&document, run->options->out);
    if (!rc)
        rc = pawl_document_write(document, path,
                                 &(struct pawl_write_options){ .format = format, .force = true });
    pawl_document_free(document);
    return rc;
}

int pawl_verb_train(const struct pawl_options *options)
{
    struct train run = { .options = options, .resumed_from = -1,
                         .start_ns = pawl_io()->now_ns() };
    int status = 0;

    pawl_signals_install();
    status = storage_choose(options);
    if (status) return pawl_exit_telling(status);
    if (!train_open(&run, &status)) {
        status = train_loop(&run);
        const double seconds = (double)(pawl_io()->now_ns() - run.start_ns) / 1e9;
        if (!status && options->export_to && export_model(&run))
            status = pawl_exit_telling(PAWL_EIO);
        pawl_report_done(run.report, pawl_trainer_step_number(run.trainer), run.last.loss, seconds,
                         status);
    }
    // A page or trace that could not be written is no success, but never hides "run me again".
    const int rc = train_close(&run);
    return status ? status : pawl_exit_of(rc);
}
