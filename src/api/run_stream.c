/* Runs whose output is sent as it comes. The client's pace is the command's: no more than the agent's credit
 * is under way. */
#include <string.h>

#include "api/run.h"

static int on_output(void *arg, int channel, const void *data, size_t n, struct sbx_err *err)
{
    return sbx_events_output(arg, channel, data, n, SBX_NO_SEQ, err);
}

static int keep_alive(void *arg, struct sbx_err *err)
{
    return sbx_events_keep_alive(arg, err);
}

int sbx_run_keep_alive(struct sbx_run *run)
{
    struct sbx_call *call = run->events->call;
    return sbx_wait_add(&call->wait, call->engine->config->keepalive_ms / 4, keep_alive, run->events);
}

static int tell_start(struct sbx_events *events, struct json_object *command, struct sbx_err *err)
{
    if (sbx_events_begin(events, "command", SBX_NO_SEQ, err) < 0 ||
        sbx_buf_addstr(&events->buf, ",\"command\":", err) < 0 ||
        sbx_events_put_string(events, json_object_get_string(command),
                              (size_t)json_object_get_string_len(command), err) < 0)
        return -1;
    return sbx_events_send(events, err);
}

static int tell_exit(struct sbx_events *events, const struct sbx_exec_result *result, struct sbx_err *err)
{
    char members[SBX_RESULT_MAX];
    sbx_run_result(members, result, 0);
    if (sbx_events_begin(events, "exit", SBX_NO_SEQ, err) < 0 ||
        sbx_buf_addstr(&events->buf, members, err) < 0 ||
        sbx_buf_addstr(&events->buf, ",\"message\":", err) < 0)
        return -1;
    int rc = result->message[0] ? sbx_events_put_string(events, result->message, strlen(result->message), err)
                                : sbx_buf_addstr(&events->buf, "null", err);
    return rc < 0 ? -1 : sbx_events_send(events, err);
}

int sbx_run_stream_one(struct sbx_run *run, struct sbx_session *session, int index,
                       struct json_object *command, struct sbx_exec_result *ret, struct sbx_err *err)
{
    struct sbx_events *events = run->events;
    struct sbx_exec_spec spec = sbx_run_spec(run, command);
    events->index = index;
    if (tell_start(events, command, err) < 0)
        return -1;
    if (sbx_session_exec(session, &spec, on_output, events, ret, err) < 0 ||
        sbx_events_flush(events, SBX_NO_SEQ, err) < 0 || tell_exit(events, ret, err) < 0)
        return -1;
    events->index = -1;
    return 0;
}
