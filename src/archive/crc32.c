#include "archive/crc32.h"

#include <stdbool.h>

#define POLYNOMIAL 0xedb88320u /* 0x04c11db7, reflected */
#define SLICES     8

/* slices[k][b]: what byte b adds when k zero bytes follow it. Filled on first use. */
static uint32_t slices[SLICES][256];
static bool slices_ready;

static void fill_slices(void)
{
    for (uint32_t b = 0; b < 256; b++) {
        uint32_t crc = b;
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? POLYNOMIAL : 0);
        slices[0][b] = crc;
    }
    for (int k = 1; k < SLICES; k++)
        for (int b = 0; b < 256; b++)
            slices[k][b] = slices[k - 1][b] >> 8 ^ slices[0][slices[k - 1][b] & 0xff];
    slices_ready = true;
}

uint32_t sbx_crc32(uint32_t crc, const void *data, size_t n)
{
    const uint8_t *p = data;
    if (!slices_ready)
        fill_slices();
    crc = ~crc;
    for (; n >= 8; n -= 8, p += 8) {
        uint32_t low =
            crc ^ ((uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24);
        crc = slices[7][low & 0xff] ^ slices[6][low >> 8 & 0xff] ^ slices[5][low >> 16 & 0xff] ^
              slices[4][low >> 24] ^ slices[3][p[4]] ^ slices[2][p[5]] ^ slices[1][p[6]] ^ slices[0][p[7]];
    }
    for (; n > 0; n--, p++)
        crc = crc >> 8 ^ slices[0][(crc ^ *p) & 0xff];
    return ~crc;
}
