/*
 * Held execs: commands that belong to no connection. What they write is kept in a ring, read by number; how
 * they went is kept when they are over. Private to src/agent.
 */
#ifndef SBX_AGENT_HOLD_H
#define SBX_AGENT_HOLD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "sandboxd/wire.h"

struct exec;
struct outcome;
struct request;

/* What an EXEC asks for besides what every command has. */
struct hold_options {
    char id[SBX_HELD_ID_MAX + 1]; /* "": it is not to be held */
    bool tty, block, tied;
    uint32_t rows, columns;
    uint64_t buffer, output_limit;
};
void hold_option(struct hold_options *options, const struct sbx_field *field);

/* hold_ring.c: the last bytes of an output, each with its number and its channel. */
struct hold_segment { /* bytes of one channel, up to where the next begins */
    uint64_t start;
    int channel;
};
struct hold_ring {
    uint8_t *bytes;
    size_t size;
    uint64_t first, end; /* numbers of the oldest byte kept and of the next one */
    struct hold_segment *segments;
    size_t at, count; /* oldest of them, how many */
};
bool hold_ring_init(struct hold_ring *ring, uint64_t size);
void hold_ring_done(struct hold_ring *ring);
/* How many bytes of a channel fit without dropping number `keep` or a later one. */
size_t hold_ring_room(const struct hold_ring *ring, int channel, uint64_t keep);
/* read(2) at most max bytes, which hold_ring_room has told, to the end. */
ssize_t hold_ring_read(struct hold_ring *ring, int channel, int fd, size_t max);
/* Copy bytes from number `from` on (first <= from < end), all of one channel; returns how many. */
size_t hold_ring_copy(const struct hold_ring *ring, uint64_t from, uint8_t *out, size_t max,
                      int *ret_channel);

/* hold.c: the table. */
struct hold {
    bool used;
    bool cancelled; /* by a client, who need not come for the output too */
    bool forget;    /* as soon as it is over; for clients it is gone already */
    struct hold_options options;
    struct exec *exec; /* NULL: it is over */
    struct hold_ring ring;
    uint64_t seen; /* what a reader has had for certain */
    uint64_t order;
    int64_t begun;                        /* monotonic */
    int64_t started_ms, ended_ms;         /* wall clock */
    char request[SBX_REQUEST_ID_MAX + 1]; /* of the connection that started it */
    char command[256];                    /* its beginning, or argv[0] */
    uint8_t outcome[640];                 /* fields, once it is over */
    size_t outcome_len;
};
/* A place for the exec of a request; NULL with an errno and *why. hold_free gives it back when nothing came
 * of it, hold_begin makes it the running exec's and tells the worker. */
struct hold *hold_new(const struct request *request, int *err, const char **why);
void hold_free(struct hold *hold);
void hold_begin(struct hold *hold, struct exec *exec, uint32_t stream);
void hold_end(struct hold *hold, const struct outcome *outcome);
struct hold *hold_find(const uint8_t *id, size_t len);
/* The oldest that is younger than `order`; NULL at the end. */
struct hold *hold_next(uint64_t order);
/* Is output of a channel to be read now? */
bool hold_wants(const struct hold *hold, int channel);
/* Read some of it: as read(2). */
ssize_t hold_read(struct hold *hold, int channel, int fd);

/* hold_op.c: what workers ask. */
void hold_operate(uint32_t stream, const uint8_t *payload, size_t n, int64_t now);
/* One HELD_STATE; from and to are a READ's. */
void hold_send_state(uint32_t stream, const struct hold *hold, uint64_t from, uint64_t to);
/* Go on with a READ as the queue has room. */
void hold_step(void);
/* The connection is over, and its READ. */
void hold_abort(void);
/* The hold is about to be freed. */
void hold_gone(const struct hold *hold);

#endif
