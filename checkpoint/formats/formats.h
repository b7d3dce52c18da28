// formats.h - the rows of the table of formats (document.c). One file here defines each.

#ifndef PAWL_FORMATS_H
#define PAWL_FORMATS_H

#include "checkpoint/document.h"

extern const struct pawl_format pawl_format_pawl;         // a run directory, or one snapshot
extern const struct pawl_format pawl_format_safetensors;  // weights
extern const struct pawl_format pawl_format_hf;           // a folder of transformers: write only
extern const struct pawl_format pawl_format_pth;          // torch: a state_dict
extern const struct pawl_format pawl_format_pth_checkpoint;
extern const struct pawl_format pawl_format_pth_model;
extern const struct pawl_format pawl_format_dcp;          // a directory of torch's
extern const struct pawl_format pawl_format_npz;          // NumPy: weights
extern const struct pawl_format pawl_format_savedmodel;   // TensorFlow's directory
extern const struct pawl_format pawl_format_keras;        // a .keras archive
extern const struct pawl_format pawl_format_keras_h5;     // Keras' HDF5: all parts
extern const struct pawl_format pawl_format_keras_weights;  // .weights.h5
extern const struct pawl_format pawl_format_h5_weights;   // legacy save_weights
extern const struct pawl_format pawl_format_architecture; // pawl's own JSON

#endif
