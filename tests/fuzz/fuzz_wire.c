/*
 * Frames and fields as the other end, or a hostile process inside the container, may send them. Input: size
 * of the pieces fed, a flag, bytes. With the flag the bytes are payload instead: frames made of them, with
 * rubbish around, must come out as they went in.
 */
#include <string.h>

#include "fuzz.h"
#include "sandboxd/wire.h"

#define KEY_NONCE 0x1122334455667788u

static void walk_fields(const uint8_t *payload, size_t n)
{
    struct sbx_field field;
    size_t off = 0;
    size_t before = 0;
    while (sbx_field_next(payload, n, &off, &field)) {
        FUZZ_CHECK(off > before && off <= n);
        FUZZ_CHECK(field.data >= payload && field.data + field.len <= payload + n);
        uint32_t small;
        uint64_t large;
        FUZZ_CHECK(sbx_field_u32(&field, &small) == (field.len == 4));
        FUZZ_CHECK(sbx_field_u64(&field, &large) == (field.len == 8));
        before = off;
    }
    FUZZ_CHECK(off <= n);
}

/* Take every frame that is there. Returns how many. */
static size_t take_frames(struct sbx_frame_reader *reader)
{
    struct sbx_frame frame;
    size_t count = 0;
    while (sbx_frame_next(reader, &frame)) {
        FUZZ_CHECK(frame.len <= SBX_PAYLOAD_MAX);
        FUZZ_CHECK(frame.len == 0 || (frame.payload >= reader->buf &&
                                      frame.payload + frame.len <= reader->buf + sizeof(reader->buf)));
        walk_fields(frame.payload, frame.len);
        count++;
    }
    return count;
}

static size_t feed(struct sbx_frame_reader *reader, const uint8_t *data, size_t n, size_t step)
{
    size_t frames = 0;
    while (n > 0) {
        size_t room;
        uint8_t *space = sbx_frame_space(reader, &room);
        FUZZ_CHECK(room >= 1 && space >= reader->buf && space + room <= reader->buf + sizeof(reader->buf));
        size_t piece = step < room ? step : room;
        piece = piece < n ? piece : n;
        memcpy(space, data, piece);
        sbx_frame_fed(reader, piece);
        data += piece;
        n -= piece;
        frames += take_frames(reader);
    }
    return frames;
}

static void read_rubbish(const uint8_t *data, size_t n, size_t step)
{
    struct sbx_frame_reader reader;
    sbx_frame_reader_init(&reader);
    feed(&reader, data, n, step);
    while (sbx_frame_partial(&reader) && sbx_frame_resync(&reader)) /* the silence passes */
        FUZZ_CHECK(take_frames(&reader) > 0);
}

/* A frame of the payload, between two pieces of rubbish that are the payload too. */
static void round_trip(const uint8_t *data, size_t n, size_t step)
{
    static uint8_t stream[2 * SBX_PAYLOAD_MAX + SBX_FRAME_MAX];
    struct sbx_frame_reader reader;
    n = n < SBX_PAYLOAD_MAX ? n : SBX_PAYLOAD_MAX;
    uint64_t key = sbx_wire_key(KEY_NONCE);
    FUZZ_CHECK(key != 0);
    memcpy(stream, data, n);
    size_t size = sbx_frame_encode(stream + n, key, SBX_FRAME_DATA, SBX_FRAME_MORE, 7, data, n);
    FUZZ_CHECK(size == n + SBX_FRAME_HEADER);
    memcpy(stream + n + size, data, n);

    sbx_frame_reader_init(&reader);
    reader.key = key;
    size_t frames = feed(&reader, stream, n + size + n, step);
    while (sbx_frame_partial(&reader) && sbx_frame_resync(&reader))
        frames += take_frames(&reader);
    FUZZ_CHECK(frames >= 1);

    struct sbx_frame frame;
    size_t room;
    sbx_frame_reader_init(&reader);
    reader.key = key;
    memcpy(sbx_frame_space(&reader, &room), stream + n, size);
    sbx_frame_fed(&reader, size);
    FUZZ_CHECK(sbx_frame_next(&reader, &frame));
    FUZZ_CHECK(frame.type == SBX_FRAME_DATA && frame.flags == SBX_FRAME_MORE && frame.stream == 7);
    FUZZ_CHECK(frame.len == n && memcmp(frame.payload, data, n) == 0);
    FUZZ_CHECK(!sbx_frame_next(&reader, &frame) && reader.dropped == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    if (n < 2 || n > 1 << 18)
        return 0;
    size_t step = data[0] == 255 ? SIZE_MAX : (size_t)data[0] * 16 + 1;
    if (data[1] & 1)
        round_trip(data + 2, n - 2, step);
    else
        read_rubbish(data + 2, n - 2, step);
    walk_fields(data + 2, n - 2);
    return 0;
}
