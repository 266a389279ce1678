#include "sandboxd/base/buf.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MIN_CAP 256

void sbx_buf_init(struct sbx_buf *buf, size_t max)
{
    *buf = (struct sbx_buf){.max = max};
}

void sbx_buf_done(struct sbx_buf *buf)
{
    free(buf->data);
    sbx_buf_init(buf, buf->max);
}

void sbx_buf_clear(struct sbx_buf *buf)
{
    buf->len = 0;
}

void sbx_buf_consume(struct sbx_buf *buf, size_t n)
{
    buf->len -= n;
    if (buf->len > 0)
        memmove(buf->data, buf->data + n, buf->len);
}

/* Grow to hold `need` bytes, doubling; one byte is always kept for sbx_buf_cstr's terminator. */
static int grow(struct sbx_buf *buf, size_t need, struct sbx_err *err)
{
    if (need < buf->cap)
        return 0;
    size_t cap = buf->cap > 0 ? buf->cap : MIN_CAP;
    while (cap <= need && cap <= buf->max)
        cap = cap <= SIZE_MAX / 2 ? cap * 2 : SIZE_MAX;
    if (cap > buf->max)
        cap = buf->max + 1; /* need <= max, so this is enough */
    char *data = realloc(buf->data, cap);
    if (!data)
        return sbx_err_set(err, SBX_ERR_INTERNAL, "out of memory for a buffer of %zu bytes", cap);
    buf->data = data;
    buf->cap = cap;
    return 0;
}

char *sbx_buf_reserve(struct sbx_buf *buf, size_t n, struct sbx_err *err)
{
    if (n > buf->max - buf->len) {
        sbx_err_set(err, SBX_ERR_TOO_LARGE, "more than %zu bytes", buf->max);
        return NULL;
    }
    if (grow(buf, buf->len + n, err) < 0)
        return NULL;
    return buf->data + buf->len;
}

int sbx_buf_add(struct sbx_buf *buf, const void *data, size_t n, struct sbx_err *err)
{
    char *at = sbx_buf_reserve(buf, n, err);
    if (!at)
        return -1;
    if (n > 0)
        memcpy(at, data, n);
    buf->len += n;
    return 0;
}

int sbx_buf_addstr(struct sbx_buf *buf, const char *s, struct sbx_err *err)
{
    return sbx_buf_add(buf, s, strlen(s), err);
}

int sbx_buf_printf(struct sbx_buf *buf, struct sbx_err *err, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    if (n < 0)
        return sbx_err_set(err, SBX_ERR_INTERNAL, "cannot format");
    char *at = sbx_buf_reserve(buf, (size_t)n, err); /* one byte more is always there */
    if (!at)
        return -1;
    va_start(ap, fmt);
    vsnprintf(at, (size_t)n + 1, fmt, ap);
    va_end(ap);
    buf->len += (size_t)n;
    return 0;
}

const char *sbx_buf_cstr(struct sbx_buf *buf, struct sbx_err *err)
{
    if (grow(buf, buf->len, err) < 0)
        return NULL;
    buf->data[buf->len] = '\0';
    return buf->data;
}
