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
    int count;
    int open;     /* innermost open span, -1: none */
    int left_out; /* spans that found no room */
    struct sbx_span spans[SBX_TRACE_SPANS];
};

/* Record this thread's spans into *trace from here on; NULL: no longer. */
void sbx_trace_into(struct sbx_trace *trace);

/* A span opens; what it returns closes it. Spans close in the reverse order of opening. */
int sbx_span_begin(const char *op, const char *what);
void sbx_span_end(int span);

/* A span from here to the end of the scope. */
#define SBX_SPAN(op, what)                                                                                   \
    __attribute__((cleanup(sbx_cleanup_span), unused)) int sbx_span_here = sbx_span_begin(op, what)
void sbx_cleanup_span(const int *span);

#endif
