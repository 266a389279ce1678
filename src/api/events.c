#include "api/events.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define PIECE     ((size_t)24 * 1024)        /* bytes of output in one event; a multiple of three */
#define EVENT_MAX ((size_t)64 * 1024 * 1024) /* a command's text is the longest */

#define LAST_WORD_MS 1000 /* how long a client may leave the event of a failure no room */

enum sbx_stream_form sbx_stream_form(const struct sbx_request *request)
{
    const char *accept = sbx_request_header(request, "accept");
    if (accept && strcasestr(accept, "application/x-ndjson"))
        return SBX_STREAM_NDJSON;
    if (accept && strcasestr(accept, "text/event-stream"))
        return SBX_STREAM_SSE;
    return SBX_STREAM_NONE;
}

void sbx_events_init(struct sbx_events *events, struct sbx_call *call, enum sbx_stream_form form)
{
    *events = (struct sbx_events){.call = call, .form = form, .index = -1};
    sbx_buf_init(&events->buf, EVENT_MAX);
}

void sbx_events_done(struct sbx_events *events)
{
    sbx_buf_done(&events->buf);
}

/* Failures of a client that is outlived are its own. */
static int forgive(struct sbx_events *events, const struct sbx_err *failure, struct sbx_err *err)
{
    if (events->outlives && failure->kind == SBX_ERR_CANCELLED) {
        events->gone = true;
        return 0;
    }
    *err = *failure;
    return -1;
}

int sbx_events_start(struct sbx_events *events, struct sbx_err *err)
{
    if (events->started)
        return 0;
    const char *type = events->form == SBX_STREAM_SSE ? "text/event-stream" : "application/x-ndjson";
    struct sbx_err failure = SBX_ERR_INIT;
    events->started = true;
    /* nginx passes a head on with what follows it: a stream that begins with silence sends a keepalive at
     * once. */
    events->sent_ms = sbx_now_ms() - events->call->engine->config->keepalive_ms;
    if (sbx_answer_stream(events->call->request, type, &failure) == 0)
        return 0;
    return forgive(events, &failure, err);
}

static int write_out(struct sbx_events *events, const void *data, size_t n, struct sbx_err *err)
{
    struct sbx_err failure = SBX_ERR_INIT;
    if (events->gone)
        return 0;
    events->writing = true;
    int rc = sbx_answer_write(events->call->request, &events->call->wait, data, n, &failure);
    events->writing = false;
    events->sent_ms = sbx_now_ms();
    events->torn = rc < 0;
    if (rc == 0)
        return 0;
    return forgive(events, &failure, err);
}

int sbx_events_begin(struct sbx_events *events, const char *name, int64_t seq, struct sbx_err *err)
{
    struct sbx_buf *buf = &events->buf;
    sbx_buf_clear(buf);
    if (events->form == SBX_STREAM_SSE) {
        if (seq != SBX_NO_SEQ && sbx_buf_printf(buf, err, "id: %" PRId64 "\n", seq) < 0)
            return -1;
        if (sbx_buf_printf(buf, err, "event: %s\ndata: ", name) < 0)
            return -1;
    }
    if (sbx_buf_printf(buf, err, "{\"event\":\"%s\"", name) < 0)
        return -1;
    if (events->index >= 0 && sbx_buf_printf(buf, err, ",\"index\":%d", events->index) < 0)
        return -1;
    return seq != SBX_NO_SEQ ? sbx_buf_printf(buf, err, ",\"seq\":%" PRId64, seq) : 0;
}

int sbx_events_send(struct sbx_events *events, struct sbx_err *err)
{
    if (sbx_buf_addstr(&events->buf, events->form == SBX_STREAM_SSE ? "}\n\n" : "}\n", err) < 0 ||
        sbx_events_start(events, err) < 0)
        return -1;
    return write_out(events, events->buf.data, events->buf.len, err);
}

int sbx_events_add(struct sbx_events *events, struct sbx_err *err, const char *name, int64_t seq,
                   const char *fmt, ...)
{
    char members[512];
    va_list args;
    va_start(args, fmt);
    vsnprintf(members, sizeof(members), fmt, args);
    va_end(args);
    if (sbx_events_begin(events, name, seq, err) < 0 || sbx_buf_addstr(&events->buf, members, err) < 0)
        return -1;
    return sbx_events_send(events, err);
}

struct escaping {
    struct sbx_buf *buf;
    struct sbx_err *err;
};

static int emit(void *arg, const char *bytes, size_t n)
{
    struct escaping *escaping = arg;
    return sbx_buf_add(escaping->buf, bytes, n, escaping->err);
}

int sbx_events_put_string(struct sbx_events *events, const char *bytes, size_t n, struct sbx_err *err)
{
    struct escaping escaping = {.buf = &events->buf, .err = err};
    if (sbx_buf_addstr(&events->buf, "\"", err) < 0 || sbx_json_escape(bytes, n, emit, &escaping) != 0)
        return -1;
    return sbx_buf_addstr(&events->buf, "\"", err);
}

static int put_base64(struct sbx_events *events, const char *data, size_t n, struct sbx_err *err)
{
    size_t size = (n + 2) / 3 * 4;
    if (sbx_buf_addstr(&events->buf, "\"", err) < 0)
        return -1;
    char *at = sbx_buf_reserve(&events->buf, size + 1, err);
    if (!at)
        return -1;
    events->buf.len += sbx_base64_encode(data, n, at);
    return sbx_buf_addstr(&events->buf, "\"", err);
}

/* An event of one piece. */
static int send_piece(struct sbx_events *events, int channel, const char *data, size_t n, int64_t seq,
                      struct sbx_err *err)
{
    if (sbx_events_begin(events, channel == 2 ? "stderr" : "stdout", seq, err) < 0 ||
        sbx_buf_addstr(&events->buf, ",\"data\":", err) < 0)
        return -1;
    int rc = events->base64 ? put_base64(events, data, n, err) : sbx_events_put_string(events, data, n, err);
    return rc < 0 ? -1 : sbx_events_send(events, err);
}

/* Complete the character that the channel's last piece began; *n bytes are left at *data. */
static int take_carry(struct sbx_events *events, int channel, const char **data, size_t *n, int64_t *seq,
                      struct sbx_err *err)
{
    size_t i = channel == 2;
    char *carry = events->carry[i];
    while (events->carry_len[i] > 0 && *n > 0) {
        bool whole = true;
        if (((unsigned char)**data & 0xc0) == 0x80) {
            carry[events->carry_len[i]++] = *(*data)++;
            *n -= 1;
            *seq += *seq != SBX_NO_SEQ;
            whole = sbx_text_unfinished(carry, events->carry_len[i]) == 0;
        }
        if (!whole)
            continue;
        size_t len = events->carry_len[i];
        events->carry_len[i] = 0;
        if (send_piece(events, channel, carry, len, *seq, err) < 0)
            return -1;
    }
    return 0;
}

int sbx_events_output(struct sbx_events *events, int channel, const char *data, size_t n, int64_t seq,
                      struct sbx_err *err)
{
    size_t i = channel == 2;
    if (!events->base64 && take_carry(events, channel, &data, &n, &seq, err) < 0)
        return -1;
    if (!events->base64) {
        size_t cut = sbx_text_unfinished(data, n);
        if (cut > 0) {
            memcpy(events->carry[i], data + n - cut, cut);
            events->carry_len[i] = cut;
            n -= cut;
        }
    }
    while (n > 0) {
        size_t piece = n < PIECE ? n : PIECE;
        if (piece < n && !events->base64)
            piece -= sbx_text_unfinished(data, piece);
        seq += seq != SBX_NO_SEQ ? (int64_t)piece : 0;
        if (send_piece(events, channel, data, piece, seq, err) < 0)
            return -1;
        data += piece;
        n -= piece;
    }
    return 0;
}

int sbx_events_flush(struct sbx_events *events, int64_t seq, struct sbx_err *err)
{
    for (int channel = 1; channel <= 2; channel++) {
        size_t len = events->carry_len[channel - 1];
        events->carry_len[channel - 1] = 0;
        if (len > 0 && send_piece(events, channel, events->carry[channel - 1], len, seq, err) < 0)
            return -1;
    }
    return 0;
}

int sbx_events_keep_alive(struct sbx_events *events, struct sbx_err *err)
{
    int64_t longest = events->call->engine->config->keepalive_ms;
    const char *text = events->form == SBX_STREAM_SSE ? ": keepalive\n\n" : "{\"event\":\"keepalive\"}\n";
    if (!events->started || events->writing || sbx_now_ms() - events->sent_ms < longest)
        return 0;
    return write_out(events, text, strlen(text), err);
}

int sbx_events_finish(struct sbx_events *events, const char *name, const struct sbx_spool *object,
                      struct sbx_err *err)
{
    char head[64] = "";
    char chunk[16384];
    int64_t at = 0;
    ssize_t n;
    if (events->form == SBX_STREAM_SSE)
        snprintf(head, sizeof(head), "event: %s\ndata: ", name);
    if (sbx_events_start(events, err) < 0 || write_out(events, head, strlen(head), err) < 0)
        return -1;
    while ((n = sbx_spool_read(object, at, chunk, sizeof(chunk), err)) > 0) {
        if (write_out(events, chunk, (size_t)n, err) < 0)
            return -1;
        at += n;
    }
    if (n < 0 || write_out(events, "\n\n", events->form == SBX_STREAM_SSE ? 2 : 1, err) < 0)
        return -1;
    return events->gone ? 0 : sbx_answer_end(events->call->request, err);
}

void sbx_events_fail(struct sbx_events *events, const struct sbx_err *failure)
{
    struct sbx_err ignored = SBX_ERR_INIT;
    int status = sbx_status_of(failure);
    const char *detail = status == 500 ? "Internal Server Error" : failure->msg;
    struct sbx_wait *wait = &events->call->wait;
    if (failure->kind == SBX_ERR_CANCELLED || events->torn)
        return;
    /* A stop that ended the request would end the wait for room too. */
    wait->stop_fd = -1;
    wait->deadline_ms = sbx_now_ms() + LAST_WORD_MS;
    events->index = -1;
    if (sbx_events_begin(events, "error", SBX_NO_SEQ, &ignored) == 0 &&
        sbx_buf_printf(&events->buf, &ignored, ",\"status\":%d,\"detail\":", status) == 0 &&
        sbx_events_put_string(events, detail, strlen(detail), &ignored) == 0 &&
        sbx_events_send(events, &ignored) == 0)
        (void)!sbx_answer_end(events->call->request, &ignored);
}
