/* Reports: what is recorded, and what becomes of it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "report/scrub.h"
#include "report_kit.h"

static __attribute__((noinline)) int fail_somewhere(struct sbx_err *err)
{
    int rc = sbx_err_set(err, SBX_ERR_UPSTREAM, "the registry said no to %s", KEY);
    assert_int_equal(rc, -1); /* no tail call, which would leave no frame */
    return rc;
}

static struct sbx_trace trace;

static void a_request(int status, const struct sbx_err *err, bool expected)
{
    struct sbx_report_end end = {.method = "POST",
                                 .status = status,
                                 .remote = "192.0.2.7",
                                 .client = "somebody",
                                 .err = err,
                                 .trace = &trace,
                                 .expected = expected};
    sbx_trace_into(&trace);
    sbx_report_begin("request-1");
    sbx_report_route("/session/{id}", ID);
    sbx_trace_into(NULL);
    sbx_report_end(&end);
}

static void nothing_is_recorded_without_a_dsn(void **state)
{
    struct report_kit *kit = *state;
    struct sbx_err err = SBX_ERR_INIT;
    struct sbx_item item;
    free(kit->config.sentry_dsn);
    kit->config.sentry_dsn = NULL;
    kit->config.sentry_enable_logs = true;
    kit->config.sentry_traces_sample_rate = 1;
    report_kit_record(kit);
    (void)fail_somewhere(&err);
    assert_int_equal(err.stack, 0);
    a_request(502, &err, false);
    struct sbx_report_crash crash = {.role = "worker", .request = "", .session = ""};
    sbx_report_crash(&crash);
    assert_false(report_kit_take(kit, &item));
}

static void a_fault_becomes_an_event_with_the_stack_of_where_it_was_set(void **state)
{
    struct report_kit *kit = *state;
    struct sbx_err err = SBX_ERR_INIT;
    struct sbx_item item;
    char text[16384];
    report_kit_record(kit);
    (void)fail_somewhere(&err);
    struct sbx_err copy = err;
    sbx_err_wrap(&copy, "while pulling");
    a_request(502, &copy, false);
    assert_true(report_kit_take(kit, &item));
    assert_int_equal(item.kind, SBX_ITEM_ERROR);
    struct json_object *event = report_kit_payload(kit, &item, text, sizeof(text));
    assert_string_equal(sbx_json_str_at(event, "transaction", ""), "POST /session/{id}");
    assert_string_equal(sbx_json_str_at(event, "environment", ""), "local");
    assert_string_equal(sbx_json_str_at(event, "release", ""), "sandboxd@" SBX_VERSION);
    assert_string_equal(sbx_json_str_at(event, "tags/session_id", ""), ID);
    assert_string_equal(sbx_json_str_at(event, "tags/request_id", ""), "request-1");
    assert_string_equal(sbx_json_str_at(event, "tags/http.status_code", ""), "502");
    struct json_object *exception = json_object_array_get_idx(sbx_json_at(event, "exception/values"), 0);
    assert_string_equal(sbx_json_str_at(exception, "type", ""), "upstream");
    assert_string_equal(sbx_json_str_at(exception, "value", ""),
                        "while pulling: the registry said no to [Filtered]");
    struct json_object *frames = sbx_json_at(exception, "stacktrace/frames");
    struct json_object *last = json_object_array_get_idx(frames, json_object_array_length(frames) - 1);
    assert_string_equal(sbx_json_str_at(last, "function", ""), "fail_somewhere");
    json_object_put(event);
    assert_false(report_kit_take(kit, &item));
}

static void only_faults_that_nobody_expects_become_events(void **state)
{
    struct report_kit *kit = *state;
    struct sbx_item item;
    static const struct {
        enum sbx_err_kind kind;
        int status;
        bool expected;
        bool event;
    } CASES[] = {{SBX_ERR_NONE, 200, false, false},       {SBX_ERR_INVALID, 422, false, false},
                 {SBX_ERR_CANCELLED, 499, false, false},  {SBX_ERR_CONFLICT, 409, false, false},
                 {SBX_ERR_UNAVAILABLE, 503, true, false}, {SBX_ERR_UNAVAILABLE, 503, false, true},
                 {SBX_ERR_INTERNAL, 500, false, true},    {SBX_ERR_TIMEOUT, 504, false, true},
                 {SBX_ERR_INTERNAL, 200, false, true} /* an answer that broke off */};
    report_kit_record(kit);
    for (size_t i = 0; i < SBX_ARRAY_LEN(CASES); i++) {
        struct sbx_err err = SBX_ERR_INIT;
        if (CASES[i].kind)
            sbx_err_set(&err, CASES[i].kind, "x");
        a_request(CASES[i].status, &err, CASES[i].expected);
        assert_int_equal(report_kit_take(kit, &item), CASES[i].event);
    }
}

static void personal_data_is_sent_only_where_it_is_allowed(void **state)
{
    struct report_kit *kit = *state;
    struct sbx_item item;
    char text[16384];
    struct sbx_err err = SBX_ERR_INIT;
    for (int allowed = 0; allowed < 2; allowed++) {
        kit->config.sentry_send_default_pii = allowed;
        kit->config.sentry_enable_logs = true;
        report_kit_record(kit);
        sbx_err_set(&err, SBX_ERR_INTERNAL, "broken");
        a_request(500, &err, false);
        sbx_log_init(SBX_LOG_CRITICAL, false, "worker");
        sbx_log_set_client("somebody");
        sbx_log(SBX_LOG_CRITICAL, "request", "remote", "192.0.2.7", "path", "/session/x/", "status", "500",
                NULL);
        sbx_log_set_client(NULL);
        for (int i = 0; i < 2; i++) {
            assert_true(report_kit_take(kit, &item));
            json_object_put(report_kit_payload(kit, &item, text, sizeof(text)));
            assert_int_equal(strstr(text, "192.0.2.7") != NULL, allowed);
            assert_int_equal(strstr(text, "somebody") != NULL, allowed);
            assert_non_null(strstr(text, "500"));
        }
        assert_int_equal(strstr(text, "/session/x/") != NULL, allowed);
    }
}

static void secrets_are_taken_out_of_texts(void **state)
{
    struct report_kit *kit = *state;
    struct sbx_scrub scrub;
    char out[128];
    static const char *const CASES[][2] = {
        {"nothing", "nothing"},
        {"", ""},
        {KEY, "[Filtered]"},
        {"x" KEY "y" KEY, "x[Filtered]y[Filtered]"},
        {"pass-of-redis", "[Filtered]"},
        {"at " REDIS, "at redis://[Filtered]@host:6379/0"},
        {"https://me:word@h/x", "https://[Filtered]@h/x"},
        {"mail a@b.example, http://h/p@q", "mail a@b.example, http://h/p@q"},
        {"key 0123456789abcdef.", "key [Filtered]."},
    };
    sbx_scrub_init(&scrub, &kit->config);
    for (size_t i = 0; i < SBX_ARRAY_LEN(CASES); i++) {
        sbx_scrub_text(&scrub, CASES[i][0], out, sizeof(out));
        assert_string_equal(out, CASES[i][1]);
    }
    sbx_scrub_text(&scrub, "abc" KEY, out, 8);
    assert_string_equal(out, "abc[Fil");
}

static void a_short_key_does_not_garble_every_text(void **state)
{
    char key[] = "e";
    struct sbx_config config = {.api_key = key};
    struct sbx_scrub scrub;
    char out[32];
    sbx_scrub_init(&scrub, &config);
    sbx_scrub_text(&scrub, "here", out, sizeof(out));
    assert_string_equal(out, "here");
}

static void log_lines_carry_level_context_and_fields(void **state)
{
    struct report_kit *kit = *state;
    struct sbx_item item;
    char text[16384];
    kit->config.sentry_enable_logs = true;
    report_kit_record(kit);
    sbx_log_init(SBX_LOG_WARNING, false, "janitor");
    sbx_log_set_session(ID);
    sbx_log(SBX_LOG_INFO, "below the level", NULL);
    sbx_log(SBX_LOG_WARNING, "odd", "bad", "\xff" KEY, "first_skipped", "name", "none", (const char *)NULL,
            "last", "1", NULL);
    sbx_log_set_session(NULL);
    assert_true(report_kit_take(kit, &item));
    struct json_object *obj = report_kit_payload(kit, &item, text, sizeof(text));
    struct json_object *log = json_object_array_get_idx(sbx_json_at(obj, "items"), 0);
    assert_string_equal(sbx_json_str_at(log, "body", ""), "odd");
    assert_string_equal(sbx_json_str_at(log, "level", ""), "warn");
    assert_int_equal(sbx_json_int_at(log, "severity_number", 0), 13);
    assert_int_equal(strlen(sbx_json_str_at(log, "trace_id", "")), 32);
    assert_string_equal(sbx_json_str_at(log, "attributes/session_id/value", ""), ID);
    assert_string_equal(sbx_json_str_at(log, "attributes/role/value", ""), "janitor");
    assert_string_equal(sbx_json_str_at(log, "attributes/bad/value", ""), "\xEF\xBF\xBD[Filtered]");
    assert_string_equal(sbx_json_str_at(log, "attributes/last/value", ""), "1");
    assert_null(sbx_json_at(log, "attributes/first_skipped"));
    json_object_put(obj);
    assert_false(report_kit_take(kit, &item));
}

static void a_line_longer_than_an_item_is_cut_between_fields(void **state)
{
    struct report_kit *kit = *state;
    struct sbx_item item;
    char text[16384];
    char longer[1000];
    memset(longer, 'x', sizeof(longer) - 1);
    longer[sizeof(longer) - 1] = '\0';
    kit->config.sentry_enable_logs = true;
    report_kit_record(kit);
    sbx_log_init(SBX_LOG_CRITICAL, false, "worker");
    sbx_log(SBX_LOG_CRITICAL, "long", "a", longer, "b", longer, "c", longer, "d", longer, "e", longer, NULL);
    assert_true(report_kit_take(kit, &item));
    struct json_object *obj = report_kit_payload(kit, &item, text, sizeof(text));
    struct json_object *log = json_object_array_get_idx(sbx_json_at(obj, "items"), 0);
    assert_int_equal(strlen(sbx_json_str_at(log, "attributes/a/value", "")), 512);
    assert_null(sbx_json_at(log, "attributes/e"));
    json_object_put(obj);
}

static void a_crash_says_who_died_of_what_doing_what(void **state)
{
    struct report_kit *kit = *state;
    struct sbx_item item;
    char text[16384];
    struct sbx_report_crash crash = {
        .role = "worker", .pid = 77, .signo = 11, .request = "request-9", .session = ID};
    report_kit_record(kit);
    sbx_report_crash(&crash);
    crash.signo = 0;
    crash.code = 3;
    sbx_report_crash(&crash);
    static const char *const WANT[] = {"worker died of signal 11 (SIGSEGV)", "worker died with exit code 3"};
    for (int i = 0; i < 2; i++) {
        assert_true(report_kit_take(kit, &item));
        struct json_object *event = report_kit_payload(kit, &item, text, sizeof(text));
        struct json_object *exception = json_object_array_get_idx(sbx_json_at(event, "exception/values"), 0);
        assert_string_equal(sbx_json_str_at(exception, "value", ""), WANT[i]);
        assert_string_equal(sbx_json_str_at(event, "level", ""), "fatal");
        assert_string_equal(sbx_json_str_at(event, "tags/request_id", ""), "request-9");
        assert_int_equal(sbx_json_int_at(event, "extra/pid", 0), 77);
        json_object_put(event);
    }
}

static void spans_nest_and_only_so_many_are_kept(void **state)
{
    struct report_kit *kit = *state;
    struct sbx_item item;
    char text[65536];
    struct sbx_err none = SBX_ERR_INIT;
    struct sbx_report_end end = {
        .method = "GET", .status = 200, .remote = "", .client = "", .err = &none, .trace = &trace};
    kit->config.sentry_traces_sample_rate = 1;
    kit->config.sentry_profiles_sample_rate = 1;
    report_kit_record(kit);
    assert_null(sbx_span_begin("lock", "outside of a request").op);
    sbx_trace_into(&trace);
    sbx_report_begin("request-2");
    struct sbx_span_mark outer = sbx_span_begin("patch", "outer");
    {
        SBX_SPAN("agent", "inner");
    }
    sbx_span_end(&outer);
    for (int i = 0; i < SBX_TRACE_SPANS; i++) {
        SBX_SPAN("docker", "one of many");
    }
    sbx_trace_into(NULL);
    sbx_report_end(&end);
    assert_true(report_kit_take(kit, &item));
    struct json_object *event = report_kit_payload(kit, &item, text, sizeof(text));
    struct json_object *spans = sbx_json_at(event, "spans");
    assert_int_equal(json_object_array_length(spans), SBX_TRACE_SPANS);
    struct json_object *first = json_object_array_get_idx(spans, 0);
    struct json_object *second = json_object_array_get_idx(spans, 1);
    struct json_object *third = json_object_array_get_idx(spans, 2);
    const char *root = sbx_json_str_at(event, "contexts/trace/span_id", "");
    assert_string_equal(sbx_json_str_at(first, "parent_span_id", ""), root);
    assert_string_equal(sbx_json_str_at(second, "parent_span_id", ""),
                        sbx_json_str_at(first, "span_id", "?"));
    assert_string_equal(sbx_json_str_at(third, "parent_span_id", ""), root);
    assert_string_equal(sbx_json_str_at(event, "transaction", ""), "GET (no route)");
    assert_string_equal(sbx_json_str_at(event, "measurements/cpu_user/unit", ""), "millisecond");
    json_object_put(event);
    assert_null(sbx_span_begin("lock", "after it").op);
}

static void a_rate_takes_its_share(void **state)
{
    assert_false(sbx_sampled(0, 0));
    assert_false(sbx_sampled(0, UINT64_MAX));
    assert_true(sbx_sampled(1, 0));
    assert_true(sbx_sampled(1, UINT64_MAX));
    assert_true(sbx_sampled(0.25, UINT64_MAX / 4 - 4096));
    assert_false(sbx_sampled(0.25, UINT64_MAX / 4 + 4096));
}

static void measurements_come_with_profiled_requests_only(void **state)
{
    struct report_kit *kit = *state;
    struct sbx_item item;
    char text[16384];
    struct sbx_err none = SBX_ERR_INIT;
    kit->config.sentry_traces_sample_rate = 1;
    report_kit_record(kit);
    a_request(200, &none, false);
    assert_true(report_kit_take(kit, &item));
    struct json_object *event = report_kit_payload(kit, &item, text, sizeof(text));
    assert_null(sbx_json_at(event, "measurements"));
    json_object_put(event);
}

static void the_last_stacks_are_kept_and_older_ones_are_not_mistaken(void **state)
{
    struct report_kit *kit = *state;
    void *frames[SBX_STACK_FRAMES];
    report_kit_record(kit);
    unsigned first = sbx_stack_record();
    assert_true(sbx_stack_get(first, frames) > 1);
    for (int i = 0; i < 16; i++)
        (void)sbx_stack_record();
    assert_int_equal(sbx_stack_get(first, frames), 0);
    assert_int_equal(sbx_stack_get(0, frames), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, report_kit_open, report_kit_close)

int main(void)
{
    sbx_log_init(SBX_LOG_CRITICAL, false, "test");
    const struct CMUnitTest tests[] = {
        TEST(nothing_is_recorded_without_a_dsn),
        TEST(a_fault_becomes_an_event_with_the_stack_of_where_it_was_set),
        TEST(only_faults_that_nobody_expects_become_events),
        TEST(personal_data_is_sent_only_where_it_is_allowed),
        TEST(secrets_are_taken_out_of_texts),
        cmocka_unit_test(a_short_key_does_not_garble_every_text),
        TEST(log_lines_carry_level_context_and_fields),
        TEST(a_line_longer_than_an_item_is_cut_between_fields),
        TEST(a_crash_says_who_died_of_what_doing_what),
        TEST(spans_nest_and_only_so_many_are_kept),
        cmocka_unit_test(a_rate_takes_its_share),
        TEST(measurements_come_with_profiled_requests_only),
        TEST(the_last_stacks_are_kept_and_older_ones_are_not_mistaken),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
