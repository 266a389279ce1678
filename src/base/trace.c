#include "sandboxd/base/trace.h"

#include <stddef.h>

#include "sandboxd/base/util.h"

static _Thread_local struct sbx_trace *current;

void sbx_trace_into(struct sbx_trace *trace)
{
    if (trace) {
        trace->count = trace->left_out = 0;
        trace->open = -1;
    }
    current = trace;
}

int sbx_span_begin(const char *op, const char *what)
{
    struct sbx_trace *trace = current;
    if (!trace)
        return -1;
    if (trace->count == SBX_TRACE_SPANS) {
        trace->left_out++;
        return -1;
    }
    int span = trace->count++;
    trace->spans[span] =
        (struct sbx_span){.op = op, .what = what, .begun_us = sbx_now_us(), .parent = trace->open};
    trace->open = span;
    return span;
}

void sbx_span_end(int span)
{
    struct sbx_trace *trace = current;
    if (!trace || span < 0)
        return;
    trace->spans[span].ended_us = sbx_now_us();
    trace->open = trace->spans[span].parent;
}

void sbx_cleanup_span(const int *span)
{
    sbx_span_end(*span);
}
