/*
 * Where a request's time goes: named spans in a fixed array, recorded by the thread that asked for it. Costs
 * one test of a thread-local pointer where nothing is recorded.
 */
#ifndef SANDBOXD_BASE_TRACE_H
#define SANDBOXD_BASE_TRACE_H

#include <stdint.h>

#define SBX_TRACE_SPANS 48

/* Both words are literals. */
struct sbx_span {
    const char *op;   /* "lock", "docker", "agent", "patch" */
    const char *what; /* "create a container" */
    int64_t begun_us; /* monotonic */
    int64_t ended_us; /* 0: still open */
    int parent;       /* index of the span around it, -1: none */
};

struct sbx_trace {
    /* Told of every span that closes, those without room in `spans` too. May be NULL. */
    void (*ended)(void *arg, const char *op, const char *what, int64_t us);
    void *arg;
    int count;
    int open;     /* innermost open span, -1: none */
    int left_out; /* spans that found no room */
    struct sbx_span spans[SBX_TRACE_SPANS];
};

/* Record this thread's spans into *trace from here on, none so far; NULL: no longer. ended and arg are the
 * caller's. */
void sbx_trace_into(struct sbx_trace *trace);

/* An open span. */
struct sbx_span_mark {
    const char *op;
    const char *what;
    int64_t begun_us;
    int index; /* in the trace, -1: no room, or nothing is recorded */
};

/* A span opens, and closes. Spans close in the reverse order of opening. */
struct sbx_span_mark sbx_span_begin(const char *op, const char *what);
void sbx_span_end(const struct sbx_span_mark *mark);

/* A span from here to the end of the scope. */
#define SBX_SPAN(op, what)                                                                                   \
    __attribute__((cleanup(sbx_span_end), unused)) struct sbx_span_mark sbx_span_here =                      \
        sbx_span_begin(op, what)

#endif
