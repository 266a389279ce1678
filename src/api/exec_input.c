/* /session/{id}/exec/{exec}/: stdin, signal, resize. */
#include <ctype.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "api/exec.h"
#include "sandboxd/wire.h"

#define STALL_MS 10000 /* how long a program may leave its stdin alone before the client is told */
#define PAUSE_MS 5
#define LAST_MS  200

struct input {
    const char *data;
    size_t len;
    bool eof;
    struct sbx_buf raw;       /* owned: a body that is not JSON */
    struct json_object *body; /* owned: one that is */
    char *decoded;            /* owned */
};

static void input_done(struct input *input)
{
    sbx_buf_done(&input->raw);
    json_object_put(input->body);
    free(input->decoded);
}

static void read_data(struct sbx_faults *faults, struct json_object *body, struct input *input)
{
    const char *encoding = "text";
    size_t n = 0;
    (void)sbx_json_string(faults, body, "", "data", SBX_JSON_OPTIONAL, 0, SIZE_MAX, &input->data,
                          &input->len);
    (void)sbx_json_string(faults, body, "", "encoding", SBX_JSON_OPTIONAL, 0, 16, &encoding, &n);
    (void)sbx_json_bool(faults, body, "", "eof", SBX_JSON_OPTIONAL, &input->eof);
    if (strcmp(encoding, "text") == 0)
        return;
    if (strcmp(encoding, "base64") != 0)
        sbx_faults_add(faults, "literal_error", "encoding", json_object_object_get(body, "encoding"),
                       "Input should be 'text' or 'base64'");
    input->decoded = sbx_base64_bytes(input->data, input->len, &input->len);
    if (!input->decoded)
        sbx_faults_add(faults, "base64_decode", "data", json_object_object_get(body, "data"),
                       "Base64 decoding error");
    input->data = input->decoded;
}

/* 1 it is there, 0 the request was answered, -1. */
static int read_json(struct sbx_call *call, struct input *input, struct sbx_err *err)
{
    struct sbx_faults faults;
    int rc = sbx_read_json(call, &input->body, err);
    if (rc <= 0)
        return rc;
    sbx_faults_init(&faults);
    read_data(&faults, input->body, input);
    if (sbx_faults_any(&faults))
        rc = sbx_answer_faults(call->request, &faults);
    sbx_faults_done(&faults);
    return rc;
}

static int read_raw(struct sbx_call *call, struct input *input, struct sbx_err *err)
{
    char eof[8] = "";
    input->eof = sbx_request_param(call->request, "eof", eof, sizeof(eof)) && strcmp(eof, "true") == 0;
    if (sbx_request_body(call->request, &input->raw, err) < 0)
        return -1;
    input->data = input->raw.data;
    input->len = input->raw.len;
    return 1;
}

/* Hand over all of it, as the program takes it: the session is free while there is nothing to do but wait. */
static int feed(struct sbx_call *call, const struct input *input, size_t *ret_accepted, struct sbx_err *err)
{
    int pause = PAUSE_MS;
    int64_t until = sbx_now_ms() + STALL_MS;
    for (;;) {
        size_t left = input->len - *ret_accepted;
        struct sbx_held_call held = {.op = SBX_HELD_INPUT, .data = input->data + *ret_accepted};
        held.data_len = left < SBX_HELD_INPUT_MAX ? left : SBX_HELD_INPUT_MAX;
        held.eof = input->eof && held.data_len == left;
        if (sbx_exec_call(call, &held, err) < 0)
            return -1;
        *ret_accepted += held.accepted;
        if (*ret_accepted == input->len)
            return 0;
        if (held.accepted > 0) {
            pause = PAUSE_MS;
            until = sbx_now_ms() + STALL_MS;
        }
        if (sbx_now_ms() >= until)
            return 0;
        if (sbx_wait_poll(&call->wait, NULL, 0, pause, err) < 0)
            return -1;
        pause = 2 * pause < LAST_MS ? 2 * pause : LAST_MS;
    }
}

int sbx_handle_exec_stdin(struct sbx_call *call, struct sbx_err *err)
{
    struct input input = {.data = ""};
    size_t accepted = 0;
    const char *type = sbx_request_header(call->request, "content-type");
    sbx_buf_init(&input.raw, (size_t)call->engine->config->max_body_bytes);
    bool json = type && strncasecmp(type, "application/json", strlen("application/json")) == 0;
    int rc = json ? read_json(call, &input, err) : read_raw(call, &input, err);
    if (rc > 0 && (rc = feed(call, &input, &accepted, err)) == 0) {
        struct json_object *obj = json_object_new_object();
        json_object_object_add(obj, "accepted", json_object_new_int64((int64_t)accepted));
        json_object_object_add(obj, "eof", json_object_new_boolean(input.eof && accepted == input.len));
        rc = sbx_answer_json(call->request, obj, err);
    }
    input_done(&input);
    return rc;
}

/* "INT", "SIGINT", "2"; 0: none. */
static int signal_of(const char *name)
{
    if (isdigit((unsigned char)name[0])) {
        char *end;
        long number = strtol(name, &end, 10);
        return *end == '\0' && number >= 1 && number <= 64 ? (int)number : 0;
    }
    if (strncasecmp(name, "SIG", 3) == 0)
        name += 3;
    for (int sig = 1; sig < 32; sig++) {
        const char *known = sigabbrev_np(sig);
        if (known && strcasecmp(known, name) == 0)
            return sig;
    }
    return 0;
}

/* One operation of a JSON body that holds what read finds there. */
static int operate(struct sbx_call *call, struct sbx_held_call *held,
                   void (*read)(struct sbx_faults *faults, struct json_object *body,
                                struct sbx_held_call *held),
                   struct sbx_err *err)
{
    struct json_object *body = NULL;
    struct sbx_faults faults;
    int rc = sbx_read_json(call, &body, err);
    if (rc <= 0)
        return rc;
    sbx_faults_init(&faults);
    read(&faults, body, held);
    if (sbx_faults_any(&faults))
        rc = sbx_answer_faults(call->request, &faults);
    else if ((rc = sbx_exec_call(call, held, err)) == 0)
        rc = sbx_answer(call->request, 204, NULL, NULL, 0, err);
    sbx_faults_done(&faults);
    json_object_put(body);
    return rc;
}

static void read_signal(struct sbx_faults *faults, struct json_object *body, struct sbx_held_call *held)
{
    const char *name = NULL;
    size_t n = 0;
    if (!sbx_json_string(faults, body, "", "signal", SBX_JSON_REQUIRED, 1, 16, &name, &n))
        return;
    held->signal = signal_of(name);
    if (held->signal == 0)
        sbx_faults_add(faults, "value_error", "signal", json_object_object_get(body, "signal"),
                       "Input should be a signal's name or number, such as 'INT'");
}

int sbx_handle_exec_signal(struct sbx_call *call, struct sbx_err *err)
{
    struct sbx_held_call held = {.op = SBX_HELD_SIGNAL};
    return operate(call, &held, read_signal, err);
}

static void read_size(struct sbx_faults *faults, struct json_object *body, struct sbx_held_call *held)
{
    int64_t rows = 0;
    int64_t columns = 0;
    (void)sbx_json_int(faults, body, "", "rows", SBX_JSON_REQUIRED, 1, SBX_TERMINAL_MAX, &rows);
    (void)sbx_json_int(faults, body, "", "columns", SBX_JSON_REQUIRED, 1, SBX_TERMINAL_MAX, &columns);
    held->rows = (uint32_t)rows;
    held->columns = (uint32_t)columns;
}

int sbx_handle_exec_resize(struct sbx_call *call, struct sbx_err *err)
{
    struct sbx_held_call held = {.op = SBX_HELD_RESIZE};
    return operate(call, &held, read_size, err);
}
