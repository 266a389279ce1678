/*
 * The Docker client against a scripted daemon: silence, dropped connections, refusals, cut answers, cancelled
 * waits.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
/* cmocka wants them above it */
#include <cmocka.h>

#include <netinet/in.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "docker/internal.h"
#include "sandboxd/base/util.h"

#define PING_OK "HTTP/1.1 200 OK\r\nApi-Version: 1.41\r\nContent-Length: 2\r\n\r\nOK"
/* for a daemon that must go on to the next connection */
#define PING_CLOSE "HTTP/1.1 200 OK\r\nApi-Version: 1.41\r\nConnection: close\r\nContent-Length: 2\r\n\r\nOK"
#define NO_CONTENT "HTTP/1.1 204 No Content\r\n\r\n"
#define UPGRADED   "HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n"
#define CHUNKED    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"

enum after { KEEP, CLOSE, HANG };

/* What the daemon does with one request: it must begin with `expect`; `answer` (size bytes, or a string) is
 * sent. */
struct step {
    const char *expect;
    const char *answer;
    size_t size;
    enum after after;
};

struct fake {
    char dir[64];
    char host[128];
    pid_t pid;
};

/* Read a request's head, and its body when that has a small length. False at the end of the connection. */
static bool read_request(int fd, char *out, size_t size)
{
    size_t n = 0, want = 0;

    while (want == 0 || n < want) {
        ssize_t got = read(fd, out + n, size - 1 - n);

        if (got <= 0)
            return false;
        n += (size_t)got;
        out[n] = '\0';
        char *end = strstr(out, "\r\n\r\n"), *length = strstr(out, "Content-Length: ");
        if (end)
            want = (size_t)(end + 4 - out) + (length && length < end ? strtoul(length + 16, NULL, 10) : 0);
        if (want > size / 2)
            return true; /* an upload: its body is left unread */
    }
    return true;
}

static void serve(int listener, const struct step *step)
{
    static char request[65536];
    char complaint[512];
    int fd = accept(listener, NULL, NULL);

    while (step->expect) {
        if (!read_request(fd, request, sizeof(request))) {
            close(fd);
            fd = accept(listener, NULL, NULL);
            continue;
        }
        if (strncmp(request, step->expect, strlen(step->expect)) != 0) {
            int n = snprintf(complaint, sizeof(complaint),
                             "HTTP/1.1 599 Script\r\nContent-Length: 20\r\n\r\nunexpected %.9s", request);
            (void)!write(fd, complaint, (size_t)n);
        } else if (step->answer) {
            (void)!write(fd, step->answer, step->size ? step->size : strlen(step->answer));
        }
        if (step->after == HANG)
            pause();
        if (step->after == CLOSE) {
            shutdown(fd, SHUT_WR);
            while (read(fd, request, sizeof(request)) > 0)
                ;
            close(fd);
            fd = step[1].expect ? accept(listener, NULL, NULL) : -1;
        }
        step++;
    }
    pause();
}

/* A daemon in a process of its own, in a new directory, or in the one that fake names. */
static void fake_start(struct fake *fake, bool tcp, const struct step *steps)
{
    struct sockaddr_un local = {.sun_family = AF_UNIX};
    struct sockaddr_in inet = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(tcp ? AF_INET : AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (!fake->dir[0]) {
        snprintf(fake->dir, sizeof(fake->dir), "/tmp/sbx-docker-XXXXXX");
        assert_non_null(mkdtemp(fake->dir));
    }
    snprintf(local.sun_path, sizeof(local.sun_path), "%s/sock", fake->dir);
    if (tcp) {
        assert_int_equal(bind(fd, (struct sockaddr *)&inet, sizeof(inet)), 0);
        assert_int_equal(getsockname(fd, (struct sockaddr *)&inet, &(socklen_t){sizeof(inet)}), 0);
        snprintf(fake->host, sizeof(fake->host), "tcp://127.0.0.1:%d", ntohs(inet.sin_port));
    } else {
        assert_int_equal(bind(fd, (struct sockaddr *)&local, sizeof(local)), 0);
        snprintf(fake->host, sizeof(fake->host), "unix://%s", local.sun_path);
    }
    assert_int_equal(listen(fd, 8), 0);
    fake->pid = fork();
    if (fake->pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        signal(SIGPIPE, SIG_IGN);
        serve(fd, steps);
        _exit(0);
    }
    close(fd);
}

static void fake_kill(struct fake *fake)
{
    char path[128];

    kill(fake->pid, SIGKILL);
    waitpid(fake->pid, NULL, 0);
    snprintf(path, sizeof(path), "%s/sock", fake->dir);
    unlink(path);
}

static void fake_stop(struct fake *fake)
{
    fake_kill(fake);
    rmdir(fake->dir);
}

static struct sbx_docker *client(const struct fake *fake, int64_t timeout_ms)
{
    struct sbx_err err = SBX_ERR_INIT;
    struct sbx_docker *docker = sbx_docker_new(fake->host, timeout_ms, &err);

    if (!docker)
        fail_msg("%s", err.msg);
    return docker;
}

static void check_err(int rc, const struct sbx_err *err, enum sbx_err_kind kind, const char *text)
{
    assert_int_equal(rc, -1);
    if (err->kind != kind || !strstr(err->msg, text))
        fail_msg("%s: %s", sbx_err_kind_name(err->kind), err->msg);
}

static void check_ok(int rc, const struct sbx_err *err)
{
    if (rc < 0)
        fail_msg("%s: %s", sbx_err_kind_name(err->kind), err->msg);
    assert_int_equal(err->kind, SBX_ERR_NONE);
}

/* Start container "c" on a daemon that follows steps, and take its answer. */
static int start_on(const struct step *steps, int64_t timeout_ms, struct sbx_wait *wait, struct sbx_err *err)
{
    struct fake fake = {.dir = ""};

    fake_start(&fake, false, steps);
    struct sbx_docker *docker = client(&fake, timeout_ms);
    int rc = sbx_docker_start(docker, wait, "c", err);
    sbx_docker_free(docker);
    fake_stop(&fake);
    return rc;
}

static void a_hung_daemon_is_unavailable_after_the_timeout(void **state)
{
    const struct step steps[] = {
        {"GET /_ping", PING_OK, 0, KEEP}, {"POST /v1.41/containers/c/start", NULL, 0, HANG}, {0}};
    struct sbx_err err = SBX_ERR_INIT;
    int64_t before = sbx_now_ms();

    check_err(start_on(steps, 80, NULL, &err), &err, SBX_ERR_UNAVAILABLE,
              "Docker client is not responding: silent");
    assert_in_range(sbx_now_ms() - before, 80, 5000);
}

static void an_absent_daemon_is_unavailable(void **state)
{
    struct sbx_err err = SBX_ERR_INIT;
    struct fake fake = {.host = "unix:///nonexistent/docker.sock"};
    struct sbx_docker *docker = client(&fake, 1000);

    check_err(sbx_docker_ping(docker, NULL, &err), &err, SBX_ERR_UNAVAILABLE,
              "Docker client is not responding");
    err = (struct sbx_err)SBX_ERR_INIT;
    check_err(sbx_docker_start(docker, NULL, "c", &err), &err, SBX_ERR_UNAVAILABLE,
              "Docker client is not responding");
    sbx_docker_free(docker);
}

static void a_daemon_that_comes_back_is_used_again(void **state)
{
    const struct step hung[] = {{"GET /_ping", PING_OK, 0, HANG}, {0}};
    const struct step well[] = {{"GET /_ping", PING_OK, 0, KEEP}, {"POST ", NO_CONTENT, 0, KEEP}, {0}};
    struct sbx_err err = SBX_ERR_INIT;
    struct fake fake = {.dir = ""};

    fake_start(&fake, false, hung);
    struct sbx_docker *docker = client(&fake, 5000);
    check_ok(sbx_docker_ping(docker, NULL, &err), &err);
    docker->timeout_ms = 200;
    check_err(sbx_docker_ping(docker, NULL, &err), &err, SBX_ERR_UNAVAILABLE,
              "Docker client is not responding");
    fake_kill(&fake);
    check_err(sbx_docker_ping(docker, NULL, &err), &err, SBX_ERR_UNAVAILABLE,
              "Docker client is not responding");

    docker->timeout_ms = 5000;
    err = (struct sbx_err)SBX_ERR_INIT;
    fake_start(&fake, false, well);
    check_ok(sbx_docker_ping(docker, NULL, &err), &err);
    fake_kill(&fake);
    fake_start(&fake, false, well + 1); /* the kept connection is dead */
    check_ok(sbx_docker_start(docker, NULL, "c", &err), &err);
    sbx_docker_free(docker);
    fake_stop(&fake);
}

static void a_client_that_hangs_up_ends_a_silent_call_at_once(void **state)
{
    const struct step steps[] = {{"GET /_ping", NULL, 0, HANG}, {0}};
    struct sbx_err err = SBX_ERR_INIT;
    struct sbx_wait wait;
    int pair[2];
    int64_t before = sbx_now_ms();

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    sbx_wait_init(&wait);
    wait.client_fd = pair[0];
    close(pair[1]);
    check_err(start_on(steps, 60000, &wait, &err), &err, SBX_ERR_CANCELLED, "");
    assert_in_range(sbx_now_ms() - before, 0, 5000);
    close(pair[0]);
}

static int third_refresh_fails(void *arg, struct sbx_err *err)
{
    return ++*(int *)arg < 3 ? 0 : sbx_err_set(err, SBX_ERR_CONFLICT, "lost the lock");
}

static void hooks_run_while_the_daemon_is_silent(void **state)
{
    const struct step steps[] = {{"GET /_ping", NULL, 0, HANG}, {0}};
    struct sbx_err err = SBX_ERR_INIT;
    struct sbx_wait wait;
    int calls = 0;

    sbx_wait_init(&wait);
    assert_true(sbx_wait_add(&wait, 5, third_refresh_fails, &calls) >= 0);
    check_err(start_on(steps, 60000, &wait, &err), &err, SBX_ERR_CONFLICT, "lost the lock");
    assert_int_equal(calls, 3);
}

static void a_deadline_ends_a_call(void **state)
{
    const struct step steps[] = {{"GET /_ping", NULL, 0, HANG}, {0}};
    struct sbx_err err = SBX_ERR_INIT;
    struct sbx_wait wait;

    sbx_wait_init(&wait);
    wait.deadline_ms = sbx_now_ms() + 30;
    check_err(start_on(steps, 60000, &wait, &err), &err, SBX_ERR_TIMEOUT, "");
}

static void a_kept_connection_that_died_is_replaced_silently(void **state)
{
    const struct step steps[] = {{"GET /_ping", PING_OK, 0, KEEP},
                                 {"POST /v1.41/containers/c/start", NULL, 0, CLOSE},
                                 {"POST /v1.41/containers/c/start", NO_CONTENT, 0, KEEP},
                                 {0}};
    struct sbx_err err = SBX_ERR_INIT;

    check_ok(start_on(steps, 5000, NULL, &err), &err);
}

static void an_upgraded_daemon_is_negotiated_with_again(void **state)
{
    const struct step steps[] = {
        {"GET /_ping", PING_OK, 0, KEEP},
        {"POST /v1.41/containers/c/start",
         "HTTP/1.1 400 Bad Request\r\nContent-Length: 87\r\n\r\n"
         "{\"message\":\"client version 1.41 is too old. Minimum supported API version is 1.44, so\"}",
         0, KEEP},
        {"GET /_ping", "HTTP/1.1 200 OK\r\nApi-Version: 1.50\r\nContent-Length: 0\r\n\r\n", 0, KEEP},
        {"POST /v1.44/containers/c/start", NO_CONTENT, 0, KEEP},
        {0},
    };
    struct sbx_err err = SBX_ERR_INIT;

    check_ok(start_on(steps, 5000, NULL, &err), &err);
}

static void a_daemon_that_is_too_old_is_said_so(void **state)
{
    const struct step steps[] = {
        {"GET /_ping", "HTTP/1.1 200 OK\r\nApi-Version: 1.23\r\nContent-Length: 0\r\n\r\n", 0, KEEP}, {0}};
    struct sbx_err err = SBX_ERR_INIT;

    check_err(start_on(steps, 5000, NULL, &err), &err, SBX_ERR_UPSTREAM, "1.23");
}

static void refusals_carry_the_daemons_words(void **state)
{
    const struct step steps[] = {
        {"GET /_ping", PING_OK, 0, KEEP},
        {"POST ", "HTTP/1.1 404 Not Found\r\nContent-Length: 26\r\n\r\n{\"message\":\"not there at\"}", 0,
         KEEP},
        {"POST ", "HTTP/1.1 409 Conflict\r\nContent-Length: 17\r\n\r\n{\"message\":\"no\"} ", 0, KEEP},
        {"POST ", "HTTP/1.1 304 Not Modified\r\n\r\n", 0, KEEP},
        {"POST ", "HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n", 0, KEEP},
        {"POST ", "HTTP/1.1 400 Bad\r\nContent-Length: 3\r\n\r\nbad", 0, KEEP},
        {"POST ", "garbage\r\n\r\n", 0, CLOSE},
        {0},
    };
    struct sbx_err err = SBX_ERR_INIT;
    struct fake fake = {.dir = ""};

    fake_start(&fake, false, steps);
    struct sbx_docker *docker = client(&fake, 5000);
    check_err(sbx_docker_start(docker, NULL, "c", &err), &err, SBX_ERR_NOT_FOUND,
              "cannot start container c: not there at");
    check_err(sbx_docker_start(docker, NULL, "c", &err), &err, SBX_ERR_CONFLICT,
              "cannot start container c: no");
    err = (struct sbx_err)SBX_ERR_INIT;
    check_ok(sbx_docker_start(docker, NULL, "c", &err), &err);
    check_err(sbx_docker_start(docker, NULL, "c", &err), &err, SBX_ERR_UPSTREAM,
              "cannot start container c: dockerd answered 500");
    check_err(sbx_docker_start(docker, NULL, "c", &err), &err, SBX_ERR_INVALID,
              "cannot start container c: bad");
    check_err(sbx_docker_start(docker, NULL, "c", &err), &err, SBX_ERR_UNAVAILABLE,
              "Docker client is not responding");
    sbx_docker_free(docker);
    fake_stop(&fake);
}

static void an_answer_that_is_cut_short_is_a_failure(void **state)
{
    const struct step steps[] = {
        {"GET /_ping", PING_OK, 0, KEEP},
        {"GET /v1.41/containers/c/json", "HTTP/1.1 200 OK\r\nContent-Length: 90\r\n\r\n{\"Id\":\"x\"}", 0,
         CLOSE},
        {"GET /v1.41/containers/c/json", "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n{\"a\"", 0, KEEP},
        {"GET /v1.41/containers/c/json", "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nnull", 0, KEEP},
        {0},
    };
    struct sbx_err err = SBX_ERR_INIT;
    struct sbx_docker_state out = {.exit_code = 7};
    struct fake fake = {.dir = ""};

    fake_start(&fake, false, steps);
    struct sbx_docker *docker = client(&fake, 5000);
    check_err(sbx_docker_inspect(docker, NULL, "c", &out, &err), &err, SBX_ERR_UNAVAILABLE, "not responding");
    check_err(sbx_docker_inspect(docker, NULL, "c", &out, &err), &err, SBX_ERR_UPSTREAM, "unreadable");
    check_err(sbx_docker_inspect(docker, NULL, "c", &out, &err), &err, SBX_ERR_UPSTREAM, "unreadable");
    assert_int_equal(out.exit_code, 7);
    sbx_docker_free(docker);
    fake_stop(&fake);
}

static void an_upload_that_is_refused_early_tells_why(void **state)
{
    const struct step steps[] = {
        {"GET /_ping", PING_OK, 0, KEEP},
        {"PUT /v1.41/containers/c/archive?path=/a%20b/c%26d",
         "HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\ngone", 0, CLOSE},
        {"PUT ", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 0, CLOSE},
        {0},
    };
    struct sbx_err err = SBX_ERR_INIT;
    struct fake fake = {.dir = ""};
    int fd = memfd_create("archive", MFD_CLOEXEC);

    assert_int_equal(ftruncate(fd, 16 << 20), 0);
    fake_start(&fake, false, steps);
    struct sbx_docker *docker = client(&fake, 5000);
    check_err(sbx_docker_put_archive(docker, NULL, "c", "/a b/c&d", fd, 16 << 20, &err), &err,
              SBX_ERR_NOT_FOUND, "gone");
    assert_int_equal(ftruncate(fd, 1 << 20), 0);
    check_err(sbx_docker_put_archive(docker, NULL, "c", "/x", fd, 16 << 20, &err), &err, SBX_ERR_INTERNAL,
              "shorter");
    sbx_docker_free(docker);
    fake_stop(&fake);
    close(fd);
}

static int pull_on(const char *stream, enum after after, int64_t silence_ms, struct sbx_err *err)
{
    const struct step steps[] = {
        {"GET /_ping", PING_OK, 0, KEEP},
        {"POST /v1.41/images/create?fromImage=r.io:1/x&tag=y HTTP", stream, 0, after},
        {0}};
    struct fake fake = {.dir = ""};

    fake_start(&fake, false, steps);
    struct sbx_docker *docker = client(&fake, 5000);
    int rc = sbx_docker_pull(docker, NULL, "r.io:1/x:y", "e30=", silence_ms, NULL, NULL, err);
    sbx_docker_free(docker);
    fake_stop(&fake);
    return rc;
}

static void an_error_in_a_successful_pull_stream_fails_the_pull(void **state)
{
    struct sbx_err err = SBX_ERR_INIT;

    check_err(
        pull_on(CHUNKED "1b\r\n{\"error\":\"manifest unknown\"\r\n3\r\n}\r\n\r\n0\r\n\r\n", KEEP, 5000, &err),
        &err, SBX_ERR_NOT_FOUND, "cannot pull image r.io:1/x:y: manifest unknown");
    /* the last line may lack its end */
    check_err(pull_on(CHUNKED "10\r\n{\"error\":\"oops\"}\r\n0\r\n\r\n", KEEP, 5000, &err), &err,
              SBX_ERR_UPSTREAM, "oops");
    check_err(pull_on("HTTP/1.1 500 Oops\r\nContent-Length: 16\r\n\r\nunauthorized: no", KEEP, 5000, &err),
              &err, SBX_ERR_NOT_FOUND, "unauthorized: no");
    err = (struct sbx_err)SBX_ERR_INIT;
    check_ok(pull_on(CHUNKED "f\r\n{\"status\":\"ok\"}\r\n0\r\n\r\n", KEEP, 5000, &err), &err);
}

static void a_pull_that_falls_silent_or_breaks_off_fails(void **state)
{
    struct sbx_err err = SBX_ERR_INIT;

    check_err(pull_on(CHUNKED "f\r\n{\"status\":\"ok\"}\r\n", HANG, 50, &err), &err, SBX_ERR_UNAVAILABLE,
              "silent");
    check_err(pull_on(CHUNKED "f\r\n{\"status\":\"ok\"}\r\n", CLOSE, 5000, &err), &err, SBX_ERR_UNAVAILABLE,
              "not responding");
}

static void bytes_behind_the_upgrade_belong_to_the_stream(void **state)
{
    static const char answer[] = UPGRADED "\1\0\0\0\0\0\0\5hello\2\0\0\0\0\0\0\3bad\1\0\0\0\0\0\0\1!";
    const struct step steps[] = {
        {"GET /_ping", PING_CLOSE, 0, CLOSE},
        {"POST /v1.41/containers/c/attach?stream=1&stdin=1&stdout=1&stderr=1 HTTP/1.1\r\n", answer,
         sizeof(answer) - 1, CLOSE},
        {0}};

    for (int tcp = 0; tcp < 2; tcp++) {
        struct sbx_err err = SBX_ERR_INIT;
        struct fake fake = {.dir = ""};
        char out[16], all[16];
        size_t n = 0;
        ssize_t got;

        fake_start(&fake, tcp, steps);
        struct sbx_docker *docker = client(&fake, 5000);
        struct sbx_attach *attach = sbx_docker_attach(docker, NULL, "c", &err);
        if (!attach)
            fail_msg("%s", err.msg);
        while ((got = sbx_attach_read(attach, out, 4, &err)) >= 0) {
            assert_in_range(n + (size_t)got, 0, sizeof(all));
            memcpy(all + n, out, (size_t)got);
            n += (size_t)got;
            struct pollfd pfd = {.fd = sbx_attach_fd(attach), .events = POLLIN};
            if (got == 0)
                poll(&pfd, 1, 5000);
        }
        assert_int_equal(n, 6);
        assert_memory_equal(all, "hello!", 6);
        assert_string_equal(sbx_attach_stderr(attach), "bad");
        check_err((int)got, &err, SBX_ERR_UNAVAILABLE, "ended");
        sbx_attach_close(attach);
        sbx_docker_free(docker);
        fake_stop(&fake);
    }
}

static void garbage_on_an_attached_stream_ends_it(void **state)
{
    static const char answer[] = UPGRADED "\1\0\0\0\0\0\0\2hiHTTP/1.1";
    const struct step steps[] = {
        {"GET /_ping", PING_CLOSE, 0, CLOSE}, {"POST ", answer, sizeof(answer) - 1, HANG}, {0}};
    struct sbx_err err = SBX_ERR_INIT;
    struct fake fake = {.dir = ""};
    char out[64];

    fake_start(&fake, false, steps);
    struct sbx_docker *docker = client(&fake, 5000);
    struct sbx_attach *attach = sbx_docker_attach(docker, NULL, "c", &err);
    assert_non_null(attach);
    check_err((int)sbx_attach_read(attach, out, sizeof(out), &err), &err, SBX_ERR_UNAVAILABLE, "garbled");
    sbx_attach_close(attach);
    sbx_docker_free(docker);
    fake_stop(&fake);
}

static void attach_on(const char *answer, enum after after, enum sbx_err_kind kind, const char *text)
{
    const struct step steps[] = {{"GET /_ping", PING_CLOSE, 0, CLOSE}, {"POST ", answer, 0, after}, {0}};
    struct sbx_err err = SBX_ERR_INIT;
    struct fake fake = {.dir = ""};

    fake_start(&fake, false, steps);
    struct sbx_docker *docker = client(&fake, after == HANG ? 200 : 5000);
    assert_null(sbx_docker_attach(docker, NULL, "c", &err));
    check_err(-1, &err, kind, text);
    sbx_docker_free(docker);
    fake_stop(&fake);
}

static void a_refused_attach_tells_why(void **state)
{
    attach_on("HTTP/1.1 404 Not Found\r\nContent-Type: x\r\n\r\nNo such container: c\r\n", CLOSE,
              SBX_ERR_NOT_FOUND, "cannot attach to container c: No such container: c");
    attach_on("HTTP/1.1 409 Conflict\r\nTransfer-Encoding: chunked\r\n\r\n16\r\n{\"message\":\"is "
              "paused\"}\n\r\n0\r\n\r\n",
              KEEP, SBX_ERR_CONFLICT, "cannot attach to container c: is paused");
    attach_on("HTTP/1.1 500 Oops\r\n\r\n", CLOSE, SBX_ERR_UPSTREAM, "dockerd answered 500");
    attach_on("HTTP/1.1 101", CLOSE, SBX_ERR_UNAVAILABLE, "closed the connection");
    attach_on("SSH-2.0\r\n\r\n", CLOSE, SBX_ERR_UPSTREAM, "not HTTP");
    attach_on(NULL, HANG, SBX_ERR_UNAVAILABLE, "Docker client is not responding");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_hung_daemon_is_unavailable_after_the_timeout),
        cmocka_unit_test(an_absent_daemon_is_unavailable),
        cmocka_unit_test(a_daemon_that_comes_back_is_used_again),
        cmocka_unit_test(a_client_that_hangs_up_ends_a_silent_call_at_once),
        cmocka_unit_test(hooks_run_while_the_daemon_is_silent),
        cmocka_unit_test(a_deadline_ends_a_call),
        cmocka_unit_test(a_kept_connection_that_died_is_replaced_silently),
        cmocka_unit_test(an_upgraded_daemon_is_negotiated_with_again),
        cmocka_unit_test(a_daemon_that_is_too_old_is_said_so),
        cmocka_unit_test(refusals_carry_the_daemons_words),
        cmocka_unit_test(an_answer_that_is_cut_short_is_a_failure),
        cmocka_unit_test(an_upload_that_is_refused_early_tells_why),
        cmocka_unit_test(an_error_in_a_successful_pull_stream_fails_the_pull),
        cmocka_unit_test(a_pull_that_falls_silent_or_breaks_off_fails),
        cmocka_unit_test(bytes_behind_the_upgrade_belong_to_the_stream),
        cmocka_unit_test(garbage_on_an_attached_stream_ends_it),
        cmocka_unit_test(a_refused_attach_tells_why),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
