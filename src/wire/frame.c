#include <string.h>

#include "sandboxd/wire.h"
#include "wire/crc32c.h"

#define MAGIC_0 0x58
#define MAGIC_1 0x53

static void put16(uint8_t *out, uint32_t value)
{
    out[0] = (uint8_t)value;
    out[1] = (uint8_t)(value >> 8);
}

static void put32(uint8_t *out, uint32_t value)
{
    put16(out, value);
    put16(out + 2, value >> 16);
}

static uint32_t get16(const uint8_t *in)
{
    return (uint32_t)in[0] | (uint32_t)in[1] << 8;
}

static uint32_t get32(const uint8_t *in)
{
    return get16(in) | get16(in + 2) << 16;
}

static uint32_t header_check(const uint8_t *frame)
{
    uint32_t crc = sbx_crc32c(0, frame, 10);
    return (crc ^ crc >> 16) & 0xffff;
}

static uint32_t frame_check(const uint8_t *frame, uint64_t key, size_t len)
{
    return sbx_crc32c(sbx_crc32c((uint32_t)key, frame, 12), frame + SBX_FRAME_HEADER, len);
}

/* Put the mask on a payload, or take it off. */
static void mask(uint8_t *payload, size_t len, uint64_t key)
{
    uint8_t bytes[sizeof(key)];
    put32(bytes, (uint32_t)key);
    put32(bytes + 4, (uint32_t)(key >> 32));
    uint64_t word, whole;
    memcpy(&whole, bytes, sizeof(whole));
    size_t at = 0;
    for (; len - at >= sizeof(word); at += sizeof(word)) {
        memcpy(&word, payload + at, sizeof(word));
        word ^= whole;
        memcpy(payload + at, &word, sizeof(word));
    }
    for (; at < len; at++)
        payload[at] ^= bytes[at % sizeof(bytes)];
}

/* Frames that open a connection, before both ends know its key. */
static bool is_opening(uint8_t type)
{
    return type == SBX_FRAME_HELLO || type == SBX_FRAME_HELLO_ACK || type == SBX_FRAME_REFUSED;
}

uint64_t sbx_wire_key(uint64_t nonce)
{
    /* splitmix64's finaliser: every bit of the nonce reaches every bit of the key */
    nonce ^= nonce >> 30;
    nonce *= 0xbf58476d1ce4e5b9u;
    nonce ^= nonce >> 27;
    nonce *= 0x94d049bb133111ebu;
    nonce ^= nonce >> 31;
    return nonce != 0 ? nonce : 1;
}

size_t sbx_frame_encode(uint8_t *out, uint64_t key, uint8_t type, uint8_t flags, uint32_t stream,
                        const void *payload, size_t len)
{
    if (len > 0 && payload != out + SBX_FRAME_HEADER)
        memmove(out + SBX_FRAME_HEADER, payload, len);
    mask(out + SBX_FRAME_HEADER, len, key);
    out[0] = MAGIC_0;
    out[1] = MAGIC_1;
    out[2] = type;
    out[3] = flags;
    put32(out + 4, stream);
    put16(out + 8, (uint32_t)len);
    put16(out + 10, header_check(out));
    put32(out + 12, frame_check(out, key, len));
    return SBX_FRAME_HEADER + len;
}

void sbx_frame_reader_init(struct sbx_frame_reader *reader)
{
    reader->key = 0;
    reader->dropped = 0;
    reader->start = reader->end = 0;
}

uint8_t *sbx_frame_space(struct sbx_frame_reader *reader, size_t *ret_room)
{
    if (reader->start == reader->end) {
        reader->start = reader->end = 0;
    } else if (sizeof(reader->buf) - reader->end < SBX_FRAME_MAX) {
        memmove(reader->buf, reader->buf + reader->start, reader->end - reader->start);
        reader->end -= reader->start;
        reader->start = 0;
    }
    *ret_room = sizeof(reader->buf) - reader->end;
    return reader->buf + reader->end;
}

void sbx_frame_fed(struct sbx_frame_reader *reader, size_t n)
{
    reader->end += n;
}

static void drop(struct sbx_frame_reader *reader, size_t n)
{
    reader->start += n;
    reader->dropped += n;
}

enum look { WHOLE, PARTIAL, GARBAGE };

/* What stands at p, with n >= 1 bytes there. A frame's payload length is stored when it is WHOLE. */
static enum look look_at(const struct sbx_frame_reader *reader, const uint8_t *p, size_t n, size_t *ret_len)
{
    if (p[0] != MAGIC_0 || (n > 1 && p[1] != MAGIC_1))
        return GARBAGE;
    if (n < SBX_FRAME_HEADER)
        return n < 12 || get16(p + 10) == header_check(p) ? PARTIAL : GARBAGE;
    size_t len = get16(p + 8);
    if (len > SBX_PAYLOAD_MAX || get16(p + 10) != header_check(p))
        return GARBAGE;
    if (!is_opening(p[2]) && reader->key == 0)
        return GARBAGE;
    if (n < SBX_FRAME_HEADER + len)
        return PARTIAL;
    if (get32(p + 12) != frame_check(p, is_opening(p[2]) ? 0 : reader->key, len))
        return GARBAGE;
    *ret_len = len;
    return WHOLE;
}

/* Drop what cannot be the start of a frame. */
static void seek_magic(struct sbx_frame_reader *reader)
{
    const uint8_t *from = reader->buf + reader->start;
    size_t n = reader->end - reader->start;
    const uint8_t *magic = n > 0 ? memchr(from, MAGIC_0, n) : NULL;
    drop(reader, magic ? (size_t)(magic - from) : n);
}

bool sbx_frame_next(struct sbx_frame_reader *reader, struct sbx_frame *ret)
{
    for (;;) {
        seek_magic(reader);
        if (reader->start == reader->end)
            return false;
        uint8_t *p = reader->buf + reader->start;
        size_t len = 0;
        switch (look_at(reader, p, reader->end - reader->start, &len)) {
        case PARTIAL:
            return false;
        case GARBAGE:
            drop(reader, 1);
            break;
        case WHOLE:
            if (!is_opening(p[2]))
                mask(p + SBX_FRAME_HEADER, len, reader->key);
            *ret = (struct sbx_frame){.type = p[2],
                                      .flags = p[3],
                                      .stream = get32(p + 4),
                                      .payload = p + SBX_FRAME_HEADER,
                                      .len = len};
            reader->start += SBX_FRAME_HEADER + len;
            return true;
        }
    }
}

bool sbx_frame_partial(const struct sbx_frame_reader *reader)
{
    return reader->start != reader->end;
}

bool sbx_frame_resync(struct sbx_frame_reader *reader)
{
    for (size_t at = reader->start; at < reader->end; at++) {
        size_t len = 0;
        if (look_at(reader, reader->buf + at, reader->end - at, &len) == WHOLE) {
            drop(reader, at - reader->start);
            return true;
        }
    }
    return false;
}
