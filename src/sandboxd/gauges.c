/* What the scoreboard adds to the metrics. */
#include "sandboxd/process.h"

#include <sys/types.h>

#define ROLES      (SBX_ROLE_JANITOR + 1)
#define ACTIVITIES (SBX_ACTIVITY_LEAVING + 1)

int sbx_gauges_print(void *scoreboard, struct sbx_buf *out, struct sbx_err *err)
{
    const struct sbx_scoreboard *board = scoreboard;
    unsigned processes[ROLES][ACTIVITIES] = {{0}};
    int64_t now = sbx_now_ms();
    int64_t oldest = 0;
    for (size_t i = 0; i < SBX_SLOTS; i++) {
        const struct sbx_slot *slot = &board->slots[i];
        unsigned role = slot->role, activity = slot->activity;
        if (slot->pid <= 0 || role >= ROLES || activity >= ACTIVITIES)
            continue;
        processes[role][activity]++;
        if (role == SBX_ROLE_WORKER && activity == SBX_ACTIVITY_BUSY && now - slot->since_ms > oldest)
            oldest = now - slot->since_ms;
    }
    if (sbx_metrics_head(out, "sandboxd_processes", "Processes by role and activity.", "gauge", err) < 0)
        return -1;
    for (unsigned role = SBX_ROLE_WORKER; role < ROLES; role++) {
        for (unsigned activity = 0; activity < ACTIVITIES; activity++) {
            if (sbx_buf_printf(out, err, "sandboxd_processes{role=\"%s\",activity=\"%s\"} %u\n",
                               sbx_role_name(role), sbx_activity_name(activity),
                               processes[role][activity]) < 0)
                return -1;
        }
    }
    if (sbx_metrics_head(out, "sandboxd_streams", "Workers that follow an exec.", "gauge", err) < 0 ||
        sbx_buf_printf(out, err, "sandboxd_streams %d\n", sbx_scoreboard_streams(board)) < 0)
        return -1;
    if (sbx_metrics_head(out, "sandboxd_oldest_request_seconds", "Age of the longest running request.",
                         "gauge", err) < 0 ||
        sbx_buf_printf(out, err, "sandboxd_oldest_request_seconds %.3f\n", (double)oldest / 1000) < 0 ||
        sbx_metrics_head(out, "sandboxd_uptime_seconds", "Time since the master started.", "gauge", err) <
            0 ||
        sbx_buf_printf(out, err, "sandboxd_uptime_seconds %.3f\n", (double)(now - board->started_ms) / 1000) <
            0 ||
        sbx_metrics_head(out, "sandboxd_reports_dropped_total", "Reports lost on their way to Sentry.",
                         "counter", err) < 0)
        return -1;
    return sbx_buf_printf(out, err, "sandboxd_reports_dropped_total %llu\n",
                          (unsigned long long)__atomic_load_n(&board->reports_dropped, __ATOMIC_RELAXED));
}
