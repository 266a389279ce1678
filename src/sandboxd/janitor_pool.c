/* The janitor's part in the warm pool. */
#include <poll.h>

#include "sandboxd/process.h"

/* Is anything else to be done, from until_ms on a sweep? Entries are made one by one, and the janitor's other
 * work comes first. */
static bool wanted_elsewhere(const struct sbx_signals *signals, const struct sbx_process *process,
                             int64_t until_ms)
{
    struct pollfd fds[] = {{.fd = signals->quit_fd, .events = POLLIN},
                           {.fd = signals->term_fd, .events = POLLIN},
                           {.fd = process->janitor_fd, .events = POLLIN}};
    return sbx_now_ms() >= until_ms || poll(fds, SBX_ARRAY_LEN(fds), 0) > 0;
}

/* Entries that the new plan has no place for go before others are made: it says how many there may be. */
static int look_after(struct sbx_engine *engine, struct sbx_pool_plan *plan, struct sbx_err *err)
{
    struct sbx_pool_plan next;
    if (sbx_pool_plan(engine, &next, err) < 0)
        return -1;
    *plan = next;
    return sbx_pool_check(engine, plan, err);
}

bool sbx_janitor_pool(struct sbx_engine *engine, const struct sbx_signals *signals,
                      const struct sbx_process *process, struct sbx_pool_plan *plan, bool look,
                      int64_t until_ms)
{
    struct sbx_err err = SBX_ERR_INIT;
    int rc = look ? look_after(engine, plan, &err) : 0;
    if (rc == 0) {
        do
            rc = sbx_pool_fill(engine, plan, &err);
        while (rc == 1 && !wanted_elsewhere(signals, process, until_ms));
    }
    if (rc < 0 && err.kind != SBX_ERR_CANCELLED)
        sbx_log_err(SBX_LOG_WARNING, "warm pool not filled", &err);
    return rc == 1;
}
