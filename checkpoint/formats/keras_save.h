// keras_save.h - writes documents as Keras' files: the `write` of the formats' rows.

#ifndef PAWL_KERAS_SAVE_H
#define PAWL_KERAS_SAVE_H

#include "checkpoint/document.h"

int pawl_keras_save(const struct pawl_document *document, const char *path,
                    const struct pawl_write_options *options);
int pawl_keras_save_h5(const struct pawl_document *document, const char *path,
                       const struct pawl_write_options *options);
int pawl_keras_save_weights(const struct pawl_document *document, const char *path,
                            const struct pawl_write_options *options);
int pawl_keras_save_h5_weights(const struct pawl_document *document, const char *path,
                               const struct pawl_write_options *options);

#endif
