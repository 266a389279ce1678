/*
 * Raw connections to dockerd, for streams that libcurl cannot carry.
 */
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/un.h>

#include "docker/dial.h"
#include "sandboxd/base/util.h"

#define BACKLOG_RETRY_MS 2

static int not_responding(int errnum, struct sbx_err *err)
{
    return sbx_err_sys(err, SBX_ERR_UNAVAILABLE, errnum, DOCKER_NOT_RESPONDING);
}

int sbx_docker_await(int fd, short events, struct sbx_wait *wait, int64_t until_ms, struct sbx_err *err)
{
    struct pollfd pfd = {.fd = fd, .events = events};
    int64_t left = until_ms - sbx_now_ms();
    int ready = left > 0 ? sbx_wait_poll(wait, &pfd, 1, left > 60000 ? 60000 : (int)left, err) : 0;

    if (ready == 0 && sbx_now_ms() >= until_ms)
        return not_responding(ETIMEDOUT, err);
    return ready < 0 ? -1 : 0;
}

static int finish_connect(int fd, const struct sockaddr *addr, socklen_t len, struct sbx_wait *wait,
                          int64_t until_ms, struct sbx_err *err)
{
    int failure = 0;

    while (connect(fd, addr, len) != 0) {
        if (errno == EAGAIN && addr->sa_family == AF_UNIX) {
            /* The queue of a Unix listener is full: nothing to poll for, connect does not go on by itself. */
            if (sbx_now_ms() >= until_ms)
                return not_responding(ETIMEDOUT, err);
            if (sbx_wait_poll(wait, NULL, 0, BACKLOG_RETRY_MS, err) < 0)
                return -1;
        } else if (errno == EINPROGRESS || errno == EALREADY || errno == EINTR) {
            if (sbx_docker_await(fd, POLLOUT, wait, until_ms, err) != 0)
                return -1;
            if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &failure, &(socklen_t){sizeof(failure)}) == 0 && failure)
                return not_responding(failure, err);
        } else if (errno == EISCONN) {
            return 0;
        } else {
            return not_responding(errno, err);
        }
    }
    return 0;
}

static int dial_addr(const struct sockaddr *addr, socklen_t len, struct sbx_wait *wait, int64_t until_ms,
                     struct sbx_err *err)
{
    int fd = socket(addr->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    if (fd < 0)
        return sbx_err_sys(err, SBX_ERR_INTERNAL, errno, "cannot make a socket");
    if (addr->sa_family != AF_UNIX)
        (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    if (finish_connect(fd, addr, len, wait, until_ms, err) != 0)
        sbx_close(&fd);
    return fd;
}

/* Numeric addresses, the usual case, resolve without waiting; names wait as long as the system's resolver
 * does. */
static int dial_resolved(struct sbx_docker *docker, struct sbx_wait *wait, int64_t until_ms,
                         struct sbx_err *err)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV}, *list = NULL;
    int fd = -1, rc = getaddrinfo(docker->tcp_host, docker->tcp_port, &hints, &list);

    if (rc != 0)
        return sbx_err_set(err, SBX_ERR_UNAVAILABLE, DOCKER_NOT_RESPONDING ": %s: %s", docker->tcp_host,
                           gai_strerror(rc));
    for (struct addrinfo *at = list; at && fd < 0; at = at->ai_next) {
        struct sbx_err why = SBX_ERR_INIT;

        fd = dial_addr(at->ai_addr, at->ai_addrlen, wait, until_ms, &why);
        if (fd >= 0) {
            memcpy(&docker->addr, at->ai_addr, at->ai_addrlen);
            docker->addr_len = at->ai_addrlen;
        } else if (!at->ai_next || why.kind != SBX_ERR_UNAVAILABLE) {
            if (err)
                *err = why;
            break;
        }
    }
    freeaddrinfo(list);
    return fd;
}

int sbx_docker_dial(struct sbx_docker *docker, struct sbx_wait *wait, int64_t until_ms, struct sbx_err *err)
{
    struct sbx_err why = SBX_ERR_INIT;
    int fd;

    if (docker->unix_path) {
        struct sockaddr_un addr = {.sun_family = AF_UNIX};

        memcpy(addr.sun_path, docker->unix_path, strlen(docker->unix_path));
        return dial_addr((const struct sockaddr *)&addr, sizeof(addr), wait, until_ms, err);
    }
    if (docker->addr_len > 0) {
        fd = dial_addr((const struct sockaddr *)&docker->addr, docker->addr_len, wait, until_ms, &why);
        if (fd >= 0)
            return fd;
        docker->addr_len = 0; /* the name may mean another address by now */
    }
    return dial_resolved(docker, wait, until_ms, err);
}
