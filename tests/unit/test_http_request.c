/* Requests as the HTTP module understands them: a child serves, this process plays the web server. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <cmocka.h>

#include "http_child.h"

static struct http_child child;

static int start(void **state)
{
    http_child_start(&child);
    return 0;
}

static int stop(void **state)
{
    http_child_stop(&child);
    return 0;
}

/* The value of a line name=value of the info answer. */
static const char *line_of(const struct fcgi_answer *answer, const char *name)
{
    static char value[8192];
    char key[32];
    int n = snprintf(key, sizeof(key), "\n%s=", name);
    const char *at = strstr(answer->data.data + answer->body - 1, key);
    assert_non_null(at);
    at += n;
    snprintf(value, sizeof(value), "%.*s", (int)strcspn(at, "\n"), at);
    return value;
}

static void info_of(const char *uri, const char *const *extra, struct fcgi_answer *answer)
{
    fcgi_call(child.path, "GET", uri, extra, NULL, 0, answer);
    answer->data.data[answer->body - 1] = '\n';
    assert_int_equal(answer->status, 200);
    http_child_report(&child);
}

static void check_info(const char *uri, const char *const *extra, const char *name, const char *expected)
{
    struct fcgi_answer answer;
    info_of(uri, extra, &answer);
    assert_string_equal(line_of(&answer, name), expected);
    fcgi_answer_done(&answer);
}

static void the_path_is_decoded_once_and_nothing_is_collapsed(void **state)
{
    static const struct {
        const char *uri, *path, *query;
    } cases[] = {
        {"/", "/", ""},
        {"/session/a/?x=%2F&y", "/session/a/", "x=%2F&y"},
        {"/a%20b%C3%A9", "/a b\xc3\xa9", ""},
        {"/a+b", "/a+b", ""},
        {"/a//b/../c/./", "/a//b/../c/./", ""},
        {"/%2e%2e/%252F", "/../%2F", ""},
        {"/a%3Fb?c?d", "/a?b", "c?d"},
        {"?q", "/", "q"},
        {"", "/", ""},
        {"/a%2Fb", "", ""},
        {"/a%2fb?q=1", "", "q=1"},
        {"/a%00b", "", ""},
        {"/a%", "", ""},
        {"/a%4", "", ""},
        {"/a%g0", "", ""},
        {"/a%0g", "", ""},
        {"/a%4?1", "", "1"},
        {"relative", "", ""},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        check_info(cases[i].uri, NULL, "path", cases[i].path);
        check_info(cases[i].uri, NULL, "query", cases[i].query);
    }
}

static void a_path_that_is_too_long_is_invalid(void **state)
{
    char uri[8000];
    memset(uri, 'a', sizeof(uri));
    uri[0] = '/';
    uri[sizeof(uri) - 1] = '\0';
    check_info(uri, NULL, "path", "");
    uri[4096] = '\0';
    check_info(uri, NULL, "path", "");
    uri[4095] = '\0';
    check_info(uri, NULL, "path", uri);
}

static void a_query_parameter_is_found_by_its_decoded_name(void **state)
{
    static const struct {
        const char *uri, *value;
    } cases[] = {
        {"/?p+a=1", "1"},
        {"/?p%20a=x%2Fy+z", "x/y z"},
        {"/?other=2&p+a=3&p+a=4", "3"},
        {"/?p+a", ""},
        {"/?p+a=", ""},
        {"/?&&p+a=a=b", "a=b"},
        {"/?p+ab=1&xp+a=2", "(none)"},
        {"/?%p+a=1&p+a=2", "2"},
        {"/?p+a=%zz", "(none)"},
        {"/?p+a=%00", "(none)"},
        {"/?p+a=123456789012345", "123456789012345"},
        {"/?p+a=1234567890123456", "(none)"},
        {"/", "(none)"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        check_info(cases[i].uri, NULL, "param", cases[i].value);
}

static void headers_are_found_by_their_lower_case_name(void **state)
{
    static const char *const extra[] = {"HTTP_X_TEST_HEADER", "a b", "CONTENT_TYPE", "text/x", "REMOTE_ADDR",
                                        "192.0.2.250",        NULL};
    static const char *const blank[] = {"HTTP_X_TEST_HEADER", "", "CONTENT_TYPE", "", NULL};
    check_info("/", extra, "header", "a b");
    check_info("/", extra, "type", "text/x");
    check_info("/", extra, "remote", "192.0.2.250");
    check_info("/", extra, "method", "GET");
    check_info("/", blank, "header", "(none)");
    check_info("/", blank, "type", "(none)");
    check_info("/", NULL, "header", "(none)");
}

static void a_sane_request_id_is_kept_and_an_insane_one_replaced(void **state)
{
    static const char long_id[] = "0123456789012345678901234567890123456789012345678901234567890123";
    static const char *const insane[] = {
        "a b",  "a\"b",    "", "0123456789012345678901234567890123456789012345678901234567890123x",
        "a\nb", "\xc3\xa9"};
    const char *extra[] = {"REQUEST_ID", "from-nginx", "HTTP_X_REQUEST_ID", "Az0._-", NULL};
    check_info("/", extra, "id", "Az0._-");
    extra[3] = long_id;
    check_info("/", extra, "id", long_id);
    for (size_t i = 0; i < sizeof(insane) / sizeof(insane[0]); i++) {
        extra[3] = insane[i];
        check_info("/", extra, "id", "from-nginx");
    }
    struct fcgi_answer answer;
    extra[1] = "not sane either";
    info_of("/", extra, &answer);
    assert_int_equal(strlen(line_of(&answer, "id")), 36);
    fcgi_answer_done(&answer);
}

static void a_body_in_pieces_is_read_whole(void **state)
{
    struct fcgi_client client;
    struct fcgi_answer answer;
    static char piece[3001];
    memset(piece, 'x', sizeof(piece));
    http_child_open(&child, &client, "count", "300100");
    for (int i = 0; i < 100; i++)
        assert_true(fcgi_body(&client, piece, sizeof(piece)));
    fcgi_body_end(&client);
    fcgi_answer_read(&client, &answer);
    assert_int_equal(answer.status, 200);
    assert_int_equal(http_child_report(&child).received, 300100);
    fcgi_answer_done(&answer);
    fcgi_close(&client);
}

static void a_body_of_unknown_length_is_read_to_its_end(void **state)
{
    struct fcgi_client client;
    struct fcgi_answer answer;
    http_child_open(&child, &client, "echo", "");
    fcgi_body(&client, "chunk one, ", 11);
    fcgi_body(&client, "chunk two", 9);
    fcgi_body_end(&client);
    fcgi_answer_read(&client, &answer);
    assert_string_equal(answer.data.data + answer.body, "chunk one, chunk two");
    assert_int_equal(http_child_report(&child).body, SBX_ERR_NONE);
    fcgi_answer_done(&answer);
    fcgi_close(&client);
}

/* The same body, read in pieces and as a whole, broken off in the given way. */
static void check_broken(const char *length, bool (*end)(struct fcgi_client *))
{
    static const char *const actions[] = {"count", "echo"};
    for (int i = 0; i < 2; i++) {
        struct fcgi_client client;
        http_child_open(&child, &client, actions[i], length);
        fcgi_body(&client, "part", 4);
        if (end)
            end(&client);
        else
            shutdown(client.fd, SHUT_WR);
        struct http_report report = http_child_report(&child);
        assert_int_equal(report.body, SBX_ERR_CANCELLED);
        assert_int_equal(report.received, 4);
        fcgi_close(&client);
    }
}

static void a_body_shorter_than_announced_is_cancelled(void **state)
{
    check_broken("5", fcgi_body_end);
}

static void an_aborted_body_is_cancelled(void **state)
{
    check_broken("5", fcgi_abort);
    check_broken("", fcgi_abort);
}

static void a_body_cut_off_without_its_end_is_cancelled(void **state)
{
    check_broken("4", NULL);
    check_broken("", NULL);
}

static void a_body_over_the_ceiling_is_too_large(void **state)
{
    size_t n = (4 << 20) + 1;
    char *body = calloc(1, n);
    struct fcgi_answer answer;
    http_child_call(&child, "echo", body, n, &answer);
    assert_int_equal(http_child_report(&child).body, SBX_ERR_TOO_LARGE);
    assert_int_equal(answer.status, 413);
    fcgi_answer_done(&answer);

    http_child_call(&child, "echo", body, n - 1, &answer);
    assert_int_equal(answer.status, 200);
    assert_int_equal(answer.data.len - answer.body, n - 1);
    assert_int_equal(http_child_report(&child).received, n - 1);
    fcgi_answer_done(&answer);

    struct fcgi_client client;
    http_child_open(&child, &client, "echo", "");
    fcgi_body(&client, body, n);
    fcgi_body_end(&client);
    fcgi_answer_read(&client, &answer);
    assert_int_equal(answer.status, 413);
    assert_int_equal(http_child_report(&child).body, SBX_ERR_TOO_LARGE);
    fcgi_answer_done(&answer);
    fcgi_close(&client);
    free(body);
}

int main(void)
{
#define SERVED(name) cmocka_unit_test_setup_teardown(name, start, stop)
    const struct CMUnitTest tests[] = {
        SERVED(the_path_is_decoded_once_and_nothing_is_collapsed),
        SERVED(a_path_that_is_too_long_is_invalid),
        SERVED(a_query_parameter_is_found_by_its_decoded_name),
        SERVED(headers_are_found_by_their_lower_case_name),
        SERVED(a_sane_request_id_is_kept_and_an_insane_one_replaced),
        SERVED(a_body_in_pieces_is_read_whole),
        SERVED(a_body_of_unknown_length_is_read_to_its_end),
        SERVED(a_body_shorter_than_announced_is_cancelled),
        SERVED(an_aborted_body_is_cancelled),
        SERVED(a_body_cut_off_without_its_end_is_cancelled),
        SERVED(a_body_over_the_ceiling_is_too_large),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
