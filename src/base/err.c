#include "sandboxd/base/err.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "sandboxd/base/stack.h"

/* Faults of ours and of what is behind us: the ones that answer 5xx. */
static unsigned record_stack(enum sbx_err_kind kind)
{
    bool ours = kind == SBX_ERR_INTERNAL || kind == SBX_ERR_UPSTREAM || kind == SBX_ERR_UNAVAILABLE ||
                kind == SBX_ERR_TIMEOUT;
    return ours ? sbx_stack_record() : 0;
}

/* Formatted aside first: callers may pass err->msg itself as an argument. */
static void SBX_PRINTF(4, 0)
    format(struct sbx_err *err, enum sbx_err_kind kind, int errnum, const char *fmt, va_list ap)
{
    char msg[sizeof(err->msg)];
    vsnprintf(msg, sizeof(msg), fmt, ap);
    memcpy(err->msg, msg, strlen(msg) + 1);
    err->kind = kind;
    err->os_errno = errnum;
    err->stack = record_stack(kind);
}

int sbx_err_set(struct sbx_err *err, enum sbx_err_kind kind, const char *fmt, ...)
{
    if (err) {
        va_list ap;
        va_start(ap, fmt);
        format(err, kind, 0, fmt, ap);
        va_end(ap);
    }
    return -1;
}

/* Put text at msg[used], cut to the room there is, but not in the middle of a UTF-8 character. */
static void append(struct sbx_err *err, size_t used, const char *text)
{
    size_t room = sizeof(err->msg) - 1 - used;
    size_t n = strlen(text);
    if (n > room) {
        n = room;
        while (n > 0 && ((unsigned char)text[n] & 0xC0) == 0x80)
            n--;
    }
    memcpy(err->msg + used, text, n);
    err->msg[used + n] = '\0';
}

int sbx_err_sys(struct sbx_err *err, enum sbx_err_kind kind, int errnum, const char *fmt, ...)
{
    if (err) {
        va_list ap;
        va_start(ap, fmt);
        format(err, kind, errnum, fmt, ap);
        va_end(ap);
        char text[96];
        append(err, strlen(err->msg), ": ");
        append(err, strlen(err->msg), strerror_r(errnum, text, sizeof(text)));
    }
    return -1;
}

int sbx_err_wrap(struct sbx_err *err, const char *fmt, ...)
{
    if (err) {
        char cause[sizeof(err->msg)];
        char context[sizeof(err->msg) / 2]; /* half at most: the cause matters more */
        va_list ap;
        va_start(ap, fmt);
        vsnprintf(context, sizeof(context), fmt, ap);
        va_end(ap);
        memcpy(cause, err->msg, strlen(err->msg) + 1);
        append(err, 0, context);
        append(err, strlen(err->msg), ": ");
        append(err, strlen(err->msg), cause);
    }
    return -1;
}

const char *sbx_err_kind_name(enum sbx_err_kind kind)
{
    switch (kind) {
    case SBX_ERR_NONE:
        return "none";
    case SBX_ERR_INTERNAL:
        return "internal";
    case SBX_ERR_BAD_REQUEST:
        return "bad_request";
    case SBX_ERR_FORBIDDEN:
        return "forbidden";
    case SBX_ERR_NOT_FOUND:
        return "not_found";
    case SBX_ERR_CONFLICT:
        return "conflict";
    case SBX_ERR_TOO_LARGE:
        return "too_large";
    case SBX_ERR_INVALID:
        return "invalid";
    case SBX_ERR_LIMITED:
        return "limited";
    case SBX_ERR_UPSTREAM:
        return "upstream";
    case SBX_ERR_UNAVAILABLE:
        return "unavailable";
    case SBX_ERR_TIMEOUT:
        return "timeout";
    case SBX_ERR_CANCELLED:
        return "cancelled";
    }
    return "unknown";
}
