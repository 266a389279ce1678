/*
 * GET /session/{id}/exec/{exec}/stream: follow an exec. Every look takes the session's lock for the moment of
 * one call to its agent; while it waits, or writes to a slow client, the session is free.
 */
#include <stdlib.h>
#include <string.h>

#include "api/events.h"
#include "api/exec.h"
#include "sandboxd/wire.h"

#define READ_MAX    ((size_t)256 * 1024) /* bytes of one look */
#define RUNS_MAX    1024                 /* changes of channel in them; the rest is for the next look */
#define LOCK_MS     100                  /* a busy session is asked again later */
#define BUSY_MS     50
#define FIRST_MS    10 /* pause after a look: grows while nothing is new */
#define LAST_MS     150
#define PATIENCE_MS 15000 /* how long dockerd or the store may be away */

/* Bytes of one channel after another. */
struct piece {
    int channel;
    size_t start;
};

struct follower {
    struct sbx_call *call;
    struct sbx_events events;
    uint64_t after;  /* what the client has */
    bool asked;      /* `after` was given */
    bool tied;       /* the exec is to be cancelled when the client goes away */
    bool tied_known; /* false: the agent has not said it yet */
    bool over;       /* the exit event is out */
    int pause_ms;
    int64_t failing_ms; /* since when nothing can be read, 0 */
    struct sbx_held held;
    char *data; /* owned; READ_MAX */
    size_t len;
    struct piece pieces[RUNS_MAX];
    size_t count;
    bool full; /* what else this look gives is for the next one: `after` tells what was told */
};

static int on_output(void *arg, int channel, const void *data, size_t n, struct sbx_err *err)
{
    struct follower *follower = arg;
    bool goes_on = follower->count > 0 && follower->pieces[follower->count - 1].channel == channel;
    follower->full |= follower->count == RUNS_MAX && !goes_on;
    if (follower->full)
        return 0;
    if (n > READ_MAX - follower->len)
        return sbx_err_set(err, SBX_ERR_INTERNAL, "the agent gave more output than was asked for");
    if (!goes_on)
        follower->pieces[follower->count++] = (struct piece){channel, follower->len};
    memcpy(follower->data + follower->len, data, n);
    follower->len += n;
    return 0;
}

/* One call to the session's agent: 1 it has answered, 0 the session is busy, -1. */
static int ask(struct follower *follower, struct sbx_held_call *held, struct sbx_err *err)
{
    struct sbx_call *call = follower->call;
    struct sbx_session session;
    held->id = call->item;
    if (sbx_exec_open(call, LOCK_MS, &session, err) < 0)
        return err->kind == SBX_ERR_CONFLICT ? 0 : -1;
    int rc = sbx_session_held(&session, held, err);
    sbx_session_done(&session, rc < 0 ? err : NULL);
    if (rc < 0)
        return -1;
    if (!follower->tied_known)
        follower->tied = held->held.tied;
    follower->tied_known = true;
    follower->failing_ms = 0;
    return 1;
}

/* 1 something was read, 0 the session is busy, -1. */
static int look(struct follower *follower, struct sbx_err *err)
{
    struct sbx_held_call held = {
        .op = SBX_HELD_READ,
        .after = follower->after,
        .limit = READ_MAX,
        .on_output = on_output,
        .arg = follower,
    };
    follower->len = follower->count = 0;
    follower->full = false;
    int seen = ask(follower, &held, err);
    if (seen > 0)
        follower->held = held.held;
    return seen;
}

/* What the client will not see: the ring dropped it before anybody asked. */
static int tell_dropped(struct follower *follower, struct sbx_err *err)
{
    uint64_t from = follower->held.from;
    if (from <= follower->after)
        return 0;
    if (sbx_events_flush(&follower->events, (int64_t)follower->after, err) < 0 ||
        sbx_events_add(&follower->events, err, "dropped", (int64_t)from,
                       ",\"from\":%llu,\"to\":%llu,\"bytes\":%llu", (unsigned long long)follower->after,
                       (unsigned long long)from, (unsigned long long)(from - follower->after)) < 0)
        return -1;
    follower->after = from;
    return 0;
}

/* A character that the last piece cuts is left for the next look, so that a client can come back to any
 * number that it was given; unless nothing follows it. */
static size_t hold_back(const struct follower *follower, const char *data, size_t n)
{
    bool last = !follower->held.running && follower->after + n == follower->held.end;
    return last || follower->events.base64 ? 0 : sbx_text_unfinished(data, n);
}

static int tell_output(struct follower *follower, struct sbx_err *err)
{
    for (size_t i = 0; i < follower->count; i++) {
        const struct piece *piece = &follower->pieces[i];
        bool last = i + 1 == follower->count;
        const char *data = follower->data + piece->start;
        size_t n = (last ? follower->len : piece[1].start) - piece->start;
        n -= last ? hold_back(follower, data, n) : 0;
        if (n > 0 &&
            sbx_events_output(&follower->events, piece->channel, data, n, (int64_t)follower->after, err) < 0)
            return -1;
        follower->after += n;
    }
    return 0;
}

static int tell_exit(struct follower *follower, struct sbx_err *err)
{
    struct sbx_events *events = &follower->events;
    struct json_object *obj = json_object_new_object();
    struct sbx_buf text;
    follower->over = true;
    sbx_buf_init(&text, 64 * 1024);
    sbx_exec_describe(obj, &follower->held);
    int rc = sbx_json_print(obj, &text, err);
    json_object_put(obj);
    /* one more than the last byte: whoever comes back after it has seen everything */
    if (rc == 0 &&
        (sbx_events_flush(events, (int64_t)follower->after, err) < 0 ||
         sbx_events_begin(events, "exit", (int64_t)follower->held.end + 1, err) < 0 ||
         sbx_buf_addstr(&events->buf, ",", err) < 0 ||
         sbx_buf_add(&events->buf, text.data + 1, text.len - 2, err) < 0 || sbx_events_send(events, err) < 0))
        rc = -1;
    sbx_buf_done(&text);
    return rc < 0 ? -1 : sbx_answer_end(follower->call->request, err);
}

/* Everything that the look has found. */
static int tell(struct follower *follower, struct sbx_err *err)
{
    uint64_t before = follower->after;
    if (sbx_events_start(&follower->events, err) < 0 || tell_dropped(follower, err) < 0 ||
        tell_output(follower, err) < 0)
        return -1;
    if (!follower->held.running && follower->after == follower->held.end)
        return tell_exit(follower, err);
    if (follower->after > before)
        follower->pause_ms = follower->after < follower->held.end ? 1 : FIRST_MS;
    else
        follower->pause_ms += follower->pause_ms / 2 + 1;
    if (follower->pause_ms > LAST_MS)
        follower->pause_ms = LAST_MS;
    return 0;
}

/* May it pass? A restart of dockerd or the store does; what is gone stays gone. */
static bool passes(struct follower *follower, const struct sbx_err *failure)
{
    if (failure->kind != SBX_ERR_UNAVAILABLE)
        return false;
    int64_t now = sbx_now_ms();
    if (follower->failing_ms == 0)
        follower->failing_ms = now;
    follower->pause_ms = LAST_MS;
    return now - follower->failing_ms < PATIENCE_MS;
}

/* A number beyond the end: the client has seen the exit event, or makes it up. 1: answered. */
static int check_after(struct follower *follower, struct sbx_err *err)
{
    const struct sbx_held *held = &follower->held;
    if (follower->events.started || follower->after <= held->end)
        return 0;
    if (!held->running && follower->after == held->end + 1)
        return sbx_answer(follower->call->request, 204, NULL, NULL, 0, err) < 0 ? -1 : 1;
    return sbx_err_set(err, SBX_ERR_INVALID, "The command has written no more than %llu bytes",
                       (unsigned long long)held->end);
}

/* One round; 1 when the stream is over. */
static int step(struct follower *follower, struct sbx_err *err)
{
    struct sbx_err failure = SBX_ERR_INIT;
    if (sbx_is_draining(follower->call->api))
        return sbx_err_set(err, SBX_ERR_UNAVAILABLE, SBX_STOPPING);
    int seen = look(follower, &failure);
    if (seen < 0 && !(follower->events.started && passes(follower, &failure))) {
        *err = failure;
        return -1;
    }
    if (seen > 0) {
        int answered = check_after(follower, err);
        if (answered != 0)
            return answered;
        if (tell(follower, err) < 0)
            return -1;
    } else if (sbx_events_start(&follower->events, err) < 0) {
        return -1;
    } else {
        follower->pause_ms = BUSY_MS;
    }
    return follower->over;
}

static int follow(struct follower *follower, struct sbx_err *err)
{
    for (;;) {
        int done = step(follower, err);
        if (done != 0)
            return done < 0 ? -1 : 0;
        if (sbx_wait_poll(&follower->call->wait, NULL, 0, follower->pause_ms, err) < 0 ||
            sbx_events_keep_alive(&follower->events, err) < 0)
            return -1;
    }
}

/* The client went away: a command that is tied to it ends with it. While the session is busy nobody can end
 * it, so that this stays, on the place that following has taken, until it has; only a stop ends it earlier.
 */
static void leave(struct follower *follower)
{
    struct sbx_wait *wait = &follower->call->wait;
    wait->client_fd = -1;
    while (follower->tied || !follower->tied_known) {
        struct sbx_err failure = SBX_ERR_INIT;
        struct sbx_held_call held = {.op = follower->tied_known ? SBX_HELD_CANCEL : SBX_HELD_STATE};
        int done = ask(follower, &held, &failure);
        if (done > 0 && held.op == SBX_HELD_CANCEL)
            return;
        if (done < 0 && !passes(follower, &failure))
            return;
        if (done <= 0 && sbx_wait_poll(wait, NULL, 0, BUSY_MS, &failure) < 0)
            return;
    }
}

/* Where the client stands: ?after= or, from a browser that comes back, Last-Event-ID. */
static int read_position(struct sbx_call *call, struct follower *follower, struct sbx_err *err)
{
    char text[32];
    char encoding[16] = "text";
    char detach[8] = "";
    const char *id = sbx_request_header(call->request, "last-event-id");
    if (id)
        snprintf(text, sizeof(text), "%s", id);
    if (id || sbx_request_param(call->request, "after", text, sizeof(text))) {
        char *end;
        long long number = strtoll(text, &end, 10);
        if (end == text || *end != '\0' || number < 0 || number == INT64_MAX)
            return sbx_err_set(err, SBX_ERR_INVALID, "after must be a number that the stream has given");
        follower->after = (uint64_t)number;
    }
    (void)sbx_request_param(call->request, "encoding", encoding, sizeof(encoding));
    follower->events.base64 = strcmp(encoding, "base64") == 0;
    if (!follower->events.base64 && strcmp(encoding, "text") != 0)
        return sbx_err_set(err, SBX_ERR_INVALID, "encoding must be text or base64");
    if (sbx_request_param(call->request, "detach", detach, sizeof(detach))) {
        follower->tied = strcmp(detach, "false") == 0;
        follower->tied_known = true;
    }
    return 0;
}

static int serve(struct follower *follower, struct sbx_err *err)
{
    int rc = follow(follower, err);
    if (rc == 0)
        return 0;
    if (err->kind == SBX_ERR_CANCELLED)
        leave(follower);
    if (follower->events.started)
        sbx_events_fail(&follower->events, err);
    return -1;
}

int sbx_handle_exec_stream(struct sbx_call *call, struct sbx_err *err)
{
    const struct sbx_api *api = call->api;
    enum sbx_stream_form form = sbx_stream_form(call->request);
    if (api->on_stream && !api->on_stream(api->on_stream_arg, true))
        return sbx_err_set(err, SBX_ERR_LIMITED, "Too many execs are being followed; try again later");
    struct follower *follower = calloc(1, sizeof(*follower));
    char *data = malloc(READ_MAX);
    int rc = -1;
    if (follower && data) {
        follower->call = call;
        follower->data = data;
        follower->pause_ms = FIRST_MS;
        sbx_events_init(&follower->events, call, form == SBX_STREAM_NONE ? SBX_STREAM_SSE : form);
        rc = read_position(call, follower, err) < 0 ? -1 : serve(follower, err);
        sbx_events_done(&follower->events);
    } else {
        sbx_err_set(err, SBX_ERR_INTERNAL, "out of memory for a stream");
    }
    free(data);
    free(follower);
    if (api->on_stream)
        api->on_stream(api->on_stream_arg, false);
    return rc;
}
