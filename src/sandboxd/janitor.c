/* The janitor: gives back what dead workers and lost records left. One a replica; who sweeps for all is
 * settled by a lease. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "sandboxd/process.h"

#define LEASE "janitor"

struct janitor {
    struct sbx_process *process;
    struct sbx_signals signals;
    struct sbx_engine_parts parts;
    struct sbx_wait wait;
    char holder[128];
};

/* Is a process still making its session? Ours are in the scoreboard; one of a master before us may be
 * finishing. */
static bool alive(void *arg, int64_t pid)
{
    struct janitor *janitor = arg;
    if (sbx_scoreboard_has(janitor->process->board, (pid_t)pid))
        return true;
    char path[64];
    char comm[64] = "";
    snprintf(path, sizeof(path), "/proc/%lld/comm", (long long)pid);
    SBX_AUTO_FREE char *text = NULL;
    struct sbx_err ignored = SBX_ERR_INIT;
    if (sbx_read_file(path, sizeof(comm), &text, NULL, &ignored) < 0)
        return false;
    return strncmp(text, "sandboxd", strlen("sandboxd")) == 0;
}

static void report(const struct sbx_sweep_counts *counts)
{
    if (!counts->closed && !counts->reclaimed && !counts->orphans)
        return;
    char text[3][16];
    snprintf(text[0], sizeof(text[0]), "%d", counts->closed);
    snprintf(text[1], sizeof(text[1]), "%d", counts->reclaimed);
    snprintf(text[2], sizeof(text[2]), "%d", counts->orphans);
    sbx_log(SBX_LOG_INFO, "sweep", "closed", text[0], "reclaimed", text[1], "orphans", text[2], NULL);
}

/* What workers of this replica left is swept at once and without the lease: nobody else can know that they
 * died. */
static void sweep(struct janitor *janitor, bool everything)
{
    struct sbx_engine *engine = &janitor->parts.engine;
    struct sbx_sweep_counts counts = {0};
    struct sbx_err err = SBX_ERR_INIT;
    int rc = sbx_session_sweep_records(engine, alive, janitor, &counts, &err);
    if (rc == 0 && everything) {
        int64_t ttl = 3 * engine->config->sweep_ms;
        rc = sbx_store_lease(engine->store, LEASE, janitor->holder, ttl, &err);
        if (rc == 1)
            rc = sbx_session_sweep_orphans(engine, &counts, &err);
    }
    if (rc < 0 && err.kind != SBX_ERR_UNAVAILABLE)
        sbx_log_err(SBX_LOG_ERROR, "sweep failed", &err);
    else if (rc < 0)
        sbx_log_err(SBX_LOG_WARNING, "sweep put off", &err);
    report(&counts);
}

/* 1 a worker died, 0 time for the regular sweep, -1 told to leave. */
static int wait_for_work(struct janitor *janitor, int64_t until_ms)
{
    struct pollfd fds[] = {{.fd = janitor->signals.quit_fd, .events = POLLIN},
                           {.fd = janitor->signals.term_fd, .events = POLLIN},
                           {.fd = janitor->process->janitor_fd, .events = POLLIN}};
    int64_t left = until_ms - sbx_now_ms();
    struct sbx_err err = SBX_ERR_INIT;
    if (left < 0)
        left = 0;
    if (sbx_wait_poll(NULL, fds, SBX_ARRAY_LEN(fds), (int)left, &err) < 0 || fds[0].revents || fds[1].revents)
        return -1;
    if (!fds[2].revents)
        return 0;
    uint64_t count;
    (void)!read(janitor->process->janitor_fd, &count, sizeof(count));
    return 1;
}

int sbx_janitor_main(struct sbx_process *process)
{
    struct janitor janitor = {.process = process};
    struct sbx_err err = SBX_ERR_INIT;
    if (sbx_signals_open(&janitor.signals, &err) < 0 || sbx_engine_open(&janitor.parts, process, &err) < 0) {
        sbx_log_err(SBX_LOG_ERROR, "cannot start", &err);
        return SBX_EXIT_NOT_READY;
    }
    sbx_wait_init(&janitor.wait);
    janitor.wait.stop_fd = janitor.signals.term_fd;
    janitor.parts.engine.wait = &janitor.wait;
    snprintf(janitor.holder, sizeof(janitor.holder), "%s/%d", process->config->replica, (int)getpid());
    sbx_slot_set(process->slot, SBX_ACTIVITY_IDLE);
    sbx_wake(process->master_fd);
    int64_t next = 0; /* the first sweep is at once: it finds what died with the master before */
    int why = 0;
    do {
        sbx_slot_set(process->slot, SBX_ACTIVITY_BUSY);
        bool regular = why == 0;
        sweep(&janitor, regular);
        if (regular)
            next = sbx_now_ms() + process->config->sweep_ms;
        sbx_slot_set(process->slot, SBX_ACTIVITY_IDLE);
        why = wait_for_work(&janitor, next);
    } while (why >= 0);
    (void)!sbx_store_lease_release(janitor.parts.engine.store, LEASE, janitor.holder, &err);
    sbx_engine_close(&janitor.parts);
    return 0;
}
