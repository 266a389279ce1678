/* Metrics in Prometheus' text format. nginx shows them on a listener of their own only. */
#include "api/internal.h"

#define TYPE       "text/plain; version=0.0.4; charset=utf-8"
#define TEXT_MAX   (16 * 1024 * 1024)
#define METRICS_MS 5000

struct tally {
    uint64_t by_state[SBX_SESSION_POOLED + 1];
};

static int count_session(void *arg, const struct sbx_record *record)
{
    struct tally *tally = arg;
    if (record->state <= SBX_SESSION_POOLED)
        tally->by_state[record->state]++;
    return 0;
}

/* A store that does not answer leaves its samples out: the others are wanted then more than ever. */
static int put_sessions(struct sbx_call *call, struct sbx_buf *out, struct sbx_err *err)
{
    static const char *const NAMES[] = {[SBX_SESSION_CREATING] = "creating",
                                        [SBX_SESSION_READY] = "ready",
                                        [SBX_SESSION_CLOSING] = "closing",
                                        [SBX_SESSION_STOPPED] = "stopped",
                                        [SBX_SESSION_POOLED] = "pooled"};
    struct tally tally = {{0}};
    struct sbx_err failure = SBX_ERR_INIT;
    bool up = sbx_store_list(call->engine->store, "", INT32_MAX, count_session, &tally, &failure) == 0;
    if (sbx_metrics_head(out, "sandboxd_store_up", "Whether the store answers.", "gauge", err) < 0 ||
        sbx_buf_printf(out, err, "sandboxd_store_up %d\n", up) < 0)
        return -1;
    if (!up)
        return 0;
    if (sbx_metrics_head(out, "sandboxd_sessions", "Sessions by state, of all replicas.", "gauge", err) < 0)
        return -1;
    for (size_t i = SBX_SESSION_CREATING; i < SBX_ARRAY_LEN(NAMES); i++) {
        if (sbx_buf_printf(out, err, "sandboxd_sessions{state=\"%s\"} %llu\n", NAMES[i],
                           (unsigned long long)tally.by_state[i]) < 0)
            return -1;
    }
    return 0;
}

int sbx_handle_metrics(struct sbx_call *call, struct sbx_err *err)
{
    struct sbx_api *api = call->api;
    struct sbx_buf out;
    call->wait.deadline_ms = sbx_now_ms() + METRICS_MS;
    sbx_buf_init(&out, TEXT_MAX);
    int rc = sbx_metrics_print(&out, err);
    if (rc == 0 && api->gauges)
        rc = api->gauges(api->gauges_arg, &out, err);
    if (rc == 0)
        rc = put_sessions(call, &out, err);
    if (rc == 0)
        rc = sbx_answer(call->request, 200, TYPE, out.data, out.len, err);
    sbx_buf_done(&out);
    return rc;
}
