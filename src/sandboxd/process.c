/* What workers and janitor have in common. */
#include "sandboxd/process.h"

#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static int signal_fd(int signo, struct sbx_err *err)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, signo);
    int fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    return fd >= 0 ? fd : sbx_err_sys(err, SBX_ERR_INTERNAL, errno, "signalfd");
}

int sbx_signals_open(struct sbx_signals *signals, struct sbx_err *err)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGQUIT);
    sigaddset(&set, SIGTERM);
    sigprocmask(SIG_SETMASK, &set, NULL);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGINT, SIG_IGN); /* a terminal's ^C is for the master, who tells us */
    signal(SIGHUP, SIG_IGN);
    signal(SIGCHLD, SIG_DFL);
    signals->quit_fd = signal_fd(SIGQUIT, err);
    signals->term_fd = signals->quit_fd < 0 ? -1 : signal_fd(SIGTERM, err);
    return signals->term_fd < 0 ? -1 : 0;
}

int sbx_credentials_open(const struct sbx_config *config, struct sbx_docker_credentials **ret,
                         struct sbx_err *err)
{
    *ret = NULL;
    if (!config->docker_config)
        return 0;
    *ret = sbx_docker_credentials_load(config->docker_config, err);
    return *ret ? 0 : sbx_err_wrap(err, "DAIV_SANDBOX_DOCKER_CONFIG");
}

static void claimed(void *process)
{
    sbx_wake(((const struct sbx_process *)process)->pool_fd);
}

void sbx_home_path(const struct sbx_config *config, const char *what, char *out, size_t size)
{
    snprintf(out, size, "%s/%s", config->home, what);
}

static void notice(const char *event, const char *subject, const char *detail)
{
    sbx_log(strstr(event, "failed") ? SBX_LOG_WARNING : SBX_LOG_INFO, event, "subject", subject,
            detail[0] ? "detail" : NULL, detail, NULL);
}

int sbx_engine_open(struct sbx_engine_parts *parts, const struct sbx_process *process, struct sbx_err *err)
{
    const struct sbx_config *config = process->config;
    *parts = (struct sbx_engine_parts){.engine = {.config = config,
                                                  .agent = process->agent,
                                                  .credentials = process->credentials,
                                                  .notice = notice,
                                                  .claimed = claimed,
                                                  .claimed_arg = (void *)process}};
    sbx_home_path(config, "state", parts->state_dir, sizeof(parts->state_dir));
    sbx_home_path(config, "state/spool", parts->spool_dir, sizeof(parts->spool_dir));
    struct sbx_store_options options = {
        .redis_url = config->redis_url,
        .dir = parts->state_dir,
        .replica = config->replica,
        .lock_ttl_ms = config->session_lock_ttl_ms,
        .lock_refresh_ms = config->session_lock_refresh_ms,
    };
    parts->engine.store = sbx_store_open(&options, err);
    if (!parts->engine.store)
        return -1;
    parts->engine.docker = sbx_docker_new(config->docker_host, config->docker_timeout_ms, err);
    return parts->engine.docker ? 0 : -1;
}

void sbx_engine_close(struct sbx_engine_parts *parts)
{
    if (parts->engine.docker)
        sbx_docker_free(parts->engine.docker);
    if (parts->engine.store)
        sbx_store_close(parts->engine.store);
}

void sbx_notify(const char *state)
{
    const char *path = getenv("NOTIFY_SOCKET");
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    if (!path || (path[0] != '/' && path[0] != '@') || strlen(path) >= sizeof(addr.sun_path))
        return;
    memcpy(addr.sun_path, path, strlen(path));
    if (addr.sun_path[0] == '@')
        addr.sun_path[0] = '\0';
    SBX_AUTO_CLOSE int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return;
    socklen_t len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(path));
    (void)!sendto(fd, state, strlen(state), MSG_NOSIGNAL, (struct sockaddr *)&addr, len);
}

void sbx_wake(int fd)
{
    uint64_t one = 1;
    (void)!write(fd, &one, sizeof(one));
}
