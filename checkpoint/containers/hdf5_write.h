// hdf5_write.h - HDF5 files of groups, contiguous datasets and text attributes, as h5py reads them.
//
//     | superblock 2 | global heap: long texts | object headers | payloads, at multiples of 64 |
//
//     struct pawl_hdf5_out out = { 0 };
//     rc = pawl_hdf5_out_group(&out, PAWL_HDF5_ROOT, "layers", &group);    // the root comes first
//     rc = pawl_hdf5_out_dataset(&out, group, "0", PAWL_F32, 2, dim);
//     rc = pawl_hdf5_out_attribute(&out, group, "name", json);
//     rc = pawl_hdf5_out_plan(&out);                     // now every address is known
//     write out.meta.bytes, then payload i at out.objects[out.data[i]].at
//
// Memory: the metadata, no payload. Threads: one. Source: HDF5 File Format Specification 3.0.

#ifndef PAWL_HDF5_WRITE_H
#define PAWL_HDF5_WRITE_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "checkpoint/text.h"
#include "kernels/tensor.h"

enum { PAWL_HDF5_ROOT = 0, PAWL_HDF5_ALIGN = 64 };

struct pawl_hdf5_out {
    struct pawl_hdf5_out_object {
        char *name;
        int child, last, next;  // of groups: first and last child; the next sibling. 0: none
        bool dataset;
        struct pawl_tensor tensor;
        uint64_t header, at;    // addresses: of the object header, of the payload
        json_t *attributes;     // in order; strings and arrays of strings
    } *objects;
    int object_count, object_room;
    int *data;                  // the datasets, in the order of their payloads
    int data_count;
    uint64_t size;              // of the whole file, after plan
    struct pawl_text meta;      // everything before the first payload, after plan
};

void pawl_hdf5_out_free(struct pawl_hdf5_out *out);
// The root is made with the first object. *made may be NULL.
int pawl_hdf5_out_group(struct pawl_hdf5_out *out, int parent, const char *name, int *made);
int pawl_hdf5_out_dataset(struct pawl_hdf5_out *out, int parent, const char *name,
                          const struct pawl_tensor *tensor);
// The group at path below the root, made with all its parents.
int pawl_hdf5_out_path(struct pawl_hdf5_out *out, const char *path, int *made);
// value: a string, or an array of strings, which is cut as NAME0, NAME1... when it is longer than
// an object header's message may be. Taken over, also on failure.
int pawl_hdf5_out_attribute(struct pawl_hdf5_out *out, int object, const char *name, json_t *value);
int pawl_hdf5_out_plan(struct pawl_hdf5_out *out);

#endif
