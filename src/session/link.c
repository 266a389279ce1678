/* The connection to one agent: HELLO, frames in and out over dockerd's attach stream. */
#include "session/link.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* More than the largest message with its framing, so that one message always fits. */
#define OUT_MAX  (SBX_MESSAGE_MAX + SBX_MESSAGE_MAX / 64)
#define GREET_MS 10000
#define LOOK_MS  200 /* dockerd accepts an attach to a container that does not run, and then says nothing */

static int put_hello(struct sbx_link *link, struct sbx_err *err)
{
    uint8_t payload[192];
    const char *request = link->engine->request;
    size_t n = sbx_field_put_u32(payload, sizeof(payload), 0, SBX_TAG_VERSION, SBX_WIRE_VERSION);
    n = sbx_field_put_u64(payload, sizeof(payload), n, SBX_TAG_NONCE, link->nonce);
    n = sbx_field_put_u64(payload, sizeof(payload), n, SBX_TAG_FENCE, link->fence);
    if (request)
        n = sbx_field_put(payload, sizeof(payload), n, SBX_TAG_REQUEST, request, strlen(request));
    return sbx_link_put(link, SBX_FRAME_HELLO, 0, payload, n, err);
}

struct sbx_link *sbx_link_open(struct sbx_engine *engine, const char *container, uint64_t fence,
                               struct sbx_err *err)
{
    struct sbx_link *link = calloc(1, sizeof(*link));
    if (!link) {
        sbx_err_set(err, SBX_ERR_INTERNAL, "out of memory for an agent link");
        return NULL;
    }
    link->engine = engine;
    sbx_buf_init(&link->out, OUT_MAX);
    sbx_frame_reader_init(&link->reader);
    sbx_random(&link->nonce, sizeof(link->nonce));
    link->key = sbx_wire_key(link->nonce);
    link->fence = fence;
    snprintf(link->container, sizeof(link->container), "%s", container);
    link->opened_ms = link->pinged_ms = link->heard_ms = sbx_now_ms();
    link->look_ms = link->opened_ms + LOOK_MS;
    link->attach = sbx_docker_attach(engine->docker, engine->wait, container, err);
    if (!link->attach || put_hello(link, err) < 0) {
        sbx_link_close(link);
        return NULL;
    }
    return link;
}

void sbx_link_close(struct sbx_link *link)
{
    if (!link)
        return;
    sbx_attach_close(link->attach);
    sbx_buf_done(&link->out);
    free(link);
}

bool sbx_link_late(const struct sbx_link *link)
{
    return link && link->late;
}

uint32_t sbx_link_stream(struct sbx_link *link)
{
    return ++link->last_stream;
}

int sbx_link_put(struct sbx_link *link, uint8_t type, uint32_t stream, const void *payload, size_t n,
                 struct sbx_err *err)
{
    const uint8_t *at = payload;
    uint64_t key = type == SBX_FRAME_HELLO ? 0 : link->key;
    do {
        size_t part = n < SBX_PAYLOAD_MAX ? n : SBX_PAYLOAD_MAX;
        char *to = sbx_buf_reserve(&link->out, SBX_FRAME_MAX, err);
        if (!to)
            return -1;
        link->out.len +=
            sbx_frame_encode((uint8_t *)to, key, type, part < n ? SBX_FRAME_MORE : 0, stream, at, part);
        at += part;
        n -= part;
    } while (n > 0);
    return 0;
}

/* Write what the stream takes now. */
static int flush(struct sbx_link *link, struct sbx_err *err)
{
    size_t done = 0;
    while (done < link->out.len) {
        ssize_t n = sbx_attach_write(link->attach, link->out.data + done, link->out.len - done, err);
        if (n < 0)
            return -1;
        if (n == 0)
            break;
        done += (size_t)n;
    }
    sbx_buf_consume(&link->out, done);
    return done > 0;
}

/* Read what is there now into the frame reader; frames must be taken out between two calls. */
static int fill(struct sbx_link *link, struct sbx_err *err)
{
    size_t room;
    uint8_t *to = sbx_frame_space(&link->reader, &room);
    ssize_t n = sbx_attach_read(link->attach, to, room, err);
    if (n < 0) {
        const char *words = sbx_attach_stderr(link->attach);
        return *words ? sbx_err_wrap(err, "the agent said: %.200s", words) : -1;
    }
    if (n == 0)
        return 0;
    sbx_frame_fed(&link->reader, (size_t)n);
    link->heard_ms = sbx_now_ms();
    return 1;
}

static int ping_when_due(struct sbx_link *link, struct sbx_err *err)
{
    int64_t now = sbx_now_ms();
    if (now - link->pinged_ms < SBX_LINK_PING_MS)
        return 0;
    link->pinged_ms = now;
    if (link->asked_ms <= link->heard_ms)
        link->asked_ms = now;
    return sbx_link_put(link, SBX_FRAME_PING, 0, NULL, 0, err);
}

/* The agent has not answered yet: is anybody there? */
static int look(struct sbx_link *link, struct sbx_err *err)
{
    int64_t now = sbx_now_ms();
    if (link->greeted || now < link->look_ms)
        return 0;
    if (now - link->opened_ms > GREET_MS)
        return sbx_err_set(err, SBX_ERR_UNAVAILABLE, "the agent did not answer within %d s", GREET_MS / 1000);
    struct sbx_docker_state state;
    struct sbx_engine *engine = link->engine;
    if (sbx_docker_inspect(engine->docker, engine->wait, link->container, &state, err) < 0)
        return -1;
    link->look_ms = sbx_now_ms() + 5 * LOOK_MS;
    return state.running ? 0 : sbx_err_set(err, SBX_ERR_CONFLICT, "the container does not run");
}

/* To be asked when nothing of it is left to read: this process may itself have stood still. */
static bool is_dead(const struct sbx_link *link)
{
    return link->greeted && link->asked_ms > link->heard_ms &&
           sbx_now_ms() - link->asked_ms > SBX_LINK_DEAD_MS;
}

int sbx_link_pump(struct sbx_link *link, int timeout_ms, struct sbx_err *err)
{
    if (ping_when_due(link, err) < 0 || look(link, err) < 0)
        return -1;
    int wrote = flush(link, err);
    if (wrote < 0)
        return -1;
    int got = fill(link, err); /* often it is there already; saves the poll */
    if (got != 0)
        return got;
    if (is_dead(link))
        return sbx_err_set(err, SBX_ERR_UNAVAILABLE, "the agent has not answered for %d s",
                           SBX_LINK_DEAD_MS / 1000);
    if (link->more && link->out.len < SBX_LINK_QUEUE)
        return 1;
    if (wrote && link->out.len == 0 && timeout_ms == 0)
        return 1;

    int limit = SBX_LINK_PING_MS;
    bool partial = sbx_frame_partial(&link->reader);
    if (!link->greeted)
        limit = LOOK_MS;
    if (partial)
        limit = SBX_WIRE_SILENCE_MS;
    if (timeout_ms >= 0 && timeout_ms < limit)
        limit = timeout_ms;
    struct pollfd fd = {.fd = sbx_attach_fd(link->attach), .events = POLLIN | (link->out.len ? POLLOUT : 0)};
    int ready = sbx_wait_poll(link->engine->wait, &fd, 1, limit, err);
    if (ready < 0)
        return -1;
    if (ready == 0) {
        if (partial && sbx_now_ms() - link->heard_ms >= SBX_WIRE_SILENCE_MS)
            (void)sbx_frame_resync(&link->reader); /* half a frame of somebody who is gone */
        return timeout_ms < 0 || limit < timeout_ms ? 1 : 0;
    }
    if ((fd.revents & POLLOUT) && flush(link, err) < 0)
        return -1;
    if (fd.revents & (POLLIN | POLLHUP | POLLERR))
        return fill(link, err) < 0 ? -1 : 1;
    return 1;
}

static int refusal(const struct sbx_link *link, uint64_t fence, const struct sbx_field *why,
                   struct sbx_err *err)
{
    if (fence > link->fence)
        return sbx_err_set(err, SBX_ERR_UNAVAILABLE, "the session was taken over by another request");
    return sbx_err_set(err, SBX_ERR_UNAVAILABLE, "the agent refused: %.*s", (int)why->len,
                       (const char *)why->data);
}

/* HELLO's answer: 1 it is ours, 0 it is an earlier one's, -1 we are refused. */
static int greeting(struct sbx_link *link, const struct sbx_frame *frame, struct sbx_err *err)
{
    struct sbx_field field, why = {.len = 0};
    uint64_t nonce = 0, fence = 0;
    size_t off = 0;
    while (sbx_field_next(frame->payload, frame->len, &off, &field)) {
        if (field.tag == SBX_TAG_NONCE)
            (void)sbx_field_u64(&field, &nonce);
        else if (field.tag == SBX_TAG_FENCE)
            (void)sbx_field_u64(&field, &fence);
        else if (field.tag == SBX_TAG_MESSAGE)
            why = field;
    }
    if (nonce != link->nonce)
        return 0;
    if (frame->type == SBX_FRAME_REFUSED)
        return refusal(link, fence, &why, err);
    link->greeted = true;
    link->reader.key = link->key;
    return 1;
}

int sbx_link_next(struct sbx_link *link, struct sbx_frame *ret, struct sbx_err *err)
{
    while (sbx_frame_next(&link->reader, ret)) {
        if (ret->type == SBX_FRAME_HELLO_ACK || ret->type == SBX_FRAME_REFUSED) {
            if (greeting(link, ret, err) < 0)
                return -1;
        } else if (link->greeted && ret->type != SBX_FRAME_PONG) {
            return 1;
        }
    }
    return 0;
}

int sbx_link_greet(struct sbx_link *link, struct sbx_err *err)
{
    struct sbx_frame frame;
    SBX_SPAN("agent", "greet");
    while (!link->greeted) {
        if (sbx_link_pump(link, -1, err) < 0 || sbx_link_next(link, &frame, err) < 0)
            return -1;
    }
    return 0;
}

void sbx_link_abandon(struct sbx_link *link, uint32_t stream)
{
    struct sbx_err ignored = SBX_ERR_INIT;
    if (sbx_link_put(link, SBX_FRAME_KILL, stream, NULL, 0, &ignored) == 0)
        (void)!flush(link, &ignored);
}
