/* File operations of the agent, seen from here: one command of it whose output are fields. */
#include "session/internal.h"

#include <stdio.h>
#include <string.h>

struct operation {
    struct sbx_fields fields;
    struct sbx_fs_result *result;
    bool ended; /* FS_CODE has come */
    int (*on_field)(void *, const struct sbx_field *, struct sbx_err *);
    void *arg;
};

static int take_field(void *arg, const struct sbx_field *field, struct sbx_err *err)
{
    struct operation *op = arg;
    uint32_t code = 0;
    if (field->tag == SBX_TAG_MESSAGE) {
        snprintf(op->result->message, sizeof(op->result->message), "%.*s", (int)field->len,
                 (const char *)field->data);
        return 0;
    }
    if (field->tag != SBX_TAG_FS_CODE)
        return op->on_field(op->arg, field, err);
    op->ended = sbx_field_u32(field, &code) && code <= SBX_FS_EXEC_FAILED;
    op->result->code = (int)code;
    return 0;
}

static int on_output(void *arg, int channel, const void *data, size_t n, struct sbx_err *err)
{
    struct operation *op = arg;
    return channel == 1 ? sbx_fields_add(&op->fields, data, n, err) : 0;
}

/* A change goes on when its client has gone, so something must end it: nothing that lasts is slower. */
#define INPUT_BYTES_A_MS 1000

static int64_t time_limit(const struct sbx_session *session, const struct sbx_fs *fs)
{
    if (fs->timeout_ms > 0 || !fs->changes)
        return fs->timeout_ms;
    int64_t input = fs->spool ? sbx_spool_len(fs->spool) : (int64_t)fs->input_len;
    return session->engine->config->fs_timeout_ms + input / INPUT_BYTES_A_MS;
}

/* It did not come to its end by itself. */
static void explain(struct sbx_fs_result *ret, const struct sbx_exec_result *exit)
{
    ret->code = SBX_FS_EXEC_FAILED;
    if (exit->reason == SBX_EXIT_TIMEOUT)
        snprintf(ret->message, sizeof(ret->message), "the operation took longer than it may");
    else if (exit->reason == SBX_EXIT_OOM)
        snprintf(ret->message, sizeof(ret->message), "the operation met the session's memory limit");
    else if (exit->message[0])
        snprintf(ret->message, sizeof(ret->message), "%s", exit->message);
    else
        snprintf(ret->message, sizeof(ret->message), "the operation ended unexpectedly, with code %d",
                 exit->code);
}

static int run(struct sbx_session *session, const struct sbx_fs *fs, struct operation *op,
               struct sbx_err *err)
{
    struct sbx_exec_result exit;
    struct sbx_exec_spec spec = {.builtin = "fs",
                                 .argv = fs->args,
                                 .cwd = "/",
                                 .stdin_data = fs->input,
                                 .stdin_len = fs->input_len,
                                 .stdin_spool = fs->spool,
                                 .split = true,
                                 .timeout_ms = time_limit(session, fs)};
    if (sbx_session_exec(session, &spec, on_output, op, &exit, err) < 0)
        return -1;
    if (!op->ended)
        explain(op->result, &exit);
    else if (op->result->code != SBX_FS_OK && !op->result->message[0])
        snprintf(op->result->message, sizeof(op->result->message), "the operation failed");
    return 0;
}

int sbx_session_fs(struct sbx_session *session, const struct sbx_fs *fs,
                   int (*on_field)(void *, const struct sbx_field *, struct sbx_err *), void *arg,
                   struct sbx_fs_result *ret, struct sbx_err *err)
{
    struct operation op = {.result = ret, .on_field = on_field, .arg = arg};
    struct sbx_shield shield;
    *ret = (struct sbx_fs_result){.code = SBX_FS_OK};
    if (fs->changes && sbx_template_drop(session, err) < 0)
        return -1;
    sbx_fields_init(&op.fields, take_field, &op);
    /* A change is not left half-way because its client is. */
    if (fs->changes)
        sbx_shield_raise(&shield, session->engine);
    int rc = run(session, fs, &op, err);
    if (rc == 0 && fs->changes)
        rc = sbx_session_written(session, fs->partial || ret->code == SBX_FS_OK, err);
    if (fs->changes)
        sbx_shield_lower(&shield, session->engine);
    sbx_fields_done(&op.fields);
    return rc;
}
