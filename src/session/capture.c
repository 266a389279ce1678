/*
 * Head and tail of an output that may be endless. The file is as long as what is kept: the head, and behind
 * it a ring for what follows. What falls out of the tail before it leaves the buffer is never written.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sandboxd/base/util.h"
#include "sandboxd/session.h"

#define FIRST_CAP 4096

void sbx_capture_init(struct sbx_capture *capture, const char *dir, size_t memory, size_t max)
{
    *capture = (struct sbx_capture){.dir = dir, .memory = memory, .max = max, .fd = -1};
}

void sbx_capture_done(struct sbx_capture *capture)
{
    free(capture->buf);
    sbx_close(&capture->fd);
    sbx_capture_init(capture, capture->dir, capture->memory, capture->max);
}

static size_t tail_cap(const struct sbx_capture *capture)
{
    return capture->max / 2;
}

static size_t head_max(const struct sbx_capture *capture)
{
    return capture->max - tail_cap(capture);
}

/* Where in the file the byte with this number is, and how many of the next n follow it there. Without a ring
 * there are no bytes but the head's. */
static int64_t place(const struct sbx_capture *capture, uint64_t number, size_t *n)
{
    size_t head = head_max(capture), ring = tail_cap(capture);
    bool first = number < head || ring == 0;
    size_t at = first ? (size_t)number : head + (size_t)((number - head) % ring);
    size_t end = first ? head : capture->max;
    if (*n > end - at)
        *n = end - at;
    return (int64_t)at;
}

static int flush(struct sbx_capture *capture, struct sbx_err *err)
{
    if (capture->fd < 0 && (capture->fd = sbx_tmpfile(capture->dir, err)) < 0)
        return -1;
    const char *at = capture->buf;
    uint64_t number = capture->total - capture->buf_len;
    while (number < capture->total) {
        uint64_t left = capture->total - number;
        uint64_t drop =
            number < head_max(capture) || left <= tail_cap(capture) ? 0 : left - tail_cap(capture);
        at += drop;
        number += drop;
        size_t n = (size_t)(left - drop);
        int64_t off = place(capture, number, &n);
        if (sbx_tmpfile_write(capture->fd, off, at, n, capture->dir, err) < 0)
            return -1;
        at += n;
        number += n;
    }
    capture->buf_len = 0;
    return 0;
}

/* Room for one byte at least, and for n as far as memory goes. */
static int make_room(struct sbx_capture *capture, size_t n, struct sbx_err *err)
{
    if (capture->buf_len == capture->memory)
        return flush(capture, err);
    if (capture->buf_cap == capture->memory || n <= capture->buf_cap - capture->buf_len)
        return 0;
    size_t cap = capture->buf_cap ? capture->buf_cap : FIRST_CAP;
    while (cap < capture->memory && cap - capture->buf_len < n)
        cap *= 2;
    if (cap > capture->memory)
        cap = capture->memory;
    char *buf = realloc(capture->buf, cap);
    if (!buf)
        return sbx_err_set(err, SBX_ERR_INTERNAL, "out of memory for an output of %zu bytes", cap);
    capture->buf = buf;
    capture->buf_cap = cap;
    return 0;
}

int sbx_capture_add(struct sbx_capture *capture, const void *data, size_t n, struct sbx_err *err)
{
    const char *at = data;
    uint64_t end = capture->total + n;
    if (tail_cap(capture) == 0) /* a limit of 0 or 1: what lies beyond the head is counted only */
        n = capture->total >= capture->max ? 0 : n < capture->max ? n : capture->max;
    if (n > 0)
        capture->last = at[n - 1];
    while (n > 0) {
        if (make_room(capture, n, err) < 0)
            return -1;
        size_t room = capture->buf_cap - capture->buf_len;
        size_t part = n < room ? n : room;
        memcpy(capture->buf + capture->buf_len, at, part);
        capture->buf_len += part;
        capture->total += part;
        at += part;
        n -= part;
    }
    capture->total = end;
    return 0;
}

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

uint64_t sbx_capture_dropped(const struct sbx_capture *capture)
{
    return capture->total - least(capture->total, capture->max);
}

char sbx_capture_last(const struct sbx_capture *capture)
{
    return capture->last;
}

/* Bytes that are kept, from this number on; what there is in a file passes through the buffer, which is empty
 * then. */
static int emit_range(struct sbx_capture *capture, uint64_t number, uint64_t n,
                      int (*emit)(void *, const char *, size_t), void *arg, struct sbx_err *err)
{
    if (capture->fd < 0)
        return n > 0 ? emit(arg, capture->buf + number, (size_t)n) : 0;
    while (n > 0) {
        size_t part = (size_t)least(n, capture->buf_cap);
        int64_t off = place(capture, number, &part);
        ssize_t got = sbx_tmpfile_read(capture->fd, off, capture->buf, part, capture->dir, err);
        if (got < 0)
            return -1;
        if (got == 0)
            return sbx_err_set(err, SBX_ERR_INTERNAL, "a temporary file in %s was cut", capture->dir);
        int rc = emit(arg, capture->buf, (size_t)got);
        if (rc != 0)
            return rc;
        number += (uint64_t)got;
        n -= (uint64_t)got;
    }
    return 0;
}

int sbx_capture_emit(struct sbx_capture *capture, int (*emit)(void *, const char *, size_t), void *arg,
                     struct sbx_err *err)
{
    uint64_t head = least(capture->total, head_max(capture));
    uint64_t tail = least(capture->total - head, tail_cap(capture));
    uint64_t dropped = sbx_capture_dropped(capture);
    if (capture->fd >= 0 && flush(capture, err) < 0)
        return -1;
    int rc = emit_range(capture, 0, head, emit, arg, err);
    if (rc == 0 && dropped > 0) {
        char marker[96];
        int n =
            snprintf(marker, sizeof(marker), "\n[... %" PRIu64 " bytes of output dropped ...]\n", dropped);
        rc = emit(arg, marker, (size_t)n);
    }
    return rc == 0 ? emit_range(capture, capture->total - tail, tail, emit, arg, err) : rc;
}
