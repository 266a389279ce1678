/*
 * Reports to Sentry: failed requests, crashed processes, log lines, timed requests. Processes hand them over
 * through a bounded queue and never wait; the janitor's courier sends them. Nothing happens where no DSN is
 * set.
 *
 * Never sent: keys, bodies of requests, commands and what they write. Client addresses, clients' names and
 * request paths only with DAIV_SANDBOX_SENTRY_SEND_DEFAULT_PII.
 */
#ifndef SANDBOXD_REPORT_H
#define SANDBOXD_REPORT_H

#include <stdbool.h>
#include <stdint.h>

#include "sandboxd/base/config.h"
#include "sandboxd/base/err.h"
#include "sandboxd/base/trace.h"

/* The queue: made in the master before any fork, shared by all, as old as the master. */
struct sbx_report_queue {
    int send_fd;
    int take_fd;
};
int sbx_report_queue_open(struct sbx_report_queue *queue, struct sbx_err *err) SBX_MUST_CHECK;

/*
 * This process's end. Call it again after fork and after a reload; it decides by the settings whether
 * anything is recorded at all. Nothing of config is kept. role stays the caller's; dropped (may be NULL) is
 * in shared memory and counts reports that were lost because the queue was full.
 */
void sbx_report_init(const struct sbx_config *config, const struct sbx_report_queue *queue, const char *role,
                     uint64_t *dropped);

/* A request: it begins, its route and session become known, it ends. `pattern` is a literal such as
 * "/session/{id}". */
void sbx_report_begin(const char *request_id);
void sbx_report_route(const char *pattern, const char *session_id);

struct sbx_report_end {
    const char *method;
    int status;                    /* that was sent, or would have been */
    const char *remote;            /* client's address */
    const char *client;            /* whose key it was */
    const struct sbx_err *err;     /* what the request failed with; kind NONE: it did not */
    const struct sbx_trace *trace; /* the request's spans */
    bool expected; /* a refusal that is no fault, such as that of a service that is stopping */
};
void sbx_report_end(const struct sbx_report_end *end);

/* A process died of `signo`, or with exit code `code` when that is 0; what it was working on, "" for nothing.
 */
struct sbx_report_crash {
    const char *role;
    int pid;
    int signo;
    int code;
    const char *request;
    const char *session;
};
void sbx_report_crash(const struct sbx_report_crash *crash);

/*
 * The courier takes reports from the queue, keeps a bounded number, and posts them in batches. One post takes
 * two seconds at most, one call of sbx_courier_work not much longer. While Sentry cannot be reached it tries
 * ever more rarely, and the oldest reports make room for new ones.
 */
struct sbx_courier;

/* NULL without an error when the settings have no DSN. config is borrowed. Before any other use of libcurl in
 * this process: TLS is set up here. */
struct sbx_courier *sbx_courier_new(const struct sbx_config *config, const struct sbx_report_queue *queue,
                                    uint64_t *dropped, struct sbx_err *err) SBX_MUST_CHECK;

/* Sends what there is, once, and frees. NULL is allowed. */
void sbx_courier_free(struct sbx_courier *courier);

/* Call it when the queue's take_fd is readable and at sbx_courier_due_ms (monotonic, INT64_MAX: nothing is
 * due). */
void sbx_courier_work(struct sbx_courier *courier);
int64_t sbx_courier_due_ms(const struct sbx_courier *courier);

#endif
