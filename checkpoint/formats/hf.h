// hf.h - config.json of Hugging Face's transformers: GPT-2 and Llama as architectures. Layers have
// the names of transformers' modules, so that the tensors beside it are found (pth_bind.h).

#ifndef PAWL_HF_H
#define PAWL_HF_H

#include "checkpoint/document.h"

bool pawl_hf_is_config(const json_t *config);  // it has a model_type
// Fills document->architecture. PAWL_ECORRUPT: a field is missing or wrong, in words with what.
// A model_type other than gpt2 and llama is a warning, and no architecture.
int pawl_hf_take_config(struct pawl_document *document, const json_t *config, const char *what);
// DIRECTORY/config.json; nothing is fine.
int pawl_hf_read_beside(struct pawl_document *document, const char *directory);
// A new directory with config.json and safetensors of at most shard_bytes, but one tensor each at
// least. PAWL_ENOTSUP: the model is neither GPT-2 nor Llama, and the first layer that differs.
int pawl_hf_write(const struct pawl_document *document, const char *path,
                  const struct pawl_write_options *options, uint64_t shard_bytes);

#endif
