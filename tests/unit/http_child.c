#include "http_child.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "sandboxd/http.h"

#define BODY_MAX (4 << 20)

/* What the request looked like. */
static int do_info(struct sbx_request *request, struct http_report *report, struct sbx_err *err)
{
    char text[16384];
    char value[16];
    const char *header = sbx_request_header(request, "x-test-header");
    const char *type = sbx_request_header(request, "content-type");
    bool found = sbx_request_param(request, "p a", value, sizeof(value));
    int n = snprintf(text, sizeof(text),
                     "method=%s\npath=%s\nquery=%s\nid=%s\nremote=%s\nheader=%s\ntype=%s\nparam=%s\n",
                     sbx_request_method(request), sbx_request_path(request), sbx_request_query(request),
                     sbx_request_id(request), sbx_request_remote(request), header ? header : "(none)",
                     type ? type : "(none)", found ? value : "(none)");
    return sbx_answer(request, 200, "text/plain", text, (size_t)n, err);
}

static int do_echo(struct sbx_request *request, struct http_report *report, struct sbx_err *err)
{
    struct sbx_buf body;
    sbx_buf_init(&body, BODY_MAX);
    int result = sbx_request_body(request, &body, err);
    if (result < 0)
        report->body = err->kind;
    else
        result =
            sbx_answer(request, 200, "application/octet-stream", body.data ? body.data : "", body.len, err);
    if (report->body == SBX_ERR_TOO_LARGE)
        result = sbx_answer(request, 413, "text/plain", err->msg, strlen(err->msg), err);
    report->received = (int64_t)body.len;
    sbx_buf_done(&body);
    return result;
}

/* Read in small pieces and past the end. */
static int do_count(struct sbx_request *request, struct http_report *report, struct sbx_err *err)
{
    char piece[100];
    ssize_t n;
    while ((n = sbx_request_read(request, piece, sizeof(piece), err)) > 0)
        report->received += n;
    if (n == 0)
        n = sbx_request_read(request, piece, sizeof(piece), err);
    if (n < 0) {
        report->body = err->kind;
        struct sbx_err again = SBX_ERR_INIT;
        assert(sbx_request_read(request, piece, sizeof(piece), &again) < 0 && again.kind == err->kind);
        return -1;
    }
    return sbx_answer(request, 200, "text/plain", "counted", 7, err);
}

static int do_none(struct sbx_request *request, struct http_report *report, struct sbx_err *err)
{
    return 0;
}

static int do_empty(struct sbx_request *request, struct http_report *report, struct sbx_err *err)
{
    return sbx_answer(request, 204, NULL, NULL, 0, err);
}

static int do_early(struct sbx_request *request, struct http_report *report, struct sbx_err *err)
{
    return sbx_answer(request, 413, "text/plain", "no", 2, err);
}

static int do_headers(struct sbx_request *request, struct http_report *report, struct sbx_err *err)
{
    sbx_answer_header(request, "Retry-After", "7");
    sbx_answer_header(request, "Allow", "GET, POST");
    return sbx_answer(request, 429, "application/json", "{}", 2, err);
}

static int do_twice(struct sbx_request *request, struct http_report *report, struct sbx_err *err)
{
    if (sbx_answer(request, 200, "text/plain", "first", 5, err) < 0)
        return -1;
    return sbx_answer(request, 500, "text/plain", "second", 6, err);
}

/* Bytes whose value depends on their place. */
static void pattern(char *data, size_t off, size_t n)
{
    for (size_t i = 0; i < n; i++)
        data[i] = (char)((off + i) % 251);
}

static int do_big(struct sbx_request *request, struct http_report *report, struct sbx_err *err)
{
    size_t n = HTTP_CHILD_SIZE;
    char *data = malloc(n);
    pattern(data, 0, n);
    int result = sbx_answer(request, 200, "application/octet-stream", data, n, err);
    free(data);
    return result;
}

static int do_spool(struct sbx_request *request, struct http_report *report, struct sbx_err *err)
{
    struct sbx_spool spool;
    sbx_spool_init(&spool, "/tmp", 64 * 1024, 1 << 30);
    char piece[10000];
    size_t left = HTTP_CHILD_SIZE;
    int result = 0;
    for (size_t off = 0; left > 0 && result == 0;) {
        size_t n = left < sizeof(piece) ? left : sizeof(piece);
        pattern(piece, off, n);
        result = sbx_spool_add(&spool, piece, n, err);
        off += n;
        left -= n;
    }
    if (result == 0)
        result = sbx_answer_spool(request, 200, "application/octet-stream", &spool, err);
    sbx_spool_done(&spool);
    return result;
}

/* Wait until the client has gone, then answer. */
static int do_wait(struct sbx_request *request, struct http_report *report, struct sbx_err *err)
{
    struct pollfd pfd = {.fd = sbx_request_fd(request), .events = POLLRDHUP};
    poll(&pfd, 1, 20000);
    return do_big(request, report, err);
}

static const struct {
    const char *name;
    int (*fn)(struct sbx_request *, struct http_report *, struct sbx_err *);
} actions[] = {
    {"info", do_info},   {"echo", do_echo},   {"count", do_count},     {"none", do_none},
    {"empty", do_empty}, {"early", do_early}, {"headers", do_headers}, {"twice", do_twice},
    {"big", do_big},     {"spool", do_spool}, {"wait", do_wait},       {"exit", do_empty},
};

static void serve(struct sbx_request *request, const char *action, struct http_report *report)
{
    struct sbx_err err = SBX_ERR_INIT;
    *report = (struct http_report){.fd = sbx_request_fd(request)};
    report->cloexec = fcntl(report->fd, F_GETFD) & FD_CLOEXEC;
    for (size_t i = 0; i < sizeof(actions) / sizeof(actions[0]); i++) {
        if (strcmp(action, actions[i].name) == 0 && actions[i].fn(request, report, &err) < 0)
            report->answer = err.kind;
    }
}

static int child_main(int listener, int reports)
{
    struct sbx_err err = SBX_ERR_INIT;
    struct sbx_server *server = sbx_server_new(listener, &err);
    bool running = server;
    while (running) {
        struct pollfd pfd = {.fd = listener, .events = POLLIN};
        poll(&pfd, 1, -1);
        err.kind = SBX_ERR_INTERNAL;
        struct sbx_request *request = sbx_server_accept(server, &err);
        if (!request) {
            running = err.kind == SBX_ERR_NONE;
            continue;
        }
        const char *header = sbx_request_header(request, "x-do");
        char action[16];
        snprintf(action, sizeof(action), "%s", header ? header : "info");
        running = strcmp(action, "exit") != 0;
        struct http_report report;
        serve(request, action, &report);
        sbx_request_finish(request);
        report.status = sbx_answer_status(request);
        report.sent = sbx_answer_bytes(request);
        if (running && write(reports, &report, sizeof(report)) != sizeof(report))
            running = false;
    }
    sbx_server_free(server);
    close(listener);
    close(reports);
    return err.kind == SBX_ERR_NONE || err.kind == SBX_ERR_INTERNAL ? 0 : 1;
}

void http_child_start(struct http_child *child)
{
    struct sbx_err err = SBX_ERR_INIT;
    int ends[2];
    const char *tmp = getenv("TMPDIR");
    snprintf(child->dir, sizeof(child->dir), "%s/http.XXXXXX", tmp && strlen(tmp) < 40 ? tmp : "/tmp");
    assert_non_null(mkdtemp(child->dir));
    snprintf(child->path, sizeof(child->path), "%s/sock", child->dir);
    int listener = sbx_http_listen(child->path, 64, &err);
    if (listener < 0)
        fail_msg("%s", err.msg);
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    child->pid = fork();
    if (child->pid == 0) {
        close(ends[0]);
        exit(child_main(listener, ends[1]));
    }
    close(listener);
    close(ends[1]);
    child->reports = ends[0];
}

void http_child_stop(struct http_child *child)
{
    struct fcgi_answer answer;
    int status;
    http_child_call(child, "exit", NULL, 0, &answer);
    fcgi_answer_done(&answer);
    assert_int_equal(waitpid(child->pid, &status, 0), child->pid);
    close(child->reports);
    unlink(child->path);
    rmdir(child->dir);
    assert_int_equal(status, 0);
}

void http_child_call(const struct http_child *child, const char *action, const char *body, size_t n,
                     struct fcgi_answer *ret)
{
    const char *extra[] = {"HTTP_X_DO", action, NULL};
    fcgi_call(child->path, body ? "POST" : "GET", "/", extra, body, n, ret);
}

void http_child_open(const struct http_child *child, struct fcgi_client *client, const char *action,
                     const char *length)
{
    fcgi_open(client, child->path);
    fcgi_param(client, "REQUEST_METHOD", "POST");
    fcgi_param(client, "REQUEST_URI", "/");
    fcgi_param(client, "CONTENT_LENGTH", length);
    fcgi_param(client, "HTTP_X_DO", action);
    fcgi_begin(client);
}

struct http_report http_child_report(const struct http_child *child)
{
    struct http_report report;
    assert_int_equal(read(child->reports, &report, sizeof(report)), sizeof(report));
    return report;
}

int64_t http_child_rss(const struct http_child *child)
{
    char path[64];
    long pages = 0;
    snprintf(path, sizeof(path), "/proc/%d/statm", (int)child->pid);
    FILE *file = fopen(path, "re");
    assert_non_null(file);
    assert_int_equal(fscanf(file, "%*d %ld", &pages), 1);
    fclose(file);
    return pages * sysconf(_SC_PAGESIZE);
}
