/* What the master has from its start to its end: directories, pid file, sockets, shared memory. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "sandboxd/http.h"
#include "sandboxd/supervisor.h"
#include "sandboxd/user.h"

#define BACKLOG  4096
#define PID_FILE "run/sandboxd.pid"

static const char *const SOCKETS[SBX_LANES] = {"run/work.sock", "run/control.sock", "run/urgent.sock"};

/* A plain descriptor, or -1 with the error that names what failed. */
static int made(int fd, const char *what, struct sbx_err *err)
{
    return fd >= 0 ? fd : sbx_err_sys(err, SBX_ERR_INTERNAL, errno, "%s", what);
}

static int open_directories(const struct sbx_config *config, struct sbx_err *err)
{
    char path[512];
    static const struct {
        const char *name;
        mode_t mode;
    } DIRS[] = {{"run", 0755}, {"state", 0700}, {"state/spool", 0700}};
    for (size_t i = 0; i < SBX_ARRAY_LEN(DIRS); i++) {
        sbx_home_path(config, DIRS[i].name, path, sizeof(path));
        if (sbx_mkdirs(path, DIRS[i].mode, err) < 0)
            return -1;
    }
    return 0;
}

/* One master a home: the pid file is locked for as long as the master lives. */
static int open_pid_file(const struct sbx_config *config, struct sbx_err *err)
{
    char path[512];
    sbx_home_path(config, PID_FILE, path, sizeof(path));
    SBX_AUTO_CLOSE int fd = made(open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644), path, err);
    if (fd < 0)
        return -1;
    if (flock(fd, LOCK_EX | LOCK_NB) < 0)
        return sbx_err_set(err, SBX_ERR_CONFLICT, "another sandboxd runs with the home '%s' (%s is locked)",
                           config->home, path);
    if (ftruncate(fd, 0) < 0 || dprintf(fd, "%d\n", (int)getpid()) < 0)
        return sbx_err_sys(err, SBX_ERR_INTERNAL, errno, "%s", path);
    int ret = fd;
    fd = -1;
    return ret;
}

static int open_signals(struct sbx_err *err)
{
    sigset_t set;
    sigemptyset(&set);
    static const int SIGNALS[] = {SIGCHLD, SIGHUP, SIGTERM, SIGINT, SIGQUIT};
    for (size_t i = 0; i < SBX_ARRAY_LEN(SIGNALS); i++)
        sigaddset(&set, SIGNALS[i]);
    sigprocmask(SIG_SETMASK, &set, NULL);
    signal(SIGPIPE, SIG_IGN);
    return made(signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK), "signalfd", err);
}

static int open_sockets(struct sbx_master *master, struct sbx_err *err)
{
    char path[512];
    for (int lane = 0; lane < SBX_LANES; lane++) {
        sbx_home_path(master->config, SOCKETS[lane], path, sizeof(path));
        if ((master->listen_fd[lane] = sbx_http_listen(path, BACKLOG, err)) < 0)
            return -1;
    }
    return 0;
}

int sbx_master_open(struct sbx_master *master, struct sbx_err *err)
{
    if (sbx_agent_image_load(&master->agent, master->config->agent, err) < 0 ||
        open_directories(master->config, err) < 0 || sbx_user_prepare(master->config, err) < 0)
        return -1;
    if ((master->pid_fd = open_pid_file(master->config, err)) < 0 ||
        (master->signal_fd = open_signals(err)) < 0 ||
        (master->wake_fd = made(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), "eventfd", err)) < 0 ||
        (master->janitor_fd = made(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), "eventfd", err)) < 0 ||
        (master->pool_fd = made(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), "eventfd", err)) < 0 ||
        (master->more_fd = made(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), "eventfd", err)) < 0)
        return -1;
    master->board = sbx_scoreboard_new(err);
    if (!master->board || sbx_metrics_open(err) < 0 || sbx_report_queue_open(&master->reports, err) < 0)
        return -1;
    sbx_report_init(master->config, &master->reports, "master", &master->board->reports_dropped);
    return open_sockets(master, err);
}

static void remove_file(const struct sbx_config *config, const char *name)
{
    char path[512];
    sbx_home_path(config, name, path, sizeof(path));
    (void)unlink(path);
}

void sbx_master_close(struct sbx_master *master)
{
    for (int lane = 0; lane < SBX_LANES && master->pid_fd >= 0; lane++)
        remove_file(master->config, SOCKETS[lane]);
    if (master->pid_fd >= 0)
        remove_file(master->config, PID_FILE);
    sbx_agent_image_done(&master->agent);
    sbx_docker_credentials_free(master->credentials);
    sbx_config_done(master->config);
}
