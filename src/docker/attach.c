/*
 * Attached streams: the upgrade request on a raw connection, then stdin and stdout of a container.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "docker/dial.h"
#include "docker/internal.h"
#include "sandboxd/base/trace.h"
#include "sandboxd/base/util.h"

#define STDERR_KEPT     1024
#define REFUSAL_WAIT_MS 500
#define REFUSAL_MAX     4096
#define SHORT_ID_LEN    16

struct sbx_attach {
    int fd;
    struct sbx_stdcopy demux;
    size_t off; /* in[off, len): read from the socket, not yet given out */
    size_t len;
    size_t err_len;
    char err_text[STDERR_KEPT + 1];
    uint8_t in[32 * 1024]; /* what dockerd copies at a time; also more than a head may be */
};

static int ended(struct sbx_err *err)
{
    return sbx_err_set(err, SBX_ERR_UNAVAILABLE, "the container's stream has ended");
}

static int send_request(struct sbx_docker *docker, struct sbx_wait *wait, int fd, const char *id,
                        int64_t until_ms, struct sbx_err *err)
{
    char request[1024];
    /* The start of an id is one name among all, and dockerd's router is quicker with it. */
    int shortened = strlen(id) == SBX_DOCKER_ID_LEN ? SHORT_ID_LEN : (int)strlen(id);
    int n = snprintf(request, sizeof(request),
                     "POST /v1.%d/containers/%.*s/attach?stream=1&stdin=1&stdout=1&stderr=1 HTTP/1.1\r\n"
                     "Host: %s\r\nConnection: Upgrade\r\nUpgrade: tcp\r\nContent-Length: 0\r\n\r\n",
                     docker->api_minor, shortened, id, docker->authority);

    if (n < 0 || (size_t)n >= sizeof(request))
        return sbx_err_set(err, SBX_ERR_INTERNAL, "the container's name is too long to attach to it");
    for (size_t off = 0; off < (size_t)n;) {
        ssize_t sent = send(fd, request + off, (size_t)n - off, MSG_NOSIGNAL);

        if (sent > 0)
            off += (size_t)sent;
        else if (errno == EAGAIN) {
            if (sbx_docker_await(fd, POLLOUT, wait, until_ms, err) != 0)
                return -1;
        } else if (errno != EINTR)
            return sbx_err_sys(err, SBX_ERR_UNAVAILABLE, errno, DOCKER_NOT_RESPONDING);
    }
    return 0;
}

/* Wait for more input behind in[len]: bytes, 0 at the end, -1. */
static ssize_t fill(struct sbx_attach *attach, struct sbx_wait *wait, int64_t until_ms, struct sbx_err *err)
{
    for (;;) {
        if (sbx_docker_await(attach->fd, POLLIN, wait, until_ms, err) != 0)
            return -1;
        ssize_t got = recv(attach->fd, attach->in + attach->len, sizeof(attach->in) - attach->len, 0);
        if (got >= 0) {
            attach->len += (size_t)got;
            return got;
        }
        if (errno != EAGAIN && errno != EINTR)
            return sbx_err_sys(err, SBX_ERR_UNAVAILABLE, errno, DOCKER_NOT_RESPONDING);
    }
}

/* The daemon's reason is JSON with a length, or bare text up to the end of the connection: take what comes at
 * once. */
static int refused(struct sbx_docker *docker, struct sbx_wait *wait, struct sbx_attach *attach, int status,
                   const char *id, struct sbx_err *err)
{
    int64_t until_ms = sbx_now_ms() + REFUSAL_WAIT_MS;
    struct sbx_err ignored = SBX_ERR_INIT;
    char message[1024];
    size_t n;

    do
        n = attach->len - attach->off;
    while (n < REFUSAL_MAX && !memchr(attach->in + attach->off, '}', n) &&
           fill(attach, wait, until_ms, &ignored) > 0);

    const char *body = (const char *)attach->in + attach->off;
    const char *open = memchr(body, '{', n), *close = memrchr(body, '}', n);

    if (open && close && open < close)
        sbx_docker_message(open, (size_t)(close - open) + 1, message, sizeof(message));
    else
        sbx_docker_message(body, n, message, sizeof(message));
    return sbx_docker_refused(docker, status, message, "attach to container", id, err);
}

static int upgrade(struct sbx_docker *docker, struct sbx_wait *wait, struct sbx_attach *attach,
                   const char *id, struct sbx_err *err)
{
    int64_t until_ms = sbx_now_ms() + docker->timeout_ms;
    ssize_t head = 0, got;
    int status = 0;

    attach->fd = sbx_docker_dial(docker, wait, until_ms, err);
    if (attach->fd < 0 || send_request(docker, wait, attach->fd, id, until_ms, err) != 0)
        return -1;
    while (head == 0) {
        got = fill(attach, wait, until_ms, err);
        if (got < 0)
            return -1;
        head = sbx_docker_parse_head((const char *)attach->in, attach->len, &status);
        if (got == 0 && head == 0)
            return sbx_err_set(err, SBX_ERR_UNAVAILABLE, DOCKER_NOT_RESPONDING ": it closed the connection");
    }
    if (head < 0)
        return sbx_err_set(err, SBX_ERR_UPSTREAM,
                           "cannot attach to container %s: dockerd's answer is not HTTP", id);
    attach->off = (size_t)head;
    if (status != 101 && status != 200)
        return refused(docker, wait, attach, status, id, err);
    return 0;
}

struct sbx_attach *sbx_docker_attach(struct sbx_docker *docker, struct sbx_wait *wait, const char *id,
                                     struct sbx_err *err)
{
    struct sbx_attach *attach;

    SBX_SPAN("docker", "attach");
    if (sbx_docker_check_name(id, err) != 0 || sbx_docker_negotiate(docker, wait, err) != 0)
        return NULL;
    attach =
        malloc(sizeof(*attach)); /* not calloc: the buffer's pages stay untouched until they are needed */
    if (!attach) {
        (void)sbx_err_set(err, SBX_ERR_INTERNAL, "out of memory");
        return NULL;
    }
    attach->fd = -1;
    attach->demux = (struct sbx_stdcopy){.left = 0};
    attach->off = attach->len = attach->err_len = 0;
    attach->err_text[0] = '\0';
    if (upgrade(docker, wait, attach, id, err) != 0) {
        sbx_attach_close(attach);
        return NULL;
    }
    return attach;
}

void sbx_attach_close(struct sbx_attach *attach)
{
    if (!attach)
        return;
    sbx_close(&attach->fd);
    free(attach);
}

int sbx_attach_fd(const struct sbx_attach *attach)
{
    return attach->fd;
}

const char *sbx_attach_stderr(const struct sbx_attach *attach)
{
    return attach->err_text;
}

static void keep_stderr(struct sbx_attach *attach, const uint8_t *data, size_t n)
{
    size_t room = STDERR_KEPT - attach->err_len;
    size_t take = n < room ? n : room;

    memcpy(attach->err_text + attach->err_len, data, take);
    attach->err_len += take;
    attach->err_text[attach->err_len] = '\0';
}

/* Decode buffered bytes into out until it is full or the buffer is empty; bytes of stdout, -1 on garbage. */
static ssize_t drain(struct sbx_attach *attach, uint8_t *out, size_t n, struct sbx_err *err)
{
    struct sbx_stdcopy *demux = &attach->demux;
    size_t total = 0;

    while (total < n && attach->off < attach->len) {
        const uint8_t *data = attach->in + attach->off;
        size_t have = attach->len - attach->off, off, len;
        /* Offered is at most what makes a run that still fits. */
        size_t most = n - total + (demux->left ? 0 : sizeof(demux->head) - demux->head_len);
        int stream;
        ssize_t used = sbx_stdcopy_next(demux, data, have < most ? have : most, &stream, &off, &len);

        if (used < 0) {
            attach->off = attach->len = 0;
            return sbx_err_set(err, SBX_ERR_UNAVAILABLE, "the container's stream is garbled");
        }
        if (stream == 1) {
            memcpy(out + total, data + off, len);
            total += len;
        } else {
            keep_stderr(attach, data + off, len);
        }
        attach->off += (size_t)used;
    }
    return (ssize_t)total;
}

ssize_t sbx_attach_read(struct sbx_attach *attach, void *out, size_t n, struct sbx_err *err)
{
    for (;;) {
        ssize_t total = drain(attach, out, n, err);

        /* Not another recv after a success: the usual answer is one frame, and the caller polls next anyway.
         */
        if (total != 0 || n == 0)
            return total;
        attach->off = attach->len = 0;
        ssize_t got = recv(attach->fd, attach->in, sizeof(attach->in), 0);
        if (got > 0)
            attach->len = (size_t)got;
        else if (got == 0)
            return ended(err);
        else if (errno == EAGAIN)
            return 0;
        else if (errno != EINTR)
            return sbx_err_sys(err, SBX_ERR_UNAVAILABLE, errno, "the container's stream has broken");
    }
}

ssize_t sbx_attach_write(struct sbx_attach *attach, const void *data, size_t n, struct sbx_err *err)
{
    for (;;) {
        ssize_t sent = send(attach->fd, data, n, MSG_NOSIGNAL);

        if (sent >= 0)
            return sent;
        if (errno == EAGAIN)
            return 0;
        if (errno == EPIPE || errno == ECONNRESET)
            return ended(err);
        if (errno != EINTR)
            return sbx_err_sys(err, SBX_ERR_UNAVAILABLE, errno, "the container's stream has broken");
    }
}
