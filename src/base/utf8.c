#include "base/utf8.h"

#include <stdint.h>
#include <string.h>

#include "sandboxd/base/util.h"

/* Well-formed sequences: Unicode standard, table 3-7. The range of the second byte is what keeps out overlong
 * forms, surrogates and values beyond U+10FFFF. */
int sbx_utf8_step(const char *s, size_t n)
{
    const unsigned char *p = (const unsigned char *)s;
    unsigned lo = 0x80, hi = 0xBF;
    size_t len;
    if (p[0] < 0x80)
        return 1;
    if (p[0] >= 0xC2 && p[0] <= 0xDF) {
        len = 2;
    } else if (p[0] >= 0xE0 && p[0] <= 0xEF) {
        len = 3;
        if (p[0] == 0xE0)
            lo = 0xA0;
        else if (p[0] == 0xED)
            hi = 0x9F;
    } else if (p[0] >= 0xF0 && p[0] <= 0xF4) {
        len = 4;
        if (p[0] == 0xF0)
            lo = 0x90;
        else if (p[0] == 0xF4)
            hi = 0x8F;
    } else {
        return -1;
    }
    if (n < 2 || p[1] < lo || p[1] > hi)
        return -1;
    for (size_t i = 2; i < len; i++) {
        if (i >= n || (p[i] & 0xC0) != 0x80)
            return -(int)i;
    }
    return (int)len;
}

size_t sbx_utf8_valid(const char *data, size_t n)
{
    size_t i = 0;
    while (i < n) {
        uint64_t eight;
        while (n - i >= sizeof(eight)) {
            memcpy(&eight, data + i, sizeof(eight));
            if (eight & 0x8080808080808080ULL)
                break;
            i += sizeof(eight);
        }
        if (i == n)
            break;
        int step = sbx_utf8_step(data + i, n - i);
        if (step < 0)
            return i;
        i += (size_t)step;
    }
    return n;
}

int sbx_utf8_clean(const char *data, size_t n, int (*emit)(void *arg, const char *bytes, size_t len),
                   void *arg)
{
    size_t i = 0;
    while (i < n) {
        size_t valid = sbx_utf8_valid(data + i, n - i);
        if (valid > 0) {
            int rc = emit(arg, data + i, valid);
            if (rc != 0)
                return rc;
            i += valid;
        }
        if (i < n) {
            int rc = emit(arg, SBX_UTF8_REPLACEMENT, strlen(SBX_UTF8_REPLACEMENT));
            if (rc != 0)
                return rc;
            i += (size_t)-sbx_utf8_step(data + i, n - i);
        }
    }
    return 0;
}
