#include "http/request.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "http/url.h"
#include "sandboxd/base/util.h"

#define READ_CHUNK 8192 /* libfcgi's own buffer: it never has more at hand */

static const char *param(const struct sbx_request *request, const char *name)
{
    const char *value = FCGX_GetParam(name, request->fcgi.envp);
    return value && *value ? value : NULL;
}

/* Path and query come from the line the client sent: what nginx decodes and normalises has lost the
 * difference between
 * "/" and "%2F". */
static void start_uri(struct sbx_request *request)
{
    const char *uri = param(request, "REQUEST_URI");
    uri = uri ? uri : "/";
    size_t n = strcspn(uri, "?");
    request->query = uri[n] == '?' ? uri + n + 1 : "";
    if (n == 0)
        snprintf(request->path, sizeof(request->path), "/");
    else if (uri[0] != '/' || sbx_url_decode(uri, n, false, request->path, sizeof(request->path)) < 0)
        request->path[0] = '\0';
}

static bool is_sane_id(const char *id)
{
    size_t n = strspn(id, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-");
    return n > 0 && n <= REQUEST_ID_MAX && id[n] == '\0';
}

static void start_id(struct sbx_request *request)
{
    const char *id = param(request, "HTTP_X_REQUEST_ID");
    if (!id || !is_sane_id(id))
        id = param(request, "REQUEST_ID");
    if (id && is_sane_id(id))
        snprintf(request->id, sizeof(request->id), "%s", id);
    else
        sbx_uuid4(request->id);
}

/* -1 when there is none: a chunked upload goes on until its end marker. */
static int64_t parse_length(const char *s)
{
    if (!s || !isdigit((unsigned char)*s))
        return -1;
    char *end;
    errno = 0;
    long long n = strtoll(s, &end, 10);
    return errno || *end ? -1 : n;
}

void sbx_request_start(struct sbx_request *request)
{
    request->active = true;
    request->body_ended = request->body_failed = request->answered = request->broken = false;
    request->status = 0;
    request->received = request->sent = 0;
    request->extra_len = 0;
    request->content_length = parse_length(param(request, "CONTENT_LENGTH"));
    const char *method = param(request, "REQUEST_METHOD");
    request->method = method ? method : "GET";
    const char *remote = param(request, "REMOTE_ADDR");
    request->remote = remote ? remote : "";
    start_uri(request);
    start_id(request);
}

const char *sbx_request_method(const struct sbx_request *request)
{
    return request->method;
}

const char *sbx_request_path(const struct sbx_request *request)
{
    return request->path;
}

const char *sbx_request_query(const struct sbx_request *request)
{
    return request->query;
}

const char *sbx_request_id(const struct sbx_request *request)
{
    return request->id;
}

const char *sbx_request_remote(const struct sbx_request *request)
{
    return request->remote;
}

int sbx_request_fd(const struct sbx_request *request)
{
    return request->fcgi.ipcFd;
}

const char *sbx_request_header(const struct sbx_request *request, const char *name)
{
    char key[128];
    bool bare = strcmp(name, "content-type") == 0 || strcmp(name, "content-length") == 0;
    int n = snprintf(key, sizeof(key), "%s%s", bare ? "" : "HTTP_", name);
    if (n < 0 || (size_t)n >= sizeof(key))
        return NULL;
    for (char *p = key; *p; p++)
        *p = *p == '-' ? '_' : (char)toupper((unsigned char)*p);
    return param(request, key);
}

int sbx_request_param_nth(const struct sbx_request *request, const char *name, int nth, char *out,
                          size_t size)
{
    const char *next;
    for (const char *s = request->query; *s; s = next) {
        size_t n = strcspn(s, "&");
        next = s[n] ? s + n + 1 : s + n;
        const char *equals = memchr(s, '=', n);
        size_t key_len = equals ? (size_t)(equals - s) : n;
        char key[128];
        if (sbx_url_decode(s, key_len, true, key, sizeof(key)) < 0 || strcmp(key, name) != 0 || nth-- > 0)
            continue;
        const char *value = equals ? equals + 1 : s + n;
        return sbx_url_decode(value, (size_t)(s + n - value), true, out, size) < 0 ? -1 : 1;
    }
    return 0;
}

bool sbx_request_param(const struct sbx_request *request, const char *name, char *out, size_t size)
{
    return sbx_request_param_nth(request, name, 0, out, size) == 1;
}

static ssize_t body_broke(struct sbx_request *request, struct sbx_err *err)
{
    request->body_failed = true;
    return sbx_err_set(err, SBX_ERR_CANCELLED, "the request body broke off after %lld bytes",
                       (long long)request->received);
}

ssize_t sbx_request_read(struct sbx_request *request, void *buf, size_t n, struct sbx_err *err)
{
    assert(n > 0);
    FCGX_Stream *in = request->fcgi.in;
    if (request->body_failed)
        return body_broke(request, err);
    if (request->body_ended)
        return 0;
    int first = FCGX_GetChar(in); /* waits until there is something at all */
    if (first < 0) {
        bool cut = request->content_length >= 0 && request->received < request->content_length;
        if (FCGX_GetError(in) != 0 || cut)
            return body_broke(request, err);
        request->body_ended = true;
        return 0;
    }
    unsigned char *out = buf;
    out[0] = (unsigned char)first;
    size_t rest = (size_t)(in->stop - in->rdNext); /* no more than what is here: the call would wait for it */
    if (rest > n - 1)
        rest = n - 1;
    if (rest > 0)
        rest = (size_t)FCGX_GetStr((char *)out + 1, (int)rest, in);
    request->received += (int64_t)(1 + rest);
    return (ssize_t)(1 + rest);
}

static int body_too_large(const struct sbx_buf *body, struct sbx_err *err)
{
    return sbx_err_set(err, SBX_ERR_TOO_LARGE, "request body is larger than %zu bytes", body->max);
}

int sbx_request_body(struct sbx_request *request, struct sbx_buf *body, struct sbx_err *err)
{
    size_t room = body->max - body->len;
    if (request->content_length >= 0 && (uint64_t)request->content_length > room)
        return body_too_large(body, err);
    if (request->content_length > 0 && !sbx_buf_reserve(body, (size_t)request->content_length, err))
        return -1;
    for (;;) {
        char beyond = 0;
        room = body->max - body->len;
        size_t want = room < READ_CHUNK ? room : READ_CHUNK;
        char *at = want > 0 ? sbx_buf_reserve(body, want, err) : &beyond;
        if (!at)
            return -1;
        ssize_t n = sbx_request_read(request, at, want > 0 ? want : 1, err);
        if (n <= 0)
            return (int)n;
        if (want == 0)
            return body_too_large(body, err);
        body->len += (size_t)n;
    }
}
