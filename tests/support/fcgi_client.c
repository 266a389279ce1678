#include "support/fcgi_client.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#define HEADER_LEN 8
#define RECORD_MAX 65528
#define ANSWER_MAX (256u << 20)
#define WAIT_S     20

enum record { BEGIN = 1, ABORT = 2, END = 3, PARAMS = 4, STDIN = 5, STDOUT = 6 };

static struct sbx_err error;

void fcgi_open(struct fcgi_client *client, const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
    sbx_buf_init(&client->params, 1 << 20);
    client->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (client->fd < 0 || connect(client->fd, (struct sockaddr *)&address, sizeof(address)) < 0)
        fail_msg("cannot connect to %s: %s", path, strerror(errno));
    struct timeval tv = {.tv_sec = WAIT_S}; /* a test that hangs fails */
    setsockopt(client->fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
    setsockopt(client->fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof(tv));
}

void fcgi_close(struct fcgi_client *client)
{
    close(client->fd);
    sbx_buf_done(&client->params);
}

static bool send_all(int fd, const void *data, size_t n)
{
    const char *p = data;
    while (n > 0) {
        ssize_t sent = send(fd, p, n, MSG_NOSIGNAL);
        if (sent < 0)
            return false;
        p += sent;
        n -= (size_t)sent;
    }
    return true;
}

/* Append a record with request id 1 and no padding. */
static void add_record(struct sbx_buf *out, enum record type, const void *data, size_t n)
{
    const uint8_t header[HEADER_LEN] = {1, (uint8_t)type, 0, 1, (uint8_t)(n >> 8), (uint8_t)n, 0, 0};
    if (sbx_buf_add(out, header, sizeof(header), &error) < 0 || sbx_buf_add(out, data, n, &error) < 0)
        fail_msg("%s", error.msg);
}

static bool send_record(struct fcgi_client *client, enum record type, const void *data, size_t n)
{
    struct sbx_buf out;
    sbx_buf_init(&out, HEADER_LEN + RECORD_MAX);
    add_record(&out, type, data, n);
    bool sent = send_all(client->fd, out.data, out.len);
    sbx_buf_done(&out);
    return sent;
}

static void add_length(struct sbx_buf *out, size_t n)
{
    const uint8_t length[4] = {(uint8_t)(n >> 24 | 0x80), (uint8_t)(n >> 16), (uint8_t)(n >> 8), (uint8_t)n};
    const uint8_t brief = (uint8_t)n;
    if (sbx_buf_add(out, n > 127 ? length : &brief, n > 127 ? 4 : 1, &error) < 0)
        fail_msg("%s", error.msg);
}

void fcgi_param(struct fcgi_client *client, const char *name, const char *value)
{
    add_length(&client->params, strlen(name));
    add_length(&client->params, strlen(value));
    if (sbx_buf_addstr(&client->params, name, &error) < 0 ||
        sbx_buf_addstr(&client->params, value, &error) < 0)
        fail_msg("%s", error.msg);
}

void fcgi_begin(struct fcgi_client *client)
{
    static const uint8_t responder[8] = {0, 1};
    struct sbx_buf out;
    sbx_buf_init(&out, 2 << 20);
    add_record(&out, BEGIN, responder, sizeof(responder));
    for (size_t off = 0; off < client->params.len; off += RECORD_MAX) {
        size_t left = client->params.len - off;
        add_record(&out, PARAMS, client->params.data + off, left < RECORD_MAX ? left : RECORD_MAX);
    }
    add_record(&out, PARAMS, "", 0);
    bool sent = send_all(client->fd, out.data, out.len);
    sbx_buf_done(&out);
    if (!sent)
        fail_msg("cannot send the request: %s", strerror(errno));
}

bool fcgi_body(struct fcgi_client *client, const void *data, size_t n)
{
    const char *p = data;
    while (n > 0) {
        size_t piece = n < RECORD_MAX ? n : RECORD_MAX;
        if (!send_record(client, STDIN, p, piece))
            return false;
        p += piece;
        n -= piece;
    }
    return true;
}

bool fcgi_body_end(struct fcgi_client *client)
{
    return send_record(client, STDIN, "", 0);
}

bool fcgi_abort(struct fcgi_client *client)
{
    return send_record(client, ABORT, "", 0);
}

/* Exactly n bytes; false at the end of the connection. */
static bool receive(int fd, void *data, size_t n)
{
    char *p = data;
    while (n > 0) {
        ssize_t got = recv(fd, p, n, 0);
        if (got < 0 && errno != ECONNRESET)
            fail_msg("no answer within %d s: %s", WAIT_S, strerror(errno));
        if (got <= 0)
            return false;
        p += got;
        n -= (size_t)got;
    }
    return true;
}

void fcgi_answer_read(struct fcgi_client *client, struct fcgi_answer *ret)
{
    *ret = (struct fcgi_answer){.status = 0};
    sbx_buf_init(&ret->data, ANSWER_MAX);
    uint8_t header[HEADER_LEN];
    while (!ret->complete && receive(client->fd, header, sizeof(header))) {
        size_t n = (size_t)header[4] << 8 | header[5];
        char *at = sbx_buf_reserve(&ret->data, n + header[6], &error);
        if (!at)
            fail_msg("%s", error.msg);
        if (!receive(client->fd, at, n + header[6]))
            break;
        if (header[1] == STDOUT)
            ret->data.len += n;
        ret->complete = header[1] == END;
    }
    const char *text = sbx_buf_cstr(&ret->data, &error);
    const char *blank = memmem(text, ret->data.len, "\r\n\r\n", 4);
    ret->body = blank ? (size_t)(blank - text) + 4 : ret->data.len;
    char status[64];
    if (fcgi_answer_header(ret, "Status", status, sizeof(status)))
        ret->status = atoi(status);
}

void fcgi_answer_done(struct fcgi_answer *answer)
{
    sbx_buf_done(&answer->data);
}

bool fcgi_answer_header(const struct fcgi_answer *answer, const char *name, char *out, size_t size)
{
    size_t n = strlen(name);
    const char *line = answer->data.data;
    const char *end = line + answer->body;
    while (line < end && *line != '\r') {
        const char *eol = memmem(line, (size_t)(end - line), "\r\n", 2);
        if (!eol)
            return false;
        if (strncasecmp(line, name, n) == 0 && strncmp(line + n, ": ", 2) == 0) {
            snprintf(out, size, "%.*s", (int)(eol - line - (ptrdiff_t)n - 2), line + n + 2);
            return true;
        }
        line = eol + 2;
    }
    return false;
}

void fcgi_call(const char *path, const char *method, const char *uri, const char *const *extra,
               const void *body, size_t n, struct fcgi_answer *ret)
{
    struct fcgi_client client;
    char length[24];
    snprintf(length, sizeof(length), "%zu", n);
    fcgi_open(&client, path);
    fcgi_param(&client, "REQUEST_METHOD", method);
    fcgi_param(&client, "REQUEST_URI", uri);
    fcgi_param(&client, "CONTENT_LENGTH", body ? length : "");
    for (; extra && extra[0]; extra += 2)
        fcgi_param(&client, extra[0], extra[1]);
    fcgi_begin(&client);
    if (body)
        fcgi_body(&client, body, n);
    fcgi_body_end(&client);
    fcgi_answer_read(&client, ret);
    fcgi_close(&client);
}
