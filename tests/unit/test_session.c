/* Head and tail of a command's output. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "sandboxd/base/buf.h"
#include "sandboxd/session.h"

static int collect(void *arg, const char *bytes, size_t n)
{
    struct sbx_err err;
    return sbx_buf_add(arg, bytes, n, &err);
}

/* What a capture of `max` keeps of `total` bytes "0123456789…" given in pieces of `piece`. */
static void keep(struct sbx_buf *out, size_t max, size_t total, size_t piece, uint64_t *ret_dropped)
{
    struct sbx_capture capture;
    struct sbx_err err = SBX_ERR_INIT;
    sbx_capture_init(&capture, max);
    char *data = malloc(total + 1);
    for (size_t i = 0; i < total; i++)
        data[i] = (char)('0' + i % 10);
    for (size_t at = 0; at < total; at += piece)
        assert_int_equal(sbx_capture_add(&capture, data + at, total - at < piece ? total - at : piece, &err),
                         0);
    sbx_buf_init(out, 1 << 20);
    assert_int_equal(sbx_capture_emit(&capture, collect, out), 0);
    *ret_dropped = sbx_capture_dropped(&capture);
    sbx_capture_done(&capture);
    free(data);
}

static void output_that_fits_is_kept_whole_however_it_is_cut(void **state)
{
    for (size_t piece = 1; piece <= 20; piece++) {
        struct sbx_buf out;
        uint64_t dropped;
        keep(&out, 20, 20, piece, &dropped);
        assert_int_equal(dropped, 0);
        assert_int_equal(out.len, 20);
        assert_memory_equal(out.data, "01234567890123456789", 20);
        sbx_buf_done(&out);
    }
}

static void one_byte_too_many_drops_one_byte_in_the_middle(void **state)
{
    for (size_t piece = 1; piece <= 21; piece++) {
        struct sbx_buf out;
        uint64_t dropped;
        keep(&out, 20, 21, piece, &dropped);
        assert_int_equal(dropped, 1);
        const char *want = "0123456789\n[... 1 bytes of output dropped ...]\n1234567890";
        assert_int_equal(out.len, strlen(want));
        assert_memory_equal(out.data, want, out.len);
        sbx_buf_done(&out);
    }
}

static void a_long_output_keeps_its_first_and_its_last_bytes(void **state)
{
    for (size_t piece = 1; piece <= 400; piece += 7) {
        struct sbx_buf out;
        uint64_t dropped;
        keep(&out, 21, 1000, piece, &dropped);
        assert_int_equal(dropped, 1000 - 21);
        assert_memory_equal(out.data, "01234567890", 11);
        assert_memory_equal(out.data + out.len - 10, "0123456789", 10);
        sbx_buf_done(&out);
    }
}

static void a_limit_of_nothing_keeps_nothing(void **state)
{
    struct sbx_buf out;
    uint64_t dropped;
    keep(&out, 0, 5, 2, &dropped);
    assert_int_equal(dropped, 5);
    assert_int_equal(out.data[0], '\n');
    sbx_buf_done(&out);
}

static void a_small_output_takes_little_memory(void **state)
{
    struct sbx_capture capture;
    struct sbx_err err = SBX_ERR_INIT;
    sbx_capture_init(&capture, 10 << 20);
    assert_int_equal(sbx_capture_add(&capture, "hello", 5, &err), 0);
    assert_true(capture.head_cap <= 4096);
    assert_null(capture.tail);
    sbx_capture_done(&capture);
}

static void paths_below_repo_are_good(void **state)
{
    static const char *const GOOD[] = {"/repo/a",  "/repo/a/b..c", "/repo/..a", "/repo/a b/\xc3\xa9",
                                       "/repo//a", "/repo/./a"};
    char reason[128];
    for (size_t i = 0; i < sizeof(GOOD) / sizeof(GOOD[0]); i++)
        assert_int_equal(sbx_path_check(GOOD[i], strlen(GOOD[i]), reason, sizeof(reason)), 0);
}

static void paths_that_are_refused_say_why(void **state)
{
    static const struct {
        const char *path;
        size_t len;
        const char *why;
    } BAD[] = {
        {"repo/a", 6, "absolute"},
        {"", 0, "absolute"},
        {"/etc/passwd", 11, "under /repo"},
        {"/repository/a", 13, "under"},
        {"/repo", 5, "itself"},
        {"/repo/", 6, "itself"},
        {"/repo/../etc", 12, "'..'"},
        {"/repo/a/..", 10, "'..'"},
        {"/repo/a\nb", 9, "NUL, CR or LF"},
        {"/repo/a\rb", 9, "NUL, CR or LF"},
        {"/repo/a\0b", 9, "NUL, CR or LF"},
        {"/repo/a/", 8, "directory"},
    };
    for (size_t i = 0; i < sizeof(BAD) / sizeof(BAD[0]); i++) {
        char reason[128] = "";
        assert_int_equal(sbx_path_check(BAD[i].path, BAD[i].len, reason, sizeof(reason)), -1);
        assert_non_null(strstr(reason, BAD[i].why));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(output_that_fits_is_kept_whole_however_it_is_cut),
        cmocka_unit_test(one_byte_too_many_drops_one_byte_in_the_middle),
        cmocka_unit_test(a_long_output_keeps_its_first_and_its_last_bytes),
        cmocka_unit_test(a_limit_of_nothing_keeps_nothing),
        cmocka_unit_test(a_small_output_takes_little_memory),
        cmocka_unit_test(paths_below_repo_are_good),
        cmocka_unit_test(paths_that_are_refused_say_why),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
