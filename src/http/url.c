#include "http/url.h"

static int hex(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

/* The byte that the escape s[0, 3) stands for; -1 when it is malformed. */
static int escape(const char *s)
{
    int high = hex(s[1]);
    int low = high < 0 ? -1 : hex(s[2]);
    return low < 0 ? -1 : high * 16 + low;
}

ssize_t sbx_url_decode(const char *s, size_t n, bool query, char *out, size_t size)
{
    size_t len = 0;
    for (size_t i = 0; i < n; i++) {
        int c = (unsigned char)s[i];
        if (c == '%') {
            c = n - i < 3 ? -1 : escape(s + i);
            i += 2;
            if (c <= 0 || (c == '/' && !query))
                return -1;
        } else if (c == '+' && query) {
            c = ' ';
        }
        if (len + 1 >= size)
            return -1;
        out[len++] = (char)c;
    }
    if (len >= size)
        return -1;
    out[len] = '\0';
    return (ssize_t)len;
}
