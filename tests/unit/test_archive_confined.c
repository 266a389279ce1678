/* The sanitiser in a process of its own: the same tar, and whatever goes wrong is told. */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "archive_kit.h"
#include "sandboxd/base/util.h"

struct feed {
    const struct sbx_buf *bytes;
    size_t at;
    size_t fail_at; /* 0: never */
};

static ssize_t take(void *arg, void *buf, size_t n, struct sbx_err *err)
{
    struct feed *feed = arg;
    size_t left = feed->bytes->len - feed->at;
    if (feed->fail_at && feed->at >= feed->fail_at)
        return sbx_err_set(err, SBX_ERR_CANCELLED, "the client has gone");
    n = n < left ? n : left;
    n = n < 1000 ? n : 1000;
    memcpy(buf, feed->bytes->data + feed->at, n);
    feed->at += n;
    return (ssize_t)n;
}

static const struct sbx_archive_options OPTIONS = {
    .uid = 1000, .gid = 1000, .max_bytes = 1 << 20, .max_entries = 100};

static int run(const struct sbx_buf *bytes, size_t fail_at, bool confined, char *out, size_t size,
               struct sbx_archive_stats *stats, struct sbx_err *err)
{
    struct feed feed = {bytes, 0, fail_at};
    SBX_AUTO_CLOSE int fd = sbx_tmpfile("/tmp", err);
    assert_true(fd >= 0);
    *err = (struct sbx_err)SBX_ERR_INIT;
    int rc = (confined ? sbx_archive_sanitise_confined : sbx_archive_sanitise)(take, &feed, fd, &OPTIONS,
                                                                               stats, err);
    memset(out, 0, size);
    assert_true(pread(fd, out, size, 0) >= 0);
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
    assert_int_equal(errno, ECHILD);
    return rc;
}

static void what_comes_out_is_the_same(void **state)
{
    static char direct[64 * 1024], confined[64 * 1024];
    struct kit_tar tar;
    struct sbx_archive_stats stats[2];
    struct sbx_err err;
    kit_tar_init(&tar);
    kit_dir(&tar, "d");
    kit_file(&tar, "d/a", "some content");
    kit_link(&tar, "d/l", "../../out");
    kit_end(&tar);
    assert_int_equal(run(&tar.bytes, 0, false, direct, sizeof(direct), &stats[0], &err), 0);
    assert_int_equal(run(&tar.bytes, 0, true, confined, sizeof(confined), &stats[1], &err), 0);
    assert_memory_equal(direct, confined, sizeof(direct));
    assert_memory_equal(&stats[0], &stats[1], sizeof(stats[0]));
    assert_int_equal(stats[1].skipped, 1);
    kit_tar_done(&tar);
}

static void a_refusal_is_told_as_it_is(void **state)
{
    static char out[1024];
    struct kit_tar tar;
    struct sbx_archive_stats stats;
    struct sbx_err direct, confined;
    kit_tar_init(&tar);
    kit_file(&tar, "../a", "x");
    for (int i = 0; i < 90; i++) /* more than a pipe holds: the rest of the input finds nobody */
        kit_file(&tar, "b", "y");
    kit_end(&tar);
    assert_int_equal(run(&tar.bytes, 0, false, out, sizeof(out), &stats, &direct), -1);
    assert_int_equal(run(&tar.bytes, 0, true, out, sizeof(out), &stats, &confined), -1);
    assert_int_equal(confined.kind, SBX_ERR_INVALID);
    assert_string_equal(confined.msg, direct.msg);
    kit_tar_done(&tar);
}

static void a_client_that_goes_ends_the_reader(void **state)
{
    static char out[1024];
    struct kit_tar tar;
    struct sbx_archive_stats stats;
    struct sbx_err err;
    kit_tar_init(&tar);
    kit_file(&tar, "a", "x");
    kit_end(&tar);
    assert_int_equal(run(&tar.bytes, 1000, true, out, sizeof(out), &stats, &err), -1);
    assert_int_equal(err.kind, SBX_ERR_CANCELLED);
    assert_string_equal(err.msg, "the client has gone");
    kit_tar_done(&tar);
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_comes_out_is_the_same),
        cmocka_unit_test(a_refusal_is_told_as_it_is),
        cmocka_unit_test(a_client_that_goes_ends_the_reader),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
