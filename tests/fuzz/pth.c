// pth.c - .pth and .pt, zip archives and streams.

#include "tests/fuzz/support.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_forget_files();
    fuzz_put_file("a.pth", data, size);
    fuzz_document("a.pth");
    return 0;
}
