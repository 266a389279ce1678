/* The janitor: gives back what dead workers and lost records left. One a replica; who sweeps for all is
 * settled by a lease. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "sandboxd/process.h"

#define LEASE          "janitor"
#define SECOND_LOOK_MS 3000 /* after half-made sessions were swept, or some were being closed */

struct janitor {
    struct sbx_process *process;
    struct sbx_signals signals;
    struct sbx_engine_parts parts;
    struct sbx_wait wait;
    struct sbx_courier *courier; /* NULL: no reports are sent */
    char holder[128];
    struct sbx_pool_plan plan; /* of the last regular sweep */
};

/* Is a process still making its session? One of ours, or of a master before us that is finishing. */
static bool alive(void *arg, int64_t maker)
{
    const struct janitor *janitor = arg;
    pid_t pid = sbx_proc_pid(maker);
    bool ours = sbx_scoreboard_has(janitor->process->board, pid);
    struct sbx_proc proc;
    if (sbx_proc_look(pid, &proc) < 0)
        return ours;  /* hidden from us; or dead, and its master is about to say so */
    if (maker == pid) /* a record of a version that kept no more than this */
        return ours || strncmp(proc.name, "sandboxd", strlen("sandboxd")) == 0;
    return sbx_proc_id(pid, &proc) == maker;
}

static void tally(const char *what, int count, char text[16])
{
    char label[32];
    snprintf(text, 16, "%d", count);
    snprintf(label, sizeof(label), "what=\"%s\"", what);
    if (count > 0)
        sbx_metric_add(SBX_METRIC_SWEPT, label, (uint64_t)count);
}

static void report(const struct sbx_sweep_counts *counts)
{
    if (!counts->closed && !counts->ended && !counts->reclaimed && !counts->orphans)
        return;
    char text[4][16];
    tally("closed", counts->closed, text[0]);
    tally("ended", counts->ended, text[1]);
    tally("reclaimed", counts->reclaimed, text[2]);
    tally("orphans", counts->orphans, text[3]);
    sbx_log(SBX_LOG_INFO, "sweep", "closed", text[0], "ended", text[1], "reclaimed", text[2], "orphans",
            text[3], NULL);
}

/* What the holder of the lease does. */
static int sweep_for_all(struct sbx_engine *engine, struct sbx_sweep_counts *counts, struct sbx_err *err)
{
    if (sbx_session_sweep_ended(engine, counts, err) < 0)
        return -1;
    return sbx_session_sweep_orphans(engine, counts, err);
}

/* Returns whether there is something to look at once more soon. What workers of this replica left is swept at
 * once and without the lease: nobody else can know that they died. */
static bool sweep(struct janitor *janitor, bool everything)
{
    struct sbx_engine *engine = &janitor->parts.engine;
    struct sbx_sweep_counts counts = {0};
    struct sbx_err err = SBX_ERR_INIT;
    int rc = sbx_store_ping(engine->store, &err); /* a Redis that lost it gets the instance back */
    if (rc == 0 && sbx_store_free_dead(engine->store, &err) < 0)
        rc = -1;
    if (rc == 0)
        rc = sbx_session_sweep_records(engine, alive, janitor, &counts, &err);
    if (rc == 0 && everything) {
        int64_t ttl = 3 * engine->config->sweep_ms;
        rc = sbx_store_lease(engine->store, LEASE, janitor->holder, ttl, &err);
        if (rc == 1)
            rc = sweep_for_all(engine, &counts, &err);
    }
    if (rc < 0 && err.kind != SBX_ERR_UNAVAILABLE)
        sbx_log_err(SBX_LOG_ERROR, "sweep failed", &err);
    else if (rc < 0)
        sbx_log_err(SBX_LOG_WARNING, "sweep put off", &err);
    report(&counts);
    return counts.reclaimed + counts.later > 0;
}

enum why { TOLD_TO_LEAVE, TIME_FOR_A_SWEEP, WORKER_DIED, POOL_CLAIMED };

/* Wait for one of them. Reports are sent in between, a short time at most without looking here again. Neither
 * these nor sweeps are put off by claims that never cease. */
static enum why wait_for_work(struct janitor *janitor, int64_t sweep_ms)
{
    for (;;) {
        struct pollfd fds[] = {
            {.fd = janitor->signals.quit_fd, .events = POLLIN},
            {.fd = janitor->signals.term_fd, .events = POLLIN},
            {.fd = janitor->process->janitor_fd, .events = POLLIN},
            {.fd = janitor->process->pool_fd, .events = POLLIN},
            {.fd = janitor->courier ? janitor->process->reports->take_fd : -1, .events = POLLIN}};
        int64_t until = janitor->courier ? sbx_courier_due_ms(janitor->courier) : INT64_MAX;
        int64_t left = (until < sweep_ms ? until : sweep_ms) - sbx_now_ms();
        struct sbx_err err = SBX_ERR_INIT;
        if (sbx_wait_poll(NULL, fds, SBX_ARRAY_LEN(fds), left < 0 ? 0 : (int)left, &err) < 0 ||
            fds[0].revents || fds[1].revents)
            return TOLD_TO_LEAVE;
        if (janitor->courier)
            sbx_courier_work(janitor->courier);
        if (sbx_now_ms() >= sweep_ms)
            return TIME_FOR_A_SWEEP;
        if (fds[2].revents) {
            uint64_t count;
            (void)!read(janitor->process->janitor_fd, &count, sizeof(count));
            return WORKER_DIED;
        }
        if (fds[3].revents) {
            uint64_t count;
            (void)!read(janitor->process->pool_fd, &count, sizeof(count));
            return POOL_CLAIMED;
        }
    }
}

static int open_janitor(struct janitor *janitor, struct sbx_err *err)
{
    struct sbx_process *process = janitor->process;
    struct sbx_err failure = SBX_ERR_INIT;
    if (sbx_signals_open(&janitor->signals, err) < 0)
        return -1;
    janitor->courier =
        sbx_courier_new(process->config, process->reports, &process->board->reports_dropped, &failure);
    if (failure.kind != SBX_ERR_NONE) /* sweeps matter more */
        sbx_log_err(SBX_LOG_ERROR, "no reports will be sent", &failure);
    return sbx_engine_open(&janitor->parts, process, err);
}

int sbx_janitor_main(struct sbx_process *process)
{
    struct janitor janitor = {.process = process};
    struct sbx_err err = SBX_ERR_INIT;
    if (open_janitor(&janitor, &err) < 0) {
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
    enum why why = TIME_FOR_A_SWEEP;
    do {
        sbx_slot_set(process->slot, SBX_ACTIVITY_BUSY);
        bool regular = why == TIME_FOR_A_SWEEP;
        bool again = why != POOL_CLAIMED && sweep(&janitor, regular);
        if (regular)
            next = sbx_now_ms() + process->config->sweep_ms;
        if (again && next > sbx_now_ms() + SECOND_LOOK_MS)
            next = sbx_now_ms() + SECOND_LOOK_MS;
        if ((process->config->warm_pool || regular) &&
            sbx_janitor_pool(&janitor.parts.engine, &janitor.signals, process, &janitor.plan, regular, next))
            sbx_wake(process->pool_fd);
        sbx_slot_set(process->slot, SBX_ACTIVITY_IDLE);
        why = wait_for_work(&janitor, next);
    } while (why != TOLD_TO_LEAVE);
    (void)!sbx_store_lease_release(janitor.parts.engine.store, LEASE, janitor.holder, &err);
    sbx_engine_close(&janitor.parts);
    sbx_courier_free(janitor.courier);
    return 0;
}
