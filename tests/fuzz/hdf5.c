// hdf5.c - HDF5 with what Keras keeps in it.

#include "tests/fuzz/support.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_forget_files();
    fuzz_put_file("a.h5", data, size);
    fuzz_document("a.h5");
    return 0;
}
