/* The master's children: fork, reap, tell. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sandboxd/base/confine.h"
#include "sandboxd/supervisor.h"
#include "sandboxd/user.h"

#define BACKOFF_FIRST_MS 100
#define BACKOFF_MAX_MS   30000

static struct sbx_slot *find_slot(struct sbx_master *master, pid_t pid)
{
    for (size_t i = 0; i < SBX_SLOTS; i++) {
        if (master->board->slots[i].pid == pid)
            return &master->board->slots[i];
    }
    return NULL;
}

/* A control worker takes urgent requests when another one is there that never does. */
static void choose_lanes(const struct sbx_master *master, const struct sbx_slot *slot, int fds[SBX_LANES])
{
    if (slot->role == SBX_ROLE_WORKER)
        fds[SBX_LANE_WORK] = master->listen_fd[SBX_LANE_WORK];
    else if (slot->role == SBX_ROLE_CONTROL)
        fds[SBX_LANE_CONTROL] = master->listen_fd[SBX_LANE_CONTROL];
    if (slot->role == SBX_ROLE_WORKER || slot->urgent)
        fds[SBX_LANE_URGENT] = master->listen_fd[SBX_LANE_URGENT];
}

/* Does this generation have a control worker for nothing but health and the like? */
static bool has_reserve(const struct sbx_master *master)
{
    for (size_t i = 0; i < SBX_SLOTS; i++) {
        const struct sbx_slot *slot = &master->board->slots[i];
        if (slot->pid > 0 && slot->role == SBX_ROLE_CONTROL && slot->generation == master->generation &&
            !slot->urgent && !slot->told_to_leave)
            return true;
    }
    return false;
}

static _Noreturn void child_main(struct sbx_master *master, struct sbx_slot *slot, pid_t parent)
{
    char name[16];
    snprintf(name, sizeof(name), "sandboxd:%s", sbx_role_name(slot->role));
    prctl(PR_SET_NAME, name);
    close(master->signal_fd);
    close(master->pid_fd);
    const struct sbx_config *config = master->config;
    sbx_log_init((enum sbx_log_level)sbx_log_level_parse(config->log_level),
                 strcmp(config->log_format, "json") == 0, sbx_role_name(slot->role));
    sbx_report_init(config, &master->reports, sbx_role_name(slot->role), &master->board->reports_dropped);
    struct sbx_process process = {
        .config = config,
        .agent = &master->agent,
        .credentials = master->credentials,
        .board = master->board,
        .slot = slot,
        .role = slot->role,
        .listen_fd = {-1, -1, -1},
        .master_fd = master->wake_fd,
        .janitor_fd = master->janitor_fd,
        .pool_fd = master->pool_fd,
        .more_fd = master->more_fd,
        .reports = &master->reports,
    };
    choose_lanes(master, slot, process.listen_fd);
    struct sbx_err err = SBX_ERR_INIT;
    if (sbx_user_become(config, &err) < 0 || sbx_confine_service(&err) < 0) {
        sbx_log_err(SBX_LOG_ERROR, "cannot start", &err);
        exit(SBX_EXIT_NOT_READY);
    }
    /* A master that is killed leaves no children behind: they finish what they do and go. After the change of
     * user, which clears it. */
    prctl(PR_SET_PDEATHSIG, SIGQUIT);
    if (getppid() != parent)
        _exit(0);
    int code = slot->role == SBX_ROLE_JANITOR ? sbx_janitor_main(&process) : sbx_worker_main(&process);
    exit(code);
}

void sbx_children_spawn(struct sbx_master *master, enum sbx_role role)
{
    if (sbx_now_ms() < master->spawn_after_ms)
        return;
    struct sbx_slot *slot = sbx_scoreboard_take(master->board);
    if (!slot)
        return;
    *slot = (struct sbx_slot){.role = role,
                              .generation = master->generation,
                              .urgent = role == SBX_ROLE_CONTROL && has_reserve(master),
                              .since_ms = sbx_now_ms()};
    pid_t parent = getpid();
    pid_t pid = fork();
    if (pid == 0) {
        slot->pid = getpid();
        child_main(master, slot, parent);
    }
    if (pid < 0) {
        struct sbx_err err = SBX_ERR_INIT;
        sbx_err_sys(&err, SBX_ERR_INTERNAL, errno, "fork");
        sbx_log_err(SBX_LOG_ERROR, "cannot start a process", &err);
        master->spawn_after_ms = sbx_now_ms() + BACKOFF_FIRST_MS;
        return;
    }
    slot->pid = pid;
}

static void back_off(struct sbx_master *master)
{
    int shift = master->early_deaths < 9 ? master->early_deaths : 9;
    int64_t delay = (int64_t)BACKOFF_FIRST_MS << shift;
    if (delay > BACKOFF_MAX_MS)
        delay = BACKOFF_MAX_MS;
    master->early_deaths++;
    master->spawn_after_ms = sbx_now_ms() + delay;
}

static void report_death(const struct sbx_slot *slot, int status)
{
    char labels[64];
    snprintf(labels, sizeof(labels), "role=\"%s\",how=\"%s\"", sbx_role_name(slot->role),
             WIFSIGNALED(status) ? "signal" : "exit");
    sbx_metric_add(SBX_METRIC_PROCESS_DEATHS, labels, 1);
    struct sbx_report_crash crash = {
        .role = sbx_role_name(slot->role),
        .pid = slot->pid,
        .signo = WIFSIGNALED(status) ? WTERMSIG(status) : 0,
        .code = WIFEXITED(status) ? WEXITSTATUS(status) : 0,
        .request = slot->request,
        .session = slot->session,
    };
    sbx_report_crash(&crash);
}

static void bury(struct sbx_master *master, struct sbx_slot *slot, int status)
{
    bool clean = WIFEXITED(status) && WEXITSTATUS(status) == 0;
    bool ready = slot->activity != SBX_ACTIVITY_STARTING;
    if (ready)
        master->early_deaths = 0;
    else if (!slot->told_to_leave)
        back_off(master);
    if (!clean) {
        char pid[16];
        char how[32];
        snprintf(pid, sizeof(pid), "%d", (int)slot->pid);
        snprintf(how, sizeof(how), WIFSIGNALED(status) ? "signal %d" : "exit code %d",
                 WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
        sbx_log(SBX_LOG_ERROR, "process died", "role", sbx_role_name(slot->role), "pid", pid, "how", how,
                "request", slot->request, "session", slot->session, NULL);
        report_death(slot, status);
    }
    *slot = (struct sbx_slot){.pid = 0};
    if (!clean) {
        sbx_wake(master->janitor_fd); /* what it was making is nobody's now */
        sbx_wake(master->more_fd);    /* it may have been the only one that was woken for a connection */
    }
}

void sbx_children_reap(struct sbx_master *master)
{
    int status;
    pid_t pid;
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        struct sbx_slot *slot = find_slot(master, pid);
        if (slot)
            bury(master, slot, status);
    }
}

void sbx_children_signal(struct sbx_master *master, int signo)
{
    for (size_t i = 0; i < SBX_SLOTS; i++) {
        struct sbx_slot *slot = &master->board->slots[i];
        if (slot->pid > 0) {
            slot->told_to_leave = true;
            kill(slot->pid, signo);
        }
    }
}

void sbx_children_dismiss(struct sbx_slot *slot)
{
    slot->told_to_leave = true;
    kill(slot->pid, SIGQUIT);
}

int sbx_children_count(const struct sbx_master *master, enum sbx_role role, bool current)
{
    int count = 0;
    for (size_t i = 0; i < SBX_SLOTS; i++) {
        const struct sbx_slot *slot = &master->board->slots[i];
        count += slot->pid > 0 && slot->role == role && !slot->told_to_leave &&
                 (slot->generation == master->generation) == current;
    }
    return count;
}

bool sbx_children_any(const struct sbx_master *master)
{
    for (size_t i = 0; i < SBX_SLOTS; i++) {
        if (master->board->slots[i].pid > 0)
            return true;
    }
    return false;
}
