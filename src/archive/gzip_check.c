#include "archive/gzip_check.h"

#include <string.h>
#include <zlib.h>

#define HEADER 10 /* fixed part of a member's header (RFC 1952) */

/* Magic, method deflate, no reserved flag, an extra-flags byte and an operating system that compressors
 * write. */
static bool looks_like_header(const uint8_t *p)
{
    return p[0] == 0x1f && p[1] == 0x8b && p[2] == 8 && p[3] < 0x20 &&
           (p[8] == 0 || p[8] == 2 || p[8] == 4) && (p[9] <= 13 || p[9] == 255);
}

void sbx_gzip_check_packed(struct sbx_gzip_check *check, const uint8_t *data, size_t n, size_t before)
{
    const uint8_t *end = data + n;
    /* with nothing before it the data begins with the first member's own header */
    const uint8_t *at = before == 0 ? data + 1 : data - (before < HEADER ? before - 1 : HEADER - 1);
    while (!check->several && end - at >= HEADER) {
        at = memchr(at, 0x1f, (size_t)(end - at) - (HEADER - 1));
        if (!at)
            return;
        check->several = looks_like_header(at);
        at++;
    }
}

void sbx_gzip_check_unpacked(struct sbx_gzip_check *check, const void *data, size_t n)
{
    check->crc = (uint32_t)crc32_z(check->crc, data, n);
    check->len += (uint32_t)n;
}

static uint32_t little(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

bool sbx_gzip_check_end(const struct sbx_gzip_check *check, const uint8_t trailer[SBX_GZIP_TRAILER])
{
    return check->several || (little(trailer) == check->crc && little(trailer + 4) == check->len);
}
