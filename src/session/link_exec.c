/* Run one command over a link. */
#include "session/link.h"

#include <stdlib.h>
#include <string.h>

/* How long after its timeout a command may take to be over before the agent counts as broken, and how long
 * is read then of what it has sent meanwhile: this process may itself have stood still. */
#define AGENT_LATE_MS 15000
#define LAST_LOOK_MS  1000

#define CREDIT_STEP (SBX_WIRE_WINDOW / 4)
#define STDIN_PIECE (8 * SBX_PAYLOAD_MAX) /* queued at once, and read at once from a spool */

struct running {
    struct sbx_link *link;
    const struct sbx_exec_spec *spec;
    uint32_t stream;
    int64_t stdin_len; /* -1: none */
    int64_t stdin_sent;
    size_t stdin_credit;
    bool stdin_closed;
    size_t uncredited; /* output consumed and not yet told to the agent */
    int64_t late_ms;   /* when it should be over; 0: it may run for ever */
    bool last_look;
};

/* -1: it has none. */
static int64_t stdin_length(const struct sbx_exec_spec *spec)
{
    if (spec->stdin_spool)
        return sbx_spool_len(spec->stdin_spool);
    return spec->stdin_data ? (int64_t)spec->stdin_len : -1;
}

static size_t list_size(const char *const *list)
{
    size_t size = 0;
    for (; list && *list; list++)
        size += sbx_field_size(strlen(*list));
    return size;
}

static size_t put_list(uint8_t *out, size_t size, size_t n, uint8_t tag, const char *const *list)
{
    for (; list && *list; list++)
        n = sbx_field_put(out, size, n, tag, *list, strlen(*list));
    return n;
}

/* What a held exec has besides: at most HELD_SIZE bytes. */
#define HELD_SIZE 160
static size_t put_held(uint8_t *out, size_t size, size_t n, const struct sbx_held_options *held)
{
    n = sbx_field_put(out, size, n, SBX_TAG_HELD, held->id, strlen(held->id));
    n = sbx_field_put_u32(out, size, n, SBX_TAG_TTY, held->tty);
    n = sbx_field_put_u32(out, size, n, SBX_TAG_ROWS, held->rows);
    n = sbx_field_put_u32(out, size, n, SBX_TAG_COLUMNS, held->columns);
    n = sbx_field_put_u32(out, size, n, SBX_TAG_BLOCK, held->block);
    n = sbx_field_put_u32(out, size, n, SBX_TAG_TIED, held->tied);
    n = sbx_field_put_u64(out, size, n, SBX_TAG_BUFFER, held->buffer);
    return sbx_field_put_u64(out, size, n, SBX_TAG_OUTPUT_LIMIT, held->output_limit);
}

static size_t text_size(const char *text)
{
    return text ? strlen(text) : 0;
}

static size_t exec_size(const struct sbx_exec_spec *spec)
{
    return sbx_field_size(spec->command_len) + sbx_field_size(text_size(spec->builtin)) +
           list_size(spec->argv) + list_size(spec->env) + sbx_field_size(text_size(spec->cwd)) +
           3 * sbx_field_size(sizeof(uint32_t)) + HELD_SIZE;
}

int sbx_link_put_exec(struct sbx_link *link, uint32_t stream, const struct sbx_exec_spec *spec,
                      struct sbx_err *err)
{
    size_t cwd = text_size(spec->cwd);
    size_t builtin = text_size(spec->builtin);
    size_t size = exec_size(spec);
    if (size > SBX_MESSAGE_MAX)
        return sbx_err_set(err, SBX_ERR_INVALID, "the command and its environment are larger than %d bytes",
                           SBX_MESSAGE_MAX);
    SBX_AUTO_FREE uint8_t *payload = malloc(size);
    if (!payload)
        return sbx_err_set(err, SBX_ERR_INTERNAL, "out of memory for a command of %zu bytes", size);
    size_t n = 0;
    n = sbx_field_put_u32(payload, size, n, SBX_TAG_TIMEOUT_MS, (uint32_t)spec->timeout_ms);
    n = sbx_field_put_u32(payload, size, n, SBX_TAG_STDIN,
                          stdin_length(spec) >= 0 || (spec->held && spec->held->input) ? 1 : 0);
    n = sbx_field_put_u32(payload, size, n, SBX_TAG_SPLIT, spec->split ? 1 : 0);
    if (spec->held)
        n = put_held(payload, size, n, spec->held);
    if (cwd > 0)
        n = sbx_field_put(payload, size, n, SBX_TAG_CWD, spec->cwd, cwd);
    if (builtin > 0)
        n = sbx_field_put(payload, size, n, SBX_TAG_BUILTIN, spec->builtin, builtin);
    n = put_list(payload, size, n, SBX_TAG_ENV, spec->env);
    n = put_list(payload, size, n, SBX_TAG_ARG, spec->argv);
    if (spec->command)
        n = sbx_field_put(payload, size, n, SBX_TAG_COMMAND, spec->command, spec->command_len);
    return sbx_link_put(link, SBX_FRAME_EXEC, stream, payload, n, err);
}

static int put_stdin(struct running *run, const char *data, size_t n, struct sbx_err *err)
{
    run->stdin_sent += (int64_t)n;
    run->stdin_credit -= n;
    while (n > 0) {
        size_t part = n < SBX_PAYLOAD_MAX ? n : SBX_PAYLOAD_MAX;
        if (sbx_link_put(run->link, SBX_FRAME_STDIN, run->stream, data, part, err) < 0)
            return -1;
        data += part;
        n -= part;
    }
    return 0;
}

/* The next piece of stdin, of at most n bytes. */
static int feed_piece(struct running *run, size_t n, struct sbx_err *err)
{
    const struct sbx_exec_spec *spec = run->spec;
    char piece[STDIN_PIECE];
    if (!spec->stdin_spool)
        return put_stdin(run, (const char *)spec->stdin_data + run->stdin_sent, n, err);
    ssize_t got = sbx_spool_read(spec->stdin_spool, run->stdin_sent, piece, n, err);
    if (got == 0)
        return sbx_err_set(err, SBX_ERR_INTERNAL, "a command's input became shorter while it was sent");
    return got < 0 ? -1 : put_stdin(run, piece, (size_t)got, err);
}

/* Queue as much of stdin as the agent's credit and our own queue allow. */
static int feed_stdin(struct running *run, struct sbx_err *err)
{
    if (run->stdin_len < 0 || run->stdin_closed)
        return 0;
    while (run->stdin_sent < run->stdin_len && run->stdin_credit > 0 && run->link->out.len < SBX_LINK_QUEUE) {
        int64_t left = run->stdin_len - run->stdin_sent;
        size_t n = left < STDIN_PIECE ? (size_t)left : STDIN_PIECE;
        if (feed_piece(run, n < run->stdin_credit ? n : run->stdin_credit, err) < 0)
            return -1;
    }
    if (run->stdin_sent < run->stdin_len)
        return 0;
    run->stdin_closed = true;
    return sbx_link_put(run->link, SBX_FRAME_STDIN_EOF, run->stream, NULL, 0, err);
}

void sbx_link_decode_exit(const struct sbx_field *field, struct sbx_exec_result *ret)
{
    uint32_t u32 = 0;
    uint64_t u64 = 0;
    (void)sbx_field_u32(field, &u32);
    (void)sbx_field_u64(field, &u64);
    switch (field->tag) {
    case SBX_TAG_CODE:
        ret->code = (int)u32;
        break;
    case SBX_TAG_SIGNAL:
        ret->signal = (int)u32;
        break;
    case SBX_TAG_REASON:
        ret->reason = (int)u32;
        break;
    case SBX_TAG_USER_US:
        ret->user_us = (int64_t)u64;
        break;
    case SBX_TAG_SYSTEM_US:
        ret->system_us = (int64_t)u64;
        break;
    case SBX_TAG_MAX_RSS:
        ret->max_rss_bytes = (int64_t)u64;
        break;
    case SBX_TAG_DURATION_US:
        ret->duration_us = (int64_t)u64;
        break;
    case SBX_TAG_MESSAGE:
        snprintf(ret->message, sizeof(ret->message), "%.*s", (int)field->len, (const char *)field->data);
        break;
    default:
        break;
    }
}

static void decode_exit(const struct sbx_frame *frame, struct sbx_exec_result *ret)
{
    *ret = (struct sbx_exec_result){0};
    struct sbx_field field;
    size_t off = 0;
    while (sbx_field_next(frame->payload, frame->len, &off, &field))
        sbx_link_decode_exit(&field, ret);
}

static int take_output(struct running *run, const struct sbx_frame *frame,
                       int (*on_output)(void *, int, const void *, size_t, struct sbx_err *), void *arg,
                       struct sbx_err *err)
{
    if (frame->len < 1)
        return 0;
    int64_t begun = sbx_now_ms();
    if (on_output(arg, frame->payload[0], frame->payload + 1, frame->len - 1, err) < 0)
        return -1;
    if (run->late_ms)
        run->late_ms += sbx_now_ms() - begun; /* not the agent's time: a client may take its own */
    run->uncredited += frame->len;
    if (run->uncredited < CREDIT_STEP)
        return 0;
    uint32_t n = (uint32_t)run->uncredited;
    uint8_t le[4] = {n & 0xff, n >> 8 & 0xff, n >> 16 & 0xff, n >> 24};
    run->uncredited = 0;
    return sbx_link_put(run->link, SBX_FRAME_CREDIT, run->stream, le, sizeof(le), err);
}

static void take_credit(struct running *run, const struct sbx_frame *frame)
{
    if (frame->len == 4) {
        const uint8_t *p = frame->payload;
        run->stdin_credit +=
            (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
    }
}

/* Frames that are there: 1 when the terminal record was among them. */
static int take_frames(struct running *run,
                       int (*on_output)(void *, int, const void *, size_t, struct sbx_err *), void *arg,
                       struct sbx_exec_result *ret, struct sbx_err *err)
{
    struct sbx_frame frame;
    int got;
    while ((got = sbx_link_next(run->link, &frame, err)) > 0) {
        if (frame.stream != run->stream)
            continue;
        if (frame.type == SBX_FRAME_EXIT) {
            decode_exit(&frame, ret);
            return 1;
        }
        if (frame.type == SBX_FRAME_CREDIT)
            take_credit(run, &frame);
        else if (frame.type == SBX_FRAME_OUTPUT && take_output(run, &frame, on_output, arg, err) < 0)
            return -1;
    }
    return got;
}

/* Milliseconds in which it should be over; -1: it may run for ever; 0: it is late, and nothing was left to
 * read. */
static int time_left(struct running *run)
{
    if (!run->late_ms)
        return -1;
    int64_t left = run->late_ms - sbx_now_ms();
    if (left <= 0 && !run->last_look) {
        run->last_look = true;
        run->late_ms += LAST_LOOK_MS - left;
        left = LAST_LOOK_MS;
    }
    return left > 0 ? (int)left : 0;
}

int sbx_link_exec(struct sbx_link *link, const struct sbx_exec_spec *spec,
                  int (*on_output)(void *, int, const void *, size_t, struct sbx_err *), void *arg,
                  struct sbx_exec_result *ret, struct sbx_err *err)
{
    struct running run = {.link = link,
                          .spec = spec,
                          .stream = sbx_link_stream(link),
                          .stdin_len = stdin_length(spec),
                          .stdin_credit = SBX_WIRE_WINDOW};
    SBX_SPAN("agent", "run a command");
    if (sbx_link_put_exec(link, run.stream, spec, err) < 0)
        return -1;
    if (spec->timeout_ms > 0)
        run.late_ms = sbx_now_ms() + spec->timeout_ms + AGENT_LATE_MS;
    for (;;) {
        int done = take_frames(&run, on_output, arg, ret, err);
        if (done > 0)
            return 0;
        if (done < 0 || feed_stdin(&run, err) < 0)
            break;
        int left = time_left(&run);
        if (left == 0) {
            link->late = true;
            sbx_err_set(err, SBX_ERR_UNAVAILABLE, "the agent did not end the command in time");
            break;
        }
        link->more = run.stdin_sent < run.stdin_len && run.stdin_credit > 0;
        int moved = sbx_link_pump(link, left, err);
        link->more = false;
        if (moved < 0)
            break;
    }
    sbx_link_abandon(link, run.stream);
    return -1;
}
