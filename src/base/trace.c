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

struct sbx_span_mark sbx_span_begin(const char *op, const char *what)
{
    struct sbx_trace *trace = current;
    if (!trace)
        return (struct sbx_span_mark){.index = -1};
    struct sbx_span_mark mark = {op, what, sbx_now_us(), -1};
    if (trace->count == SBX_TRACE_SPANS) {
        trace->left_out++;
        return mark;
    }
    mark.index = trace->count++;
    trace->spans[mark.index] =
        (struct sbx_span){.op = op, .what = what, .begun_us = mark.begun_us, .parent = trace->open};
    trace->open = mark.index;
    return mark;
}

void sbx_span_end(const struct sbx_span_mark *mark)
{
    struct sbx_trace *trace = current;
    if (!trace || !mark->op)
        return;
    int64_t now = sbx_now_us();
    if (mark->index >= 0) {
        trace->spans[mark->index].ended_us = now;
        trace->open = trace->spans[mark->index].parent;
    }
    if (trace->ended)
        trace->ended(trace->arg, mark->op, mark->what, now - mark->begun_us);
}
