/*
 * The attached stream's parsers: stdcopy frames and the head of the upgrade's answer.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
/* cmocka wants the four above first */
#include <cmocka.h>

#include "docker/internal.h"
#include "sandboxd/base/util.h"

/* stderr "E1", stdout "hello", an empty stdout frame, stdout of 300 bytes, stderr "last" */
static size_t make_stream(uint8_t *out)
{
    static const uint8_t heads[][8] = {
        {2, 0, 0, 0, 0, 0, 0, 2},    {1, 0, 0, 0, 0, 0, 0, 5}, {1, 0, 0, 0, 0, 0, 0, 0},
        {1, 0, 0, 0, 0, 0, 1, 0x2c}, {2, 0, 0, 0, 0, 0, 0, 4},
    };
    const char *payload[] = {"E1", "hello", "", NULL, "last"};
    size_t n = 0;

    for (size_t i = 0; i < SBX_ARRAY_LEN(heads); i++) {
        size_t len = (size_t)heads[i][6] << 8 | heads[i][7];

        memcpy(out + n, heads[i], 8);
        n += 8;
        if (payload[i])
            memcpy(out + n, payload[i], len);
        else
            memset(out + n, 'x', len);
        n += len;
    }
    return n;
}

static void decode(struct sbx_stdcopy *demux, const uint8_t *data, size_t n, char out[2][512], size_t len[2])
{
    while (n > 0) {
        size_t off, run;
        int stream;
        ssize_t used = sbx_stdcopy_next(demux, data, n, &stream, &off, &run);

        assert_true(used > 0 && (size_t)used <= n && off + run <= (size_t)used);
        if (run > 0) {
            assert_in_range(stream, 1, 2);
            memcpy(out[stream - 1] + len[stream - 1], data + off, run);
            len[stream - 1] += run;
        }
        data += used;
        n -= (size_t)used;
    }
}

static void check_streams(char out[2][512], const size_t len[2])
{
    assert_int_equal(len[0], 305);
    assert_memory_equal(out[0], "helloxxx", 8);
    assert_int_equal(out[0][304], 'x');
    assert_int_equal(len[1], 6);
    assert_memory_equal(out[1], "E1last", 6);
}

static void stdcopy_frames_may_be_split_anywhere(void **state)
{
    uint8_t data[512];
    size_t n = make_stream(data);

    for (size_t cut = 0; cut <= n; cut++) {
        for (size_t second = cut; second <= n; second++) {
            struct sbx_stdcopy demux = {.left = 0};
            char out[2][512];
            size_t len[2] = {0, 0};

            decode(&demux, data, cut, out, len);
            decode(&demux, data + cut, second - cut, out, len);
            decode(&demux, data + second, n - second, out, len);
            check_streams(out, len);
        }
    }
}

static void stdcopy_byte_by_byte(void **state)
{
    struct sbx_stdcopy demux = {.left = 0};
    uint8_t data[512];
    char out[2][512];
    size_t n = make_stream(data), len[2] = {0, 0};

    for (size_t i = 0; i < n; i++)
        decode(&demux, data + i, 1, out, len);
    check_streams(out, len);
}

static void an_impossible_stdcopy_head_is_refused_at_its_first_wrong_byte(void **state)
{
    static const uint8_t bad[][4] = {{0, 0, 0, 0}, {4, 0, 0, 0}, {1, 1, 0, 0},
                                     {1, 0, 7, 0}, {2, 0, 0, 1}, {'H', 'T', 'T', 'P'}};
    size_t off, run;
    int stream;

    for (size_t i = 0; i < SBX_ARRAY_LEN(bad); i++) {
        struct sbx_stdcopy demux = {.left = 0};
        ssize_t used = 0;

        for (size_t k = 0; k < 4 && used >= 0; k++)
            used = sbx_stdcopy_next(&demux, bad[i] + k, 1, &stream, &off, &run);
        assert_int_equal(used, -1);
    }
}

static void the_largest_stdcopy_frame_is_counted_right(void **state)
{
    static const uint8_t head[8] = {1, 0, 0, 0, 0xff, 0xff, 0xff, 0xff};
    struct sbx_stdcopy demux = {.left = 0};
    size_t off, run;
    int stream;

    assert_int_equal(sbx_stdcopy_next(&demux, head, 8, &stream, &off, &run), 8);
    assert_int_equal(demux.left, 0xffffffff);
    assert_int_equal(sbx_stdcopy_next(&demux, head, 8, &stream, &off, &run), 8);
    assert_int_equal(run, 8);
    assert_int_equal(demux.left, 0xffffffff - 8);
}

static void the_head_of_an_upgrade_ends_where_the_stream_begins(void **state)
{
    static const char text[] = "HTTP/1.1 101 UPGRADED\r\nContent-Type: application/vnd.docker.raw-stream\r\n"
                               "Connection: Upgrade\r\nUpgrade: tcp\r\n\r\n\1\0\0\0";
    size_t head = strlen(text) - 1;
    int status = 0;

    for (size_t n = 0; n < head; n++)
        assert_int_equal(sbx_docker_parse_head(text, n, &status), 0);
    assert_int_equal(status, 0);
    for (size_t n = head; n < sizeof(text); n++)
        assert_int_equal(sbx_docker_parse_head(text, n, &status), head);
    assert_int_equal(status, 101);
    assert_int_equal(sbx_docker_parse_head("HTTP/1.0 200\r\n\r\n", 16, &status), 16);
    assert_int_equal(status, 200);
}

static void what_is_not_an_http_head_is_refused(void **state)
{
    static const char *const bad[] = {
        "X",
        "HTTX",
        "http/1.1 200 OK\r\n\r\n",
        "HTTP/2 200\r\n\r\n",
        "HTTP/1.1 20\r\n\r\n",
        "HTTP/1.1 2000 OK\r\n\r\n",
        "HTTP/1.1  200 OK\r\n\r\n",
        "HTTP/1.1 2x0 OK\r\n\r\n",
        "HTTP/1.\r\n\r\n",
        "HTTP/1.x 200 OK\r\n\r\n",
    };
    static char endless[9000];
    int status;

    for (size_t i = 0; i < SBX_ARRAY_LEN(bad); i++)
        assert_int_equal(sbx_docker_parse_head(bad[i], strlen(bad[i]), &status), -1);
    memset(endless, 'x', sizeof(endless));
    memcpy(endless, "HTTP/1.1 200 OK\r\n", 17);
    assert_int_equal(sbx_docker_parse_head(endless, 8191, &status), 0);
    assert_int_equal(sbx_docker_parse_head(endless, 8192, &status), -1);
    assert_int_equal(sbx_docker_parse_head(endless, sizeof(endless), &status), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stdcopy_frames_may_be_split_anywhere),
        cmocka_unit_test(stdcopy_byte_by_byte),
        cmocka_unit_test(an_impossible_stdcopy_head_is_refused_at_its_first_wrong_byte),
        cmocka_unit_test(the_largest_stdcopy_frame_is_counted_right),
        cmocka_unit_test(the_head_of_an_upgrade_ends_where_the_stream_begins),
        cmocka_unit_test(what_is_not_an_http_head_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
