// npz.c - archives of NumPy: what NumPy wrote is read, what is written holds the same.

#include <criterion/criterion.h>
#include <string.h>

#include "checkpoint/document.h"
#include "tests/checkpoint/document_support.h"
#include "tests/checkpoint/expect_support.h"

Test(npz, an_archive_of_numpy)
{
    expect_files("npz");  // deflated; big-endian, column-major, complex, empty and scalar arrays
}

Test(npz, every_type_goes_around)
{
    struct pawl_document *document = NULL, *written = NULL, *third = NULL;
    const char *path = scratch("a.npz"), *last = scratch("b.safetensors");

    cr_assert_eq(pawl_document_read(&document, data_path("torch/torch-odd-tensors-tensors.pth")),
                 0);
    json_object_set_new(document->metadata, "made_by", json_string("a test"));
    cr_assert_eq(pawl_document_write(document, path, NULL), 0, "%s", pawl_error());
    cr_assert_eq(pawl_document_read(&written, path), 0, "%s", pawl_error());
    cr_assert_str_eq(written->format, "npz");
    expect_same_tensors(document, written);
    cr_expect_str_eq(json_string_value(json_object_get(written->metadata, "made_by")), "a test");
    cr_expect_eq(json_object_size(written->metadata), 1);
    cr_assert_eq(pawl_document_write(written, last, NULL), 0, "%s", pawl_error());
    cr_assert_eq(pawl_document_read(&third, last), 0, "%s", pawl_error());
    expect_same_tensors(document, third);
    pawl_document_free(document);
    pawl_document_free(written);
    pawl_document_free(third);
}

Test(npz, a_lone_array_and_one_that_lies)
{
    static const char good[] = "\x93NUMPY\1\0\x3a\0{'descr': '<i2', 'fortran_order': False, "
                               "'shape': (3,), }\n\1\0\2\0\3\0";
    struct pawl_document *document = NULL;
    const char *path = scratch("a.npy");
    short three[3];

    write_bytes(path, good, sizeof(good) - 1);
    cr_assert_eq(pawl_document_read(&document, path), 0, "%s", pawl_error());
    cr_assert_eq(document->weight_count, 1);
    cr_assert_eq(pawl_document_fetch(document, &document->weights[0], three), 0);
    cr_expect_eq(three[2], 3);
    pawl_document_free(document);
    write_bytes(path, good, sizeof(good) - 2);
    cr_expect_eq(pawl_document_read(&document, path), PAWL_ECORRUPT);
    cr_expect(strstr(pawl_error(), "is more than the 5 bytes"), "%s", pawl_error());
}
