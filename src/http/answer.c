/*
 * Answers. What fits libfcgi's buffer (8 KiB) leaves in one write together with the end records; the head
 * always announces the length, so that what breaks off can be told from what is complete.
 */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "http/request.h"
#include "sandboxd/base/util.h"

#define STREAM_PIECE   8000 /* fits libfcgi's buffer, and what a socket that is ready for writing takes */
#define STREAM_WAIT_MS 60000

static const char *reason(int status)
{
    static const struct {
        int status;
        const char *phrase;
    } reasons[] = {
        {200, "OK"},
        {201, "Created"},
        {202, "Accepted"},
        {204, "No Content"},
        {206, "Partial Content"},
        {304, "Not Modified"},
        {400, "Bad Request"},
        {401, "Unauthorized"},
        {403, "Forbidden"},
        {404, "Not Found"},
        {405, "Method Not Allowed"},
        {408, "Request Timeout"},
        {409, "Conflict"},
        {411, "Length Required"},
        {413, "Request Entity Too Large"},
        {414, "Request-URI Too Long"},
        {415, "Unsupported Media Type"},
        {416, "Range Not Satisfiable"},
        {422, "Unprocessable Entity"},
        {429, "Too Many Requests"},
        {431, "Request Header Fields Too Large"},
        {500, "Internal Server Error"},
        {501, "Not Implemented"},
        {502, "Bad Gateway"},
        {503, "Service Unavailable"},
        {504, "Gateway Timeout"},
    };
    for (size_t i = 0; i < SBX_ARRAY_LEN(reasons); i++) {
        if (reasons[i].status == status)
            return reasons[i].phrase;
    }
    return "Unknown";
}

void sbx_answer_header(struct sbx_request *request, const char *name, const char *value)
{
    assert(!request->answered);
    assert(name[0] != '\0' && !strpbrk(name, "\r\n: ") && !strpbrk(value, "\r\n"));
    size_t room = sizeof(request->extra) - request->extra_len;
    int n = snprintf(request->extra + request->extra_len, room, "%s: %s\r\n", name, value);
    assert(n > 0 && (size_t)n < room);
    request->extra_len += (size_t)n;
}

static int not_taken(struct sbx_request *request, struct sbx_err *err)
{
    int failed = FCGX_GetError(request->fcgi.out);
    request->broken = true;
    if (failed == EAGAIN)
        return sbx_err_set(err, SBX_ERR_CANCELLED, "the client does not read the answer");
    if (failed > 0)
        return sbx_err_sys(err, SBX_ERR_CANCELLED, failed, "cannot send the answer");
    return sbx_err_set(err, SBX_ERR_CANCELLED, "cannot send the answer");
}

static int put(struct sbx_request *request, const void *data, size_t n, struct sbx_err *err)
{
    const char *p = data;
    while (n > 0) {
        int piece = n > 1 << 20 ? 1 << 20 : (int)n;
        if (FCGX_PutStr(p, piece, request->fcgi.out) != piece)
            return not_taken(request, err);
        p += piece;
        n -= (size_t)piece;
    }
    return 0;
}

/* length < 0: there is no body, or nobody knows how long it would be. */
static int put_head(struct sbx_request *request, int status, const char *type, int64_t length,
                    struct sbx_err *err)
{
    if (request->answered)
        return sbx_err_set(err, SBX_ERR_INTERNAL, "the request has been answered already, with %d",
                           request->status);
    request->answered = true;
    request->status = status;
    char head[512];
    int n = snprintf(head, sizeof(head), "Status: %d %s\r\nX-Request-Id: %s\r\n", status, reason(status),
                     request->id);
    if (type)
        n += snprintf(head + n, sizeof(head) - (size_t)n, "Content-Type: %.200s\r\n", type);
    if (length >= 0)
        n += snprintf(head + n, sizeof(head) - (size_t)n, "Content-Length: %lld\r\n", (long long)length);
    if (put(request, head, (size_t)n, err) < 0)
        return -1;
    if (put(request, request->extra, request->extra_len, err) < 0)
        return -1;
    return put(request, "\r\n", 2, err);
}

/* Send what is buffered with the end records. The error stream goes first: then its end needs no record of
 * its own. */
static int put_end(struct sbx_request *request, struct sbx_err *err)
{
    FCGX_FClose(request->fcgi.err);
    return FCGX_FClose(request->fcgi.out) == 0 ? 0 : not_taken(request, err);
}

static bool has_no_body(int status)
{
    return status == 204 || status == 304 || status < 200;
}

int sbx_answer(struct sbx_request *request, int status, const char *type, const void *body, size_t n,
               struct sbx_err *err)
{
    bool none = has_no_body(status);
    if (!body || none)
        n = 0;
    if (put_head(request, status, none ? NULL : type, none ? -1 : (int64_t)n, err) < 0 ||
        put(request, body, n, err) < 0)
        return -1;
    request->sent = (int64_t)n;
    return put_end(request, err);
}

int sbx_answer_spool(struct sbx_request *request, int status, const char *type, const struct sbx_spool *spool,
                     struct sbx_err *err)
{
    assert(!has_no_body(status));
    int64_t length = sbx_spool_len(spool);
    if (put_head(request, status, type, length, err) < 0)
        return -1;
    char chunk[16384];
    while (request->sent < length) {
        ssize_t n = sbx_spool_read(spool, request->sent, chunk, sizeof(chunk), err);
        if (n <= 0) {
            request->broken = true; /* the head has promised more: cut the connection */
            return n < 0 ? -1
                         : sbx_err_set(err, SBX_ERR_INTERNAL, "the spooled answer is shorter than it was");
        }
        if (put(request, chunk, (size_t)n, err) < 0)
            return -1;
        request->sent += n;
    }
    return put_end(request, err);
}

int sbx_answer_head(struct sbx_request *request, int status, const char *type, int64_t length,
                    struct sbx_err *err)
{
    return put_head(request, status, type, length, err) < 0 ? -1 : put_end(request, err);
}

int sbx_answer_stream(struct sbx_request *request, const char *type, struct sbx_err *err)
{
    sbx_answer_header(request, "Content-Type", type);
    sbx_answer_header(request, "Cache-Control", "no-store");
    sbx_answer_header(request, "X-Accel-Buffering", "no");
    if (put_head(request, 200, NULL, -1, err) < 0)
        return -1;
    return FCGX_FFlush(request->fcgi.out) == 0 ? 0 : not_taken(request, err);
}

/* Room for a piece in the socket: writing it will not block. */
static int await_room(struct sbx_request *request, struct sbx_wait *wait, struct sbx_err *err)
{
    struct pollfd fd = {.fd = request->fcgi.ipcFd, .events = POLLOUT};
    int ready = sbx_wait_poll(wait, &fd, 1, STREAM_WAIT_MS, err);
    if (ready > 0)
        return 0;
    request->broken = true;
    return ready < 0 ? -1 : sbx_err_set(err, SBX_ERR_CANCELLED, "the client does not read the answer");
}

int sbx_answer_write(struct sbx_request *request, struct sbx_wait *wait, const void *data, size_t n,
                     struct sbx_err *err)
{
    const char *at = data;
    while (n > 0) {
        size_t piece = n < STREAM_PIECE ? n : STREAM_PIECE;
        if (await_room(request, wait, err) < 0 || put(request, at, piece, err) < 0)
            return -1;
        if (FCGX_FFlush(request->fcgi.out) != 0)
            return not_taken(request, err);
        request->sent += (int64_t)piece;
        at += piece;
        n -= piece;
    }
    return 0;
}

int sbx_answer_end(struct sbx_request *request, struct sbx_err *err)
{
    return put_end(request, err);
}

int sbx_answer_status(const struct sbx_request *request)
{
    return request->status;
}

int64_t sbx_answer_bytes(const struct sbx_request *request)
{
    return request->sent;
}
