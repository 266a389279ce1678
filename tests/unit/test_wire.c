/* Frames and fields: what gets through, and above all what does not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "sandboxd/wire.h"
#include "wire/crc32c.h"

#define NONCE 0x0123456789abcdefu

static uint8_t pattern[SBX_PAYLOAD_MAX];

static int fill_pattern(void **state)
{
    uint32_t x = 1;
    for (size_t i = 0; i < sizeof(pattern); i++) {
        x = x * 1664525u + 1013904223u;
        pattern[i] = (uint8_t)(x >> 24);
    }
    return 0;
}

static void feed(struct sbx_frame_reader *reader, const void *data, size_t n)
{
    size_t room;
    uint8_t *space = sbx_frame_space(reader, &room);
    assert_true(room >= n);
    memcpy(space, data, n);
    sbx_frame_fed(reader, n);
}

static struct sbx_frame_reader *reader_with_key(uint64_t key)
{
    static struct sbx_frame_reader reader;
    sbx_frame_reader_init(&reader);
    reader.key = key;
    return &reader;
}

static size_t hello(uint8_t *out, uint64_t nonce)
{
    uint8_t fields[64];
    size_t n = sbx_field_put_u64(fields, sizeof(fields), 0, SBX_TAG_NONCE, nonce);
    return sbx_frame_encode(out, 0, SBX_FRAME_HELLO, 0, 0, fields, n);
}

static void the_checksum_is_crc32c_with_and_without_the_instruction(void **state)
{
    assert_int_equal(sbx_crc32c(0, "123456789", 9), 0xe3069283u);
    assert_int_equal(sbx_crc32c_table(0, "123456789", 9), 0xe3069283u);
    for (size_t n = 0; n < 70; n++)
        for (size_t off = 0; off < 9; off++)
            assert_int_equal(sbx_crc32c((uint32_t)n, pattern + off, n),
                             sbx_crc32c_table((uint32_t)n, pattern + off, n));
    assert_int_equal(sbx_crc32c(sbx_crc32c(7, pattern, 100), pattern + 100, 900),
                     sbx_crc32c(7, pattern, 1000));
}

static void a_frame_of_every_interesting_length_comes_back_whole(void **state)
{
    static const size_t lens[] = {0, 1, 2, 15, 16, 17, 255, 3999, SBX_PAYLOAD_MAX};
    uint64_t key = sbx_wire_key(NONCE);
    struct sbx_frame_reader *reader = reader_with_key(key);

    for (size_t i = 0; i < sizeof(lens) / sizeof(lens[0]); i++) {
        uint8_t out[SBX_FRAME_MAX];
        struct sbx_frame frame;
        size_t n =
            sbx_frame_encode(out, key, SBX_FRAME_OUTPUT, SBX_FRAME_MORE, 0xfedcba98u, pattern, lens[i]);
        assert_int_equal(n, SBX_FRAME_HEADER + lens[i]);
        feed(reader, out, n);
        assert_true(sbx_frame_next(reader, &frame));
        assert_int_equal(frame.type, SBX_FRAME_OUTPUT);
        assert_int_equal(frame.flags, SBX_FRAME_MORE);
        assert_int_equal(frame.stream, 0xfedcba98u);
        assert_int_equal(frame.len, lens[i]);
        assert_memory_equal(frame.payload, pattern, lens[i]);
        assert_false(sbx_frame_next(reader, &frame));
        assert_false(sbx_frame_partial(reader));
    }
    assert_int_equal(reader->dropped, 0);
}

static void a_payload_already_in_place_is_encoded_there(void **state)
{
    uint8_t copied[SBX_FRAME_MAX], in_place[SBX_FRAME_MAX];
    size_t n = sbx_frame_encode(copied, 5, SBX_FRAME_DATA, 0, 3, pattern, 1000);
    memcpy(in_place + SBX_FRAME_HEADER, pattern, 1000);
    assert_int_equal(n,
                     sbx_frame_encode(in_place, 5, SBX_FRAME_DATA, 0, 3, in_place + SBX_FRAME_HEADER, 1000));
    assert_memory_equal(copied, in_place, n);
}

static void frames_split_at_any_byte_arrive(void **state)
{
    uint64_t key = sbx_wire_key(NONCE);
    uint8_t two[256];
    size_t n = sbx_frame_encode(two, key, SBX_FRAME_STDIN, 0, 1, "first", 5);
    n += sbx_frame_encode(two + n, key, SBX_FRAME_STDIN, 0, 2, "second", 6);

    for (size_t cut = 0; cut <= n; cut++) {
        struct sbx_frame_reader *reader = reader_with_key(key);
        struct sbx_frame frame;
        unsigned seen = 0;
        feed(reader, two, cut);
        while (sbx_frame_next(reader, &frame))
            seen++;
        feed(reader, two + cut, n - cut);
        while (sbx_frame_next(reader, &frame))
            seen++;
        assert_int_equal(seen, 2);
        assert_int_equal(frame.stream, 2);
        assert_int_equal(reader->dropped, 0);
    }
}

static void a_stream_of_many_frames_fits_the_fixed_buffer(void **state)
{
    uint64_t key = sbx_wire_key(NONCE);
    struct sbx_frame_reader *reader = reader_with_key(key);
    static uint8_t stream[200 * SBX_FRAME_MAX];
    size_t n = 0, fed = 0, chunk = 1;
    uint32_t seen = 0;

    for (uint32_t i = 0; i < 200; i++)
        n += sbx_frame_encode(stream + n, key, SBX_FRAME_DATA, 0, i, pattern,
                              (i * 977) % (SBX_PAYLOAD_MAX + 1));
    while (fed < n) {
        size_t room, take;
        struct sbx_frame frame;
        uint8_t *space = sbx_frame_space(reader, &room);
        assert_true(room >= SBX_FRAME_MAX);
        chunk = (chunk * 7 + 13) % 9000 + 1;
        take = n - fed < chunk ? n - fed : chunk;
        take = take < room ? take : room;
        memcpy(space, stream + fed, take);
        sbx_frame_fed(reader, take);
        fed += take;
        while (sbx_frame_next(reader, &frame)) {
            assert_int_equal(frame.stream, seen);
            assert_memory_equal(frame.payload, pattern, frame.len);
            seen++;
        }
    }
    assert_int_equal(seen, 200);
    assert_int_equal(reader->dropped, 0);
}

static void garbage_before_a_frame_is_dropped_and_counted(void **state)
{
    static const char *const garbage[] = {"x",           "X", "XX", "SXSX", "XS", "XSXSXSXSXSXSXSXSXSXSXSXS",
                                          "hello, world"};
    uint64_t key = sbx_wire_key(NONCE);

    for (size_t i = 0; i < sizeof(garbage) / sizeof(garbage[0]); i++) {
        struct sbx_frame_reader *reader = reader_with_key(key);
        uint8_t out[64];
        struct sbx_frame frame;
        size_t n = sbx_frame_encode(out, key, SBX_FRAME_PING, 0, 0, "ping", 4);
        feed(reader, garbage[i], strlen(garbage[i]));
        feed(reader, out, n);
        assert_true(sbx_frame_next(reader, &frame));
        assert_int_equal(frame.type, SBX_FRAME_PING);
        assert_int_equal(reader->dropped, strlen(garbage[i]));
    }
}

static void a_changed_bit_is_never_delivered(void **state)
{
    uint64_t key = sbx_wire_key(NONCE);
    uint8_t out[64];
    size_t n = sbx_frame_encode(out, key, SBX_FRAME_PING, 0, 9, "payload", 7);

    for (size_t bit = 0; bit < n * 8; bit++) {
        struct sbx_frame_reader *reader = reader_with_key(key);
        struct sbx_frame frame;
        out[bit / 8] ^= (uint8_t)(1 << bit % 8);
        feed(reader, out, n);
        assert_false(sbx_frame_next(reader, &frame));
        out[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
}

static void a_length_over_the_maximum_is_garbage_and_not_waited_for(void **state)
{
    uint64_t key = sbx_wire_key(NONCE);
    struct sbx_frame_reader *reader = reader_with_key(key);
    static uint8_t out[SBX_FRAME_HEADER + SBX_PAYLOAD_MAX + 1];
    struct sbx_frame frame;
    sbx_frame_encode(out, key, SBX_FRAME_DATA, 0, 1, NULL, 0);
    size_t n = sbx_frame_encode(out, key, SBX_FRAME_DATA, 0, 1, out + SBX_FRAME_HEADER, SBX_PAYLOAD_MAX + 1);
    feed(reader, out, n);
    assert_false(sbx_frame_next(reader, &frame));
    assert_false(sbx_frame_partial(reader));
}

/* next, of next_len bytes, is found behind a part of an older connection's frame, wherever that was cut. */
static void assert_found_behind_a_part(const uint8_t *next, size_t next_len, uint8_t type)
{
    uint64_t key = sbx_wire_key(NONCE);
    uint8_t big[SBX_FRAME_MAX];
    struct sbx_frame frame;
    size_t big_len =
        sbx_frame_encode(big, sbx_wire_key(NONCE + 1), SBX_FRAME_DATA, 0, 1, pattern, SBX_PAYLOAD_MAX);

    for (size_t cut = 1; cut < big_len - next_len; cut += 37) {
        struct sbx_frame_reader *reader = reader_with_key(key);
        feed(reader, big, cut);
        assert_false(sbx_frame_next(reader, &frame));
        assert_false(sbx_frame_resync(reader));
        feed(reader, next, next_len);
        if (!sbx_frame_next(reader, &frame)) {
            assert_true(sbx_frame_partial(reader));
            assert_true(sbx_frame_resync(reader));
            assert_true(sbx_frame_next(reader, &frame));
        }
        assert_int_equal(frame.type, type);
        assert_int_equal(reader->dropped, cut);
        assert_false(sbx_frame_partial(reader));
    }
}

static void a_truncated_frame_hides_the_next_one_until_the_silence(void **state)
{
    uint8_t next[128];
    assert_found_behind_a_part(next, hello(next, NONCE + 2), SBX_FRAME_HELLO);
    size_t n = sbx_frame_encode(next, sbx_wire_key(NONCE), SBX_FRAME_PING, 0, 0, "ping", 4);
    assert_found_behind_a_part(next, n, SBX_FRAME_PING);
}

static void a_truncated_frame_that_the_next_one_completes_is_not_delivered(void **state)
{
    uint64_t key = sbx_wire_key(NONCE);
    struct sbx_frame_reader *reader = reader_with_key(key);
    uint8_t data[128], next[128];
    struct sbx_frame frame;
    size_t n = sbx_frame_encode(data, key, SBX_FRAME_DATA, 0, 1, pattern, 40);
    feed(reader, data, n - 20);
    feed(reader, next, hello(next, NONCE + 1));
    assert_true(sbx_frame_next(reader, &frame));
    assert_int_equal(frame.type, SBX_FRAME_HELLO);
}

static void resync_leaves_a_slow_frame_alone(void **state)
{
    uint64_t key = sbx_wire_key(NONCE);
    struct sbx_frame_reader *reader = reader_with_key(key);
    uint8_t big[SBX_FRAME_MAX];
    struct sbx_frame frame;
    size_t n = sbx_frame_encode(big, key, SBX_FRAME_DATA, 0, 1, pattern, SBX_PAYLOAD_MAX);
    feed(reader, big, 1000);
    assert_false(sbx_frame_resync(reader));
    feed(reader, big + 1000, n - 1000);
    assert_true(sbx_frame_next(reader, &frame));
    assert_int_equal(frame.type, SBX_FRAME_DATA);
}

static void a_frame_of_an_older_connection_does_not_pass(void **state)
{
    uint8_t old[64];
    struct sbx_frame frame;
    struct sbx_frame_reader *reader = reader_with_key(sbx_wire_key(NONCE + 1));
    feed(reader, old, sbx_frame_encode(old, sbx_wire_key(NONCE), SBX_FRAME_KILL, 0, 1, NULL, 0));
    assert_false(sbx_frame_next(reader, &frame));
    assert_false(sbx_frame_partial(reader));
}

static void before_hello_only_opening_frames_pass(void **state)
{
    struct sbx_frame_reader *reader = reader_with_key(0);
    uint8_t out[128];
    struct sbx_frame frame;
    feed(reader, out, sbx_frame_encode(out, 0, SBX_FRAME_EXEC, 0, 1, "x", 1));
    assert_false(sbx_frame_next(reader, &frame));
    feed(reader, out, hello(out, NONCE));
    assert_true(sbx_frame_next(reader, &frame));
    assert_int_equal(frame.type, SBX_FRAME_HELLO);
}

static void an_opening_frame_passes_whatever_key_is_set(void **state)
{
    struct sbx_frame_reader *reader = reader_with_key(sbx_wire_key(NONCE));
    uint8_t out[128];
    struct sbx_frame frame;
    feed(reader, out, hello(out, NONCE + 1));
    assert_true(sbx_frame_next(reader, &frame));
    assert_int_equal(frame.type, SBX_FRAME_HELLO);
}

static void a_forged_frame_inside_a_payload_is_only_data(void **state)
{
    uint64_t key = sbx_wire_key(NONCE);
    uint8_t forged[64], out[256];
    struct sbx_frame frame;
    size_t forged_len = sbx_frame_encode(forged, 0, SBX_FRAME_EXEC, 0, 1, "rm -rf /", 8);
    size_t n = sbx_frame_encode(out, key, SBX_FRAME_DATA, 0, 1, forged, forged_len);

    struct sbx_frame_reader *reader = reader_with_key(key);
    feed(reader, out, n);
    assert_true(sbx_frame_next(reader, &frame));
    assert_int_equal(frame.type, SBX_FRAME_DATA);
    assert_false(sbx_frame_next(reader, &frame));

    /* even when the frame around it is broken and the reader looks inside */
    reader = reader_with_key(key);
    feed(reader, out + 1, n - 1);
    assert_false(sbx_frame_next(reader, &frame));
    assert_false(sbx_frame_partial(reader));
}

static void a_hello_forged_inside_a_payload_is_not_found_there(void **state)
{
    uint64_t key = sbx_wire_key(NONCE);
    uint8_t forged[SBX_PAYLOAD_MAX], out[SBX_FRAME_MAX];
    struct sbx_frame frame;
    size_t len = 0;
    for (size_t n; len + 128 < sizeof(forged); len += n + 1) /* at every remainder of eight */
        n = hello(forged + len, NONCE + 1);
    sbx_frame_encode(out, key, SBX_FRAME_STDIN, 0, 1, forged, len);
    struct sbx_frame_reader *reader = reader_with_key(key);
    feed(reader, out, len);
    assert_false(sbx_frame_next(reader, &frame));
    assert_false(sbx_frame_resync(reader));

    reader = reader_with_key(0); /* of a connection that is gone */
    feed(reader, out, len);
    assert_false(sbx_frame_next(reader, &frame));
    assert_false(sbx_frame_resync(reader));
}

static void keys_are_never_zero_and_differ(void **state)
{
    for (uint64_t nonce = 0; nonce < 1000; nonce++) {
        assert_int_not_equal(sbx_wire_key(nonce), 0);
        assert_int_not_equal(sbx_wire_key(nonce), sbx_wire_key(nonce + 1));
        assert_int_not_equal(sbx_wire_key(nonce), sbx_wire_key(nonce ^ (uint64_t)1 << 63));
    }
}

static void fields_come_back_in_order(void **state)
{
    uint8_t out[128];
    size_t n = 0, off = 0;
    struct sbx_field field;
    uint32_t u32;
    uint64_t u64;

    n = sbx_field_put_u32(out, sizeof(out), n, SBX_TAG_MODE, 0xdeadbeefu);
    n = sbx_field_put_u64(out, sizeof(out), n, SBX_TAG_SIZE, 0x0102030405060708u);
    n = sbx_field_put(out, sizeof(out), n, SBX_TAG_ARG, "", 0);
    n = sbx_field_put(out, sizeof(out), n, SBX_TAG_ARG, "a\0b", 3);
    assert_int_equal(n, sbx_field_size(4) + sbx_field_size(8) + sbx_field_size(0) + sbx_field_size(3));

    assert_true(sbx_field_next(out, n, &off, &field));
    assert_int_equal(field.tag, SBX_TAG_MODE);
    assert_true(sbx_field_u32(&field, &u32));
    assert_int_equal(u32, 0xdeadbeefu);
    assert_false(sbx_field_u64(&field, &u64));
    assert_true(sbx_field_next(out, n, &off, &field));
    assert_true(sbx_field_u64(&field, &u64));
    assert_true(u64 == 0x0102030405060708u);
    assert_false(sbx_field_u32(&field, &u32));
    assert_true(sbx_field_next(out, n, &off, &field));
    assert_int_equal(field.len, 0);
    assert_true(sbx_field_next(out, n, &off, &field));
    assert_int_equal(field.tag, SBX_TAG_ARG);
    assert_memory_equal(field.data, "a\0b", 3);
    assert_false(sbx_field_next(out, n, &off, &field));
    assert_int_equal(off, n);
}

static void a_malformed_field_ends_the_iteration_short_of_the_end(void **state)
{
    uint8_t out[64];
    struct sbx_field field;
    size_t n = sbx_field_put(out, sizeof(out), 0, SBX_TAG_PATH, "/repo/x", 7);

    for (size_t cut = 1; cut < n; cut++) {
        size_t off = 0;
        uint8_t *exact = malloc(cut); /* so that a sanitizer sees a read beyond it */
        assert_non_null(exact);
        memcpy(exact, out, cut);
        assert_false(sbx_field_next(exact, cut, &off, &field));
        assert_int_not_equal(off, cut);
        free(exact);
    }
    static const uint8_t huge[] = {SBX_TAG_PATH, 0xff, 0xff, 0xff, 0xff, 'x'};
    size_t off = 0;
    assert_false(sbx_field_next(huge, sizeof(huge), &off, &field));
    assert_int_equal(off, 0);
}

static void a_field_that_does_not_fit_is_refused(void **state)
{
    uint8_t out[20];
    assert_int_equal(sbx_field_put(out, 12, 0, SBX_TAG_PATH, "1234567", 7), 12);
    assert_int_equal(sbx_field_put(out, 11, 0, SBX_TAG_PATH, "1234567", 7), 0);
    assert_int_equal(sbx_field_put_u32(out, 4, 0, SBX_TAG_MODE, 1), 0);
    assert_int_equal(sbx_field_put_u64(out, sizeof(out), 12, SBX_TAG_SIZE, 1), 0);
    assert_int_equal(sbx_field_put(out, sizeof(out), 21, SBX_TAG_PATH, NULL, 0), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_checksum_is_crc32c_with_and_without_the_instruction),
        cmocka_unit_test(a_frame_of_every_interesting_length_comes_back_whole),
        cmocka_unit_test(a_payload_already_in_place_is_encoded_there),
        cmocka_unit_test(frames_split_at_any_byte_arrive),
        cmocka_unit_test(a_stream_of_many_frames_fits_the_fixed_buffer),
        cmocka_unit_test(garbage_before_a_frame_is_dropped_and_counted),
        cmocka_unit_test(a_changed_bit_is_never_delivered),
        cmocka_unit_test(a_length_over_the_maximum_is_garbage_and_not_waited_for),
        cmocka_unit_test(a_truncated_frame_hides_the_next_one_until_the_silence),
        cmocka_unit_test(a_truncated_frame_that_the_next_one_completes_is_not_delivered),
        cmocka_unit_test(resync_leaves_a_slow_frame_alone),
        cmocka_unit_test(a_frame_of_an_older_connection_does_not_pass),
        cmocka_unit_test(before_hello_only_opening_frames_pass),
        cmocka_unit_test(an_opening_frame_passes_whatever_key_is_set),
        cmocka_unit_test(a_forged_frame_inside_a_payload_is_only_data),
        cmocka_unit_test(a_hello_forged_inside_a_payload_is_not_found_there),
        cmocka_unit_test(keys_are_never_zero_and_differ),
        cmocka_unit_test(fields_come_back_in_order),
        cmocka_unit_test(a_malformed_field_ends_the_iteration_short_of_the_end),
        cmocka_unit_test(a_field_that_does_not_fit_is_refused),
    };
    return cmocka_run_group_tests_name("wire", tests, fill_pattern, NULL);
}
