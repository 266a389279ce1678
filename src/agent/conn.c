/*
 * The connection: frames in, HELLO and its fence, messages put together, frames out. A connection is whatever
 * the newest accepted HELLO opened; the pipe below it never closes.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "agent/agent.h"

#define MAX_MESSAGES 8
#define MAX_READS    64

uint32_t conn_patience_ms = 60 * 1000;

/* A message whose frames are still arriving. */
struct message {
    bool used;
    int err; /* why it will be refused, once all of it has come */
    uint8_t type;
    uint32_t stream;
    uint8_t *data;
    size_t len, capacity;
};

static struct {
    struct sbx_frame_reader reader;
    uint64_t boot;
    uint64_t fence; /* newest seen */
    char request[SBX_REQUEST_ID_MAX + 1];
    bool open;
    int64_t heard;      /* last frame */
    int64_t last_bytes; /* last read that gave any */
    bool searched;      /* for a whole frame since then */
    size_t watched;
    bool watching;
    struct message messages[MAX_MESSAGES];
} conn;

void conn_init(void)
{
    sbx_frame_reader_init(&conn.reader);
    if (getrandom(&conn.boot, sizeof(conn.boot), 0) < 0)
        conn.boot = (uint64_t)now_us();
}

uint64_t conn_key(void)
{
    return conn.reader.key;
}

const char *conn_request(void)
{
    return conn.request;
}

void conn_send(uint8_t type, uint32_t stream, const void *payload, size_t len)
{
    queue_send(conn.reader.key, type, stream, payload, len);
}

static void message_done(struct message *message)
{
    free(message->data);
    *message = (struct message){.used = false};
}

static struct message *message_find(uint8_t type, uint32_t stream)
{
    for (size_t i = 0; i < MAX_MESSAGES; i++)
        if (conn.messages[i].used && conn.messages[i].type == type && conn.messages[i].stream == stream)
            return &conn.messages[i];
    return NULL;
}

static struct message *message_new(uint8_t type, uint32_t stream)
{
    for (size_t i = 0; i < MAX_MESSAGES; i++) {
        if (!conn.messages[i].used) {
            conn.messages[i] = (struct message){.used = true, .type = type, .stream = stream};
            return &conn.messages[i];
        }
    }
    return NULL;
}

static void message_append(struct message *message, const uint8_t *data, size_t n)
{
    if (message->err != 0)
        return;
    if (n > SBX_MESSAGE_MAX - message->len) {
        message->err = E2BIG;
        return;
    }
    if (message->capacity - message->len < n) {
        size_t capacity = message->capacity == 0 ? 8 * SBX_PAYLOAD_MAX : 2 * message->capacity;
        uint8_t *grown = realloc(message->data, capacity);
        if (!grown) {
            message->err = ENOMEM;
            return;
        }
        message->data = grown;
        message->capacity = capacity;
    }
    memcpy(message->data + message->len, data, n);
    message->len += n;
}

static void refuse(uint8_t type, uint32_t stream, int err)
{
    const char *why = err == E2BIG ? "the request is larger than 8 MiB" : "out of memory for the request";
    if (type == SBX_FRAME_EXEC)
        exec_refuse(stream, 126, err, why);
    else
        file_refuse(stream, err, why);
}

static void dispatch(uint8_t type, uint32_t stream, const uint8_t *payload, size_t n, int64_t now)
{
    if (type == SBX_FRAME_EXEC)
        exec_start(stream, payload, n, now);
    else if (type == SBX_FRAME_HELD)
        hold_operate(stream, payload, n, now);
    else
        file_write(stream, payload, n);
}

/* EXEC, HELD and WRITE, which may take several frames. */
static void on_message(const struct sbx_frame *frame, int64_t now)
{
    struct message *message = message_find(frame->type, frame->stream);
    bool more = frame->flags & SBX_FRAME_MORE;

    if (!message && !more) {
        dispatch(frame->type, frame->stream, frame->payload, frame->len, now);
        return;
    }
    if (!message)
        message = message_new(frame->type, frame->stream);
    if (!message) { /* no worker begins so many at once: this is not one. Nothing passes until the next HELLO.
                     */
        conn.reader.key = 0;
        return;
    }
    message_append(message, frame->payload, frame->len);
    if (more)
        return;
    if (message->err != 0)
        refuse(message->type, message->stream, message->err);
    else
        dispatch(message->type, message->stream, message->data, message->len, now);
    message_done(message);
}

static void send_refused(uint64_t nonce, const char *why)
{
    uint8_t out[256];
    size_t n = sbx_field_put_u64(out, sizeof(out), 0, SBX_TAG_NONCE, nonce);
    n = sbx_field_put_u64(out, sizeof(out), n, SBX_TAG_FENCE, conn.fence);
    n = sbx_field_put(out, sizeof(out), n, SBX_TAG_MESSAGE, why, strlen(why));
    queue_send(0, SBX_FRAME_REFUSED, 0, out, n);
}

static void send_hello_ack(uint64_t nonce)
{
    uint8_t out[64];
    size_t n = sbx_field_put_u32(out, sizeof(out), 0, SBX_TAG_VERSION, SBX_WIRE_VERSION);
    n = sbx_field_put_u64(out, sizeof(out), n, SBX_TAG_NONCE, nonce);
    n = sbx_field_put_u64(out, sizeof(out), n, SBX_TAG_BOOT, conn.boot);
    queue_send(0, SBX_FRAME_HELLO_ACK, 0, out, n);
}

/* Who holds the session now, for the one that is refused. */
static void refuse_older(uint64_t nonce)
{
    char why[64 + SBX_REQUEST_ID_MAX];
    text_join(why, sizeof(why), "a newer holder of the session has attached",
              conn.request[0] ? ", request " : "", conn.request, NULL);
    send_refused(nonce, why);
}

static void take_request(const struct sbx_field *field)
{
    size_t n = field->len <= SBX_REQUEST_ID_MAX ? field->len : 0;
    if (n > 0)
        memcpy(conn.request, field->data, n);
    conn.request[n] = '\0';
}

static void on_hello(const struct sbx_frame *frame, int64_t now)
{
    uint32_t version = 0;
    uint64_t nonce = 0, fence = 0;
    struct sbx_field field, request = {.len = 0};

    for (size_t off = 0; sbx_field_next(frame->payload, frame->len, &off, &field);) {
        if (field.tag == SBX_TAG_VERSION)
            (void)sbx_field_u32(&field, &version);
        else if (field.tag == SBX_TAG_NONCE)
            (void)sbx_field_u64(&field, &nonce);
        else if (field.tag == SBX_TAG_FENCE)
            (void)sbx_field_u64(&field, &fence);
        else if (field.tag == SBX_TAG_REQUEST)
            request = field;
    }
    if (version != SBX_WIRE_VERSION) {
        send_refused(nonce, "this agent speaks another version of the protocol");
        return;
    }
    if (fence < conn.fence) {
        refuse_older(nonce);
        return;
    }
    conn.fence = fence;
    take_request(&request);
    conn.reader.key = sbx_wire_key(nonce);
    conn.open = true;
    conn.heard = now;
    for (size_t i = 0; i < MAX_MESSAGES; i++)
        message_done(&conn.messages[i]);
    file_abort(false);
    hold_abort();
    exec_disconnect(false, now);
    queue_forget();
    send_hello_ack(nonce);
}

static void on_credit(const struct sbx_frame *frame)
{
    struct exec *exec = exec_find(frame->stream);
    const uint8_t *p = frame->payload;
    if (exec && frame->len == 4)
        exec->credit +=
            (int64_t)((uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24);
}

static void on_frame(const struct sbx_frame *frame, int64_t now)
{
    struct exec *exec;

    if (frame->type == SBX_FRAME_HELLO) {
        on_hello(frame, now);
        return;
    }
    conn.open = true;
    conn.heard = now;
    switch (frame->type) {
    case SBX_FRAME_EXEC:
    case SBX_FRAME_HELD:
    case SBX_FRAME_WRITE:
        on_message(frame, now);
        break;
    case SBX_FRAME_DATA:
        file_data(frame->stream, frame->payload, frame->len);
        break;
    case SBX_FRAME_STDIN:
        if ((exec = exec_find(frame->stream)))
            input_add(exec, frame->payload, frame->len, now);
        break;
    case SBX_FRAME_STDIN_EOF:
        if ((exec = exec_find(frame->stream)))
            input_eof(exec);
        break;
    case SBX_FRAME_KILL:
        if ((exec = exec_find(frame->stream)))
            exec_end(exec, SBX_EXIT_CANCELLED, now);
        break;
    case SBX_FRAME_CREDIT:
        on_credit(frame);
        break;
    case SBX_FRAME_PING:
        conn_send(SBX_FRAME_PONG, frame->stream, frame->payload, frame->len);
        break;
    }
}

/* Stops short when answers would not fit: the rest waits in the reader, and with it the worker. */
static void take_frames(int64_t now)
{
    struct sbx_frame frame;
    while (queue_has_room() && sbx_frame_next(&conn.reader, &frame))
        on_frame(&frame, now);
}

static bool read_stdin(int64_t now)
{
    for (int i = 0; i < MAX_READS && queue_has_room(); i++) {
        size_t room;
        uint8_t *space = sbx_frame_space(&conn.reader, &room);
        ssize_t n = room > 0 ? read(STDIN_FILENO, space, room) : -1;
        if (n == 0)
            return false;
        if (n < 0)
            return true;
        sbx_frame_fed(&conn.reader, (size_t)n);
        conn.last_bytes = now;
        conn.searched = false;
        take_frames(now);
    }
    return true;
}

void conn_watch(struct watch *watch, int64_t now)
{
    conn.watching = queue_has_room();
    if (conn.watching)
        conn.watched = watch_add(watch, STDIN_FILENO, POLLIN);
    if (!queue_is_empty())
        (void)watch_add(watch, STDOUT_FILENO, POLLOUT);
    if (sbx_frame_partial(&conn.reader) && !conn.searched)
        watch_until(watch, conn.last_bytes + SBX_WIRE_SILENCE_MS * MS);
    if (conn.open)
        watch_until(watch, conn.heard + conn_patience_ms * MS);
}

bool conn_step(const struct watch *watch, int64_t now)
{
    take_frames(now);
    if (conn.watching && watch_ready(watch, conn.watched) && !read_stdin(now))
        return false;
    if (sbx_frame_partial(&conn.reader) && !conn.searched &&
        now >= conn.last_bytes + SBX_WIRE_SILENCE_MS * MS) {
        conn.searched = true;
        if (sbx_frame_resync(&conn.reader))
            take_frames(now);
    }
    if (conn.open && now >= conn.heard + conn_patience_ms * MS) {
        conn.open = false;
        file_abort(true);
        exec_disconnect(true, now);
    }
    return true;
}
