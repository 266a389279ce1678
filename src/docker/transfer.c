/*
 * One HTTP exchange with dockerd: libcurl's multi interface driven by sbx_wait_poll, so that a client that
 * hangs up, a stop, a deadline and the lock's refresh are seen while dockerd is silent.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "docker/internal.h"
#include "sandboxd/base/trace.h"
#include "sandboxd/base/util.h"

#define UPLOAD_BUFFER   (512L * 1024)
#define SOCKET_SNDBUF   (1024 * 1024)
#define ERROR_BODY_KEPT 4096

struct exchange {
    struct sbx_docker *docker;
    struct docker_call *call;
    struct sbx_err failure; /* of a callback, which libcurl reports as a bare code */
    size_t body_len;
    char body[ERROR_BODY_KEPT]; /* of an answer that is an error */
};

static curl_socket_t open_socket(void *arg, curlsocktype purpose, struct curl_sockaddr *addr)
{
    int fd = socket(addr->family, addr->socktype | SOCK_CLOEXEC, addr->protocol);

    /* Best effort: the default of a Unix socket makes a big upload switch between the processes too often. */
    if (fd >= 0 && addr->family == AF_UNIX)
        (void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &(int){SOCKET_SNDBUF}, sizeof(int));
    return fd < 0 ? CURL_SOCKET_BAD : fd;
}

static size_t on_header(char *data, size_t size, size_t n, void *arg)
{
    struct exchange *ex = arg;
    static const char name[] = "api-version:";
    size_t len = size * n, at = sizeof(name) - 1;

    if (len > at && strncasecmp(data, name, at) == 0) {
        while (len > at && strchr(" \t\r\n", data[len - 1]))
            len--;
        while (len > at && strchr(" \t", data[at]))
            at++;
        int minor = sbx_docker_parse_version(data + at, len - at);
        if (minor > 0)
            ex->call->api_minor = minor;
    }
    return size * n;
}

static size_t on_body(char *data, size_t size, size_t n, void *arg)
{
    struct exchange *ex = arg;
    struct docker_call *call = ex->call;
    size_t len = size * n;
    long status = 0;
    int rc = 0;

    (void)curl_easy_getinfo(ex->docker->easy, CURLINFO_RESPONSE_CODE, &status);
    if (status >= 300) {
        size_t room = sizeof(ex->body) - ex->body_len;
        size_t take = len < room ? len : room;

        memcpy(ex->body + ex->body_len, data, take);
        ex->body_len += take;
    } else if (call->sink) {
        rc = call->sink(call->arg, data, len, &ex->failure);
    } else if (call->into) {
        rc = sbx_buf_add(call->into, data, len, &ex->failure);
    }
    return rc == 0 ? len : CURL_WRITEFUNC_ERROR;
}

static size_t on_read(char *out, size_t size, size_t n, void *arg)
{
    struct docker_source *source = arg;
    size_t room = size * n;
    int64_t left = source->size - source->off;
    ssize_t got;

    if ((int64_t)room > left)
        room = (size_t)left;
    if (room == 0)
        return 0;
    if (source->mem) {
        memcpy(out, source->mem + source->off, room);
        got = (ssize_t)room;
    } else {
        do
            got = pread(source->fd, out, room, source->off);
        while (got < 0 && errno == EINTR);
        source->read_errno = got < 0 ? errno : 0;
    }
    if (got <= 0)
        return CURL_READFUNC_ABORT;
    source->off += got;
    return (size_t)got;
}

/* libcurl sends a body again when a kept connection turns out to be dead. */
static int on_seek(void *arg, curl_off_t off, int origin)
{
    struct docker_source *source = arg;

    if (origin != SEEK_SET || off < 0 || off > source->size)
        return CURL_SEEKFUNC_FAIL;
    source->off = off;
    return CURL_SEEKFUNC_OK;
}

static CURLcode set_body(CURL *easy, struct docker_call *call)
{
    CURLcode rc = CURLE_OK;

#define SET(option, value) (rc = rc == CURLE_OK ? curl_easy_setopt(easy, option, value) : rc)
    if (call->source) {
        SET(CURLOPT_UPLOAD, 1L);
        SET(CURLOPT_UPLOAD_BUFFERSIZE, UPLOAD_BUFFER);
        SET(CURLOPT_INFILESIZE_LARGE, (curl_off_t)call->source->size);
        SET(CURLOPT_READFUNCTION, on_read);
        SET(CURLOPT_READDATA, call->source);
        SET(CURLOPT_SEEKFUNCTION, on_seek);
        SET(CURLOPT_SEEKDATA, call->source);
    } else if (call->body) {
        size_t len = 0;
        const char *text = json_object_to_json_string_length(
            call->body, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE, &len);

        if (!text)
            return CURLE_OUT_OF_MEMORY;
        SET(CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)len);
        SET(CURLOPT_POSTFIELDS, text); /* lives as long as call->body */
    } else if (strcmp(call->method, "POST") == 0) {
        SET(CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)0);
        SET(CURLOPT_POSTFIELDS, "");
    }
    return rc;
}

static CURLcode set_up(struct exchange *ex, const char *url, struct curl_slist *headers)
{
    struct sbx_docker *docker = ex->docker;
    CURL *easy = docker->easy;
    CURLcode rc = CURLE_OK;

    curl_easy_reset(easy);
    docker->curl_error[0] = '\0';
    SET(CURLOPT_ERRORBUFFER, docker->curl_error);
    SET(CURLOPT_URL, url);
    SET(CURLOPT_UNIX_SOCKET_PATH, docker->unix_path);
    SET(CURLOPT_PATH_AS_IS, 1L);
    SET(CURLOPT_PROXY, ""); /* never what http_proxy says */
    SET(CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    SET(CURLOPT_NOSIGNAL, 1L);
    SET(CURLOPT_FRESH_CONNECT, docker->fresh ? 1L : 0L);
    SET(CURLOPT_OPENSOCKETFUNCTION, open_socket);
    SET(CURLOPT_HEADERFUNCTION, on_header);
    SET(CURLOPT_HEADERDATA, ex);
    SET(CURLOPT_WRITEFUNCTION, on_body);
    SET(CURLOPT_WRITEDATA, ex);
    SET(CURLOPT_HTTPHEADER, headers);
    rc = rc == CURLE_OK ? set_body(easy, ex->call) : rc;
    SET(CURLOPT_CUSTOMREQUEST, ex->call->method);
#undef SET
    return rc;
}

static int run_ready(struct sbx_docker *docker, const struct pollfd *fds, nfds_t n, struct sbx_err *err)
{
    CURLMcode rc = CURLM_OK;
    int running;

    if (docker->timer_ms >= 0 && docker->timer_ms <= sbx_now_ms()) {
        docker->timer_ms = -1;
        rc = curl_multi_socket_action(docker->multi, CURL_SOCKET_TIMEOUT, 0, &running);
    }
    for (nfds_t i = 0; i < n && rc == CURLM_OK; i++) {
        int mask = (fds[i].revents & POLLIN ? CURL_CSELECT_IN : 0) |
                   (fds[i].revents & POLLOUT ? CURL_CSELECT_OUT : 0) |
                   (fds[i].revents & (POLLERR | POLLHUP | POLLNVAL) ? CURL_CSELECT_IN | CURL_CSELECT_ERR : 0);
        if (mask)
            rc = curl_multi_socket_action(docker->multi, fds[i].fd, mask, &running);
    }
    if (rc != CURLM_OK)
        return sbx_err_set(err, SBX_ERR_INTERNAL, "libcurl: %s", curl_multi_strerror(rc));
    return 0;
}

/* How long poll may sleep: until libcurl's timer or the end of the silence, whichever is first. */
static int sleep_ms(const struct sbx_docker *docker, int64_t now, int64_t quiet_until)
{
    int64_t until = quiet_until;

    if (docker->timer_ms >= 0 && docker->timer_ms < until)
        until = docker->timer_ms;
    if (until <= now)
        return 0;
    return until - now > 60000 ? 60000 : (int)(until - now);
}

/* Run the transfer to its end: 0 with *ret_code libcurl's verdict, -1 when the wait or the silence ended it.
 */
static int drive(struct sbx_docker *docker, struct sbx_wait *wait, int64_t silence_ms, CURLcode *ret_code,
                 struct sbx_err *err)
{
    int64_t now = sbx_now_ms(), quiet_until = now + silence_ms;
    struct pollfd fds[DOCKER_SOCKETS];
    int left;

    for (;;) {
        for (CURLMsg *msg; (msg = curl_multi_info_read(docker->multi, &left));) {
            if (msg->msg == CURLMSG_DONE) {
                *ret_code = msg->data.result;
                return 0;
            }
        }
        if (now >= quiet_until)
            return sbx_err_set(err, SBX_ERR_UNAVAILABLE, DOCKER_NOT_RESPONDING ": silent for %lld ms",
                               (long long)silence_ms);

        nfds_t n = docker->nsocks;
        memcpy(fds, docker->socks, n * sizeof(fds[0]));
        int ready = sbx_wait_poll(wait, fds, n, sleep_ms(docker, now, quiet_until), err);
        now = sbx_now_ms();
        if (ready < 0)
            return -1;
        if (ready > 0)
            quiet_until = now + silence_ms;
        else
            n = 0;
        if (run_ready(docker, fds, n, err) != 0)
            return -1;
    }
}

static int transfer_failed(struct exchange *ex, CURLcode code, struct sbx_err *err)
{
    const struct docker_source *source = ex->call->source;
    const char *why = ex->docker->curl_error[0] ? ex->docker->curl_error : curl_easy_strerror(code);

    if (ex->failure.kind != SBX_ERR_NONE) {
        if (err)
            *err = ex->failure;
        return -1;
    }
    switch (code) {
    case CURLE_COULDNT_CONNECT: {
        /* libcurl names a host and a port here even when it is a Unix socket that cannot be reached. */
        long errnum = 0;

        (void)curl_easy_getinfo(ex->docker->easy, CURLINFO_OS_ERRNO, &errnum);
        return sbx_err_sys(err, SBX_ERR_UNAVAILABLE, (int)errnum,
                           DOCKER_NOT_RESPONDING ": cannot connect to %s",
                           ex->docker->unix_path ? ex->docker->unix_path : ex->docker->authority);
    }
    case CURLE_ABORTED_BY_CALLBACK:
    case CURLE_READ_ERROR:
        if (source && source->read_errno)
            return sbx_err_sys(err, SBX_ERR_INTERNAL, source->read_errno, "cannot %s: reading the archive",
                               ex->call->what);
        return sbx_err_set(err, SBX_ERR_INTERNAL, "cannot %s: the archive is shorter than announced",
                           ex->call->what);
    case CURLE_OUT_OF_MEMORY:
    case CURLE_FAILED_INIT:
    case CURLE_BAD_FUNCTION_ARGUMENT:
    case CURLE_URL_MALFORMAT:
        return sbx_err_set(err, SBX_ERR_INTERNAL, "cannot %s: libcurl: %s", ex->call->what, why);
    default:
        return sbx_err_set(err, SBX_ERR_UNAVAILABLE, DOCKER_NOT_RESPONDING ": %s", why);
    }
}

int sbx_docker_transfer(struct sbx_docker *docker, struct sbx_wait *wait, struct docker_call *call,
                        const char *url, struct curl_slist *headers, struct sbx_err *err)
{
    struct exchange ex;
    CURLcode code;
    int rc = -1;

    SBX_SPAN("docker", call->what);
    ex.docker = docker;
    ex.call = call;
    ex.failure = (struct sbx_err)SBX_ERR_INIT;
    ex.body_len = 0;
    call->status = 0;
    call->message[0] = '\0';

    code = set_up(&ex, url, headers);
    if (code == CURLE_OK && curl_multi_add_handle(docker->multi, docker->easy) != CURLM_OK)
        code = CURLE_OUT_OF_MEMORY;
    if (code == CURLE_OK)
        rc = drive(docker, wait, call->silence_ms ? call->silence_ms : docker->timeout_ms, &code, err);
    else
        rc = 0;
    if (rc == 0) {
        (void)curl_easy_getinfo(docker->easy, CURLINFO_RESPONSE_CODE, &call->status);
        /* A refused upload may end in a broken pipe after the answer was read. */
        if (code != CURLE_OK && !(code == CURLE_SEND_ERROR && call->status >= 400))
            rc = transfer_failed(&ex, code, err);
    }
    docker->fresh = rc != 0 || code != CURLE_OK;
    (void)curl_multi_remove_handle(docker->multi, docker->easy); /* closes a connection in mid-transfer */
    if (rc != 0)
        call->status = 0;
    else if (call->status >= 300)
        sbx_docker_message(ex.body, ex.body_len, call->message, sizeof(call->message));
    return rc;
}
