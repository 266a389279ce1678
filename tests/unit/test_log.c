#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "sandboxd/base.h"

/* What was logged since start(). */
static int pipe_fds[2], real_stderr;
static char logged[65536];

static void start(enum sbx_log_level level, bool json)
{
    assert_int_equal(pipe(pipe_fds), 0);
    fflush(stderr);
    real_stderr = dup(STDERR_FILENO);
    dup2(pipe_fds[1], STDERR_FILENO);
    sbx_log_init(level, json, "worker");
    sbx_log_set_request(NULL);
    sbx_log_set_session(NULL);
    sbx_log_set_client(NULL);
}

static const char *finish(void)
{
    dup2(real_stderr, STDERR_FILENO);
    close(real_stderr);
    close(pipe_fds[1]);
    ssize_t n = read(pipe_fds[0], logged, sizeof(logged) - 1);
    close(pipe_fds[0]);
    logged[n > 0 ? n : 0] = '\0';
    return logged;
}

static void a_text_line_has_context_event_and_fields(void **state)
{
    char want[256];
    start(SBX_LOG_INFO, false);
    sbx_log_set_request("r-1");
    sbx_log_set_session("s-1");
    sbx_log_set_client("me");
    sbx_log(SBX_LOG_WARNING, "session created", "image", "debian:12", "empty", "", "text", "a \"b\"\n=\x1b",
            NULL);
    const char *line = finish();
    snprintf(want, sizeof(want),
             " level=warning role=worker pid=%d request=r-1 session=s-1 client=me event=\"session created\" "
             "image=debian:12 empty=\"\" text=\"a \\\"b\\\"\\n=\\u001b\"\n",
             (int)getpid());
    assert_memory_equal(line, "ts=2", 4);
    assert_string_equal(strchr(line, ' '), want);
}

static void a_json_line_is_one_json_object(void **state)
{
    struct sbx_err err = SBX_ERR_INIT;
    bool ok;
    start(SBX_LOG_DEBUG, true);
    sbx_log_set_client("caf\xC3\xA9");
    sbx_log(SBX_LOG_DEBUG, "x", "bad", "\xFF\"\\", "null", (const char *)NULL, NULL);
    const char *line = finish();
    assert_ptr_equal(strchr(line, '\n'), line + strlen(line) - 1);
    struct json_object *obj = sbx_json_parse(line, strlen(line), &ok, &err);
    assert_true(ok);
    assert_string_equal(sbx_json_str_at(obj, "level", ""), "debug");
    assert_string_equal(sbx_json_str_at(obj, "role", ""), "worker");
    assert_string_equal(sbx_json_str_at(obj, "client", ""), "caf\xC3\xA9");
    assert_string_equal(sbx_json_str_at(obj, "event", ""), "x");
    assert_string_equal(sbx_json_str_at(obj, "bad", ""), "\xEF\xBF\xBD\"\\");
    assert_string_equal(sbx_json_str_at(obj, "null", "?"), "");
    assert_null(sbx_json_at(obj, "request"));
    json_object_put(obj);
}

static void lines_below_the_level_are_dropped(void **state)
{
    start(SBX_LOG_ERROR, false);
    sbx_log(SBX_LOG_WARNING, "no", NULL);
    sbx_log(SBX_LOG_ERROR, "yes", NULL);
    const char *line = finish();
    assert_null(strstr(line, "event=no"));
    assert_non_null(strstr(line, "event=yes"));
}

static void a_line_of_any_length_is_cut_but_stays_well_formed(void **state)
{
    struct sbx_err err = SBX_ERR_INIT;
    static char big[9000];
    bool ok;
    for (size_t i = 0; i + 3 < sizeof(big); i += 3)
        memcpy(big + i, i % 2 ? "\xE2\x82\xAC" : "\"\n\x01", 3);
    for (size_t skip = 0; skip < 40; skip++) {
        start(SBX_LOG_INFO, true);
        sbx_log(SBX_LOG_INFO, "big", "pad", big + sizeof(big) - 1 - skip, "value", big + skip * 3, "after",
                big, "k", "v", NULL);
        const char *line = finish();
        assert_true(strlen(line) <= 4096);
        assert_true(strlen(line) > 4000);
        struct json_object *obj = sbx_json_parse(line, strlen(line), &ok, &err);
        assert_true(ok);
        const char *value = sbx_json_str_at(obj, "value", "");
        assert_string_equal(value + strlen(value) - 3, "...");
        json_object_put(obj);
    }
}

static void errors_are_logged_with_their_kind(void **state)
{
    struct sbx_err err = SBX_ERR_INIT;
    sbx_err_set(&err, SBX_ERR_UPSTREAM, "no such image");
    start(SBX_LOG_INFO, false);
    sbx_log_err(SBX_LOG_ERROR, "create failed", &err);
    assert_non_null(strstr(finish(), "event=\"create failed\" kind=upstream error=\"no such image\"\n"));
}

static void levels_have_upper_case_names(void **state)
{
    assert_int_equal(sbx_log_level_parse("DEBUG"), SBX_LOG_DEBUG);
    assert_int_equal(sbx_log_level_parse("CRITICAL"), SBX_LOG_CRITICAL);
    assert_int_equal(sbx_log_level_parse("debug"), -1);
    assert_int_equal(sbx_log_level_parse(""), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_text_line_has_context_event_and_fields),
        cmocka_unit_test(a_json_line_is_one_json_object),
        cmocka_unit_test(lines_below_the_level_are_dropped),
        cmocka_unit_test(a_line_of_any_length_is_cut_but_stays_well_formed),
        cmocka_unit_test(errors_are_logged_with_their_kind),
        cmocka_unit_test(levels_have_upper_case_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
