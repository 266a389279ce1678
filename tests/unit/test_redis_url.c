#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <string.h>

#include "sandboxd/base/redis_url.h"
#include "sandboxd/base/util.h"

static void urls_are_taken_apart(void **state)
{
    static const struct {
        const char *url;
        struct sbx_redis_url want;
    } cases[] = {
        {"redis://localhost", {false, "localhost", 6379, 0, "", ""}},
        {"redis://localhost/", {false, "localhost", 6379, 0, "", ""}},
        {"redis://h:1/15", {false, "h", 1, 15, "", ""}},
        {"redis://h:65535?db=7", {false, "h", 65535, 7, "", ""}},
        {"redis://u:p@h", {false, "h", 6379, 0, "u", "p"}},
        {"redis://:p%3a%40@h:7/1", {false, "h", 7, 1, "", "p:@"}},
        {"redis://u:a@b@h", {false, "h", 6379, 0, "u", "a@b"}},
        {"redis://[::1]:7/1", {false, "::1", 7, 1, "", ""}},
        {"redis://[fe80::1]", {false, "fe80::1", 6379, 0, "", ""}},
        {"unix:///run/redis.sock", {true, "/run/redis.sock", 6379, 0, "", ""}},
        {"unix://u:p@/run/redis.sock?db=2", {true, "/run/redis.sock", 6379, 2, "u", "p"}},
    };
    for (size_t i = 0; i < SBX_ARRAY_LEN(cases); i++) {
        struct sbx_redis_url got;
        struct sbx_err err = SBX_ERR_INIT;
        if (sbx_redis_url_parse(cases[i].url, &got, &err) < 0)
            fail_msg("%s: %s", cases[i].url, err.msg);
        assert_int_equal(got.is_unix, cases[i].want.is_unix);
        assert_string_equal(got.address, cases[i].want.address);
        assert_int_equal(got.port, cases[i].want.port);
        assert_int_equal(got.db, cases[i].want.db);
        assert_string_equal(got.user, cases[i].want.user);
        assert_string_equal(got.password, cases[i].want.password);
    }
}

static void bad_urls_are_refused_without_showing_them(void **state)
{
    static const char *const cases[] = {
        "",
        "localhost:6379",
        "http://h",
        "rediss://:sesame@h",
        "redis://",
        "redis://:sesame@",
        "redis://:sesame@h:0",
        "redis://h:65536",
        "redis://h:",
        "redis://h:6379x",
        "redis://h/x",
        "redis://h/-1",
        "redis://h?ssl=true",
        "redis://h?db=",
        "redis://[::1",
        "redis://[::1]x",
        "redis://:sesame%2@h",
        "redis://:ses%00ame@h",
        "redis://sesame@h",
        "unix://relative/path",
        "unix:///",
    };
    struct sbx_redis_url url_out;
    for (size_t i = 0; i < SBX_ARRAY_LEN(cases); i++) {
        struct sbx_err err = SBX_ERR_INIT;
        if (sbx_redis_url_parse(cases[i], &url_out, &err) == 0)
            fail_msg("accepted: %s", cases[i]);
        assert_int_equal(err.kind, SBX_ERR_INVALID);
        assert_null(strstr(err.msg, "sesame"));
    }
    char path[200] = "unix:///";
    memset(path + 8, 'a', 150);
    assert_int_equal(sbx_redis_url_parse(path, &url_out, NULL), -1);
    struct sbx_err err = SBX_ERR_INIT;
    assert_int_equal(sbx_redis_url_parse("rediss://h", &url_out, &err), -1);
    assert_non_null(strstr(err.msg, "TLS"));
}

int main(void)
{
    const struct CMUnitTest redis_url[] = {
        cmocka_unit_test(urls_are_taken_apart),
        cmocka_unit_test(bad_urls_are_refused_without_showing_them),
    };
    return cmocka_run_group_tests(redis_url, NULL, NULL);
}
