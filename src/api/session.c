/* GET and PATCH /session/{id}/. */
#include <stdlib.h>
#include <string.h>

#include "api/internal.h"

#define USAGE_MS 2000 /* how long dockerd may take to tell */

/* The record with its usage now, or without where it is not to be had in a moment. */
static int answer_session(struct sbx_call *call, const struct sbx_record *record, struct sbx_err *err)
{
    struct sbx_docker_usage usage;
    struct sbx_err ignored = SBX_ERR_INIT;
    call->wait.deadline_ms = sbx_now_ms() + USAGE_MS;
    bool known = sbx_session_usage(call->engine, record, &usage, &ignored) == 0;
    call->wait.deadline_ms = 0;
    struct json_object *obj = sbx_session_json(call->engine->config, record, known ? &usage : NULL, err);
    return obj ? sbx_answer_json(call->request, obj, err) : -1;
}

int sbx_handle_look(struct sbx_call *call, struct sbx_err *err)
{
    const char *accept = sbx_request_header(call->request, "accept");
    struct sbx_record record;
    sbx_record_init(&record);
    int rc = sbx_session_look(call->engine, call->id, &record, err);
    if (rc == 0 && accept && strcasestr(accept, "application/json"))
        rc = answer_session(call, &record, err);
    else if (rc == 0)
        rc = sbx_answer(call->request, 204, NULL, NULL, 0, err);
    sbx_record_done(&record);
    return rc;
}

struct change {
    int64_t idle_ms; /* 0: none */
    int64_t ttl_ms;  /* 0: none */
    char *labels;    /* owned; NULL: none */
};

static int read_change(struct sbx_call *call, struct sbx_faults *faults, struct json_object *body,
                       struct change *change, struct sbx_err *err)
{
    const struct sbx_config *config = call->engine->config;
    sbx_read_seconds(faults, body, "idle_seconds", config->session_idle_ms, &change->idle_ms);
    sbx_read_seconds(faults, body, "ttl_seconds", config->session_max_ms, &change->ttl_ms);
    return sbx_read_labels(faults, body, &change->labels, err) < 0 ? -1 : 0;
}

/* No session gets older than the setting, however often it is extended: 422. */
static int check_age(struct sbx_call *call, const struct sbx_record *record, struct sbx_err *err)
{
    int64_t max_ms = call->engine->config->session_max_ms;
    if (max_ms == 0 || record->expires_ms <= record->created_ms + max_ms)
        return 0;
    return sbx_err_set(err, SBX_ERR_INVALID,
                       "ttl_seconds: a session ends %lld s after its create at the latest",
                       (long long)(max_ms / 1000));
}

static int change_session(struct sbx_call *call, struct change *change, struct sbx_err *err)
{
    struct sbx_record record;
    sbx_record_init(&record);
    int rc = sbx_session_look(call->engine, call->id, &record, err);
    if (rc == 0) {
        record.used_ms = sbx_wall_ms();
        if (change->idle_ms > 0)
            record.idle_ms = change->idle_ms;
        if (change->ttl_ms > 0)
            record.expires_ms = record.used_ms + change->ttl_ms;
        if (change->labels) {
            free(record.labels);
            record.labels = change->labels;
            change->labels = NULL;
        }
        rc = change->ttl_ms > 0 ? check_age(call, &record, err) : 0;
    }
    if (rc == 0)
        rc = sbx_session_change(call->engine, &record, err);
    if (rc == 0)
        rc = answer_session(call, &record, err);
    sbx_record_done(&record);
    return rc;
}

int sbx_handle_change(struct sbx_call *call, struct sbx_err *err)
{
    struct json_object *body = NULL;
    int rc = sbx_read_json(call, &body, err);
    if (rc <= 0)
        return rc;
    struct change change = {.labels = NULL};
    struct sbx_faults faults;
    sbx_faults_init(&faults);
    rc = read_change(call, &faults, body, &change, err);
    if (rc == 0 && sbx_faults_any(&faults))
        rc = sbx_answer_faults(call->request, &faults);
    else if (rc == 0)
        rc = change_session(call, &change, err);
    free(change.labels);
    sbx_faults_done(&faults);
    json_object_put(body);
    return rc;
}
