#include <stdarg.h>
#include <string.h>

#include "agent/agent.h"

const char *text_join(char *buf, size_t size, ...)
{
    size_t len = 0;
    va_list parts;

    va_start(parts, size);
    for (const char *part = va_arg(parts, const char *); part; part = va_arg(parts, const char *)) {
        size_t n = strlen(part);
        if (n > size - len - 1)
            n = size - len - 1;
        memcpy(buf + len, part, n);
        len += n;
    }
    va_end(parts);
    buf[len] = '\0';
    return buf;
}

const char *text_number(char buf[21], uint64_t value)
{
    char *p = buf + 20;
    *p = '\0';
    do {
        *--p = (char)('0' + value % 10);
        value /= 10;
    } while (value > 0);
    return p;
}

const char *text_errno(int err)
{
    const char *text = strerrordesc_np(err);
    return text ? text : "unknown error";
}
