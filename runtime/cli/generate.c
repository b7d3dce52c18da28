// generate.c - pawl generate: samples bytes from a language model, as they are drawn.

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "checkpoint/source.h"
#include "kernels/memory.h"
#include "runtime/cli/exits.h"
#include "runtime/cli/verbs.h"
#include "runtime/infer.h"

enum { BYTES = 256 };

static int check(const struct pawl_document *document)
{
    if (!document->architecture)
        return pawl_fail(PAWL_EINVAL, "%s holds no architecture. try: --arch MODEL beside it",
                         document->path);
    if (!document->architecture->layers[0].in.tokens)
        return pawl_fail(PAWL_EINVAL, "model '%s' does not read tokens. try: pawl predict",
                         document->architecture->name);
    return 0;
}

// Prints what was drawn: a byte for a byte-level model, else the numbers of the tokens.
static void print(int32_t token, bool bytes)
{
    if (bytes)
        putchar(token);
    else
        printf("%d ", token);
    fflush(stdout);
}

static int sample(struct pawl_infer *infer, const struct pawl_options *options, int32_t *tokens,
                  int64_t length)
{
    const struct pawl_architecture *architecture = pawl_infer_architecture(infer);
    const int64_t vocab =
        architecture->layers[architecture->layer_count - 1].out.dim[1];
    const int64_t wanted = options->tokens < 0 ? 256 : options->tokens;
    const double temperature = isnan(options->temperature) ? 1.0 : options->temperature;
    const uint64_t seed = options->seed < 0 ? 0 : (uint64_t)options->seed;

    if (options->prompt) fputs(options->prompt, stdout);
    for (int64_t i = 0; i < wanted; i++) {
        const int rc = pawl_infer_next(infer, tokens, length, seed, temperature, vocab,
                                       &tokens[length]);
        if (rc) return rc;
        print(tokens[length++], vocab == BYTES);
    }
    putchar('\n');
    return ferror(stdout) ? pawl_fail(PAWL_EIO, "standard output cannot be written to") : 0;
}

int pawl_verb_generate(const struct pawl_options *options)
{
    const char *prompt = options->prompt && *options->prompt ? options->prompt : "\n";
    const int64_t length = (int64_t)strlen(prompt);
    struct pawl_document *document = NULL;
    struct pawl_infer *infer = NULL;
    int32_t *tokens = NULL;

    int rc = pawl_source_open(&document, options->arguments[0], options->arch);
    if (!rc) rc = check(document);
    if (!rc)
        rc = pawl_infer_open(&infer, document,
                             &(struct pawl_infer_options){
                                 .device = options->device, .dtype = options->dtype,
                                 .batch = 1,
                                 .threads = options->threads < 0 ? 0 : (int)options->threads });
    if (!rc)
        rc = pawl_alloc(&tokens, (size_t)(length + (options->tokens < 0 ? 256 : options->tokens))
                        * sizeof(*tokens), "the tokens");
    for (int64_t i = 0; !rc && i < length; i++)
        tokens[i] = (unsigned char)prompt[i];
    if (!rc) rc = sample(infer, options, tokens, length);
    if (rc) pawl_exit_telling(rc);
    pawl_free(tokens);
    pawl_infer_close(infer);
    pawl_document_free(document);
    return pawl_exit_of(rc);
}
