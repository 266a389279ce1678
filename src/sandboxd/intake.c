/*
 * Every worker waits at the same listening sockets. With poll a connection wakes all that are idle, up to a
 * hundred, and all but one go back to sleep; so workers wait with EPOLLEXCLUSIVE, by which the kernel wakes
 * one. That one takes one connection only and is then busy for as long as a command may run, though it may
 * have been woken for two: for one on each lane, or (before Linux 5.8) for two that came before it ran. So it
 * looks after it has taken one, and what it leaves behind it tells to the next idle worker, through an
 * eventfd that all of them wait for in the same way.
 */
#include "sandboxd/intake.h"

#include <errno.h>
#include <poll.h>
#include <sys/epoll.h>
#include <unistd.h>

enum source { SOURCE_LEAVE = SBX_LANES, SOURCE_MORE, SOURCES };

/* Control workers are few and rarely asked: all of them wake, and they leave nothing behind unseen. */
static bool is_exclusive(const struct sbx_process *process)
{
    return process->role == SBX_ROLE_WORKER;
}

static int add(struct sbx_intake *intake, int fd, int source, uint32_t flags, struct sbx_err *err)
{
    struct epoll_event event = {.events = EPOLLIN | flags, .data.u32 = (uint32_t)source};
    if (epoll_ctl(intake->epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0)
        return sbx_err_sys(err, SBX_ERR_INTERNAL, errno, "cannot wait for a descriptor");
    return 0;
}

int sbx_intake_open(struct sbx_intake *intake, const struct sbx_process *process,
                    const struct sbx_signals *signals, struct sbx_err *err)
{
    uint32_t flags = is_exclusive(process) ? EPOLLEXCLUSIVE : 0;
    *intake = (struct sbx_intake){.process = process, .epoll_fd = epoll_create1(EPOLL_CLOEXEC)};
    if (intake->epoll_fd < 0)
        return sbx_err_sys(err, SBX_ERR_INTERNAL, errno, "epoll_create1");
    for (int lane = 0; lane < SBX_LANES; lane++) {
        if (process->listen_fd[lane] >= 0 && add(intake, process->listen_fd[lane], lane, flags, err) < 0)
            return -1;
    }
    if (is_exclusive(process) && add(intake, process->more_fd, SOURCE_MORE, flags, err) < 0)
        return -1;
    return add(intake, signals->quit_fd, SOURCE_LEAVE, 0, err) < 0 ||
                   add(intake, signals->term_fd, SOURCE_LEAVE, 0, err) < 0
               ? -1
               : 0;
}

void sbx_intake_close(struct sbx_intake *intake)
{
    sbx_close(&intake->epoll_fd);
}

/* Mark the lanes where a connection waits, whoever was woken for it; true when there is any. */
static bool look(const struct sbx_process *process, bool ready[SOURCES])
{
    struct pollfd fds[SBX_LANES];
    for (int lane = 0; lane < SBX_LANES; lane++)
        fds[lane] = (struct pollfd){.fd = process->listen_fd[lane], .events = POLLIN};
    if (poll(fds, SBX_LANES, 0) <= 0)
        return false;
    for (int lane = 0; lane < SBX_LANES; lane++)
        ready[lane] |= fds[lane].revents != 0;
    return true;
}

/* What the kernel tells; false with *err when it cannot. */
static bool listen_up(const struct sbx_intake *intake, bool ready[SOURCES], struct sbx_err *err)
{
    struct epoll_event events[SOURCES + 1];
    int n = epoll_wait(intake->epoll_fd, events, SBX_ARRAY_LEN(events), -1);
    if (n < 0 && errno != EINTR) {
        sbx_err_sys(err, SBX_ERR_INTERNAL, errno, "epoll_wait");
        return false;
    }
    for (int i = 0; i < n; i++)
        ready[events[i].data.u32] = true;
    return true;
}

int sbx_intake_wait(struct sbx_intake *intake, struct sbx_err *err)
{
    static const enum sbx_lane ORDER[SBX_LANES] = {SBX_LANE_CONTROL, SBX_LANE_URGENT, SBX_LANE_WORK};
    for (;;) {
        bool ready[SOURCES] = {false};
        if (!listen_up(intake, ready, err) || ready[SOURCE_LEAVE])
            return -1;
        if (ready[SOURCE_MORE]) {
            uint64_t count;
            (void)!read(intake->process->more_fd, &count, sizeof(count));
            (void)look(intake->process, ready);
        }
        for (size_t i = 0; i < SBX_LANES; i++) {
            if (ready[ORDER[i]])
                return ORDER[i];
        }
    }
}

void sbx_intake_pass_on(const struct sbx_intake *intake)
{
    bool ready[SOURCES] = {false};
    if (is_exclusive(intake->process) && look(intake->process, ready))
        sbx_wake(intake->process->more_fd);
}
