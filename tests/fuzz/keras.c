// keras.c - Keras' archives.

#include "tests/fuzz/support.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_forget_files();
    fuzz_put_file("a.keras", data, size);
    fuzz_document("a.keras");
    return 0;
}
