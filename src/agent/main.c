#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "agent/agent.h"

#define MAX_DIRS 32

int64_t now_us(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

size_t watch_add(struct watch *watch, int fd, short events)
{
    watch->fds[watch->n] = (struct pollfd){.fd = fd, .events = events};
    return watch->n++;
}

bool watch_ready(const struct watch *watch, size_t handle)
{
    return watch->fds[handle].revents != 0;
}

void watch_until(struct watch *watch, int64_t when)
{
    if (when < watch->until)
        watch->until = when;
}

static int poll_timeout(const struct watch *watch, int64_t now)
{
    if (watch->until == NEVER)
        return -1;
    if (watch->until <= now)
        return 0;
    int64_t ms = (watch->until - now + MS - 1) / MS;
    return ms < 60000 ? (int)ms : 60000;
}

/* PID 1 takes every process of the container with it, but says so first: their last writes are then their
 * own. */
static void end_everything(void)
{
    kill(-1, SIGKILL);
    while (waitpid(-1, NULL, 0) > 0 || errno == EINTR)
        ;
    _exit(0);
}

static void take_signals(int fd, int64_t now)
{
    struct signalfd_siginfo info[8];
    ssize_t n = read(fd, info, sizeof(info));

    for (size_t i = 0; n > 0 && i < (size_t)n / sizeof(info[0]); i++)
        if (info[i].ssi_signo == SIGTERM)
            end_everything();
    exec_reap(now);
}

static void run(int signals)
{
    static struct watch watch;

    for (;;) {
        int64_t now = now_us();
        watch.n = 0;
        watch.until = NEVER;
        size_t at_signals = watch_add(&watch, signals, POLLIN);
        conn_watch(&watch, now);
        exec_watch(&watch, now);
        linger_watch(&watch);

        if (poll(watch.fds, (nfds_t)watch.n, poll_timeout(&watch, now)) < 0)
            for (size_t i = 0; i < watch.n; i++)
                watch.fds[i].revents = 0;

        now = now_us();
        if (watch_ready(&watch, at_signals))
            take_signals(signals, now);
        if (!conn_step(&watch, now))
            end_everything();
        exec_step(&watch, now);
        hold_step();
        linger_step(&watch);
        queue_flush();
    }
}

/* Only for words at start-up. */
static int complain(const char *what, const char *about)
{
    char line[256];
    text_join(line, sizeof(line), "sandboxd-agent: ", what, about, "\n", NULL);
    if (write(STDERR_FILENO, line, strlen(line)) < 0)
        return 71;
    return 64;
}

static bool parse_number(const char *text, uint32_t *ret)
{
    char *end;
    errno = 0;
    unsigned long value = strtoul(text, &end, 10);
    if (errno != 0 || end == text || *end != '\0' || value >= UINT32_MAX)
        return false;
    *ret = (uint32_t)value;
    return true;
}

int main(int argc, char **argv)
{
    const char *dirs[MAX_DIRS];
    size_t n_dirs = 0;

    for (int i = 1; i < argc; i += 2) {
        const char *value = i + 1 < argc ? argv[i + 1] : "";
        bool ok = false;
        if (strcmp(argv[i], "--uid") == 0)
            ok = parse_number(value, &user.uid);
        else if (strcmp(argv[i], "--gid") == 0)
            ok = parse_number(value, &user.gid);
        else if (strcmp(argv[i], "--drain") == 0)
            ok = parse_number(value, &output_drain_ms);
        else if (strcmp(argv[i], "--patience") == 0)
            ok = parse_number(value, &conn_patience_ms);
        else if (strcmp(argv[i], "--dir") == 0 && value[0] == '/' && n_dirs < MAX_DIRS)
            ok = (dirs[n_dirs++] = value);
        if (!ok)
            return complain("bad argument: ", argv[i]);
    }
    if (getpid() != 1)
        return complain("runs only as the first process of a container", "");
    if (setup_process() < 0 || exec_init() < 0)
        return complain("cannot start: ", text_errno(errno));
    setup_directories(n_dirs > 0 ? dirs : NULL, n_dirs);
    proc_init();
    memory_init();
    conn_init();
    struct shell shell;
    (void)shell_find(&shell); /* the first command finds the answer in the cache */

    sigset_t taken;
    sigemptyset(&taken);
    sigaddset(&taken, SIGCHLD);
    sigaddset(&taken, SIGTERM);
    int signals = signalfd(-1, &taken, SFD_CLOEXEC | SFD_NONBLOCK);
    if (signals < 0)
        return complain("cannot start: ", text_errno(errno));
    run(signals);
}
