/* The HTTP module behind its socket: a child serves, this process plays the web server. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "http_child.h"
#include "sandboxd/http.h"
#include "support/fcgi_client.h"

#if defined(__SANITIZE_ADDRESS__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SANITIZED 1
#endif
#endif
#ifndef SANITIZED
#define SANITIZED 0
#endif

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

static void call(const char *action, const char *body, size_t n, struct fcgi_answer *answer)
{
    const char *extra[] = {"HTTP_X_DO", action, "HTTP_X_SIZE", "3000000", NULL};
    fcgi_call(child.path, body ? "POST" : "GET", "/", extra, body, n, answer);
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

static void open_request(struct fcgi_client *client, const char *action, const char *length)
{
    fcgi_open(client, child.path);
    fcgi_param(client, "REQUEST_METHOD", "POST");
    fcgi_param(client, "REQUEST_URI", "/");
    fcgi_param(client, "CONTENT_LENGTH", length);
    fcgi_param(client, "HTTP_X_DO", action);
    fcgi_param(client, "HTTP_X_SIZE", "3000000");
    fcgi_begin(client);
}

static void a_whole_answer_has_status_type_length_and_request_id(void **state)
{
    static const char *const extra[] = {"HTTP_X_DO", "echo", "REQUEST_ID", "abc123", NULL};
    struct fcgi_answer answer;
    char value[128];
    fcgi_call(child.path, "POST", "/", extra, "hello", 5, &answer);
    assert_true(answer.complete);
    assert_true(fcgi_answer_header(&answer, "Status", value, sizeof(value)));
    assert_string_equal(value, "200 OK");
    assert_true(fcgi_answer_header(&answer, "Content-Type", value, sizeof(value)));
    assert_string_equal(value, "application/octet-stream");
    assert_true(fcgi_answer_header(&answer, "Content-Length", value, sizeof(value)));
    assert_string_equal(value, "5");
    assert_true(fcgi_answer_header(&answer, "X-Request-Id", value, sizeof(value)));
    assert_string_equal(value, "abc123");
    assert_string_equal(answer.data.data + answer.body, "hello");
    struct http_report report = http_child_report(&child);
    assert_int_equal(report.status, 200);
    assert_int_equal(report.sent, 5);
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
    open_request(&client, "count", "300100");
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
    open_request(&client, "echo", "");
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
        open_request(&client, actions[i], length);
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
    call("echo", body, n, &answer);
    assert_int_equal(http_child_report(&child).body, SBX_ERR_TOO_LARGE);
    assert_int_equal(answer.status, 413);
    fcgi_answer_done(&answer);

    call("echo", body, n - 1, &answer);
    assert_int_equal(answer.status, 200);
    assert_int_equal(answer.data.len - answer.body, n - 1);
    assert_int_equal(http_child_report(&child).received, n - 1);
    fcgi_answer_done(&answer);

    struct fcgi_client client;
    open_request(&client, "echo", "");
    fcgi_body(&client, body, n);
    fcgi_body_end(&client);
    fcgi_answer_read(&client, &answer);
    assert_int_equal(answer.status, 413);
    assert_int_equal(http_child_report(&child).body, SBX_ERR_TOO_LARGE);
    fcgi_answer_done(&answer);
    fcgi_close(&client);
    free(body);
}

static void an_answer_before_the_body_was_read_reaches_the_client(void **state)
{
    size_t n = 3 << 20; /* more than the socket holds: it is still being sent while the answer comes */
    char *body = calloc(1, n);
    struct fcgi_answer answer;
    call("early", body, n, &answer);
    assert_true(answer.complete);
    assert_int_equal(answer.status, 413);
    assert_string_equal(answer.data.data + answer.body, "no");
    http_child_report(&child);
    fcgi_answer_done(&answer);
    free(body);
}

static void a_body_that_never_ends_does_not_hold_the_worker(void **state)
{
    struct fcgi_client client;
    open_request(&client, "early", "1000000000");
    struct timeval tv = {.tv_sec = 0, .tv_usec = 100000};
    setsockopt(client.fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof(tv));
    char piece[4096] = "";
    int sent = 0;
    while (fcgi_body(&client, piece, sizeof(piece)))
        sent++;
    assert_int_equal(errno, EPIPE); /* not EAGAIN: the worker reads for a while, then goes */
    assert_true(sent > 0);
    assert_int_equal(http_child_report(&child).status, 413);
    fcgi_close(&client);
}

static void no_content_has_neither_body_nor_length(void **state)
{
    struct fcgi_answer answer;
    char value[64];
    call("empty", NULL, 0, &answer);
    assert_true(answer.complete);
    assert_int_equal(answer.status, 204);
    assert_int_equal(answer.body, answer.data.len);
    assert_false(fcgi_answer_header(&answer, "Content-Length", value, sizeof(value)));
    assert_true(fcgi_answer_header(&answer, "X-Request-Id", value, sizeof(value)));
    http_child_report(&child);
    fcgi_answer_done(&answer);
}

static void extra_headers_are_sent(void **state)
{
    struct fcgi_answer answer;
    char value[64];
    call("headers", NULL, 0, &answer);
    assert_true(fcgi_answer_header(&answer, "Status", value, sizeof(value)));
    assert_string_equal(value, "429 Too Many Requests");
    assert_true(fcgi_answer_header(&answer, "Retry-After", value, sizeof(value)));
    assert_string_equal(value, "7");
    assert_true(fcgi_answer_header(&answer, "Allow", value, sizeof(value)));
    assert_string_equal(value, "GET, POST");
    http_child_report(&child);
    fcgi_answer_done(&answer);
}

static void an_unanswered_request_becomes_a_500(void **state)
{
    struct fcgi_answer answer;
    call("none", "unread", 6, &answer);
    assert_true(answer.complete);
    assert_int_equal(answer.status, 500);
    assert_string_equal(answer.data.data + answer.body, "{\"detail\":\"Internal Server Error\"}");
    assert_int_equal(http_child_report(&child).status, 500);
    fcgi_answer_done(&answer);
}

static void a_second_answer_is_refused(void **state)
{
    struct fcgi_answer answer;
    call("twice", NULL, 0, &answer);
    assert_int_equal(answer.status, 200);
    assert_string_equal(answer.data.data + answer.body, "first");
    assert_int_equal(http_child_report(&child).answer, SBX_ERR_INTERNAL);
    fcgi_answer_done(&answer);
}

static void check_pattern(const char *action)
{
    struct fcgi_answer answer;
    char value[64];
    call(action, NULL, 0, &answer);
    assert_true(answer.complete);
    assert_true(fcgi_answer_header(&answer, "Content-Length", value, sizeof(value)));
    assert_string_equal(value, "3000000");
    assert_int_equal(answer.data.len - answer.body, 3000000);
    bool same = true;
    for (size_t i = 0; i < 3000000; i++)
        same = same && answer.data.data[answer.body + i] == (char)(i % 251);
    assert_true(same);
    assert_int_equal(http_child_report(&child).sent, 3000000);
    fcgi_answer_done(&answer);
}

static void a_big_answer_arrives_whole(void **state)
{
    check_pattern("big");
}

static void a_spooled_answer_arrives_whole(void **state)
{
    check_pattern("spool");
}

static void an_answer_nobody_takes_is_cancelled(void **state)
{
    static const char *const actions[] = {"wait", "big", "spool"};
    for (int i = 0; i < 3; i++) {
        struct fcgi_client client;
        open_request(&client, actions[i], "0");
        fcgi_body_end(&client);
        if (i > 0) {
            char first;
            assert_int_equal(recv(client.fd, &first, 1, 0), 1);
        }
        fcgi_close(&client);
        struct http_report report = http_child_report(&child);
        assert_int_equal(report.answer, SBX_ERR_CANCELLED);
        assert_int_equal(report.status, 200);
    }
}

static void a_silent_connection_does_not_keep_the_next_from_being_served(void **state)
{
    struct fcgi_client silent, gone, half;
    struct fcgi_answer answer;
    fcgi_open(&silent, child.path);
    fcgi_open(&gone, child.path);
    fcgi_close(&gone);
    fcgi_open(&half, child.path);
    assert_int_equal(send(half.fd, "\1\1\0\1", 4, 0), 4);
    fcgi_close(&half);
    call("empty", NULL, 0, &answer);
    assert_int_equal(answer.status, 204);
    http_child_report(&child);
    fcgi_answer_done(&answer);
    fcgi_close(&silent);
}

static void garbage_instead_of_a_request_is_dropped(void **state)
{
    struct fcgi_client client;
    struct fcgi_answer answer;
    char byte;
    fcgi_open(&client, child.path);
    assert_int_equal(send(client.fd, "GET / HTTP/1.1\r\n\r\n", 18, 0), 18);
    assert_true(recv(client.fd, &byte, 1, 0) <= 0);
    fcgi_close(&client);
    call("empty", NULL, 0, &answer);
    assert_int_equal(answer.status, 204);
    http_child_report(&child);
    fcgi_answer_done(&answer);
}

static void thousands_of_requests_need_no_more_memory_or_descriptors(void **state)
{
    static const char *const actions[] = {"info", "echo", "none", "empty"};
    int rounds = SANITIZED ? 1000 : 10000;
    int64_t before = 0;
    int fd = -1;
    for (int i = 0; i < rounds; i++) {
        struct fcgi_answer answer;
        call(actions[i % 4], "some body", 9, &answer);
        fcgi_answer_done(&answer);
        struct http_report report = http_child_report(&child);
        assert_true(report.cloexec);
        if (i == rounds / 10) {
            before = http_child_rss(&child);
            fd = report.fd;
        }
    }
    struct fcgi_answer answer;
    call("empty", NULL, 0, &answer);
    fcgi_answer_done(&answer);
    assert_int_equal(http_child_report(&child).fd, fd);
    if (!SANITIZED)
        assert_true(http_child_rss(&child) - before < 256 * 1024);
}

static void nothing_to_accept_is_no_error(void **state)
{
    char dir[] = "/tmp/http.XXXXXX";
    char path[64];
    struct sbx_err err = SBX_ERR_INIT;
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof(path), "%s/sock", dir);
    int fd = sbx_http_listen(path, 8, &err);
    assert_true(fd >= 0);
    struct sbx_server *server = sbx_server_new(fd, &err);
    assert_non_null(server);
    err.kind = SBX_ERR_INTERNAL;
    assert_null(sbx_server_accept(server, &err));
    assert_int_equal(err.kind, SBX_ERR_NONE);
    sbx_server_free(server);

    server = sbx_server_new(-1, &err);
    assert_null(sbx_server_accept(server, &err));
    assert_int_equal(err.kind, SBX_ERR_UNAVAILABLE);
    sbx_server_free(server);
    close(fd);
    unlink(path);
    rmdir(dir);
}

static void a_stale_socket_is_replaced_and_a_live_one_is_not(void **state)
{
    char dir[] = "/tmp/http.XXXXXX";
    char path[64];
    char long_path[200];
    struct sbx_err err = SBX_ERR_INIT;
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof(path), "%s/sock", dir);
    int first = sbx_http_listen(path, 8, &err);
    assert_true(first >= 0);
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0660);
    assert_true(fcntl(first, F_GETFD) & FD_CLOEXEC);
    assert_true(fcntl(first, F_GETFL) & O_NONBLOCK);

    assert_int_equal(sbx_http_listen(path, 8, &err), -1);
    assert_int_equal(err.kind, SBX_ERR_UNAVAILABLE);
    close(first);
    int second = sbx_http_listen(path, 8, &err);
    assert_true(second >= 0);
    close(second);
    unlink(path);

    int file = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    assert_int_equal(sbx_http_listen(path, 8, &err), -1);
    assert_int_equal(err.kind, SBX_ERR_INVALID);
    close(file);
    unlink(path);
    rmdir(dir);

    memset(long_path, 'x', sizeof(long_path));
    long_path[sizeof(long_path) - 1] = '\0';
    assert_int_equal(sbx_http_listen(long_path, 8, &err), -1);
    assert_int_equal(err.kind, SBX_ERR_INVALID);
    assert_int_equal(sbx_http_listen("", 8, &err), -1);
}

int main(void)
{
#define SERVED(name) cmocka_unit_test_setup_teardown(name, start, stop)
    const struct CMUnitTest tests[] = {
        SERVED(a_whole_answer_has_status_type_length_and_request_id),
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
        SERVED(an_answer_before_the_body_was_read_reaches_the_client),
        SERVED(a_body_that_never_ends_does_not_hold_the_worker),
        SERVED(no_content_has_neither_body_nor_length),
        SERVED(extra_headers_are_sent),
        SERVED(an_unanswered_request_becomes_a_500),
        SERVED(a_second_answer_is_refused),
        SERVED(a_big_answer_arrives_whole),
        SERVED(a_spooled_answer_arrives_whole),
        SERVED(an_answer_nobody_takes_is_cancelled),
        SERVED(a_silent_connection_does_not_keep_the_next_from_being_served),
        SERVED(garbage_instead_of_a_request_is_dropped),
        SERVED(thousands_of_requests_need_no_more_memory_or_descriptors),
        cmocka_unit_test(nothing_to_accept_is_no_error),
        cmocka_unit_test(a_stale_socket_is_replaced_and_a_live_one_is_not),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
