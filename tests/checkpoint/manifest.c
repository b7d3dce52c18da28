// manifest.c - commit records that are sealed as they should be and yet make no sense.

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "checkpoint/manifest.h"
#include "checkpoint/sums.h"

static int read_sealed(const char *line, struct pawl_manifest *out)
{
    char text[4096];

    int size = snprintf(text, sizeof(text), "%s\n", line);
    size += snprintf(text + size, sizeof(text) - (size_t)size, "crc32c %08x\n",
                     pawl_crc32c(text, (size_t)size));
    return pawl_manifest_read(out, text, (size_t)size, "M");
}

#define HEAD "{\"pawl\":1,\"job\":\"000102030405060708090a0b0c0d0e0f\",\"step\":7,\"lease\":2,"
#define REST "\"previous\":null,\"ranks\":1,\"epoch\":null,\"metric\":null,"
#define DOCUMENT "{\"name\":\"document.json\",\"bytes\":5,\"crc32c\":\"00000001\"}"
#define SHARD "{\"name\":\"shard-00000.safetensors\",\"bytes\":6}"
#define SUMS "{\"name\":\"shard-00000.sums\",\"bytes\":7,\"crc32c\":\"0000000a\"}"

Test(manifest, sense)
{
    struct pawl_manifest manifest;

    cr_assert_eq(read_sealed(HEAD REST "\"files\":[" DOCUMENT "," SHARD "," SUMS "]}", &manifest),
                 0, "%s", pawl_error());
    cr_expect_eq(manifest.attempt.step, 7);
    cr_expect_eq(manifest.attempt.lease, 2);
    cr_expect_eq(manifest.attempt.job[15], 15);
    cr_expect_eq(manifest.epoch, -1);
    cr_expect(isnan(manifest.metric));
    cr_expect_eq(pawl_manifest_shard(&manifest, 0)->bytes, 6);
    cr_expect_eq(pawl_manifest_sums(&manifest, 0)->crc, 10);
    pawl_manifest_free(&manifest);
}

#define DIGESTED(list) HEAD REST "\"files\":[" DOCUMENT ",{\"name\":" \
    "\"shard-00000.safetensors\",\"bytes\":600,\"digests\":" list "}," SUMS "]}"
#define DIGEST(offset, bytes) "{\"offset\":" #offset ",\"bytes\":" #bytes \
    ",\"sum\":\"00000000000000020123456789abcdef\"}"

Test(manifest, digests)
{
    static const char *const wrong[] = {
        DIGESTED("[1]"), DIGESTED("[" DIGEST(601, 1) "]"), DIGESTED("[" DIGEST(590, 11) "]"),
        DIGESTED("[" DIGEST(-1, 11) "]"), DIGESTED("[" DIGEST(8, 0) "]"),
        DIGESTED("[" DIGEST(8, 16) "," DIGEST(23, 8) "]"),
        DIGESTED("[" DIGEST(80, 16) "," DIGEST(8, 8) "]"),
        DIGESTED("[{\"offset\":8,\"bytes\":8}]"),
        DIGESTED("[{\"offset\":8,\"bytes\":8,\"sum\":\"0123\"}]"),
        DIGESTED("[{\"offset\":8,\"bytes\":8,\"sum\":\"0000000000000002012345678zabcdef\"}]"),
    };
    struct pawl_manifest manifest, again;
    struct pawl_text text = { 0 };

    cr_assert_eq(read_sealed(DIGESTED("[" DIGEST(8, 16) "," DIGEST(24, 576) "]"), &manifest), 0,
                 "%s", pawl_error());
    const struct pawl_manifest_file *shard = pawl_manifest_shard(&manifest, 0);
    cr_assert_eq(shard->digest_count, 2);
    cr_expect_eq(shard->digests[1].offset, 24);
    cr_expect_eq(shard->digests[1].bytes, 576);
    cr_expect_eq(shard->digests[0].sum[0], 2);
    cr_expect_eq(shard->digests[0].sum[1], 0x0123456789abcdef);
    cr_assert_eq(pawl_manifest_write(&text, &manifest), 0);
    cr_assert_eq(pawl_manifest_read(&again, text.bytes, text.size, "M"), 0, "%s", pawl_error());
    cr_assert_eq(again.files[1].digest_count, 2);
    cr_expect_arr_eq(again.files[1].digests, shard->digests, 2 * sizeof(*shard->digests));
    pawl_manifest_free(&again);
    pawl_manifest_free(&manifest);
    pawl_text_free(&text);
    for (size_t i = 0; i < sizeof(wrong) / sizeof(*wrong); i++) {
        cr_expect_eq(read_sealed(wrong[i], &manifest), PAWL_ECORRUPT, "%s", wrong[i]);
        cr_expect_not_null(strstr(pawl_error(), "digest"), "%s", pawl_error());
    }
    // What a later pawl may put there.
    cr_assert_eq(read_sealed(DIGESTED("{\"kind\":\"another\"}"), &manifest), 0);
    cr_expect_eq(manifest.files[1].digest_count, 0);
    pawl_manifest_free(&manifest);
}

Test(manifest, nonsense)
{
    static const struct {
        const char *line;
        int code;
    } rows[] = {
        { "", PAWL_ECORRUPT },
        { "[]", PAWL_ECORRUPT },
        { "{\"pawl\":2}", PAWL_ENOTSUP },
        { "{\"pawl\":1}", PAWL_ECORRUPT },
        { "{\"pawl\":1,\"ranks\":0}", PAWL_ECORRUPT },
        { "{\"pawl\":1,\"ranks\":-1}", PAWL_ECORRUPT },
        { "{\"pawl\":1,\"ranks\":2000000000}", PAWL_ECORRUPT },
        { "{\"pawl\":1,\"pawl\":1,\"ranks\":1}", PAWL_ECORRUPT },
        { HEAD REST "\"files\":[]}", PAWL_ECORRUPT },
        { HEAD REST "\"files\":[" DOCUMENT "," SHARD "]}", PAWL_ECORRUPT },
        { HEAD REST "\"files\":[" DOCUMENT "," SHARD "," SUMS "," SUMS "]}", PAWL_ECORRUPT },
        { HEAD REST "\"files\":[" SHARD "," DOCUMENT "," SUMS "]}", PAWL_ECORRUPT },
        { HEAD REST "\"files\":[" DOCUMENT "," SHARD ",{\"name\":\"../x\",\"bytes\":7,"
          "\"crc32c\":\"0000000a\"}]}", PAWL_ECORRUPT },
        { HEAD REST "\"files\":[" SUMS "," SHARD "," DOCUMENT "]}", PAWL_ECORRUPT },
        { HEAD REST "\"files\":[" DOCUMENT ",{\"name\":\"shard-00000.safetensors\",\"bytes\":-6},"
          SUMS "]}", PAWL_ECORRUPT },
        { HEAD REST "\"files\":[" DOCUMENT ",{\"name\":\"shard-00000.safetensors\",\"bytes\":6.5},"
          SUMS "]}", PAWL_ECORRUPT },
        { HEAD REST "\"files\":[{\"name\":\"document.json\",\"bytes\":5,\"crc32c\":\"1\"}," SHARD
          "," SUMS "]}", PAWL_ECORRUPT },
        { "{\"pawl\":1,\"job\":\"00\",\"step\":7,\"lease\":2," REST "\"files\":[" DOCUMENT ","
          SHARD "," SUMS "]}", PAWL_ECORRUPT },
        { "{\"pawl\":1,\"job\":\"000102030405060708090a0b0c0d0e0f\",\"step\":-7,\"lease\":2," REST
          "\"files\":[" DOCUMENT "," SHARD "," SUMS "]}", PAWL_ECORRUPT },
        { "{\"pawl\":1,\"job\":\"000102030405060708090a0b0c0d0e0f\",\"step\":7,"
          "\"lease\":4294967296," REST "\"files\":[" DOCUMENT "," SHARD "," SUMS "]}",
          PAWL_ECORRUPT },
    };
    struct pawl_manifest manifest;

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        cr_expect_eq(read_sealed(rows[i].line, &manifest), rows[i].code, "row %zu: %s", i,
                     rows[i].line);
        cr_expect_eq(pawl_error()[0], 'M', "row %zu: the words do not name the file: %s", i,
                     pawl_error());
    }
}
