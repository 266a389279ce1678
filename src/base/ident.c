#include <ctype.h>
#include <errno.h>
#include <sha2.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "sandboxd/base/util.h"

void sbx_random(void *buf, size_t n)
{
    char *at = buf;
    while (n > 0) {
        ssize_t got = getrandom(at, n, 0);
        if (got < 0) {
            if (errno == EINTR)
                continue;
            abort(); /* no kernel we run on lacks it, and predictable tokens would be worse than a crash */
        }
        at += got;
        n -= (size_t)got;
    }
}

static void hex(const uint8_t *in, size_t n, char *out)
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < n; i++) {
        out[2 * i] = digits[in[i] >> 4];
        out[2 * i + 1] = digits[in[i] & 15];
    }
    out[2 * n] = '\0';
}

void sbx_uuid4(char out[SBX_UUID_LEN + 1])
{
    uint8_t raw[16];
    char text[2 * sizeof(raw) + 1];
    sbx_random(raw, sizeof(raw));
    raw[6] = (uint8_t)((raw[6] & 0x0F) | 0x40);
    raw[8] = (uint8_t)((raw[8] & 0x3F) | 0x80);
    hex(raw, sizeof(raw), text);
    const char *in = text;
    for (int i = 0; i < SBX_UUID_LEN; i++)
        out[i] = i == 8 || i == 13 || i == 18 || i == 23 ? '-' : *in++;
    out[SBX_UUID_LEN] = '\0';
}

bool sbx_is_uuid(const char *s)
{
    for (int i = 0; i < SBX_UUID_LEN; i++) {
        bool dash = i == 8 || i == 13 || i == 18 || i == 23;
        if (dash ? s[i] != '-' : !isxdigit((unsigned char)s[i]))
            return false;
    }
    return s[SBX_UUID_LEN] == '\0';
}

void sbx_sha256_hex(const void *data, size_t n, char out[SBX_SHA256_HEX + 1])
{
    uint8_t digest[SHA256_DIGEST_LENGTH];
    SHA2_CTX ctx;
    SHA256Init(&ctx);
    SHA256Update(&ctx, data, n);
    SHA256Final(digest, &ctx);
    hex(digest, sizeof(digest), out);
}
