#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "sandboxd/base.h"

static void bytes_are_appended_and_consumed_from_the_front(void **state)
{
    struct sbx_buf buf;
    struct sbx_err err = SBX_ERR_INIT;
    sbx_buf_init(&buf, 100);
    assert_int_equal(sbx_buf_add(&buf, "hello\0world", 11, &err), 0);
    sbx_buf_consume(&buf, 6);
    assert_int_equal(buf.len, 5);
    assert_memory_equal(buf.data, "world", 5);
    assert_int_equal(sbx_buf_printf(&buf, &err, "-%d", 42), 0);
    assert_string_equal(sbx_buf_cstr(&buf, &err), "world-42");
    sbx_buf_consume(&buf, buf.len);
    assert_string_equal(sbx_buf_cstr(&buf, &err), "");
    sbx_buf_done(&buf);
}

static void the_ceiling_is_exact(void **state)
{
    struct sbx_buf buf;
    struct sbx_err err = SBX_ERR_INIT;
    sbx_buf_init(&buf, 10);
    assert_int_equal(sbx_buf_add(&buf, "0123456789", 10, &err), 0);
    assert_string_equal(sbx_buf_cstr(&buf, &err), "0123456789");
    assert_int_equal(err.kind, SBX_ERR_NONE);
    assert_int_equal(sbx_buf_add(&buf, "x", 1, &err), -1);
    assert_int_equal(err.kind, SBX_ERR_TOO_LARGE);
    assert_int_equal(buf.len, 10);
    assert_int_equal(sbx_buf_add(&buf, "", 0, &err), 0);
    sbx_buf_done(&buf);
}

static void a_full_buffer_takes_no_more_memory_than_its_ceiling(void **state)
{
    struct sbx_buf buf;
    struct sbx_err err = SBX_ERR_INIT;
    static char block[300];
    sbx_buf_init(&buf, 1000);
    for (int i = 0; i < 3; i++)
        assert_int_equal(sbx_buf_add(&buf, block, sizeof(block), &err), 0);
    assert_int_equal(sbx_buf_add(&buf, block, 100, &err), 0);
    assert_int_equal(buf.len, 1000);
    assert_true(buf.cap <= 1001);
    sbx_buf_done(&buf);
}

/* AddressSanitizer otherwise ends the program where malloc would return NULL. */
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
    return "allocator_may_return_null=1";
}

static void an_absurd_size_is_refused_rather_than_wrapping_around(void **state)
{
    struct sbx_buf buf;
    struct sbx_err err = SBX_ERR_INIT;
    sbx_buf_init(&buf, SIZE_MAX);
    assert_int_equal(sbx_buf_add(&buf, "abc", 3, &err), 0);
    assert_null(sbx_buf_reserve(&buf, SIZE_MAX - 1, &err));
    assert_int_equal(err.kind, SBX_ERR_TOO_LARGE);
    assert_null(sbx_buf_reserve(&buf, SIZE_MAX / 2 + 10, &err));
    assert_int_equal(err.kind, SBX_ERR_INTERNAL);
    assert_int_equal(buf.len, 3);
    sbx_buf_done(&buf);
}

static void printf_over_the_ceiling_adds_nothing(void **state)
{
    struct sbx_buf buf;
    struct sbx_err err = SBX_ERR_INIT;
    sbx_buf_init(&buf, 4);
    assert_int_equal(sbx_buf_printf(&buf, &err, "%s", "12345"), -1);
    assert_int_equal(buf.len, 0);
    assert_int_equal(sbx_buf_printf(&buf, &err, "%s", "1234"), 0);
    assert_string_equal(sbx_buf_cstr(&buf, &err), "1234");
    sbx_buf_done(&buf);
}

static void an_error_may_be_made_of_its_own_message(void **state)
{
    struct sbx_err err = SBX_ERR_INIT;
    assert_int_equal(sbx_err_set(&err, SBX_ERR_CONFLICT, "inner"), -1);
    assert_int_equal(sbx_err_set(&err, SBX_ERR_UPSTREAM, "outer: %s (%s)", err.msg, err.msg), -1);
    assert_string_equal(err.msg, "outer: inner (inner)");
    assert_int_equal(sbx_err_wrap(&err, "while %s", err.msg), -1);
    assert_string_equal(err.msg, "while outer: inner (inner): outer: inner (inner)");
    assert_int_equal(err.kind, SBX_ERR_UPSTREAM);
    assert_int_equal(sbx_err_sys(&err, SBX_ERR_INTERNAL, 2, "cannot open %s", "x"), -1);
    assert_string_equal(err.msg, "cannot open x: No such file or directory");
    assert_int_equal(err.os_errno, 2);
    assert_int_equal(sbx_err_set(NULL, SBX_ERR_INTERNAL, "nobody listens"), -1);
}

static void a_wrapped_error_keeps_room_for_the_cause_and_whole_characters(void **state)
{
    struct sbx_err err = SBX_ERR_INIT;
    char text[1000];
    memset(text, 'c', sizeof(text));
    text[999] = '\0';
    sbx_err_set(&err, SBX_ERR_INTERNAL, "the cause");
    sbx_err_wrap(&err, "%s", text);
    assert_non_null(strstr(err.msg, "ccc: the cause"));
    for (size_t i = 0; i + 3 < sizeof(text); i += 3)
        memcpy(text + i, "\xE2\x82\xAC", 3);
    for (int pad = 0; pad < 3; pad++) {
        sbx_err_set(&err, SBX_ERR_INTERNAL, "%.399s", text);
        sbx_err_wrap(&err, "%.*s%.198s", pad, "xx", text);
        assert_true(strlen(err.msg) > sizeof(err.msg) - 4);
        assert_int_equal(sbx_utf8_valid(err.msg, strlen(err.msg)), strlen(err.msg));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_are_appended_and_consumed_from_the_front),
        cmocka_unit_test(the_ceiling_is_exact),
        cmocka_unit_test(a_full_buffer_takes_no_more_memory_than_its_ceiling),
        cmocka_unit_test(an_absurd_size_is_refused_rather_than_wrapping_around),
        cmocka_unit_test(printf_over_the_ceiling_adds_nothing),
        cmocka_unit_test(an_error_may_be_made_of_its_own_message),
        cmocka_unit_test(a_wrapped_error_keeps_room_for_the_cause_and_whole_characters),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
