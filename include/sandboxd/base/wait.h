/*
 * The one wait of a request: whatever a worker waits for, it also watches the client, its own stop signal,
 * the request's deadline and periodic work (lock refresh, heartbeat). Every blocking place goes through
 * sbx_wait_poll or, where a library owns the loop (libcurl), calls sbx_wait_tick from its progress callback.
 */
#ifndef SANDBOXD_BASE_WAIT_H
#define SANDBOXD_BASE_WAIT_H

#include <poll.h>
#include <stdint.h>

#include "sandboxd/base/err.h"

#define SBX_WAIT_HOOKS 4

struct sbx_wait_hook {
    int (*fn)(void *arg, struct sbx_err *err); /* -1 with *err ends the wait */
    void *arg;
    int64_t every_ms;
    int64_t next_ms; /* monotonic */
};

struct sbx_wait {
    int client_fd; /* connection to the web server, -1 for none: hang-up gives CANCELLED */
    int stop_fd;   /* readable when this process must give up its request, -1 for none: gives UNAVAILABLE */
    int64_t deadline_ms; /* monotonic, 0 for none: passing it gives TIMEOUT */
    struct sbx_wait_hook hooks[SBX_WAIT_HOOKS];
    int64_t polled_us; /* private: when sbx_wait_tick last asked the kernel */
};

/* Nothing is watched until the fields are set. */
void sbx_wait_init(struct sbx_wait *wait);

/* Call fn every every_ms while waiting, first after every_ms. Returns a handle for sbx_wait_remove; -1 when
 * all hooks are taken. */
int sbx_wait_add(struct sbx_wait *wait, int64_t every_ms, int (*fn)(void *, struct sbx_err *), void *arg);
void sbx_wait_remove(struct sbx_wait *wait, int handle);

/* poll(2) on the caller's fds (revents filled; nfds <= 14) for at most timeout_ms (-1: until something
 * happens). Returns how many are ready, 0 on timeout, -1 with CANCELLED, UNAVAILABLE, TIMEOUT or a hook's
 * error. wait may be NULL: then it is poll with EINTR handled. */
int sbx_wait_poll(struct sbx_wait *wait, struct pollfd *fds, nfds_t nfds, int timeout_ms,
                  struct sbx_err *err) SBX_MUST_CHECK;

/* The same checks without waiting: 0 or -1. Cheap enough to call at every progress callback: the clock is
 * read each time, the fds are looked at once a millisecond at most. */
int sbx_wait_tick(struct sbx_wait *wait, struct sbx_err *err) SBX_MUST_CHECK;

#endif
