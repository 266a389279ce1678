/* The address of a Sentry project. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "sandboxd/base.h"

static void a_dsn_names_endpoint_and_key(void **state)
{
    static const char *const CASES[][3] = {
        {"https://abc@o1.ingest.sentry.io/42", "https://o1.ingest.sentry.io/api/42/envelope/", "abc"},
        {"http://abc:old-secret@h:9000/1", "http://h:9000/api/1/envelope/", "abc"},
        {"http://a-b_C9@127.0.0.1:1/sub/path/7", "http://127.0.0.1:1/sub/path/api/7/envelope/", "a-b_C9"},
        {"https://k@[::1]:9000/3", "https://[::1]:9000/api/3/envelope/", "k"},
        {"https://k@[fe80::1.2.3.4]/3", "https://[fe80::1.2.3.4]/api/3/envelope/", "k"},
    };
    for (size_t i = 0; i < SBX_ARRAY_LEN(CASES); i++) {
        struct sbx_dsn dsn;
        struct sbx_err err = SBX_ERR_INIT;
        assert_int_equal(sbx_dsn_parse(CASES[i][0], &dsn, &err), 0);
        assert_string_equal(dsn.url, CASES[i][1]);
        assert_string_equal(dsn.key, CASES[i][2]);
    }
}

static void what_is_no_dsn_is_refused_without_repeating_it(void **state)
{
    static const char *const CASES[] = {
        "",
        "abc",
        "ftp://k3y@h/1",
        "HTTPS://k3y@h/1",
        "https://",
        "https://h/1",
        "https://@h/1",
        "https://:k3y@h/1",
        "https://k3y @h/1",
        "https://k3y@/1",
        "https://k3y@h",
        "https://k3y@h/",
        "https://k3y@h/name",
        "https://k3y@h/1/",
        "https://k3y@h/1?x=2",
        "https://k3y@h/1#2",
        "https://k3y@h:/1",
        "https://k3y@h:0/1",
        "https://k3y@h:65536/1",
        "https://k3y@h:99999999999/1",
        "https://k3y@h:8o/1",
        "https://k3y@h\n/1",
        "https://k3y@h/a b/1",
        "https://k3y@[::1/1",
        "https://k3y@[::1]x/1",
        "https://k3y@[]/1",
        "https://k3y@k3y@h/1",
        "https://k3y/@h/1",
    };
    for (size_t i = 0; i < SBX_ARRAY_LEN(CASES); i++) {
        struct sbx_dsn dsn = {.key = "untouched"};
        struct sbx_err err = SBX_ERR_INIT;
        if (sbx_dsn_parse(CASES[i], &dsn, &err) == 0)
            fail_msg("accepted: %s", CASES[i]);
        assert_int_equal(err.kind, SBX_ERR_INVALID);
        assert_null(strstr(err.msg, "k3y"));
        assert_string_equal(dsn.key, "untouched");
    }
}

static void what_is_too_long_is_refused(void **state)
{
    char text[3000];
    struct sbx_dsn dsn;
    struct sbx_err err = SBX_ERR_INIT;
    snprintf(text, sizeof(text), "https://k@h/%0*d", 1100, 1);
    assert_int_equal(sbx_dsn_parse(text, &dsn, &err), -1);
    snprintf(text, sizeof(text), "https://%0*d@h/1", 129, 1);
    assert_int_equal(sbx_dsn_parse(text, &dsn, &err), -1);
    snprintf(text, sizeof(text), "https://%0*d@h/1", 128, 1);
    assert_int_equal(sbx_dsn_parse(text, &dsn, &err), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_dsn_names_endpoint_and_key),
        cmocka_unit_test(what_is_no_dsn_is_refused_without_repeating_it),
        cmocka_unit_test(what_is_too_long_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
