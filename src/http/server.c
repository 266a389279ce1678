/*
 * The accept loop's half of libfcgi.
 *
 * The connection is accepted here and handed to libfcgi, which uses an open ipcFd as it is. Its own accept
 * sets no CLOEXEC, and reads the request's head without any time limit once the first byte has come. What
 * remains is that a connection on which nobody speaks costs this worker HEAD_WAIT_MS; the web server, the
 * only one who may connect, writes in the same breath as it connects.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "http/request.h"
#include "sandboxd/base/util.h"

#define HEAD_WAIT_MS 2000 /* longest silence before and within the head of a request */
#define BODY_WAIT_S                                                                                          \
    90 /* longest silence within the body; above nginx's client_body_timeout, so that its 408 comes first */
#define SEND_WAIT_S 60   /* longest time without any progress of a write */
#define LINGER_MS   1000 /* how long the rest of an unread body is taken in after the answer */

struct sbx_server {
    int listen_fd;
    struct sbx_request request;
};

struct sbx_server *sbx_server_new(int listen_fd, struct sbx_err *err)
{
    int failed = FCGX_Init();
    if (failed) {
        sbx_err_set(err, SBX_ERR_INTERNAL, "cannot initialise libfcgi: error %d", failed);
        return NULL;
    }
    struct sbx_server *server = calloc(1, sizeof(*server));
    if (!server) {
        sbx_err_set(err, SBX_ERR_INTERNAL, "out of memory for the server");
        return NULL;
    }
    server->listen_fd = listen_fd;
    /* No listening socket for libfcgi: when a connection turns out to be bad it must not accept the next one
     * itself. */
    FCGX_InitRequest(&server->request.fcgi, -1, FCGI_FAIL_ACCEPT_ON_INTR);
    return server;
}

void sbx_server_free(struct sbx_server *server)
{
    if (!server)
        return;
    sbx_request_finish(&server->request);
    free(server);
}

static void set_timeout(int fd, int option, long ms)
{
    struct timeval tv = {.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};
    setsockopt(fd, SOL_SOCKET, option, &tv, sizeof(tv)); /* cannot fail on a socket with a sane value */
}

static bool is_passing(int errnum)
{
    return errnum == EAGAIN || errnum == EINTR || errnum == ECONNABORTED || errnum == EPROTO;
}

/* Something to read (or the end) within the time a request's head may take. */
static bool speaks(int fd)
{
    struct pollfd pfd = {.fd = fd, .events = POLLIN};
    int64_t deadline = sbx_now_ms() + HEAD_WAIT_MS;
    for (;;) {
        int64_t left = deadline - sbx_now_ms();
        int n = poll(&pfd, 1, left > 0 ? (int)left : 0);
        if (n >= 0 || errno != EINTR)
            return n > 0;
    }
}

/* A connection on which a request has begun; -1 with kind NONE when there is none. */
static int take_connection(struct sbx_server *server, struct sbx_err *err)
{
    SBX_AUTO_CLOSE int fd = accept4(server->listen_fd, NULL, NULL, SOCK_CLOEXEC);
    if (fd < 0) {
        if (!is_passing(errno))
            return sbx_err_sys(err, SBX_ERR_UNAVAILABLE, errno, "cannot accept a connection");
        return sbx_err_set(err, SBX_ERR_NONE, "no connection");
    }
    if (fd >= FD_SETSIZE) /* libfcgi uses select() */
        return sbx_err_set(err, SBX_ERR_UNAVAILABLE, "too many open files: connection got descriptor %d", fd);
    if (!speaks(fd))
        return sbx_err_set(err, SBX_ERR_NONE, "silent connection");
    set_timeout(fd, SO_RCVTIMEO, HEAD_WAIT_MS);
    set_timeout(fd, SO_SNDTIMEO, SEND_WAIT_S * 1000L);
    int ret = fd;
    fd = -1;
    return ret;
}

struct sbx_request *sbx_server_accept(struct sbx_server *server, struct sbx_err *err)
{
    struct sbx_request *request = &server->request;
    int fd = take_connection(server, err);
    if (fd < 0)
        return NULL;
    request->fcgi.ipcFd = fd;
    request->fcgi.keepConnection = 1; /* else FCGX_Accept_r closes it as left over from the request before */
    if (FCGX_Accept_r(&request->fcgi) < 0) {
        sbx_err_set(err, SBX_ERR_NONE, "not a request");
        return NULL;
    }
    set_timeout(fd, SO_RCVTIMEO, BODY_WAIT_S * 1000L);
    sbx_request_start(request);
    return request;
}

/* Take in what the web server is still sending. Closing a Unix socket with unread bytes resets it, and the
 * web server might meet that error before it has read the answer. */
static void linger(int fd)
{
    char waste[16384];
    int64_t deadline = sbx_now_ms() + LINGER_MS;
    shutdown(fd, SHUT_WR);
    for (int64_t left = LINGER_MS; left > 0; left = deadline - sbx_now_ms()) {
        struct pollfd pfd = {.fd = fd, .events = POLLIN};
        if (poll(&pfd, 1, (int)left) < 0 && errno != EINTR)
            return;
        ssize_t n = recv(fd, waste, sizeof(waste), MSG_DONTWAIT);
        if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
            return;
    }
}

void sbx_request_close_later(struct sbx_request *request, int *fd)
{
    if (*fd < 0)
        return;
    if (request->later_count == REQUEST_LATER) {
        sbx_close(fd);
        return;
    }
    request->later[request->later_count++] = *fd;
    *fd = -1;
}

void sbx_request_finish(struct sbx_request *request)
{
    if (!request->active)
        return;
    if (!request->answered) {
        static const char body[] = "{\"detail\":\"Internal Server Error\"}";
        struct sbx_err ignored = SBX_ERR_INIT;
        if (sbx_answer(request, 500, "application/json", body, sizeof(body) - 1, &ignored) < 0)
            request->broken = true;
    }
    if (!request->body_ended && !request->body_failed && !request->broken)
        linger(request->fcgi.ipcFd);
    /* libfcgi closes by reading until the other end has closed, for as long as something comes every two
     * seconds: with the read side shut there is nothing to wait for. For a broken answer this also keeps it
     * from writing an end record. */
    shutdown(request->fcgi.ipcFd, SHUT_RDWR);
    request->fcgi.keepConnection = 0;
    FCGX_Finish_r(&request->fcgi);
    while (request->later_count > 0)
        sbx_close(&request->later[--request->later_count]);
    request->active = false;
}
