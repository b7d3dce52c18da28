// pickle.c - the pickle machine: what it builds, and what it refuses.

#include "checkpoint/containers/pickle.h"

#include <criterion/criterion.h>
#include <string.h>

#include "checkpoint/containers/pickle_write.h"
#include "tests/checkpoint/document_support.h"

static struct pawl_document *document;

static int read_pickle(struct pawl_pickle **out, const char *bytes, size_t size)
{
    const char *path = scratch("a.pkl");
    int file;

    pawl_document_free(document);
    document = NULL;
    write_bytes(path, bytes, size);
    cr_assert_eq(pawl_document_new(&document), 0);
    cr_assert_eq(pawl_document_add_file(document, path, &file, NULL), 0);
    return pawl_pickle_read(out, document, file, (uint64_t[2]){ 0, size }, "a.pkl");
}

Test(pickle, what_is_written_is_read)
{
    static const int64_t numbers[] = { 0, 255, 256, -1, -2147483648, 2147483648, INT64_MIN };
    struct pawl_text text = { 0 };
    struct pawl_pickle *p = NULL;
    int64_t integer;
    double real;

    pawl_pk_begin(&text);
    pawl_pk_op(&text, "}(");
    pawl_pk_string(&text, "numbers");
    pawl_pk_tuple(&text, 7, numbers);
    pawl_pk_string(&text, "real");
    pawl_pk_real(&text, -0.1);
    pawl_pk_string(&text, "yes");
    pawl_pk_bool(&text, true);
    pawl_pk_string(&text, "empty");
    pawl_pk_ordered_dict(&text);
    pawl_pk_op(&text, "u.");
    cr_assert_eq(read_pickle(&p, text.bytes, text.size), 0, "%s", pawl_error());
    cr_expect_eq(p->end, text.size);
    for (uint32_t i = 0; i < 7; i++) {
        cr_assert(pawl_py_integer(pawl_py_item(pawl_py_get(p->root, "numbers"), i), &integer));
        cr_expect_eq(integer, numbers[i]);
    }
    cr_assert(pawl_py_number(pawl_py_get(p->root, "real"), &real));
    cr_expect_eq(real, -0.1);
    cr_assert(pawl_py_integer(pawl_py_get(p->root, "yes"), &integer));
    cr_expect_eq(integer, 1);
    cr_expect(pawl_py_is(pawl_py_get(p->root, "empty"), PAWL_PY_DICT));
    cr_expect_null(pawl_py_get(p->root, "no"));
    pawl_pickle_free(p);
    pawl_text_free(&text);
    pawl_document_free(document);
}

// Python's own bytes, of {"a": [1, (2.5, None)], "b": b"\x00\xff", "c": 1 << 70} and others.
Test(pickle, protocols)
{
    static const struct {
        const char *bytes;
        size_t size;
    } rows[] = {
#define ROW(bytes) { bytes, sizeof(bytes) - 1 }
        ROW("(dp0\nVa\np1\n(lp2\nI1\na(F2.5\nNtp3\nas."),
        ROW("\x80\x02}q\0X\1\0\0\0aq\1]q\2(K\1G@\4\0\0\0\0\0\0N\x86q\3es."),
        ROW("\x80\x04\x95\x1a\0\0\0\0\0\0\0}\x94\x8c\1a\x94]\x94(K\1G@\4\0\0\0\0\0\0N\x86\x94"
            "es."),
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        struct pawl_pickle *p = NULL;
        int64_t one = 0;
        double real = 0;
        cr_assert_eq(read_pickle(&p, rows[i].bytes, rows[i].size), 0, "%zu: %s", i, pawl_error());
        const struct pawl_py *list = pawl_py_get(p->root, "a");
        cr_expect(pawl_py_integer(pawl_py_item(list, 0), &one) && one == 1);
        cr_expect(pawl_py_number(pawl_py_item(pawl_py_item(list, 1), 0), &real) && real == 2.5);
        cr_expect(pawl_py_is(pawl_py_item(pawl_py_item(list, 1), 1), PAWL_PY_NONE));
        cr_expect_null(pawl_py_item(list, 2));
        pawl_pickle_free(p);
    }
    pawl_document_free(document);
}

Test(pickle, records_of_classes_that_nobody_knows)
{
    static const char bytes[] = "\x80\x02" "c__main__\nNet\n)\x81}X\1\0\0\0xK\7sb.";
    struct pawl_pickle *p = NULL;
    int64_t seven = 0;

    cr_assert_eq(read_pickle(&p, bytes, sizeof(bytes) - 1), 0, "%s", pawl_error());
    cr_expect_str_eq(pawl_py_called(p->root), "__main__.Net");
    cr_expect(pawl_py_integer(pawl_py_get(p->root->state, "x"), &seven) && seven == 7);
    pawl_pickle_free(p);
    pawl_document_free(document);
}

Test(pickle, what_is_refused)
{
    static const struct {
        const char *bytes;
        size_t size;
        const char *words;
    } rows[] = {
#define BAD(bytes, words) { bytes, sizeof(bytes) - 1, words }
        BAD("\x80\2", "ends before its STOP"), BAD(".", "STOP with 0"),
        BAD("NN.", "STOP with 2"), BAD("(N.", "STOP"), BAD("a.", "stack is empty"),
        BAD("Nt.", "MARK"), BAD("(N0a.", "stack is empty"), BAD("h\0.", "never stored"),
        BAD("Nr\xff\xff\xff\x7f.", "far beyond"), BAD("NNNs.", "not a dict"),
        BAD("]NNs.", "not a dict"), BAD("}Na.", "not a list"), BAD("}(Nu.", "without a value"),
        BAD("]q\0h\0a.", "cycle"), BAD("N]b.", "no object"), BAD("\x80\x09N.", "protocol 9"),
        BAD("\x82\1.", "opcode 0x82"), BAD("cos\nsystem\n(X\1\0\0\0xtR.", "os.system"),
        BAD("cposix\nsystem\n(X\1\0\0\0xtR.", "posix.system"),
        BAD("(X\1\0\0\0xios\nsystem\n.", "os.system"), BAD("(cos\nsystem\nX\1\0\0\0xo.", "os."),
        BAD("\x80\4\x8c\2os\x8c\6system\x93)R.", "os.system"),
        BAD("cbuiltins\nexec\n(X\1\0\0\0xtR.", "builtins.exec"),
        BAD("cbuiltins\nset.x\n(tR.", "builtins.set.x"), BAD("cos\nsystem\n)\x81.", "os.system"),
        BAD("K\1)R.", "no global"), BAD("X\xff\xff\xff\x7f.", "truncated"),
        BAD("\x8b\xff\xff\xff\x7f.", "truncated"), BAD("Pabc\n.", "persistent"),
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        struct pawl_pickle *p = NULL;
        const int rc = read_pickle(&p, rows[i].bytes, rows[i].size);
        cr_expect_eq(rc, PAWL_ECORRUPT, "not refused: %s", rows[i].words);
        cr_expect(strstr(pawl_error(), rows[i].words), "'%s' lacks '%s'", pawl_error(),
                  rows[i].words);
        if (!rc) pawl_pickle_free(p);
    }
    pawl_document_free(document);
}

Test(pickle, depth_is_limited_and_sharing_is_not_followed_twice)
{
    static char deep[20001], bomb[400];
    struct pawl_pickle *p = NULL;
    size_t size = 0;

    memset(deep, ']', 10000);
    memset(deep + 10000, 'a', 9999);
    deep[19999] = '.';
    cr_assert_eq(read_pickle(&p, deep, 20000), PAWL_ECORRUPT);
    cr_expect(strstr(pawl_error(), "nested"), "%s", pawl_error());
    // [x, x] with x = [y, y] with ...: 2^20 items when walked, 20 lists in fact
    bomb[size++] = ']';
    for (int i = 0; i < 20; i++) {
        memcpy(bomb + size, "q", 1);
        bomb[size + 1] = (char)i;
        memcpy(bomb + size + 2, "0](h", 4);
        bomb[size + 6] = (char)i;
        bomb[size + 7] = 'h';
        bomb[size + 8] = (char)i;
        bomb[size + 9] = 'e';
        size += 10;
    }
    bomb[size++] = '.';
    cr_assert_eq(read_pickle(&p, bomb, size), 0, "%s", pawl_error());
    cr_expect_eq(p->root->item[0], p->root->item[1]);
    pawl_pickle_free(p);
    pawl_document_free(document);
}
