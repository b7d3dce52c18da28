// safetensors.c - safetensors.

#include "tests/fuzz/support.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_forget_files();
    fuzz_put_file("a.safetensors", data, size);
    fuzz_document("a.safetensors");
    return 0;
}
