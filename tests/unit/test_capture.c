/* Head and tail of a command's output, in memory and in a file, against the same written down plainly. */
#include <dirent.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "sandboxd/base.h"
#include "sandboxd/session.h"

#define NOWHERE "/nonexistent/dir"
#define ALL     100000

static char g_data[ALL];

static int make_dir(void **state)
{
    const char *tmp = getenv("TMPDIR");
    char *dir = NULL;
    if (asprintf(&dir, "%s/capture-XXXXXX", tmp ? tmp : "/tmp") < 0 || !mkdtemp(dir))
        return -1;
    *state = dir;
    for (size_t i = 0; i < sizeof(g_data); i++)
        g_data[i] = (char)(i * 31 + i / 251);
    return 0;
}

static int drop_dir(void **state)
{
    int rc = rmdir(*state); /* fails when a test left a file */
    free(*state);
    return rc;
}

static int collect(void *arg, const char *bytes, size_t n)
{
    struct sbx_err err;
    return sbx_buf_add(arg, bytes, n, &err);
}

static int refuse(void *arg, const char *bytes, size_t n)
{
    ++*(int *)arg;
    return 7;
}

static void add(struct sbx_capture *capture, size_t from, size_t total, size_t piece)
{
    struct sbx_err err = SBX_ERR_INIT;
    for (size_t at = from; at < total; at += piece)
        assert_int_equal(sbx_capture_add(capture, g_data + at, total - at < piece ? total - at : piece, &err),
                         0);
}

/* What should come out of the first `total` bytes of the data. */
static void want(struct sbx_buf *out, size_t max, size_t total)
{
    char marker[96];
    size_t tail = max / 2, head = max - tail;
    sbx_buf_init(out, 2 * ALL);
    if (total <= max) {
        assert_int_equal(collect(out, g_data, total), 0);
        return;
    }
    int n = snprintf(marker, sizeof(marker), "\n[... %zu bytes of output dropped ...]\n", total - max);
    assert_int_equal(collect(out, g_data, head), 0);
    assert_int_equal(collect(out, marker, (size_t)n), 0);
    assert_int_equal(collect(out, g_data + total - tail, tail), 0);
}

/* The capture has seen the first `total` bytes: does it say so? */
static void check(struct sbx_capture *capture, size_t total)
{
    struct sbx_err err = SBX_ERR_INIT;
    struct sbx_buf wanted, got;
    size_t max = capture->max;
    want(&wanted, max, total);
    sbx_buf_init(&got, 2 * ALL);
    assert_int_equal(sbx_capture_emit(capture, collect, &got, &err), 0);
    assert_int_equal(got.len, wanted.len);
    if (got.len > 0)
        assert_memory_equal(got.data, wanted.data, got.len);
    assert_int_equal(capture->total, total);
    assert_int_equal(sbx_capture_dropped(capture), total > max ? total - max : 0);
    char last = total == 0 || max == 0 ? '\0' : max == 1 ? g_data[0] : g_data[total - 1];
    assert_int_equal(sbx_capture_last(capture), last);
    assert_true(capture->buf_cap <= capture->memory);
    sbx_buf_done(&got);
    sbx_buf_done(&wanted);
}

static void try(const char *dir, size_t memory, size_t max, size_t total, size_t piece)
{
    struct sbx_capture capture;
    sbx_capture_init(&capture, dir, memory, max);
    add(&capture, 0, total, piece);
    check(&capture, total);
    if (total <= memory || max <= 1)
        assert_int_equal(capture.fd, -1);
    if (capture.fd >= 0) {
        struct stat st;
        assert_int_equal(fstat(capture.fd, &st), 0);
        assert_true((size_t)st.st_size <= max);
    }
    sbx_capture_done(&capture);
    assert_int_equal(capture.fd, -1);
}

static void head_and_tail_are_kept_whatever_is_in_memory_and_however_it_is_cut(void **state)
{
    static const size_t MEMORY[] = {1, 10, 64, 5000, 20000};
    static const size_t MAX[] = {0, 1, 2, 3, 20, 21, 127, 128, 4999, 10000};
    static const size_t PIECE[] = {1, 7, 4000, 30000};
    for (size_t m = 0; m < sizeof(MEMORY) / sizeof(MEMORY[0]); m++) {
        for (size_t x = 0; x < sizeof(MAX) / sizeof(MAX[0]); x++) {
            size_t max = MAX[x], ring = max / 2, head = max - ring;
            const size_t total[] = {0,
                                    1,
                                    head,
                                    head + 1,
                                    max,
                                    max + 1,
                                    max + 2,
                                    max + ring,
                                    max + 2 * ring,
                                    max + 2 * ring + 1,
                                    MEMORY[m],
                                    MEMORY[m] + 1,
                                    2 * MEMORY[m] + 3,
                                    25000};
            for (size_t t = 0; t < sizeof(total) / sizeof(total[0]); t++) {
                for (size_t p = 0; p < sizeof(PIECE) / sizeof(PIECE[0]); p++)
                    try(*state, MEMORY[m], max, total[t], PIECE[p]);
            }
        }
    }
}

static void every_small_case_is_right(void **state)
{
    for (size_t memory = 1; memory <= 9; memory += 2) {
        for (size_t max = 0; max <= 9; max++) {
            for (size_t total = 0; total <= 24; total++) {
                for (size_t piece = 1; piece <= 13; piece += 3)
                    try(*state, memory, max, total, piece);
            }
        }
    }
}

static void a_marker_stands_between_head_and_tail(void **state)
{
    struct sbx_capture capture;
    struct sbx_err err = SBX_ERR_INIT;
    struct sbx_buf out;
    sbx_capture_init(&capture, *state, 8, 20);
    assert_int_equal(sbx_capture_add(&capture, "012345678901234567890", 21, &err), 0);
    sbx_buf_init(&out, 1 << 20);
    assert_int_equal(sbx_capture_emit(&capture, collect, &out, &err), 0);
    const char *text = "0123456789\n[... 1 bytes of output dropped ...]\n1234567890";
    assert_int_equal(out.len, strlen(text));
    assert_memory_equal(out.data, text, out.len);
    sbx_buf_done(&out);
    sbx_capture_done(&capture);
}

static void a_small_output_takes_little_memory_and_no_file(void **state)
{
    struct sbx_capture capture;
    struct sbx_err err = SBX_ERR_INIT;
    sbx_capture_init(&capture, NOWHERE, 256 << 10, 10 << 20);
    assert_int_equal(sbx_capture_add(&capture, "hello", 5, &err), 0);
    assert_true(capture.buf_cap <= 4096);
    add(&capture, 5, ALL, 4000);
    assert_int_equal(capture.fd, -1);
    sbx_capture_done(&capture);
}

static void a_large_output_is_in_a_file_without_a_name(void **state)
{
    struct sbx_capture capture;
    sbx_capture_init(&capture, *state, 4096, ALL);
    add(&capture, 0, ALL, 4000);
    assert_true(capture.fd >= 0);
    assert_true(capture.buf_cap <= 4096);
    DIR *dir = opendir(*state);
    int entries = 0;
    while (readdir(dir))
        entries++;
    closedir(dir);
    assert_int_equal(entries, 2); /* . and .. */
    check(&capture, ALL);
    check(&capture, ALL); /* and again */
    sbx_capture_done(&capture);
}

static void what_the_receiver_says_ends_it(void **state)
{
    struct sbx_capture capture;
    struct sbx_err err = SBX_ERR_INIT;
    for (size_t memory = 10; memory <= 1000; memory *= 100) {
        int calls = 0;
        sbx_capture_init(&capture, *state, memory, 100);
        add(&capture, 0, 300, 9);
        assert_int_equal(sbx_capture_emit(&capture, refuse, &calls, &err), 7);
        assert_int_equal(calls, 1);
        sbx_capture_done(&capture);
    }
}

static void a_missing_directory_is_an_error(void **state)
{
    struct sbx_capture capture;
    struct sbx_err err = SBX_ERR_INIT;
    sbx_capture_init(&capture, NOWHERE, 4, 100);
    assert_int_equal(sbx_capture_add(&capture, "0123456789", 10, &err), -1);
    assert_int_equal(err.kind, SBX_ERR_INTERNAL);
    assert_non_null(strstr(err.msg, NOWHERE));
    sbx_capture_done(&capture);
}

static void a_file_that_was_cut_is_an_error(void **state)
{
    struct sbx_capture capture;
    struct sbx_err err = SBX_ERR_INIT;
    struct sbx_buf out;
    sbx_buf_init(&out, 2 * ALL);
    sbx_capture_init(&capture, *state, 4096, ALL);
    add(&capture, 0, 4 * 4096, 4096);
    struct sbx_err none = SBX_ERR_INIT;
    assert_int_equal(sbx_capture_emit(&capture, collect, &out, &none), 0);
    assert_int_equal(ftruncate(capture.fd, 10000), 0);
    assert_int_equal(sbx_capture_emit(&capture, collect, &out, &err), -1);
    assert_int_equal(err.kind, SBX_ERR_INTERNAL);
    sbx_capture_done(&capture);
    sbx_buf_done(&out);
}

static void a_full_disk_is_unavailable(void **state)
{
    struct sbx_capture capture;
    struct sbx_err err = SBX_ERR_INIT;
    struct rlimit old, small;
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    small = old;
    small.rlim_cur = 6000;
    sbx_capture_init(&capture, *state, 4096, ALL);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    int rc = sbx_capture_add(&capture, g_data, ALL, &err);
    setrlimit(RLIMIT_FSIZE, &old);
    assert_int_equal(rc, -1);
    assert_int_equal(err.kind, SBX_ERR_UNAVAILABLE);
    sbx_capture_done(&capture);
}

#define ON_DISK(test) cmocka_unit_test_setup_teardown(test, make_dir, drop_dir)

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_DISK(head_and_tail_are_kept_whatever_is_in_memory_and_however_it_is_cut),
        ON_DISK(every_small_case_is_right),
        ON_DISK(a_marker_stands_between_head_and_tail),
        ON_DISK(a_small_output_takes_little_memory_and_no_file),
        ON_DISK(a_large_output_is_in_a_file_without_a_name),
        ON_DISK(what_the_receiver_says_ends_it),
        ON_DISK(a_missing_directory_is_an_error),
        ON_DISK(a_file_that_was_cut_is_an_error),
        ON_DISK(a_full_disk_is_unavailable),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
