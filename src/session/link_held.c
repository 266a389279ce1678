/* Held execs over a link: one operation, its answer. */
#include "session/link.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ANSWER_MS 20000 /* every operation is answered at once; a busy machine may take its time */

struct answer {
    struct sbx_held_call *call;
    uint32_t stream;
    int *status;
    char *message;
};

static int put_call(struct sbx_link *link, uint32_t stream, const struct sbx_held_call *call,
                    struct sbx_err *err)
{
    size_t size = 160 + sbx_field_size(call->data_len);
    SBX_AUTO_FREE uint8_t *out = malloc(size);
    if (!out)
        return sbx_err_set(err, SBX_ERR_INTERNAL, "out of memory for %zu bytes of input", call->data_len);
    size_t n = sbx_field_put_u32(out, size, 0, SBX_TAG_OP, (uint32_t)call->op);
    if (call->id)
        n = sbx_field_put(out, size, n, SBX_TAG_HELD, call->id, strlen(call->id));
    n = sbx_field_put_u64(out, size, n, SBX_TAG_AFTER, call->after);
    n = sbx_field_put_u64(out, size, n, SBX_TAG_LIMIT, call->limit);
    n = sbx_field_put_u32(out, size, n, SBX_TAG_SIGNAL, (uint32_t)call->signal);
    n = sbx_field_put_u32(out, size, n, SBX_TAG_ROWS, call->rows);
    n = sbx_field_put_u32(out, size, n, SBX_TAG_COLUMNS, call->columns);
    n = sbx_field_put_u32(out, size, n, SBX_TAG_EOF, call->eof);
    if (call->data_len > 0)
        n = sbx_field_put(out, size, n, SBX_TAG_DATA, call->data, call->data_len);
    return sbx_link_put(link, SBX_FRAME_HELD, stream, out, n, err);
}

static void copy_text(char *out, size_t size, const struct sbx_field *field)
{
    snprintf(out, size, "%.*s", (int)field->len, (const char *)field->data);
}

static void decode_field(const struct sbx_field *field, struct sbx_held *ret)
{
    uint32_t u32 = 0;
    uint64_t u64 = 0;
    (void)sbx_field_u32(field, &u32);
    (void)sbx_field_u64(field, &u64);
    switch (field->tag) {
    case SBX_TAG_HELD:
        copy_text(ret->id, sizeof(ret->id), field);
        break;
    case SBX_TAG_COMMAND:
        copy_text(ret->command, sizeof(ret->command), field);
        break;
    case SBX_TAG_REQUEST:
        copy_text(ret->request, sizeof(ret->request), field);
        break;
    case SBX_TAG_RUNNING:
        ret->running = u32 == 1;
        break;
    case SBX_TAG_TTY:
        ret->tty = u32 == 1;
        break;
    case SBX_TAG_TIED:
        ret->tied = u32 == 1;
        break;
    case SBX_TAG_INPUT:
        ret->input = u32 == 1;
        break;
    case SBX_TAG_FIRST:
        ret->first = u64;
        break;
    case SBX_TAG_END:
        ret->end = u64;
        break;
    case SBX_TAG_FROM:
        ret->from = u64;
        break;
    case SBX_TAG_TO:
        ret->to = u64;
        break;
    case SBX_TAG_STARTED_MS:
        ret->started_ms = (int64_t)u64;
        break;
    case SBX_TAG_ENDED_MS:
        ret->ended_ms = (int64_t)u64;
        break;
    default:
        sbx_link_decode_exit(field, &ret->result);
        break;
    }
}

static int take_state(struct answer *answer, const struct sbx_frame *frame, struct sbx_err *err)
{
    struct sbx_held_call *call = answer->call;
    struct sbx_held held = {.running = false};
    struct sbx_field field;
    size_t off = 0;
    while (sbx_field_next(frame->payload, frame->len, &off, &field))
        decode_field(&field, &held);
    if (call->on_held)
        return call->on_held(call->arg, &held, err);
    call->held = held;
    return 0;
}

/* RESULT, or the EXIT of what could not be started. */
static void take_result(struct answer *answer, const struct sbx_frame *frame)
{
    struct sbx_field field;
    size_t off = 0;
    while (sbx_field_next(frame->payload, frame->len, &off, &field)) {
        uint32_t status;
        uint64_t accepted;
        if (field.tag == SBX_TAG_STATUS && sbx_field_u32(&field, &status))
            *answer->status = (int)status;
        else if (field.tag == SBX_TAG_ACCEPTED && sbx_field_u64(&field, &accepted))
            answer->call->accepted = (size_t)accepted;
        else if (field.tag == SBX_TAG_MESSAGE)
            copy_text(answer->message, 256, &field);
    }
}

/* Frames that are there: 1 when the last of the answer was among them. */
static int take_frames(struct sbx_link *link, struct answer *answer, struct sbx_err *err)
{
    struct sbx_held_call *call = answer->call;
    struct sbx_frame frame;
    int got;
    while ((got = sbx_link_next(link, &frame, err)) > 0) {
        if (frame.stream != answer->stream)
            continue;
        if (frame.type == SBX_FRAME_RESULT || frame.type == SBX_FRAME_EXIT) {
            take_result(answer, &frame);
            return 1;
        }
        if (frame.type == SBX_FRAME_HELD_STATE && take_state(answer, &frame, err) < 0)
            return -1;
        if (frame.type == SBX_FRAME_OUTPUT && frame.len > 1 && call->on_output &&
            call->on_output(call->arg, frame.payload[0], frame.payload + 1, frame.len - 1, err) < 0)
            return -1;
    }
    return got;
}

int sbx_link_held(struct sbx_link *link, const struct sbx_exec_spec *spec, struct sbx_held_call *call,
                  int *ret_status, char message[256], struct sbx_err *err)
{
    struct answer answer = {
        .call = call, .stream = sbx_link_stream(link), .status = ret_status, .message = message};
    SBX_SPAN("agent", "held exec");
    *ret_status = 0;
    message[0] = '\0';
    int rc =
        spec ? sbx_link_put_exec(link, answer.stream, spec, err) : put_call(link, answer.stream, call, err);
    if (rc < 0)
        return -1;
    int64_t until = sbx_now_ms() + ANSWER_MS;
    for (;;) {
        int done = take_frames(link, &answer, err);
        if (done != 0)
            return done < 0 ? -1 : 0;
        int64_t left = until - sbx_now_ms();
        if (left <= 0)
            return sbx_err_set(err, SBX_ERR_UNAVAILABLE, "the agent did not answer in time");
        if (sbx_link_pump(link, (int)left, err) < 0)
            return -1;
    }
}
