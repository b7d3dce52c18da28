// hdf5.h - the part of HDF5 that h5py and Keras write, read without trust.
//
//     superblock 0, 2, 3 -> root group -> groups -> datasets: contiguous, compact, or in chunks
//                                                   (deflate, shuffle, fletcher32)
//     struct pawl_hdf5 *h5 = NULL;
//     rc = pawl_hdf5_open(&h5, document, file, &(struct pawl_hdf5_span){ 0, size });
//     int at = pawl_hdf5_find(h5, "layers/dense/vars/0");
//     rc = pawl_hdf5_entry(h5, at, "kernel", &document->weights, &document->weight_count);
//
// Promise: every length and address is checked against the file before it is used, nothing
// recurses, and what is allocated is in proportion to the file. Refused with words: links that are
// not hard ones, data in other files, virtual datasets, other filters, groups that contain
// themselves, shapes that the file's bytes cannot fill. Checksums are verified where there are any.
//
// Memory: paths and addresses of all objects; data stay in the file. Threads: one at a time.
// Source: HDF5 File Format Specification 3.0, and files of h5py 2 and 3.

#ifndef PAWL_HDF5_H
#define PAWL_HDF5_H

#include "checkpoint/document.h"

struct pawl_hdf5;

// Where in one of the document's files the HDF5 file lies.
struct pawl_hdf5_span {
    uint64_t offset_bytes, size_bytes;
};

struct pawl_hdf5_object {
    char *path;       // "layers/dense/vars/0"; "" is the root
    uint64_t header;  // its object header's address
    bool dataset;     // else a group
};

// Reads the tree of objects. h5 borrows the document, and must be closed before it is freed; the
// entries that it made stay good without it.
int pawl_hdf5_open(struct pawl_hdf5 **out, struct pawl_document *document, int file,
                   const struct pawl_hdf5_span *span);
void pawl_hdf5_close(struct pawl_hdf5 *h5);  // accepts NULL
// Whether bytes begin as an HDF5 file does.
bool pawl_hdf5_begins(const unsigned char *bytes, size_t size);

// All objects, by path; numbers within paths count as numbers ("vars/2" before "vars/10").
const struct pawl_hdf5_object *pawl_hdf5_objects(const struct pawl_hdf5 *h5, int *count);
int pawl_hdf5_find(const struct pawl_hdf5 *h5, const char *path);  // an index, or -1

// An attribute as JSON: a string, or an array of strings; null for any other type. *out is NULL,
// and the code 0, when there is none by that name. The caller owns it.
int pawl_hdf5_attribute(struct pawl_hdf5 *h5, int object, const char *name, json_t **out);
// The same, whole also when it was cut as NAME0, NAME1, ... because it is longer than 64 KiB.
int pawl_hdf5_attribute_list(struct pawl_hdf5 *h5, int object, const char *name, json_t **out);

// Appends the dataset to a document's table as a tensor called name. PAWL_ECORRUPT: it is no
// dataset of numbers, or its shape, type and storage do not agree.
int pawl_hdf5_entry(struct pawl_hdf5 *h5, int object, const char *name,
                    struct pawl_entry **table, int *count);

#endif
