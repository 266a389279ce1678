/* Answers and connections of the HTTP module: a child serves, this process plays the web server. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "http_child.h"
#include "sandboxd/http.h"

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

static void an_answer_before_the_body_was_read_reaches_the_client(void **state)
{
    size_t n = 3 << 20; /* more than the socket holds: it is still being sent while the answer comes */
    char *body = calloc(1, n);
    struct fcgi_answer answer;
    http_child_call(&child, "early", body, n, &answer);
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
    http_child_open(&child, &client, "early", "1000000000");
    char piece[4096] = "";
    int sent = 0;
    while (fcgi_body(&client, piece, sizeof(piece)))
        sent++;
    /* not EAGAIN: the worker reads for a while, then goes; a sender that sleeps meanwhile may be reset */
    assert_true(errno == EPIPE || errno == ECONNRESET);
    assert_true(sent > 0);
    assert_int_equal(http_child_report(&child).status, 413);
    fcgi_close(&client);
}

static void no_content_has_neither_body_nor_length(void **state)
{
    struct fcgi_answer answer;
    char value[64];
    http_child_call(&child, "empty", NULL, 0, &answer);
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
    http_child_call(&child, "headers", NULL, 0, &answer);
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
    http_child_call(&child, "none", "unread", 6, &answer);
    assert_true(answer.complete);
    assert_int_equal(answer.status, 500);
    assert_string_equal(answer.data.data + answer.body, "{\"detail\":\"Internal Server Error\"}");
    assert_int_equal(http_child_report(&child).status, 500);
    fcgi_answer_done(&answer);
}

static void a_second_answer_is_refused(void **state)
{
    struct fcgi_answer answer;
    http_child_call(&child, "twice", NULL, 0, &answer);
    assert_int_equal(answer.status, 200);
    assert_string_equal(answer.data.data + answer.body, "first");
    assert_int_equal(http_child_report(&child).answer, SBX_ERR_INTERNAL);
    fcgi_answer_done(&answer);
}

static void check_pattern(const char *action)
{
    struct fcgi_answer answer;
    char value[64];
    http_child_call(&child, action, NULL, 0, &answer);
    assert_true(answer.complete);
    assert_true(fcgi_answer_header(&answer, "Content-Length", value, sizeof(value)));
    assert_string_equal(value, "3000000");
    assert_int_equal(answer.data.len - answer.body, HTTP_CHILD_SIZE);
    bool same = true;
    for (size_t i = 0; i < HTTP_CHILD_SIZE; i++)
        same = same && answer.data.data[answer.body + i] == (char)(i % 251);
    assert_true(same);
    assert_int_equal(http_child_report(&child).sent, HTTP_CHILD_SIZE);
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
        http_child_open(&child, &client, actions[i], "0");
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

/* The child waits only so long for a connection's first bytes: it stands still until they are sent. */
static void a_silent_connection_does_not_keep_the_next_from_being_served(void **state)
{
    struct fcgi_client silent, gone, half;
    struct fcgi_answer answer;
    kill(child.pid, SIGSTOP);
    fcgi_open(&silent, child.path);
    fcgi_open(&gone, child.path);
    fcgi_close(&gone);
    fcgi_open(&half, child.path);
    assert_int_equal(send(half.fd, "\1\1\0\1", 4, 0), 4);
    fcgi_close(&half);
    kill(child.pid, SIGCONT);
    http_child_call(&child, "empty", NULL, 0, &answer);
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
    kill(child.pid, SIGSTOP); /* as above */
    fcgi_open(&client, child.path);
    assert_int_equal(send(client.fd, "GET / HTTP/1.1\r\n\r\n", 18, 0), 18);
    kill(child.pid, SIGCONT);
    assert_true(recv(client.fd, &byte, 1, 0) <= 0);
    fcgi_close(&client);
    http_child_call(&child, "empty", NULL, 0, &answer);
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
        http_child_call(&child, actions[i % 4], "some body", 9, &answer);
        fcgi_answer_done(&answer);
        struct http_report report = http_child_report(&child);
        assert_true(report.cloexec);
        if (i == rounds / 10) {
            before = http_child_rss(&child);
            fd = report.fd;
        }
    }
    struct fcgi_answer answer;
    http_child_call(&child, "empty", NULL, 0, &answer);
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
