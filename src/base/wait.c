#include "sandboxd/base/wait.h"

#include <errno.h>
#include <limits.h>
#include <string.h>

#include "sandboxd/base/util.h"

#define OWN_FDS      2
#define CALLER_FDS   14
#define TICK_POLL_US 1000
#define CLIENT_GONE  (POLLRDHUP | POLLHUP | POLLERR | POLLNVAL)
#define NO_LIMIT     INT64_MAX

void sbx_wait_init(struct sbx_wait *wait)
{
    *wait = (struct sbx_wait){.client_fd = -1, .stop_fd = -1};
}

int sbx_wait_add(struct sbx_wait *wait, int64_t every_ms, int (*fn)(void *, struct sbx_err *), void *arg)
{
    for (int i = 0; i < SBX_WAIT_HOOKS; i++) {
        if (!wait->hooks[i].fn) {
            int64_t every = every_ms > 0 ? every_ms : 1;
            wait->hooks[i] = (struct sbx_wait_hook){fn, arg, every, sbx_now_ms() + every};
            return i;
        }
    }
    return -1;
}

void sbx_wait_remove(struct sbx_wait *wait, int handle)
{
    if (handle >= 0 && handle < SBX_WAIT_HOOKS)
        wait->hooks[handle].fn = NULL;
}

/* Run the hooks that are due, then look at the deadline. *ret_next gets the time of the next thing to do. */
static int check_clock(struct sbx_wait *wait, int64_t *ret_next, struct sbx_err *err)
{
    int64_t next = NO_LIMIT;
    for (int i = 0; i < SBX_WAIT_HOOKS; i++) {
        struct sbx_wait_hook *hook = &wait->hooks[i];
        if (!hook->fn)
            continue;
        int64_t now = sbx_now_ms();
        if (now >= hook->next_ms) {
            hook->next_ms =
                now + hook->every_ms; /* before the call: a hook may wait, and may remove itself */
            if (hook->fn(hook->arg, err) < 0)
                return -1;
        }
        if (hook->fn && hook->next_ms < next)
            next = hook->next_ms;
    }
    if (wait->deadline_ms > 0) {
        if (sbx_now_ms() >= wait->deadline_ms)
            return sbx_err_set(err, SBX_ERR_TIMEOUT, "the request took too long");
        if (wait->deadline_ms < next)
            next = wait->deadline_ms;
    }
    *ret_next = next;
    return 0;
}

/* The client is polled for hang-up alone: a connection with unread bytes would otherwise be ready all the
 * time. */
static void own_fds(const struct sbx_wait *wait, struct pollfd own[OWN_FDS])
{
    own[0] = (struct pollfd){.fd = wait->client_fd, .events = POLLRDHUP};
    own[1] = (struct pollfd){.fd = wait->stop_fd, .events = POLLIN};
}

static int check_own(const struct pollfd own[OWN_FDS], struct sbx_err *err)
{
    if (own[0].revents & CLIENT_GONE)
        return sbx_err_set(err, SBX_ERR_CANCELLED, "the client went away");
    if (own[1].revents) /* a hang-up too: whoever could tell us to stop is gone */
        return sbx_err_set(err, SBX_ERR_UNAVAILABLE, "the service is stopping");
    return 0;
}

static int poll_timeout(int64_t until, int64_t now)
{
    if (until == NO_LIMIT)
        return -1;
    if (until <= now)
        return 0;
    return until - now > INT_MAX ? INT_MAX : (int)(until - now);
}

int sbx_wait_poll(struct sbx_wait *wait, struct pollfd *fds, nfds_t nfds, int timeout_ms, struct sbx_err *err)
{
    struct pollfd all[OWN_FDS + CALLER_FDS];
    if (nfds > CALLER_FDS)
        return sbx_err_set(err, SBX_ERR_INTERNAL, "too many descriptors to wait for: %lu",
                           (unsigned long)nfds);
    const struct sbx_wait none = {.client_fd = -1, .stop_fd = -1};
    int64_t until = timeout_ms < 0 ? NO_LIMIT : sbx_now_ms() + timeout_ms;
    for (;;) {
        int64_t next = NO_LIMIT;
        if (wait && check_clock(wait, &next, err) < 0)
            return -1;
        own_fds(wait ? wait : &none, all);
        if (nfds > 0)
            memcpy(all + OWN_FDS, fds, nfds * sizeof(*fds));
        int ready = poll(all, OWN_FDS + nfds, poll_timeout(until < next ? until : next, sbx_now_ms()));
        if (ready < 0 && errno != EINTR)
            return sbx_err_sys(err, SBX_ERR_INTERNAL, errno, "cannot poll");
        if (ready > 0) {
            if (check_own(all, err) < 0)
                return -1;
            if (nfds > 0)
                memcpy(fds, all + OWN_FDS, nfds * sizeof(*fds));
            return ready;
        }
        if (ready == 0 && sbx_now_ms() >= until) {
            for (nfds_t i = 0; i < nfds; i++)
                fds[i].revents = 0;
            return 0;
        }
    }
}

int sbx_wait_tick(struct sbx_wait *wait, struct sbx_err *err)
{
    int64_t next;
    if (!wait)
        return 0;
    if (check_clock(wait, &next, err) < 0)
        return -1;
    int64_t now = sbx_now_us();
    if (wait->polled_us > 0 && now - wait->polled_us < TICK_POLL_US)
        return 0;
    wait->polled_us = now;
    struct pollfd own[OWN_FDS];
    own_fds(wait, own);
    if (poll(own, OWN_FDS, 0) <= 0)
        return 0;
    return check_own(own, err);
}
