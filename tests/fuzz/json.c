// json.c - the tokenizer, which never needs to look behind the zero that ends its buffer.

#include "checkpoint/containers/json.h"

#include <stdlib.h>
#include <string.h>

#include "tests/fuzz/support.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *bytes = malloc(size + 1);
    struct pawl_json_token token;
    struct pawl_json json;
    size_t sum = 0;
    int rc = 0;

    if (size) memcpy(bytes, data, size);
    pawl_json_open(&json, bytes, size, "json", 0);
    for (int n = 0; !rc; n++) {
        rc = pawl_json_next(&json, &token);
        if (rc || token.kind == PAWL_JSON_DONE) break;
        if (token.kind == PAWL_JSON_KEY || token.kind == PAWL_JSON_STRING)
            if (strlen(token.string) != token.length) __builtin_trap();
        if (token.kind == PAWL_JSON_REAL) sum += (unsigned char)token.string[token.length - 1];
        if (token.kind == PAWL_JSON_OBJECT && n % 3 == 2) rc = pawl_json_skip(&json, &token);
    }
    pawl_json_close(&json);
    free(bytes);
    return sum == 1;  // never: a sum of digits is more
}
