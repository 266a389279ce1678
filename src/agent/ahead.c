/* EXECs sent ahead: one line of them, each waiting for the one before it to end. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "agent/agent.h"

struct waiting {
    uint32_t stream, follows;
    bool if_ok;
    uint8_t *payload;
    size_t len;
};

static struct waiting line[SBX_AHEAD_MAX];
static size_t n_waiting;
static size_t bytes; /* of all payloads */

/* What becomes of the first of the line. */
static enum verdict { WAITS, STARTS, SKIPPED } verdict;

/* The exec that ended last; stream 0: none has yet. */
static struct {
    uint32_t stream;
    bool ok;
    bool goes_on; /* it does not keep its follower from starting */
} last;

static struct waiting parse(uint32_t stream, const uint8_t *payload, size_t n)
{
    struct waiting ret = {.stream = stream};
    struct sbx_field field;
    uint32_t flag = 0;

    for (size_t off = 0; sbx_field_next(payload, n, &off, &field);) {
        if (field.tag == SBX_TAG_FOLLOWS)
            (void)sbx_field_u32(&field, &ret.follows);
        else if (field.tag == SBX_TAG_IF_OK)
            ret.if_ok = sbx_field_u32(&field, &flag) && flag == 1;
    }
    return ret;
}

static bool is_end_of_line(uint32_t stream)
{
    if (n_waiting > 0)
        return line[n_waiting - 1].stream == stream;
    return last.stream == stream || exec_find(stream);
}

static void judge(void)
{
    if (n_waiting > 0 && verdict == WAITS && line[0].follows == last.stream)
        verdict = last.goes_on && (last.ok || !line[0].if_ok) ? STARTS : SKIPPED;
}

static void keep(struct waiting *exec, const uint8_t *payload, size_t n)
{
    if (!is_end_of_line(exec->follows)) {
        exec_refuse(exec->stream, 126, EINVAL, "the command follows one that is not the last");
        return;
    }
    bool room = n_waiting < SBX_AHEAD_MAX && n <= SBX_AHEAD_BYTES - bytes;
    exec->payload = room ? malloc(n) : NULL;
    if (!exec->payload) {
        exec_refuse(exec->stream, 126, EAGAIN, "too many commands are waiting");
        return;
    }
    memcpy(exec->payload, payload, n);
    exec->len = n;
    bytes += n;
    line[n_waiting++] = *exec;
    judge();
}

void ahead_exec(uint32_t stream, const uint8_t *payload, size_t n, int64_t now)
{
    struct waiting exec = parse(stream, payload, n);
    if (exec.follows == 0)
        exec_start(stream, payload, n, now);
    else
        keep(&exec, payload, n);
}

void ahead_over(uint32_t stream, uint32_t code, uint32_t reason)
{
    last.stream = stream;
    last.ok = code == 0;
    last.goes_on = reason != SBX_EXIT_TIMEOUT && reason != SBX_EXIT_CANCELLED && reason != SBX_EXIT_SKIPPED;
    judge();
}

static void skip(uint32_t stream)
{
    const struct outcome outcome = {.code = 126, .reason = SBX_EXIT_SKIPPED};
    uint8_t out[OUTCOME_SIZE];
    conn_send(SBX_FRAME_EXIT, stream, out, outcome_put(&outcome, out, sizeof(out), 0));
    ahead_over(stream, outcome.code, outcome.reason);
}

static void drop_last(void)
{
    struct waiting *exec = &line[--n_waiting];
    bytes -= exec->len;
    free(exec->payload);
    if (n_waiting == 0)
        verdict = WAITS;
}

void ahead_kill(uint32_t stream)
{
    size_t at = 0;
    while (at < n_waiting && line[at].stream != stream)
        at++;
    while (n_waiting > at) {
        uint32_t dropped = line[n_waiting - 1].stream;
        drop_last();
        skip(dropped);
    }
}

void ahead_forget(void)
{
    while (n_waiting > 0)
        drop_last();
    last.stream = 0;
}

void ahead_step(int64_t now)
{
    while (verdict != WAITS && queue_has_room()) {
        struct waiting first = line[0];
        bool starts = verdict == STARTS;
        verdict = WAITS;
        bytes -= first.len;
        n_waiting--;
        memmove(line, line + 1, n_waiting * sizeof(line[0]));
        if (starts)
            exec_start(first.stream, first.payload, first.len, now);
        else
            skip(first.stream);
        free(first.payload);
    }
}
