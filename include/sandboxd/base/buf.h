/*
 * A growing byte buffer with a mandatory ceiling. Contents are bytes, not a string, unless sbx_buf_cstr is
 * asked.
 */
#ifndef SANDBOXD_BASE_BUF_H
#define SANDBOXD_BASE_BUF_H

#include <stdbool.h>
#include <stddef.h>

#include "sandboxd/base/err.h"

struct sbx_buf {
    char *data; /* owned; NULL while nothing was allocated */
    size_t len;
    size_t cap;
    size_t max; /* ceiling for len, in bytes */
};

/* Embedded life cycle. max is the most bytes the buffer will ever hold; nothing is allocated yet. */
void sbx_buf_init(struct sbx_buf *buf, size_t max);
void sbx_buf_done(struct sbx_buf *buf);

/* Forget the contents, keep the memory. */
void sbx_buf_clear(struct sbx_buf *buf);

/* Drop n bytes (n <= len) from the front. */
void sbx_buf_consume(struct sbx_buf *buf, size_t n);

/* Room for n more bytes; returns where they go, or NULL with TOO_LARGE (ceiling) or INTERNAL (no memory). The
 * caller adds what it wrote to buf->len. */
char *sbx_buf_reserve(struct sbx_buf *buf, size_t n, struct sbx_err *err) SBX_MUST_CHECK;

int sbx_buf_add(struct sbx_buf *buf, const void *data, size_t n, struct sbx_err *err) SBX_MUST_CHECK;
int sbx_buf_addstr(struct sbx_buf *buf, const char *s, struct sbx_err *err) SBX_MUST_CHECK;
int sbx_buf_printf(struct sbx_buf *buf, struct sbx_err *err, const char *fmt, ...) SBX_MUST_CHECK
    SBX_PRINTF(3, 4);

/* NUL-terminated view of the contents, valid until the next change; NULL with an error when there is no
 * memory. The terminator is not counted in len and does not count against max. */
const char *sbx_buf_cstr(struct sbx_buf *buf, struct sbx_err *err) SBX_MUST_CHECK;

#endif
