#include "archive/xz_check.h"

#include <zlib.h>

#define STREAM_HEADER 12
#define LZMA2         0x21
#define LZMA2_DICT    40 /* the highest code of a dictionary's size */

/* A variable-length integer of the xz format at *at; false when it does not end before `end`. */
static bool read_vli(const uint8_t **at, const uint8_t *end, uint64_t *ret)
{
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 63 && *at < end; shift += 7) {
        uint8_t byte = *(*at)++;
        value |= (uint64_t)(byte & 0x7f) << shift;
        if (!(byte & 0x80)) {
            *ret = value;
            return true;
        }
    }
    return false;
}

/* The dictionary that the block's last filter, LZMA2, asks for; 0 when these bytes are no block header. `end`
 * is where the checksum stands. */
static uint64_t dictionary(const uint8_t *header, const uint8_t *end)
{
    const uint8_t *at = header + 2;
    uint64_t skipped, id, size, dict = 0;
    if ((header[1] & 0x40 && !read_vli(&at, end, &skipped)) ||
        (header[1] & 0x80 && !read_vli(&at, end, &skipped)))
        return 0;
    for (int left = (header[1] & 3) + 1; left > 0; left--) {
        if (!read_vli(&at, end, &id) || !read_vli(&at, end, &size) || size > (uint64_t)(end - at))
            return 0;
        if (left == 1) {
            if (id != LZMA2 || size != 1 || *at > LZMA2_DICT)
                return 0;
            dict = *at == LZMA2_DICT ? UINT32_MAX : (uint64_t)(2 | (*at & 1)) << (*at / 2 + 11);
        }
        at += size;
    }
    return dict;
}

static uint32_t little(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

bool sbx_xz_check_hungry(const uint8_t *data, size_t n, size_t before, uint64_t offset)
{
    const uint8_t *end = data + n;
    uint64_t from = offset - before;
    if (from < STREAM_HEADER)
        from = STREAM_HEADER;
    from = (from + 3) & ~(uint64_t)3;
    if (from >= offset + n)
        return false;
    for (const uint8_t *at = data + ((int64_t)from - (int64_t)offset); end - at >= 8; at += 4) {
        /* size 0 is the index; the reserved bits are 0 in every version of the format that liblzma reads */
        if (at[0] == 0 || (at[1] & 0x3c) != 0)
            continue;
        size_t len = ((size_t)at[0] + 1) * 4;
        if (len > (size_t)(end - at) || at + len <= data)
            continue;
        if (dictionary(at, at + len - 4) > SBX_XZ_DICT_MAX &&
            (uint32_t)crc32_z(0, at, len - 4) == little(at + len - 4))
            return true;
    }
    return false;
}
