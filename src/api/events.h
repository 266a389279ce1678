/*
 * Streams of events, as Server-Sent Events or as NDJSON: the same JSON objects, each with its name in
 * "event". Every stream ends with an event that says how it ended; without one it broke off.
 */
#ifndef SBX_API_EVENTS_H
#define SBX_API_EVENTS_H

#include "api/internal.h"

enum sbx_stream_form { SBX_STREAM_NONE, SBX_STREAM_SSE, SBX_STREAM_NDJSON };

/* What the request's Accept asks for. */
enum sbx_stream_form sbx_stream_form(const struct sbx_request *request);

struct sbx_events {
    struct sbx_call *call;
    enum sbx_stream_form form;
    bool base64;   /* output as it is, instead of text with U+FFFD */
    int index;     /* of the command that events are about; -1: none */
    bool started;  /* the answer's head is sent */
    bool outlives; /* its client: what cannot be sent is forgotten */
    bool gone;     /* the client */
    bool writing;  /* so nothing may come in between */
    bool torn;     /* a write broke off: nothing may follow it */
    int64_t sent_ms;
    struct sbx_buf buf; /* the event being made */
    /* By channel: the start of a character whose rest may be in the next piece. */
    char carry[2][4];
    size_t carry_len[2];
};

#define SBX_NO_SEQ INT64_C(-1)

void sbx_events_init(struct sbx_events *events, struct sbx_call *call, enum sbx_stream_form form);
void sbx_events_done(struct sbx_events *events);

/* Send the head of the answer; nothing when it is sent already. */
int sbx_events_start(struct sbx_events *events, struct sbx_err *err) SBX_MUST_CHECK;

/* One event: begin, add `,"name":value` to events->buf, send. seq: its number, or SBX_NO_SEQ. */
int sbx_events_begin(struct sbx_events *events, const char *name, int64_t seq,
                     struct sbx_err *err) SBX_MUST_CHECK;
int sbx_events_send(struct sbx_events *events, struct sbx_err *err) SBX_MUST_CHECK;

/* A whole event with further members, printf style: `,"from":%d`. */
int sbx_events_add(struct sbx_events *events, struct sbx_err *err, const char *name, int64_t seq,
                   const char *fmt, ...) SBX_MUST_CHECK SBX_PRINTF(5, 6);

/* A JSON string of bytes, quotes included, into events->buf. */
int sbx_events_put_string(struct sbx_events *events, const char *bytes, size_t n,
                          struct sbx_err *err) SBX_MUST_CHECK;

/* Output: stdout and stderr events. seq: the number of its first byte, or SBX_NO_SEQ. flush sends what a
 * channel has left of a cut character. */
int sbx_events_output(struct sbx_events *events, int channel, const char *data, size_t n, int64_t seq,
                      struct sbx_err *err) SBX_MUST_CHECK;
int sbx_events_flush(struct sbx_events *events, int64_t seq, struct sbx_err *err) SBX_MUST_CHECK;

/* A whole object, made elsewhere, as the last event; then the answer is ended. */
int sbx_events_finish(struct sbx_events *events, const char *name, const struct sbx_spool *object,
                      struct sbx_err *err) SBX_MUST_CHECK;

/* When nothing was sent for as long as a setting says, send something that means nothing. Before the head
 * there is nothing to keep alive. */
int sbx_events_keep_alive(struct sbx_events *events, struct sbx_err *err) SBX_MUST_CHECK;

/* The stream is over: the last event says what failed, then the answer is ended. A stop no longer ends the
 * call's waits then. Failures to send are ignored. */
void sbx_events_fail(struct sbx_events *events, const struct sbx_err *failure);

#endif
