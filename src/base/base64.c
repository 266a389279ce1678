#include <stdint.h>

#include "sandboxd/base/util.h"

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

size_t sbx_base64_encode(const void *data, size_t n, char *out)
{
    const uint8_t *in = data;
    char *at = out;
    for (; n >= 3; n -= 3, in += 3) {
        uint32_t word = (uint32_t)in[0] << 16 | (uint32_t)in[1] << 8 | in[2];
        *at++ = alphabet[word >> 18];
        *at++ = alphabet[word >> 12 & 63];
        *at++ = alphabet[word >> 6 & 63];
        *at++ = alphabet[word & 63];
    }
    if (n > 0) {
        uint32_t word = (uint32_t)in[0] << 16 | (n == 2 ? (uint32_t)in[1] << 8 : 0);
        *at++ = alphabet[word >> 18];
        *at++ = alphabet[word >> 12 & 63];
        *at++ = n == 2 ? alphabet[word >> 6 & 63] : '=';
        *at++ = '=';
    }
    *at = '\0';
    return (size_t)(at - out);
}

/* Value of a character plus one, so that 0 says "not in the alphabet". */
static const uint8_t *reverse(void)
{
    static uint8_t table[256];
    if (table['A'] == 0) {
        for (unsigned i = 0; i < 64; i++)
            table[(uint8_t)alphabet[i]] = (uint8_t)(i + 1);
    }
    return table;
}

ssize_t sbx_base64_decode(const char *s, size_t n, void *out)
{
    const uint8_t *table = reverse();
    const uint8_t *in = (const uint8_t *)s;
    uint8_t *at = out;
    if (n % 4 != 0)
        return -1;
    if (n == 0)
        return 0;
    size_t pad = in[n - 1] != '=' ? 0 : in[n - 2] != '=' ? 1 : 2;
    size_t whole = pad > 0 ? n - 4 : n;
    for (size_t i = 0; i < whole; i += 4) {
        uint32_t a = table[in[i]], b = table[in[i + 1]], c = table[in[i + 2]], d = table[in[i + 3]];
        if (!a || !b || !c || !d)
            return -1;
        uint32_t word = (a - 1) << 18 | (b - 1) << 12 | (c - 1) << 6 | (d - 1);
        *at++ = (uint8_t)(word >> 16);
        *at++ = (uint8_t)(word >> 8);
        *at++ = (uint8_t)word;
    }
    if (pad > 0) {
        uint32_t a = table[in[whole]], b = table[in[whole + 1]], c = pad == 1 ? table[in[whole + 2]] : 1;
        if (!a || !b || !c)
            return -1;
        uint32_t word = (a - 1) << 18 | (b - 1) << 12 | (c - 1) << 6;
        /* bits that no byte takes must be zero, or two texts would decode to the same bytes */
        if (word & (pad == 1 ? 0xFF : 0xFFFF))
            return -1;
        *at++ = (uint8_t)(word >> 16);
        if (pad == 1)
            *at++ = (uint8_t)(word >> 8);
    }
    return at - (uint8_t *)out;
}
