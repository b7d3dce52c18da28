// pickle.c - a pickle as the object of a file of torch, with two storages that it may name.

#include <string.h>

#include "checkpoint/containers/bytes.h"
#include "tests/fuzz/support.h"

enum { ROOM = 1 << 20 };

static unsigned char archive[ROOM], central[2048];
static size_t at, central_at, members;

// Stored, with a CRC of 0: "not computed".
static void put(const char *name, const void *bytes, size_t size)
{
    const size_t length = strlen(name);
    unsigned char *local = archive + at, *entry = central + central_at;

    memset(entry, 0, 46);
    memcpy(entry, "PK\1\2\24\0\24", 7);
    pawl_put_le(entry + 20, size, 4);
    pawl_put_le(entry + 24, size, 4);
    pawl_put_le(entry + 28, length, 2);
    pawl_put_le(entry + 42, at, 4);
    memcpy(entry + 46, name, length);
    memcpy(local, "PK\3\4", 4);
    memcpy(local + 4, entry + 6, 26);
    memcpy(local + 30, name, length);
    if (size) memcpy(local + 30 + length, bytes, size);
    central_at += 46 + length;
    at += 30 + length + size;
    members++;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static unsigned char zeros[256];

    if (size > ROOM / 2) return 0;
    at = central_at = members = 0;
    put("m/data.pkl", data, size);
    put("m/byteorder", "little", 6);
    put("m/data/0", zeros, sizeof(zeros));
    put("m/data/1", zeros, 16);
    put("m/version", "3\n", 2);
    memcpy(archive + at, central, central_at);
    unsigned char *end = archive + at + central_at;
    memset(end, 0, 22);
    memcpy(end, "PK\5\6", 4);
    pawl_put_le(end + 8, members, 2);
    pawl_put_le(end + 10, members, 2);
    pawl_put_le(end + 12, central_at, 4);
    pawl_put_le(end + 16, at, 4);
    fuzz_forget_files();
    fuzz_put_file("a.pth", archive, at + central_at + 22);
    fuzz_document("a.pth");
    return 0;
}
