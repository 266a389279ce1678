/* POST /session/{id}/: run commands. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/run.h"
#include "sandboxd/wire.h"

#define SPOOL_MEMORY   (256 * 1024)
#define CAPTURE_MEMORY (256 * 1024)
#define ANSWER_MAX     (64LL * 1024 * 1024 * 1024)
#define OUTPUT_CEILING (64LL * 1024 * 1024)
#define COMMANDS_MAX   10000
#define PATCH_MAX      (256LL * 1024 * 1024)
#define BASE64_STEP    3072 /* a multiple of three: no padding between steps */

/* What one command writes: everything in order, and each stream by itself where that was asked for. */
struct outputs {
    struct sbx_capture all;
    struct sbx_capture channel[2];
    bool split;
};

static int on_output(void *arg, int channel, const void *data, size_t n, struct sbx_err *err)
{
    struct outputs *outputs = arg;
    if (outputs->split && sbx_capture_add(&outputs->channel[channel == 2], data, n, err) < 0)
        return -1;
    return sbx_capture_add(&outputs->all, data, n, err);
}

static int put(struct sbx_run *run, const char *text, struct sbx_err *err)
{
    return sbx_put(&run->answer, text, err);
}

static int put_string(struct sbx_run *run, const char *bytes, size_t n, struct sbx_err *err)
{
    return sbx_put_string(&run->answer, bytes, n, err);
}

/* A captured stream as a JSON string, with `last` as a line of its own after it. */
static int put_capture(struct sbx_run *run, struct sbx_capture *capture, const char *last,
                       struct sbx_err *err)
{
    struct sbx_text text = {.spool = &run->answer, .err = err};
    if (put(run, "\"", err) < 0 || sbx_capture_emit(capture, sbx_text_add, &text, err) != 0)
        return -1;
    if (last && capture->total > 0 && sbx_capture_last(capture) != '\n' && sbx_text_add(&text, "\n", 1) != 0)
        return -1;
    if (last && sbx_text_add(&text, last, strlen(last)) != 0)
        return -1;
    if (sbx_text_end(&text) != 0)
        return -1;
    return put(run, "\"", err);
}

void sbx_run_result(char out[SBX_RESULT_MAX], const struct sbx_exec_result *result, uint64_t dropped)
{
    char signal[16] = "null";
    if (result->signal)
        snprintf(signal, sizeof(signal), "%d", result->signal);
    snprintf(out, SBX_RESULT_MAX,
             ",\"exit_code\":%d,\"duration_ms\":%.3f,\"timed_out\":%s,\"signal\":%s,\"oom_killed\":%s,"
             "\"truncated\":%s,"
             "\"dropped_bytes\":%llu,"
             "\"usage\":{\"user_ms\":%.3f,\"system_ms\":%.3f,\"max_rss_bytes\":%lld}",
             result->code, (double)result->duration_us / 1000,
             result->reason == SBX_EXIT_TIMEOUT ? "true" : "false", signal,
             result->reason == SBX_EXIT_OOM ? "true" : "false", dropped ? "true" : "false",
             (unsigned long long)dropped, (double)result->user_us / 1000, (double)result->system_us / 1000,
             (long long)result->max_rss_bytes);
}

static int put_result(struct sbx_run *run, const char *command, size_t len, struct outputs *outputs,
                      const struct sbx_exec_result *result, struct sbx_err *err)
{
    bool timed_out = result->reason == SBX_EXIT_TIMEOUT;
    char line[sizeof(result->message) + 2] = "";
    if (timed_out)
        snprintf(line, sizeof(line), "Command timed out after %g s\n", (double)run->fields.timeout_ms / 1000);
    else if (result->reason == SBX_EXIT_FAILED)
        snprintf(line, sizeof(line), "%s\n", result->message);
    if (put(run, "{\"command\":", err) < 0 || put_string(run, command, len, err) < 0 ||
        put(run, ",\"output\":", err) < 0 || put_capture(run, &outputs->all, line[0] ? line : NULL, err) < 0)
        return -1;
    if (outputs->split &&
        (put(run, ",\"stdout\":", err) < 0 || put_capture(run, &outputs->channel[0], NULL, err) < 0 ||
         put(run, ",\"stderr\":", err) < 0 || put_capture(run, &outputs->channel[1], NULL, err) < 0))
        return -1;
    char rest[SBX_RESULT_MAX];
    sbx_run_result(rest, result, sbx_capture_dropped(&outputs->all));
    if (put(run, rest, err) < 0)
        return -1;
    return put(run, "}", err);
}

struct sbx_exec_spec sbx_run_spec(const struct sbx_run *run, struct json_object *command)
{
    const struct sbx_command_fields *fields = &run->fields;
    return (struct sbx_exec_spec){
        .command = json_object_get_string(command),
        .command_len = (size_t)json_object_get_string_len(command),
        .env = (const char *const *)fields->env,
        .cwd = fields->cwd,
        .stdin_data = fields->stdin_data,
        .stdin_len = fields->stdin_len,
        .split = fields->split,
        .timeout_ms = fields->timeout_ms,
    };
}

/* One command, its result appended to the answer. */
static int run_one(struct sbx_run *run, struct sbx_session *session, struct json_object *command,
                   struct sbx_exec_result *result, struct sbx_err *err)
{
    struct outputs outputs = {.split = run->fields.split};
    sbx_capture_init(&outputs.all, run->answer.dir, CAPTURE_MEMORY, (size_t)run->max_output);
    sbx_capture_init(&outputs.channel[0], run->answer.dir, CAPTURE_MEMORY, (size_t)run->max_output);
    sbx_capture_init(&outputs.channel[1], run->answer.dir, CAPTURE_MEMORY, (size_t)run->max_output);
    struct sbx_exec_spec spec = sbx_run_spec(run, command);
    int rc = sbx_session_exec(session, &spec, on_output, &outputs, result, err);
    if (rc == 0)
        rc = put_result(run, spec.command, spec.command_len, &outputs, result, err);
    sbx_capture_done(&outputs.all);
    sbx_capture_done(&outputs.channel[0]);
    sbx_capture_done(&outputs.channel[1]);
    return rc;
}

static int run_all(struct sbx_run *run, struct sbx_session *session, struct sbx_err *err)
{
    bool streamed = run->events != NULL;
    if (put(run, streamed ? "{\"event\":\"done\"" : "{\"results\":[", err) < 0)
        return -1;
    size_t n = json_object_array_length(run->commands);
    for (size_t i = 0; i < n; i++) {
        struct sbx_exec_result result;
        struct json_object *command = json_object_array_get_idx(run->commands, i);
        if (i > 0 && !streamed && put(run, ",", err) < 0)
            return -1;
        int rc = streamed ? sbx_run_stream_one(run, session, (int)i, command, &result, err)
                          : run_one(run, session, command, &result, err);
        if (rc < 0)
            return -1;
        if (result.reason == SBX_EXIT_TIMEOUT || (run->fail_fast && result.code != 0))
            break;
    }
    return put(run, streamed ? ",\"patch\":" : "],\"patch\":", err);
}

/* As much of the spool as there is room for: one read ends where the file does. */
static ssize_t read_step(const struct sbx_spool *spool, int64_t off, char out[BASE64_STEP],
                         struct sbx_err *err)
{
    ssize_t len = 0;
    ssize_t n;
    while (len < BASE64_STEP &&
           (n = sbx_spool_read(spool, off + len, out + len, BASE64_STEP - (size_t)len, err)) != 0) {
        if (n < 0)
            return -1;
        len += n;
    }
    return len;
}

static int put_base64(struct sbx_run *run, const struct sbx_spool *spool, struct sbx_err *err)
{
    char bytes[BASE64_STEP];
    char text[BASE64_STEP / 3 * 4 + 1];
    ssize_t n;
    for (int64_t off = 0; (n = read_step(spool, off, bytes, err)) > 0; off += n) {
        if (sbx_spool_add(&run->answer, text, sbx_base64_encode(bytes, (size_t)n, text), err) < 0)
            return -1;
    }
    return (int)n;
}

/* The patch as base64 in JSON, or null; for every answer that carries one. */
static int put_patch(struct sbx_run *run, struct sbx_session *session, bool cumulative, struct sbx_err *err)
{
    struct sbx_spool patch;
    sbx_spool_init(&patch, run->answer.dir, SPOOL_MEMORY, PATCH_MAX);
    int rc = session->record.extract_patch ? sbx_session_patch(session, cumulative, &patch, err) : 0;
    if (rc == 0 && sbx_spool_len(&patch) == 0)
        rc = put(run, "null}", err);
    else if (rc == 0)
        rc = put(run, "\"", err) < 0 || put_base64(run, &patch, err) < 0 ? -1 : put(run, "\"}", err);
    sbx_spool_done(&patch);
    return rc;
}

static int work(struct sbx_run *run, struct sbx_session *session, struct sbx_err *err)
{
    /* Nothing of a run without commands would be left in an ephemeral session, so it makes nothing. */
    if (session->record.ephemeral && json_object_array_length(run->commands) == 0)
        return put(run,
                   run->events ? "{\"event\":\"done\",\"patch\":null}" : "{\"results\":[],\"patch\":null}",
                   err);
    if (sbx_session_begin(session, err) < 0)
        return -1;
    if (run->tar.fd >= 0 && sbx_session_replace(session, &run->tar, err) < 0)
        return -1;
    int hook = run->events ? sbx_run_keep_alive(run) : -1;
    int rc = run_all(run, session, err) < 0 ? -1 : put_patch(run, session, false, err);
    sbx_wait_remove(session->engine->wait, hook);
    return rc;
}

static int answer(struct sbx_call *call, struct sbx_run *run, struct sbx_err *err)
{
    if (run->archive.text &&
        sbx_spool_archive(call, "archive", sbx_base64_read, &run->archive, &run->tar, err) < 0)
        return -1;
    struct sbx_session session;
    if (sbx_session_open(call->engine, call->id, &session, err) < 0)
        return -1;
    int rc = work(run, &session, err);
    sbx_session_done(&session, rc < 0 ? err : NULL);
    if (rc < 0)
        return -1;
    return run->events ? sbx_events_finish(run->events, "done", &run->answer, err)
                       : sbx_answer_spool(call->request, 200, "application/json", &run->answer, err);
}

static void read_commands(struct sbx_faults *faults, struct json_object *body, struct sbx_run *run)
{
    if (!sbx_json_array(faults, body, "", "commands", SBX_JSON_REQUIRED, 0, COMMANDS_MAX, &run->commands))
        return;
    for (size_t i = 0; i < json_object_array_length(run->commands); i++) {
        struct json_object *item = json_object_array_get_idx(run->commands, i);
        char path[32];
        snprintf(path, sizeof(path), "commands/%zu", i);
        if (!json_object_is_type(item, json_type_string))
            sbx_faults_add(faults, "string_type", path, item, "Input should be a valid string");
        else if (strlen(json_object_get_string(item)) != (size_t)json_object_get_string_len(item))
            sbx_faults_add(faults, "value_error", path, item, "A command must not contain NUL");
    }
}

static void read_archive(struct sbx_faults *faults, struct json_object *body, struct sbx_run *run)
{
    if (!sbx_json_string(faults, body, "", "archive", SBX_JSON_NULLABLE, 0, SIZE_MAX, &run->archive.text,
                         &run->archive.len) ||
        sbx_base64_good(run->archive.text, run->archive.len))
        return;
    run->archive_joined = sbx_base64_unwrap(run->archive.text, run->archive.len, &run->archive.len);
    run->archive.text = run->archive_joined;
    if (!run->archive_joined || !sbx_base64_good(run->archive.text, run->archive.len))
        sbx_faults_add(faults, "base64_decode", "archive", json_object_object_get(body, "archive"),
                       "Base64 decoding error: the archive must be padded standard base64");
}

static int read_fields(struct sbx_call *call, struct sbx_faults *faults, struct json_object *body,
                       struct sbx_run *run, struct sbx_err *err)
{
    const struct sbx_config *config = call->engine->config;
    run->max_output = config->max_output_bytes;
    read_commands(faults, body, run);
    (void)sbx_json_bool(faults, body, "", "fail_fast", SBX_JSON_OPTIONAL, &run->fail_fast);
    (void)sbx_json_int(faults, body, "", "max_output_bytes", SBX_JSON_NULLABLE, 0, OUTPUT_CEILING,
                       &run->max_output);
    read_archive(faults, body, run);
    return sbx_command_read(call, faults, body, &run->fields, err);
}

/* An answer in one piece, or as it comes. */
static int answer_as_asked(struct sbx_call *call, struct sbx_run *run, struct sbx_err *err)
{
    enum sbx_stream_form form = sbx_stream_form(call->request);
    struct sbx_events events;
    bool finish = strcmp(call->engine->config->on_disconnect, "finish") == 0;
    if (finish)
        call->wait.client_fd = -1;
    if (form == SBX_STREAM_NONE)
        return answer(call, run, err);
    sbx_events_init(&events, call, form);
    events.outlives = finish;
    run->events = &events;
    int rc = answer(call, run, err);
    if (rc < 0 && events.started)
        sbx_events_fail(&events, err);
    sbx_events_done(&events);
    run->events = NULL;
    return rc;
}

int sbx_handle_run(struct sbx_call *call, struct sbx_err *err)
{
    struct json_object *body = NULL;
    int rc = sbx_read_json(call, &body, err);
    if (rc <= 0)
        return rc;
    struct sbx_run run = {.tar.fd = -1};
    struct sbx_faults faults;
    sbx_faults_init(&faults);
    sbx_spool_init(&run.answer, call->api->spool_dir, SPOOL_MEMORY, ANSWER_MAX);
    rc = read_fields(call, &faults, body, &run, err);
    if (rc == 0)
        rc = sbx_faults_any(&faults) ? sbx_answer_faults(call->request, &faults)
                                     : answer_as_asked(call, &run, err);
    sbx_request_close_later(call->request, &run.answer.fd);
    sbx_request_close_later(call->request, &run.tar.fd);
    sbx_spool_done(&run.answer);
    sbx_command_done(&run.fields);
    free(run.archive_joined);
    sbx_faults_done(&faults);
    json_object_put(body);
    return rc;
}

int sbx_handle_patch(struct sbx_call *call, struct sbx_err *err)
{
    struct sbx_run run = {0};
    struct sbx_session session;
    if (sbx_session_open(call->engine, call->id, &session, err) < 0)
        return -1;
    sbx_spool_init(&run.answer, call->api->spool_dir, SPOOL_MEMORY, ANSWER_MAX);
    int rc = session.record.extract_patch
                 ? put(&run, "{\"patch\":", err)
                 : sbx_err_set(err, SBX_ERR_CONFLICT, "Session was created without extract_patch");
    if (rc == 0)
        rc = put_patch(&run, &session, true, err);
    sbx_session_done(&session, rc < 0 ? err : NULL);
    if (rc == 0)
        rc = sbx_answer_spool(call->request, 200, "application/json", &run.answer, err);
    sbx_spool_done(&run.answer);
    return rc;
}
