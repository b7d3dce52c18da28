// npz.c - NumPy's archives and lone arrays.

#include "tests/fuzz/support.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_forget_files();
    fuzz_put_file("a.npz", data, size);
    fuzz_document("a.npz");
    return 0;
}
