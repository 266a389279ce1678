/* What workers ask of held execs. */
#include <errno.h>
#include <signal.h>
#include <string.h>

#include "agent/agent.h"

#define CHUNK (SBX_PAYLOAD_MAX - 1)

/* A HELD frame, taken apart. */
struct operation {
    uint32_t op, signal, rows, columns, eof;
    uint64_t after, limit;
    struct sbx_field id, data;
};

/* The READ that is being answered; a connection has one at a time. */
static struct {
    const struct hold *hold; /* NULL: it has been forgotten meanwhile */
    bool used;
    uint32_t stream;
    uint64_t from, at, until;
} reading;

static void answer(uint32_t stream, int err)
{
    file_refuse(stream, err, text_errno(err));
}

static size_t put_times(const struct hold *hold, uint8_t *out, size_t size, size_t n)
{
    n = sbx_field_put_u64(out, size, n, SBX_TAG_STARTED_MS, (uint64_t)hold->started_ms);
    if (!hold->exec)
        return sbx_field_put_u64(out, size, n, SBX_TAG_ENDED_MS, (uint64_t)hold->ended_ms);
    return sbx_field_put_u64(out, size, n, SBX_TAG_DURATION_US, (uint64_t)(now_us() - hold->exec->started));
}

void hold_send_state(uint32_t stream, const struct hold *hold, uint64_t from, uint64_t to)
{
    uint8_t out[2048];
    const struct hold_options *options = &hold->options;
    bool input = hold->exec && hold->exec->in >= 0 && !hold->exec->in_eof;

    size_t n = sbx_field_put(out, sizeof(out), 0, SBX_TAG_HELD, options->id, strlen(options->id));
    n = sbx_field_put(out, sizeof(out), n, SBX_TAG_COMMAND, hold->command, strlen(hold->command));
    n = sbx_field_put(out, sizeof(out), n, SBX_TAG_REQUEST, hold->request, strlen(hold->request));
    n = sbx_field_put_u32(out, sizeof(out), n, SBX_TAG_RUNNING, hold->exec != NULL);
    n = sbx_field_put_u32(out, sizeof(out), n, SBX_TAG_TTY, options->tty);
    n = sbx_field_put_u32(out, sizeof(out), n, SBX_TAG_TIED, options->tied);
    n = sbx_field_put_u32(out, sizeof(out), n, SBX_TAG_INPUT, input);
    n = sbx_field_put_u64(out, sizeof(out), n, SBX_TAG_FIRST, hold->ring.first);
    n = sbx_field_put_u64(out, sizeof(out), n, SBX_TAG_END, hold->ring.end);
    n = sbx_field_put_u64(out, sizeof(out), n, SBX_TAG_FROM, from);
    n = sbx_field_put_u64(out, sizeof(out), n, SBX_TAG_TO, to);
    n = put_times(hold, out, sizeof(out), n);
    memcpy(out + n, hold->outcome, hold->outcome_len);
    conn_send(SBX_FRAME_HELD_STATE, stream, out, n + hold->outcome_len);
}

void hold_abort(void)
{
    reading.used = false;
}

void hold_gone(const struct hold *hold)
{
    if (reading.hold == hold)
        reading.hold = NULL;
}

/* Frames of output until the queue has its share. */
static void send_output(void)
{
    const struct hold_ring *ring = &reading.hold->ring;
    /* dropped meanwhile: what was sent is whole, and the rest is for another READ to miss */
    if (reading.at < ring->first)
        reading.until = reading.at;
    while (reading.at < reading.until && queue_output_frames() > 0) {
        uint8_t *frame = queue_reserve();
        uint64_t left = reading.until - reading.at;
        int channel = 0;
        size_t n = hold_ring_copy(ring, reading.at, frame + SBX_FRAME_HEADER + 1, left < CHUNK ? left : CHUNK,
                                  &channel);
        frame[SBX_FRAME_HEADER] = (uint8_t)(channel + 1);
        queue_commit(sbx_frame_encode(frame, conn_key(), SBX_FRAME_OUTPUT, 0, reading.stream,
                                      frame + SBX_FRAME_HEADER, n + 1));
        reading.at += n;
    }
}

void hold_step(void)
{
    if (!reading.used)
        return;
    if (reading.hold)
        send_output();
    if (!queue_has_room() || (reading.hold && reading.at < reading.until))
        return;
    reading.used = false;
    if (reading.hold)
        hold_send_state(reading.stream, reading.hold, reading.from, reading.at);
    answer(reading.stream, reading.hold ? 0 : ENOENT);
}

static void start_reading(uint32_t stream, struct hold *hold, const struct operation *operation)
{
    const struct hold_ring *ring = &hold->ring;
    uint64_t from = operation->after < ring->first ? ring->first : operation->after;

    if (reading.used) {
        answer(stream, EBUSY);
        return;
    }
    from = from > ring->end ? ring->end : from;
    uint64_t until = ring->end - from < operation->limit ? ring->end : from + operation->limit;
    /* a number beyond the end is one that nobody was given, and says nothing of what others have had */
    if (hold->seen < operation->after && operation->after <= ring->end)
        hold->seen = operation->after;
    reading.used = true;
    reading.hold = hold;
    reading.stream = stream;
    reading.from = reading.at = from;
    reading.until = until;
    hold_step();
}

static void take_input(uint32_t stream, const struct hold *hold, const struct operation *operation,
                       int64_t now)
{
    uint8_t out[64];
    struct exec *exec = hold->exec;
    size_t done = 0;

    if (!exec || exec->in < 0 || exec->in_eof) {
        answer(stream, EPIPE);
        return;
    }
    for (size_t room; done < operation->data.len && (room = input_room(exec)) > 0;) {
        size_t n = operation->data.len - done < room ? operation->data.len - done : room;
        input_add(exec, operation->data.data + done, n, now);
        done += n;
    }
    if (operation->eof == 1 && done == operation->data.len)
        input_eof(exec);
    size_t n = sbx_field_put_u32(out, sizeof(out), 0, SBX_TAG_STATUS, 0);
    n = sbx_field_put_u64(out, sizeof(out), n, SBX_TAG_ACCEPTED, done);
    conn_send(SBX_FRAME_RESULT, stream, out, n);
}

static int send_signal(const struct hold *hold, uint32_t sig)
{
    const struct exec *exec = hold->exec;
    if (sig < 1 || sig > (uint32_t)SIGRTMAX)
        return EINVAL;
    if (!exec || exec->reaped)
        return ESRCH;
    pid_t group = exec->tty && exec->out[0] >= 0 ? pty_foreground(exec->out[0]) : -1;
    if (group <= 1 || kill(-group, (int)sig) < 0)
        tree_signal(exec, (int)sig);
    return 0;
}

static int resize(const struct hold *hold, const struct operation *operation)
{
    if (!hold->options.tty)
        return ENOTTY;
    if (!hold->exec || hold->exec->out[0] < 0)
        return ESRCH;
    return pty_resize(hold->exec->out[0], operation->rows, operation->columns) < 0 ? errno : 0;
}

static void cancel(struct hold *hold, int64_t now)
{
    struct exec *exec = hold->exec;
    hold->cancelled = true;
    if (!exec || exec->ending != NOT_ENDING)
        return;
    if (!exec->reaped)
        exec->reason = SBX_EXIT_CANCELLED;
    tree_terminate(exec, now);
}

static void forget(struct hold *hold, int64_t now)
{
    cancel(hold, now);
    hold->forget = true;
    if (!hold->exec)
        hold_free(hold);
}

static void list(uint32_t stream)
{
    for (const struct hold *hold = hold_next(0); hold; hold = hold_next(hold->order))
        if (!hold->forget)
            hold_send_state(stream, hold, 0, 0);
    answer(stream, 0);
}

static void parse(struct operation *operation, const uint8_t *payload, size_t n)
{
    struct sbx_field field;
    for (size_t off = 0; sbx_field_next(payload, n, &off, &field);) {
        if (field.tag == SBX_TAG_HELD)
            operation->id = field;
        else if (field.tag == SBX_TAG_DATA)
            operation->data = field;
        else if (field.tag == SBX_TAG_OP)
            (void)sbx_field_u32(&field, &operation->op);
        else if (field.tag == SBX_TAG_SIGNAL)
            (void)sbx_field_u32(&field, &operation->signal);
        else if (field.tag == SBX_TAG_ROWS)
            (void)sbx_field_u32(&field, &operation->rows);
        else if (field.tag == SBX_TAG_COLUMNS)
            (void)sbx_field_u32(&field, &operation->columns);
        else if (field.tag == SBX_TAG_EOF)
            (void)sbx_field_u32(&field, &operation->eof);
        else if (field.tag == SBX_TAG_AFTER)
            (void)sbx_field_u64(&field, &operation->after);
        else if (field.tag == SBX_TAG_LIMIT)
            (void)sbx_field_u64(&field, &operation->limit);
    }
}

void hold_operate(uint32_t stream, const uint8_t *payload, size_t n, int64_t now)
{
    struct operation operation = {.op = 0};
    parse(&operation, payload, n);
    if (operation.op == SBX_HELD_LIST) {
        list(stream);
        return;
    }
    struct hold *hold = operation.id.data ? hold_find(operation.id.data, operation.id.len) : NULL;
    if (!hold || hold->forget) {
        answer(stream, ENOENT);
        return;
    }
    switch (operation.op) {
    case SBX_HELD_STATE:
        hold_send_state(stream, hold, 0, 0);
        answer(stream, 0);
        break;
    case SBX_HELD_READ:
        start_reading(stream, hold, &operation);
        break;
    case SBX_HELD_INPUT:
        take_input(stream, hold, &operation, now);
        break;
    case SBX_HELD_SIGNAL:
        answer(stream, send_signal(hold, operation.signal));
        break;
    case SBX_HELD_RESIZE:
        answer(stream, resize(hold, &operation));
        break;
    case SBX_HELD_CANCEL:
        cancel(hold, now);
        answer(stream, 0);
        break;
    case SBX_HELD_FORGET:
        forget(hold, now);
        answer(stream, 0);
        break;
    default:
        answer(stream, ENOSYS);
        break;
    }
}
