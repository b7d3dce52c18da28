// error: the words of a failure.

#include <criterion/criterion.h>
#include <pthread.h>
#include <string.h>

#include "kernels/error.h"

static void *fail_elsewhere(void *unused)
{
    (void)unused;
    pawl_fail(PAWL_EIO, "elsewhere");
    return NULL;
}

Test(error, passes_the_code_on_and_keeps_the_words)
{
    cr_assert_eq(pawl_fail(PAWL_ENOMEM, "batch %d", 7), PAWL_ENOMEM);
    cr_assert_str_eq(pawl_error(), "batch 7");
}

Test(error, words_may_quote_the_words_before)
{
    pawl_fail(PAWL_EIO, "disk");
    pawl_fail(PAWL_EIO, "save: %s", pawl_error());
    cr_assert_str_eq(pawl_error(), "save: disk");
}

Test(error, words_belong_to_their_thread)
{
    pthread_t other;

    pawl_fail(PAWL_EIO, "here");
    cr_assert_eq(pthread_create(&other, NULL, fail_elsewhere, NULL), 0);
    pthread_join(other, NULL);
    cr_assert_str_eq(pawl_error(), "here");
}

Test(error, long_words_are_cut)
{
    pawl_fail(PAWL_EIO, "%2000d", 1);
    cr_assert_eq(strlen(pawl_error()), 1023);
}
