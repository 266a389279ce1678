/* /session/{id}/exec/: start, look, cancel. */
#include "api/exec.h"

#include <stdlib.h>
#include <string.h>

#include "api/command.h"
#include "sandboxd/wire.h"

#define ARGS_MAX 32000

static const char *const REASONS[] = {
    [SBX_EXIT_EXITED] = "exited",
    [SBX_EXIT_SIGNALLED] = "signal",
    [SBX_EXIT_TIMEOUT] = "timeout",
    [SBX_EXIT_CANCELLED] = "cancelled",
    [SBX_EXIT_OOM] = "oom",
    [SBX_EXIT_FAILED] = "failed",
    [SBX_EXIT_OUTPUT_LIMIT] = "output_limit",
};

static void add_text(struct json_object *obj, const char *key, const char *text)
{
    json_object_object_add(obj, key,
                           json_object_new_string_len(text, (int)sbx_utf8_valid(text, strlen(text))));
}

/* How it went: null while it runs. */
static void add_result(struct json_object *obj, const struct sbx_held *held)
{
    const struct sbx_exec_result *result = &held->result;
    bool over = !held->running;
    size_t reason = result->reason >= 0 ? (size_t)result->reason : 0;
    struct json_object *usage = over ? json_object_new_object() : NULL;
    json_object_object_add(obj, "exit_code", over ? json_object_new_int(result->code) : NULL);
    json_object_object_add(obj, "signal",
                           over && result->signal ? json_object_new_int(result->signal) : NULL);
    json_object_object_add(
        obj, "reason",
        over ? json_object_new_string(reason < SBX_ARRAY_LEN(REASONS) ? REASONS[reason] : "failed") : NULL);
    if (over && result->message[0])
        add_text(obj, "message", result->message);
    else
        json_object_object_add(obj, "message", NULL);
    json_object_object_add(obj, "duration_ms", json_object_new_double((double)result->duration_us / 1000));
    if (usage) {
        json_object_object_add(usage, "user_ms", json_object_new_double((double)result->user_us / 1000));
        json_object_object_add(usage, "system_ms", json_object_new_double((double)result->system_us / 1000));
        json_object_object_add(usage, "max_rss_bytes", json_object_new_int64(result->max_rss_bytes));
    }
    json_object_object_add(obj, "usage", usage);
}

void sbx_exec_describe(struct json_object *obj, const struct sbx_held *held)
{
    add_text(obj, "exec_id", held->id);
    add_text(obj, "command", held->command);
    add_text(obj, "state", held->running ? "running" : "finished");
    json_object_object_add(obj, "tty", json_object_new_boolean(held->tty));
    json_object_object_add(obj, "detach", json_object_new_boolean(!held->tied));
    json_object_object_add(obj, "stdin_open", json_object_new_boolean(held->input));
    if (held->request[0])
        add_text(obj, "request_id", held->request);
    else
        json_object_object_add(obj, "request_id", NULL);
    json_object_object_add(obj, "started_at_ms", json_object_new_int64(held->started_ms));
    json_object_object_add(obj, "ended_at_ms", held->running ? NULL : json_object_new_int64(held->ended_ms));
    add_result(obj, held);
    json_object_object_add(obj, "output_bytes", json_object_new_int64((int64_t)held->end));
    json_object_object_add(obj, "dropped_bytes", json_object_new_int64((int64_t)held->first));
}

int sbx_exec_open(struct sbx_call *call, int64_t wait_ms, struct sbx_session *session, struct sbx_err *err)
{
    bool resume = !call->again;
    call->again = true;
    return sbx_session_open_within(call->engine, call->id, wait_ms, resume, session, err);
}

int sbx_exec_call(struct sbx_call *call, struct sbx_held_call *held, struct sbx_err *err)
{
    struct sbx_session session;
    held->id = call->item;
    if (sbx_exec_open(call, call->engine->config->session_lock_wait_ms, &session, err) < 0)
        return -1;
    int rc = sbx_session_held(&session, held, err);
    sbx_session_done(&session, rc < 0 ? err : NULL);
    return rc;
}

int sbx_handle_exec_get(struct sbx_call *call, struct sbx_err *err)
{
    struct sbx_held_call held = {.op = SBX_HELD_STATE};
    if (sbx_exec_call(call, &held, err) < 0)
        return -1;
    struct json_object *obj = json_object_new_object();
    sbx_exec_describe(obj, &held.held);
    return sbx_answer_json(call->request, obj, err);
}

int sbx_handle_exec_cancel(struct sbx_call *call, struct sbx_err *err)
{
    char forget[8] = "";
    bool given = sbx_request_param(call->request, "forget", forget, sizeof(forget));
    struct sbx_held_call held = {.op = given && strcmp(forget, "true") == 0 ? SBX_HELD_FORGET
                                                                            : SBX_HELD_CANCEL};
    if (sbx_exec_call(call, &held, err) < 0)
        return -1;
    return sbx_answer(call->request, 204, NULL, NULL, 0, err);
}

static int on_held(void *arg, const struct sbx_held *held, struct sbx_err *err)
{
    struct json_object *obj = json_object_new_object();
    sbx_exec_describe(obj, held);
    json_object_array_add(arg, obj);
    return 0;
}

int sbx_handle_exec_list(struct sbx_call *call, struct sbx_err *err)
{
    struct json_object *list = json_object_new_array();
    struct sbx_held_call held = {.op = SBX_HELD_LIST, .on_held = on_held, .arg = list};
    if (sbx_exec_call(call, &held, err) < 0) {
        json_object_put(list);
        return -1;
    }
    struct json_object *obj = json_object_new_object();
    json_object_object_add(obj, "execs", list);
    return sbx_answer_json(call->request, obj, err);
}

/* What a client wants to be started. */
struct start {
    struct sbx_command_fields fields;
    const char *command;
    size_t command_len;
    const char **argv; /* owned */
    int programs;      /* how many of the two are given */
    bool stdin_open;
    struct sbx_held_options held;
};

static void read_program(struct sbx_faults *faults, struct json_object *body, struct start *start)
{
    struct json_object *list = NULL;
    bool command = sbx_json_string(faults, body, "", "command", SBX_JSON_NULLABLE, 0, SIZE_MAX,
                                   &start->command, &start->command_len);
    bool argv = sbx_json_array(faults, body, "", "argv", SBX_JSON_NULLABLE, 1, ARGS_MAX, &list);
    if (command && strlen(start->command) != start->command_len)
        sbx_faults_add(faults, "value_error", "command", json_object_object_get(body, "command"),
                       "A command must not contain NUL");
    start->programs = command + argv;
    if (!argv)
        return;
    size_t n = json_object_array_length(list);
    start->argv = calloc(n + 1, sizeof(*start->argv));
    for (size_t i = 0; start->argv && i < n; i++) {
        struct json_object *item = json_object_array_get_idx(list, i);
        char path[32];
        snprintf(path, sizeof(path), "argv/%zu", i);
        if (!json_object_is_type(item, json_type_string))
            sbx_faults_add(faults, "string_type", path, item, "Input should be a valid string");
        else if (strlen(json_object_get_string(item)) != (size_t)json_object_get_string_len(item))
            sbx_faults_add(faults, "value_error", path, item, "An argument must not contain NUL");
        else
            start->argv[i] = json_object_get_string(item);
    }
}

static void read_terminal(struct sbx_faults *faults, struct json_object *body, struct start *start)
{
    int64_t rows = 0;
    int64_t columns = 0;
    (void)sbx_json_bool(faults, body, "", "tty", SBX_JSON_OPTIONAL, &start->held.tty);
    (void)sbx_json_int(faults, body, "", "rows", SBX_JSON_NULLABLE, 1, SBX_TERMINAL_MAX, &rows);
    (void)sbx_json_int(faults, body, "", "columns", SBX_JSON_NULLABLE, 1, SBX_TERMINAL_MAX, &columns);
    start->held.rows = (uint32_t)rows;
    start->held.columns = (uint32_t)columns;
}

static void read_output(struct sbx_faults *faults, struct json_object *body, struct start *start)
{
    const char *when_full = "drop";
    size_t n = 0;
    int64_t limit = 0;
    int64_t buffer = 0;
    (void)sbx_json_int(faults, body, "", "max_output_bytes", SBX_JSON_NULLABLE, 1, INT64_MAX, &limit);
    (void)sbx_json_int(faults, body, "", "buffer_bytes", SBX_JSON_NULLABLE, SBX_HELD_BUFFER_MIN,
                       SBX_HELD_BUFFER_MAX, &buffer);
    (void)sbx_json_string(faults, body, "", "when_full", SBX_JSON_OPTIONAL, 0, 16, &when_full, &n);
    if (strcmp(when_full, "drop") != 0 && strcmp(when_full, "wait") != 0)
        sbx_faults_add(faults, "literal_error", "when_full", json_object_object_get(body, "when_full"),
                       "Input should be 'drop' or 'wait'");
    start->held.output_limit = (uint64_t)limit;
    start->held.buffer = (uint64_t)buffer;
    start->held.block = strcmp(when_full, "wait") == 0;
}

static int read_start(struct sbx_call *call, struct sbx_faults *faults, struct json_object *body,
                      struct start *start, struct sbx_err *err)
{
    bool detach = true;
    start->fields.split = true;
    sbx_uuid4(start->held.id);
    read_program(faults, body, start);
    read_terminal(faults, body, start);
    read_output(faults, body, start);
    (void)sbx_json_bool(faults, body, "", "detach", SBX_JSON_OPTIONAL, &detach);
    (void)sbx_json_bool(faults, body, "", "stdin_open", SBX_JSON_OPTIONAL, &start->stdin_open);
    start->held.tied = !detach;
    int rc = sbx_command_read(call, faults, body, &start->fields, err);
    if (start->fields.stdin_len > SBX_HELD_INPUT_MAX)
        sbx_faults_add(faults, "string_too_long", "stdin", json_object_object_get(body, "stdin"),
                       "At most %d bytes; send the rest to stdin/ of an exec with stdin_open",
                       SBX_HELD_INPUT_MAX);
    if (start->programs != 1 && !sbx_faults_any(faults))
        sbx_faults_add(faults, "value_error", "", body, "Give either a command or argv");
    start->held.input = start->stdin_open || start->held.tty || start->fields.stdin_data;
    return rc;
}

/* A terminal's programs look at TERM; the client's own comes after it and wins. */
static char **with_term(char **env, struct sbx_err *err)
{
    static char term[] = "TERM=xterm-256color";
    size_t n = 0;
    while (env && env[n])
        n++;
    char **all = calloc(n + 2, sizeof(*all));
    if (!all) {
        sbx_err_set(err, SBX_ERR_INTERNAL, "out of memory for an environment");
        return NULL;
    }
    all[0] = term;
    if (n > 0)
        memcpy(all + 1, env, n * sizeof(*all));
    return all;
}

static int hold(struct sbx_session *session, const struct start *start, char **env, struct sbx_held *ret,
                struct sbx_err *err)
{
    const struct sbx_command_fields *fields = &start->fields;
    struct sbx_exec_spec spec = {
        .command = start->command,
        .command_len = start->command_len,
        .argv = start->argv,
        .env = (const char *const *)env,
        .cwd = fields->cwd,
        .split = fields->split,
        .timeout_ms = fields->timeout_ms,
        .held = &start->held,
    };
    if (sbx_session_hold(session, &spec, ret, err) < 0)
        return -1;
    if (!fields->stdin_data)
        return 0;
    struct sbx_held_call input = {
        .op = SBX_HELD_INPUT,
        .id = start->held.id,
        .data = fields->stdin_data,
        .data_len = fields->stdin_len,
        .eof = !start->stdin_open && !start->held.tty,
    };
    struct sbx_err failure = SBX_ERR_INIT;
    if (sbx_session_held(session, &input, &failure) == 0 || failure.kind == SBX_ERR_CONFLICT)
        return 0; /* one that has ended, or closed its stdin, does not want it */
    *err = failure;
    return -1;
}

static int answer(struct sbx_call *call, const struct start *start, struct sbx_err *err)
{
    struct sbx_session session;
    struct sbx_held held;
    SBX_AUTO_FREE char **env = start->held.tty ? with_term(start->fields.env, err) : NULL;
    if ((start->held.tty && !env) || sbx_session_open(call->engine, call->id, &session, err) < 0)
        return -1;
    int rc = hold(&session, start, env ? env : start->fields.env, &held, err);
    sbx_session_done(&session, rc < 0 ? err : NULL);
    if (rc < 0)
        return -1;
    struct json_object *obj = json_object_new_object();
    sbx_exec_describe(obj, &held);
    return sbx_answer_created(call->request, obj, err);
}

int sbx_handle_exec_start(struct sbx_call *call, struct sbx_err *err)
{
    struct json_object *body = NULL;
    int rc = sbx_read_json(call, &body, err);
    if (rc <= 0)
        return rc;
    struct start start = {.command = NULL};
    struct sbx_faults faults;
    sbx_faults_init(&faults);
    rc = read_start(call, &faults, body, &start, err);
    if (rc == 0)
        rc = sbx_faults_any(&faults) ? sbx_answer_faults(call->request, &faults) : answer(call, &start, err);
    sbx_command_done(&start.fields);
    free(start.argv);
    sbx_faults_done(&faults);
    json_object_put(body);
    return rc;
}
