/*
 * Counters and histograms of all processes of a master, in shared memory. Any process adds, atomically and
 * without locks: what is killed at any instruction leaves nothing undone that another would wait for. Nothing
 * happens before sbx_metrics_open.
 */
#ifndef SANDBOXD_BASE_METRICS_H
#define SANDBOXD_BASE_METRICS_H

#include <stdint.h>

#include "sandboxd/base/buf.h"
#include "sandboxd/base/err.h"

/* Families, as they appear in the text format: see the table in src/base/metrics.c. */
enum sbx_metric {
    SBX_METRIC_REQUESTS,       /* counter by method, route, status */
    SBX_METRIC_REQUEST_TIME,   /* histogram by method, route */
    SBX_METRIC_PHASE_TIME,     /* histogram by phase (lock, docker, agent, patch) and call */
    SBX_METRIC_ANSWER_BYTES,   /* counter */
    SBX_METRIC_PROCESS_DEATHS, /* counter by role, how */
    SBX_METRIC_SWEPT,          /* counter by what */
    SBX_METRIC_POOL,           /* counter by outcome: hit, miss, broken */
    SBX_METRIC_FAMILIES,
};

/* Make the shared memory; in the master, before it forks. Lives as long as the process. */
int sbx_metrics_open(struct sbx_err *err) SBX_MUST_CHECK;

/* labels: `name="value",…` as the text format has them, "" for none; at most 119 bytes, longer ones are
 * dropped and counted as such. Values must need no escaping. */
void sbx_metric_add(enum sbx_metric family, const char *labels, uint64_t n);
void sbx_metric_observe(enum sbx_metric family, const char *labels, int64_t us);

/* The two comment lines in front of a family's samples; type "counter", "gauge" or "histogram". */
int sbx_metrics_head(struct sbx_buf *out, const char *name, const char *help, const char *type,
                     struct sbx_err *err) SBX_MUST_CHECK;

/* Everything in Prometheus' text format, appended. */
int sbx_metrics_print(struct sbx_buf *out, struct sbx_err *err) SBX_MUST_CHECK;

#endif
