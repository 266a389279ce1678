/*
 * The REST API: route table, authentication, validation, answers. Thin: every handler parses, validates,
 * calls the session engine and answers.
 */
#ifndef SANDBOXD_API_H
#define SANDBOXD_API_H

#include <stdbool.h>

#include "sandboxd/base/config.h"
#include "sandboxd/http.h"
#include "sandboxd/session.h"

/* What a process that serves requests has. */
struct sbx_api {
    struct sbx_engine *engine;
    const char *spool_dir; /* for uploads, large outputs and answers */
    bool control;          /* this request came by the control socket: health, version, metrics */
    int stop_fd;           /* readable when this process must give up its request; -1: none */
    const bool *draining;  /* the service is stopping: new work is answered 503; in shared memory */
    /* Told which session the request works on (scoreboard). May be NULL. */
    void (*on_session)(void *arg, const char *session_id);
    void *on_session_arg;
    /* May the client have this request served now, within its limits? 0, or how long it should wait, in ms.
     * It is not asked for what ends or frees something. NULL: no limits. */
    int64_t (*on_client)(void *arg, const struct sbx_client *client);
    void *on_client_arg;
    /* This process begins, or ends, to follow an exec: false when as many do as may. NULL: no limit. */
    bool (*on_stream)(void *arg, bool begins);
    void *on_stream_arg;
    /* Adds samples of what this service's processes do to the metrics. May be NULL. */
    int (*gauges)(void *arg, struct sbx_buf *out, struct sbx_err *err);
    void *gauges_arg;
};

/* Serve one request from its first byte to its answer; never fails: whatever happens becomes an answer or a
 * closed connection. Writes one access line to the log. The caller ends the request. */
void sbx_api_serve(struct sbx_api *api, struct sbx_request *request);

#endif
