/* Inside of the link to an agent: link.c moves frames, link_exec.c and link_write.c speak in them. */
#ifndef SBX_SESSION_LINK_H
#define SBX_SESSION_LINK_H

#include "session/internal.h"

#define SBX_LINK_PING_MS 15000
#define SBX_LINK_DEAD_MS 60000 /* the agent's patience, too */
/* So much is queued ahead of the stream; more only by a single message. */
#define SBX_LINK_QUEUE (64 * 1024)

struct sbx_link {
    struct sbx_engine *engine;
    struct sbx_attach *attach;
    struct sbx_frame_reader reader;
    struct sbx_buf out; /* encoded frames not yet written */
    uint64_t nonce;
    uint64_t key;
    uint32_t last_stream;
    char container[SBX_NAME_SIZE];
    uint64_t fence;
    int64_t opened_ms;
    int64_t look_ms;  /* while not greeted: when to look whether the container runs at all */
    bool more;        /* whoever pumps has more to queue as soon as the queue is short */
    bool greeted;     /* HELLO_ACK with our nonce has come */
    bool late;        /* see sbx_link_late */
    int64_t heard_ms; /* last bytes from the agent */
    int64_t pinged_ms;
    int64_t asked_ms; /* first ping since then */
};

/* A new stream id. */
uint32_t sbx_link_stream(struct sbx_link *link);

/* Queue one frame, or a message cut into frames. Nothing is written before sbx_link_pump. */
int sbx_link_put(struct sbx_link *link, uint8_t type, uint32_t stream, const void *payload, size_t n,
                 struct sbx_err *err) SBX_MUST_CHECK;

/* Write what is queued as far as the stream takes it and wait for input, at most timeout_ms (-1: as long as
 * it takes). Returns 1 when something moved, 0 on timeout, -1. Keeps the agent's patience alive with pings;
 * an agent that answers none of them for SBX_LINK_DEAD_MS is UNAVAILABLE. */
int sbx_link_pump(struct sbx_link *link, int timeout_ms, struct sbx_err *err) SBX_MUST_CHECK;

/* The next frame that belongs to this connection's work, already read: 1, 0 when there is none, -1 when the
 * agent refused us. */
int sbx_link_next(struct sbx_link *link, struct sbx_frame *ret, struct sbx_err *err) SBX_MUST_CHECK;

/* Queue the EXEC of a command. INVALID when it is too large. */
int sbx_link_put_exec(struct sbx_link *link, uint32_t stream, const struct sbx_exec_spec *spec,
                      struct sbx_err *err) SBX_MUST_CHECK;

/* One field of an EXIT (or HELD_STATE) into *ret; other fields are passed over. */
void sbx_link_decode_exit(const struct sbx_field *field, struct sbx_exec_result *ret);

/* Try to tell the agent to end stream's command; for a request that is going down anyway, so failures are
 * ignored. */
void sbx_link_abandon(struct sbx_link *link, uint32_t stream);

#endif
