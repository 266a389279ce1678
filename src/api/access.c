/* What is kept of a request: where its time went, its line in the log, its part of the metrics. */
#include "api/access.h"

#include <stdio.h>
#include <string.h>

#define LABELS 120

static const char *const PHASES[SBX_PHASES] = {"lock", "docker", "agent", "patch"};

static void on_span(void *arg, const char *op, const char *what, int64_t us)
{
    struct sbx_access *access = arg;
    char labels[LABELS];
    snprintf(labels, sizeof(labels), "phase=\"%s\",call=\"%s\"", op, what);
    sbx_metric_observe(SBX_METRIC_PHASE_TIME, labels, us);
    for (int i = 0; i < SBX_PHASES; i++) {
        if (strcmp(PHASES[i], op) == 0)
            access->phase_us[i] += us;
    }
}

void sbx_access_begin(struct sbx_access *access)
{
    access->begun_us = sbx_now_us();
    access->route = NULL;
    memset(access->phase_us, 0, sizeof(access->phase_us));
    access->trace.ended = on_span;
    access->trace.arg = access;
    sbx_trace_into(&access->trace);
}

/* Words of the client's own making are not for labels. */
static const char *known_method(const char *method)
{
    static const char *const METHODS[] = {"GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS"};
    for (size_t i = 0; i < SBX_ARRAY_LEN(METHODS); i++) {
        if (strcmp(METHODS[i], method) == 0)
            return METHODS[i];
    }
    return "other";
}

static void count(const struct sbx_access *access, const struct sbx_call *call, int status, int64_t us)
{
    char labels[LABELS];
    int n = snprintf(labels, sizeof(labels), "method=\"%s\",route=\"%s\"",
                     known_method(sbx_request_method(call->request)),
                     access->route ? access->route->path : "other");
    sbx_metric_observe(SBX_METRIC_REQUEST_TIME, labels, us);
    snprintf(labels + n, sizeof(labels) - (size_t)n, ",status=\"%d\"", status);
    sbx_metric_add(SBX_METRIC_REQUESTS, labels, 1);
    sbx_metric_add(SBX_METRIC_ANSWER_BYTES, "", (uint64_t)sbx_answer_bytes(call->request));
}

static void format_ms(int64_t us, char out[32])
{
    snprintf(out, 32, "%.3f", (double)us / 1000);
}

void sbx_access_end(struct sbx_access *access, const struct sbx_call *call, int status,
                    const struct sbx_err *err)
{
    char status_text[16];
    char bytes[24];
    char ms[32];
    char phase_ms[SBX_PHASES][32];
    sbx_trace_into(NULL);
    int64_t us = sbx_now_us() - access->begun_us;
    count(access, call, status, us);
    snprintf(status_text, sizeof(status_text), "%d", status);
    snprintf(bytes, sizeof(bytes), "%lld", (long long)sbx_answer_bytes(call->request));
    format_ms(us, ms);
    for (int i = 0; i < SBX_PHASES; i++)
        format_ms(access->phase_us[i], phase_ms[i]);
    bool failed =
        err->kind == SBX_ERR_INTERNAL || err->kind == SBX_ERR_UPSTREAM || err->kind == SBX_ERR_UNAVAILABLE;
    sbx_log(failed               ? SBX_LOG_ERROR
            : call->api->control ? SBX_LOG_DEBUG
                                 : SBX_LOG_INFO,
            "request", "method", sbx_request_method(call->request), "path", sbx_request_path(call->request),
            "status", status_text, "ms", ms, "lock_ms", phase_ms[SBX_PHASE_LOCK], "docker_ms",
            phase_ms[SBX_PHASE_DOCKER], "agent_ms", phase_ms[SBX_PHASE_AGENT], "patch_ms",
            phase_ms[SBX_PHASE_PATCH], "bytes", bytes, "remote", sbx_request_remote(call->request),
            err->kind ? "error" : NULL, err->msg, NULL);
}
