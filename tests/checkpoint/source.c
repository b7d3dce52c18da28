// source.c - what MODEL may be: presets, files, runs and snapshots, and the format `pawl`.

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "checkpoint/recover.h"
#include "checkpoint/run.h"
#include "checkpoint/source.h"
#include "checkpoint/sums.h"
#include "kernels/memory.h"
#include "tests/checkpoint/saver_support.h"
#include "tests/checkpoint/document_support.h"

static struct pawl_document *document;

static int open_source(const char *model, const char *arch)
{
    pawl_document_free(document);
    document = NULL;
    return pawl_source_open(&document, model, arch);
}

static void refuse(int rc, int wanted, const char *words)
{
    cr_assert_eq(rc, wanted, "%d, not %d: %s", rc, wanted, pawl_error());
    cr_assert(strstr(pawl_error(), words), "'%s' lacks '%s'", pawl_error(), words);
    cr_assert_null(document);
}

// Weights of mlp:2-1 in a file without architecture.
static void write_weights(const char *path)
{
    const float values[3] = { 1.5f, -2, 0.25f };

    write_safetensors_with(path, "{\"fc1.weight\":{\"dtype\":\"F32\",\"shape\":[1,2],"
                           "\"data_offsets\":[0,8]},\"fc1.bias\":{\"dtype\":\"F32\",\"shape\":[1],"
                           "\"data_offsets\":[8,12]}}", values, sizeof(values));
}

Test(source, presets_come_before_files)
{
    cr_assert_eq(open_source("mlp:2-1", NULL), 0);
    cr_assert_str_eq(document->architecture->name, "mlp");
    cr_assert_eq(document->weight_count, 0);
    refuse(open_source("mlp:2", NULL), PAWL_EINVAL, "at least");
    refuse(open_source("gtp", NULL), PAWL_ENONE, "did you mean 'gpt'");
    refuse(open_source("./gtp", NULL), PAWL_ENONE, "nothing by that name");
    refuse(open_source("", NULL), PAWL_EINVAL, "empty");
}

Test(source, arch_serves_files_without_one)
{
    write_weights(scratch("w.safetensors"));
    cr_assert_eq(open_source(scratch("w.safetensors"), NULL), 0);
    cr_assert_null(document->architecture);
    cr_assert_eq(open_source(scratch("w.safetensors"), "mlp:2-1"), 0);
    cr_assert_str_eq(document->architecture->layers[1].name, "fc1");
    cr_assert_eq(document->weight_count, 2);
    refuse(open_source(scratch("w.safetensors"), scratch("w.safetensors")), PAWL_ECORRUPT,
           "no architecture either");
    refuse(open_source(scratch("w.safetensors"), "mlp:2-3"), PAWL_ECORRUPT,
           "layer 'fc1': tensor 'fc1.weight' is float32 [3, 2] in the model and float32 [1, 2] in "
           "the file. 0 of 2 tensors match, 0 missing, 2 of another shape or type, 0 unexpected");
    refuse(open_source(scratch("w.safetensors"), "mlp:2-1-1"), PAWL_ECORRUPT,
           "layer 'fc2': tensor 'fc2.weight' [1, 1] is missing. 2 of 4 tensors match, 2 missing");
    refuse(open_source(scratch("w.safetensors"), "mpl"), PAWL_ENONE, "did you mean 'mlp'");
    refuse(open_source("mlp:2-1", "mlp:2-2"), PAWL_ECORRUPT, "'fc1.weight' [1, 2] in mlp:2-1");
    cr_assert_eq(open_source("mlp:2-1", "mlp:2-1"), 0);
    pawl_document_free(document);
}

// ---- runs that the saver made

static void check_values(const struct state *state, uint64_t step)
{
    char *bytes;

    for (int i = 0; i < state->count; i++) {
        const struct pawl_tensor *tensor = &state->tensors[i];
        const struct pawl_entry *entry = pawl_document_find(document, tensor->name);
        cr_assert_not_null(entry, "%s", tensor->name);
        cr_assert_eq(entry->tensor.size_bytes, tensor->size_bytes);
        cr_assert_eq(entry->tensor.dtype, tensor->dtype);
        bytes = malloc(tensor->size_bytes + 1);
        cr_assert_eq(pawl_document_fetch(document, entry, bytes), 0, "%s", pawl_error());
        cr_assert_eq(memcmp(bytes, state->memory[i], tensor->size_bytes), 0, "%s of step %d",
                     tensor->name, (int)step);
        free(bytes);
    }
}

static void save(struct state *state, const char *where, uint64_t steps)
{
    struct pawl_saver *saver = open_saver(state, where, "latest=9", "sync");
    struct pawl_progress progress = { .epoch = 3, .loss = 0.5, .metric = NAN,
        .training = "{\"optimizer\":{\"kind\":\"adamw\",\"learning_rate\":0.001},\"samples\":64}",
        .metadata = "{\"note\":\"x\"}" };

    for (progress.step = 1; progress.step <= steps; progress.step++) {
        state_fill(state, progress.step);
        cr_assert_eq(pawl_saver_save(saver, state->stream, &progress), 0, "%s", pawl_error());
    }
    cr_assert_eq(pawl_saver_close(saver), 0);
}

Test(source, a_run_is_its_newest_whole_snapshot)
{
    char where[4096], snapshot[4096];
    struct state state;

    scratch_make(where);
    state_open(&state, STATE_MIXED);
    refuse(open_source(where, NULL), PAWL_ENONE, "no run");
    save(&state, where, 3);
    cr_assert_eq(open_source(where, NULL), 0, "%s", pawl_error());
    cr_assert_str_eq(document->format, "pawl");
    cr_assert_eq(document->training->step, 3);
    cr_assert_eq(document->training->epoch, 3);
    cr_assert_float_eq(document->training->loss, 0.5, 0);
    cr_assert_eq(json_integer_value(json_object_get(document->training->rest, "samples")), 64);
    cr_assert_null(json_object_get(document->training->rest, "optimizer"));
    cr_assert_str_eq(json_string_value(json_object_get(document->training->optimizer, "kind")),
                     "adamw");
    cr_assert_str_eq(json_string_value(json_object_get(document->metadata, "note")), "x");
    check_values(&state, 3);

    // Step 3 loses a byte of its manifest: step 2 is read, and a warning says why.
    cr_assert(scratch_find(where, 3, snapshot));
    scratch_flip(snapshot, "MANIFEST", 20, 1);
    cr_assert_eq(open_source(where, NULL), 0, "%s", pawl_error());
    cr_assert_eq(document->training->step, 2);
    cr_assert_eq(json_array_size(document->warnings), 1);
    refuse(open_source(snapshot, NULL), PAWL_ECORRUPT, "MANIFEST");
    cr_assert(scratch_find(where, 2, snapshot));
    cr_assert_eq(open_source(snapshot, NULL), 0);
    cr_assert_eq(document->training->step, 2);
    state_fill(&state, 2);
    check_values(&state, 2);

    scratch_flip(snapshot, "document.json", 20, 1);
    refuse(open_source(snapshot, NULL), PAWL_ECORRUPT, "document.json");
    cr_assert(scratch_find(where, 1, snapshot));
    scratch_flip(snapshot, "MANIFEST", 20, 1);
    pawl_document_free(document);
    state_close(&state);
    scratch_remove(where);
}

Test(source, a_run_without_a_whole_snapshot_says_why)
{
    char where[4096], snapshot[4096], path[4200];
    struct state state;

    scratch_make(where);
    state_open(&state, STATE_EVEN);
    save(&state, where, 1);
    cr_assert(scratch_find(where, 1, snapshot));
    scratch_flip(snapshot, "MANIFEST", 20, 1);
    refuse(open_source(where, NULL), PAWL_ECORRUPT, "none of its snapshots is whole");
    snprintf(path, sizeof(path), "%s/MANIFEST", snapshot);
    cr_assert_eq(remove(path), 0);
    refuse(open_source(where, NULL), PAWL_ECORRUPT, "committed here once");
    refuse(open_source(snapshot, NULL), PAWL_ECORRUPT, "never committed");
    snprintf(path, sizeof(path), "%s/LATEST", where);
    cr_assert_eq(remove(path), 0);
    refuse(open_source(where, NULL), PAWL_ENONE, "no committed snapshot");
    state_close(&state);
    scratch_remove(where);
}

// ---- documents that verify and yet are wrong

static char *read_text(const char *path)
{
    char *text = calloc(1, 1 << 16);
    FILE *file = fopen(path, "rb");

    cr_assert_not_null(file);
    cr_assert_lt(fread(text, 1, (1 << 16) - 1, file), (1 << 16) - 1);
    fclose(file);
    return text;
}

// Puts `to` for `from` in a snapshot's document.json, and makes its manifest agree.
static void rewrite(const char *snapshot, const char *from, const char *to)
{
    char path[4200];
    struct pawl_manifest manifest;
    struct pawl_text text = { 0 };

    cr_assert_eq(pawl_recover_manifest(&manifest, snapshot), 0, "%s", pawl_error());
    snprintf(path, sizeof(path), "%s/document.json", snapshot);
    char *old = read_text(path), *at = strstr(old, from);
    cr_assert_not_null(at, "no %s in %s", from, old);
    pawl_text_format(&text, "%.*s%s%s", (int)(at - old), old, to, at + strlen(from));
    write_bytes(path, text.bytes, text.size);
    manifest.files[0].bytes = text.size;
    manifest.files[0].crc = pawl_crc32c(text.bytes, text.size);
    cr_assert_eq(pawl_manifest_write(&text, &manifest), 0);
    snprintf(path, sizeof(path), "%s/MANIFEST", snapshot);
    write_bytes(path, text.bytes, text.size);
    pawl_text_free(&text);
    pawl_manifest_free(&manifest);
    free(old);
}

Test(source, a_document_that_lies_is_refused)
{
    static const struct { const char *from, *to, *words; } row[] = {
        { "\"float32\"", "\"float33\"", "dtype is unknown" },
        { "\"shape\":[1,2]", "\"shape\":3", "not a list" },
        { "\"shape\":[1,2]", "\"shape\":[1,1,1,1,1,1,1,1,2]", "at most 8 dimensions" },
        { "\"shape\":[1,2]", "\"shape\":[1,-2]", "negative" },
        { "\"shape\":[1,2]", "\"shape\":[1,\"2\"]", "negative" },
        { "\"shape\":[1,2]", "\"shape\":[1,3]", "do not make a whole" },
        { "\"shape\":[1,2]", "\"shape\":[1,1]", "do not follow" },
        { "\"start\":0", "\"start\":1", "do not follow" },
        { "\"start\":0", "\"begin\":0", "do not follow" },
        { "\"bytes\":8,", "\"bytes\":7,", "do not follow" },
        { "\"fc1.bias\"", "\"fc1.weight\"", "'fc1.weight': the name occurs twice" },
        { "\"step\":0", "\"step\":-1", "no step" },
        { "\"step\":0", "\"stop\":0", "no step" },
        { "\"kind\": \"dense\"", "\"kind\": \"dance\"",
          "document.json: architecture, layer 'fc1'" },
    };
    char directory[4096], longer[400];

    write_weights(scratch("w.safetensors"));
    for (size_t i = 0; i <= sizeof(row) / sizeof(*row); i++) {
        struct pawl_run run = { 0 };

        cr_assert_eq(open_source(scratch("w.safetensors"), "mlp:2-1"), 0);
        snprintf(directory, sizeof(directory), "%s-%zu", scratch("run"), i);
        cr_assert_eq(pawl_document_write(document, directory,
                                         &(struct pawl_write_options){ .format = "pawl" }), 0);
        cr_assert_eq(pawl_run_list(&run, directory), 0);
        if (i < sizeof(row) / sizeof(*row)) {
            rewrite(run.snapshots[0].path, row[i].from, row[i].to);
            refuse(open_source(directory, NULL), PAWL_ECORRUPT, row[i].words);
        } else {
            snprintf(longer, sizeof(longer), "\"%0*d\"", PAWL_NAME_MAX + 1, 7);
            rewrite(run.snapshots[0].path, "\"fc1.bias\"", longer);
            refuse(open_source(directory, NULL), PAWL_ECORRUPT, "name is too long");
        }
        pawl_run_free(&run);
    }
}

// ---- runs that the format's writer made

Test(source, a_document_becomes_a_run_and_comes_back)
{
    const struct pawl_write_options to_pawl = { .format = "pawl" };
    struct pawl_snapshot snapshot;
    struct pawl_run run = { 0 };

    write_weights(scratch("w.safetensors"));
    cr_assert_eq(open_source(scratch("w.safetensors"), "mlp:2-1"), 0);
    json_object_set_new(document->metadata, "format", json_string("pt"));
    cr_assert_eq(pawl_document_write(document, scratch("w2.safetensors"), NULL), 0);
    cr_assert_eq(pawl_document_write(document, scratch("run"), &to_pawl), 0, "%s", pawl_error());
    cr_assert_eq(scratch_entries(), 3);
    cr_assert_eq(pawl_document_write(document, scratch("run"), &to_pawl), PAWL_EBUSY);
    cr_assert_eq(pawl_document_write(document, scratch("run"),
                                     &(struct pawl_write_options){ "pawl", .force = true }),
                 PAWL_EBUSY);
    cr_assert(strstr(pawl_error(), "directory is not replaced"), "%s", pawl_error());
    cr_assert_eq(scratch_entries(), 3);
    cr_assert_eq(pawl_run_list(&run, scratch("run")), 0);
    cr_assert_eq(run.count, 1);
    snapshot = run.snapshots[0];
    cr_assert_eq(snapshot.state, PAWL_DURABLE);
    cr_assert_eq(pawl_snapshot_verify(&snapshot), 0, "%s", pawl_error());
    pawl_run_free(&run);

    cr_assert_eq(open_source(scratch("run"), "mlp:2-1"), 0, "%s", pawl_error());
    cr_assert_null(document->training);
    cr_assert_eq(pawl_document_write(document, scratch("w3.safetensors"), NULL), 0);
    cr_assert(same_files(scratch("w2.safetensors"), scratch("w3.safetensors")));
    pawl_document_free(document);
}

Test(source, training_state_survives_the_format)
{
    const struct pawl_write_options to_pawl = { .format = "pawl" };
    const struct pawl_write_options to_half = { .format = "pawl", .cast = true,
                                                .dtype = PAWL_BF16 };
    char where[4096];
    struct state state;

    scratch_make(where);
    state_open(&state, STATE_MIXED);
    save(&state, where, 2);
    cr_assert_eq(open_source(where, NULL), 0, "%s", pawl_error());
    cr_assert_eq(pawl_document_write(document, scratch("copy"), &to_pawl), 0, "%s", pawl_error());
    cr_assert_eq(open_source(scratch("copy"), NULL), 0, "%s", pawl_error());
    check_values(&state, 2);
    cr_assert_eq(document->training->step, 2);
    cr_assert_eq(document->training->epoch, 3);
    cr_assert_float_eq(document->training->loss, 0.5, 0);
    cr_assert_eq(json_integer_value(json_object_get(document->training->rest, "samples")), 64);
    cr_assert_str_eq(json_string_value(json_object_get(document->training->optimizer, "kind")),
                     "adamw");
    cr_assert_eq(pawl_document_write(document, scratch("half"), &to_half), 0, "%s", pawl_error());
    cr_assert_eq(open_source(scratch("half"), NULL), 0, "%s", pawl_error());
    for (int i = 0; i < document->weight_count; i++)
        cr_assert_neq(document->weights[i].tensor.dtype, PAWL_F32);
    pawl_document_free(document);
    state_close(&state);
    scratch_remove(where);
}

// The n-th request for memory fails while a run is written: an answer, and nothing stays.
static int64_t left;

static void *starve(void *context, void *memory, size_t bytes)
{
    (void)context;
    if (bytes && left-- <= 0) return NULL;
    if (bytes) return realloc(memory, bytes);
    free(memory);
    return NULL;
}

Test(source, a_run_that_cannot_be_written_leaves_nothing)
{
    const struct pawl_memory hook = { starve, NULL };
    int rc = PAWL_ENOMEM, tries = 0;

    write_weights(scratch("w.safetensors"));
    cr_assert_eq(open_source(scratch("w.safetensors"), "mlp:2-1"), 0);
    pawl_memory_set(&hook);
    for (; rc; tries++) {
        left = tries;
        rc = pawl_document_write(document, scratch("run"),
                                 &(struct pawl_write_options){ .format = "pawl" });
        // Without memory for its buffer a file can also count as unreadable.
        cr_assert(rc == 0 || rc == PAWL_ENOMEM || rc == PAWL_EIO, "%d: %s", rc, pawl_error());
        cr_assert_eq(scratch_entries(), rc ? 1 : 2, "after try %d: %s", tries, pawl_error());
    }
    cr_assert_gt(tries, 10);
    left = 1000;
    pawl_document_free(document);
    pawl_memory_set(NULL);
}
