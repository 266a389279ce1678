/* Head and tail of an output that may be endless. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sandboxd/session.h"

#define FIRST_CAP 4096

void sbx_capture_init(struct sbx_capture *capture, size_t max)
{
    *capture = (struct sbx_capture){.max = max};
}

void sbx_capture_done(struct sbx_capture *capture)
{
    free(capture->head);
    free(capture->tail);
    sbx_capture_init(capture, capture->max);
}

static size_t tail_cap(const struct sbx_capture *capture)
{
    return capture->max / 2;
}

static size_t head_max(const struct sbx_capture *capture)
{
    return capture->max - tail_cap(capture);
}

static int grow_head(struct sbx_capture *capture, size_t need, struct sbx_err *err)
{
    if (need <= capture->head_cap)
        return 0;
    size_t cap = capture->head_cap ? capture->head_cap : FIRST_CAP;
    while (cap < need)
        cap *= 2;
    if (cap > head_max(capture))
        cap = head_max(capture);
    char *head = realloc(capture->head, cap);
    if (!head)
        return sbx_err_set(err, SBX_ERR_INTERNAL, "out of memory for an output of %zu bytes", cap);
    capture->head = head;
    capture->head_cap = cap;
    return 0;
}

static int add_tail(struct sbx_capture *capture, const char *data, size_t n, struct sbx_err *err)
{
    size_t cap = tail_cap(capture);
    if (cap == 0)
        return 0;
    if (!capture->tail && !(capture->tail = malloc(cap)))
        return sbx_err_set(err, SBX_ERR_INTERNAL, "out of memory for an output of %zu bytes", cap);
    if (n > cap) {
        capture->tail_at += n - cap; /* keeps the ring's phase: tail_at counts all bytes beyond the head */
        data += n - cap;
        n = cap;
    }
    while (n > 0) {
        size_t at = capture->tail_at % cap;
        size_t part = cap - at < n ? cap - at : n;
        memcpy(capture->tail + at, data, part);
        capture->tail_at += part;
        data += part;
        n -= part;
    }
    return 0;
}

int sbx_capture_add(struct sbx_capture *capture, const void *data, size_t n, struct sbx_err *err)
{
    const char *at = data;
    capture->total += n;
    size_t room = head_max(capture) - capture->head_len;
    size_t part = n < room ? n : room;
    if (part > 0) {
        if (grow_head(capture, capture->head_len + part, err) < 0)
            return -1;
        memcpy(capture->head + capture->head_len, at, part);
        capture->head_len += part;
        at += part;
        n -= part;
    }
    return n > 0 ? add_tail(capture, at, n, err) : 0;
}

uint64_t sbx_capture_dropped(const struct sbx_capture *capture)
{
    uint64_t beyond = capture->total - capture->head_len;
    return beyond > tail_cap(capture) ? beyond - tail_cap(capture) : 0;
}

int sbx_capture_emit(const struct sbx_capture *capture, int (*emit)(void *, const char *, size_t), void *arg)
{
    int rc = capture->head_len ? emit(arg, capture->head, capture->head_len) : 0;
    uint64_t dropped = sbx_capture_dropped(capture);
    if (rc == 0 && dropped > 0) {
        char marker[96];
        int n =
            snprintf(marker, sizeof(marker), "\n[... %" PRIu64 " bytes of output dropped ...]\n", dropped);
        rc = emit(arg, marker, (size_t)n);
    }
    if (rc != 0 || !capture->tail)
        return rc;
    size_t cap = tail_cap(capture);
    if (capture->tail_at <= cap)
        return emit(arg, capture->tail, capture->tail_at);
    size_t at = capture->tail_at % cap;
    rc = emit(arg, capture->tail + at, cap - at);
    return rc == 0 && at > 0 ? emit(arg, capture->tail, at) : rc;
}
