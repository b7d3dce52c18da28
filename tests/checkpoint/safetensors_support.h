// safetensors_support.h - a strict reader of safetensors files, apart from pawl's own.

#ifndef SAFETENSORS_SUPPORT_H
#define SAFETENSORS_SUPPORT_H

// NULL when path is a valid safetensors file: length, header, every dtype and shape against its
// offsets, tensors without hole or overlap, data to the last byte. Else what is wrong.
// *data_start: where the data begin.
const char *safetensors_check(const char *path, long *data_start, int *tensors);

#endif
