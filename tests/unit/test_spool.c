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
#include <unistd.h>

#include <cmocka.h>

#include "sandboxd/base.h"

static int make_dir(void **state)
{
    const char *tmp = getenv("TMPDIR");
    char *dir = NULL;
    if (asprintf(&dir, "%s/spool-XXXXXX", tmp ? tmp : "/tmp") < 0 || !mkdtemp(dir))
        return -1;
    *state = dir;
    return 0;
}

static int drop_dir(void **state)
{
    int rc = rmdir(*state); /* fails when a test left a file */
    free(*state);
    return rc;
}

static void check_contents(const struct sbx_spool *spool, const char *want, size_t n)
{
    struct sbx_err err = SBX_ERR_INIT;
    char got[4096];
    size_t at = 0;
    assert_int_equal(sbx_spool_len(spool), n);
    for (;;) {
        ssize_t r = sbx_spool_read(spool, (int64_t)at, got + at, 7, &err);
        assert_true(r >= 0);
        if (r == 0)
            break;
        at += (size_t)r;
        assert_true(at < sizeof(got) - 7);
    }
    assert_int_equal(at, n);
    assert_memory_equal(got, want, n);
}

static void small_contents_stay_in_memory(void **state)
{
    struct sbx_spool spool;
    struct sbx_err err = SBX_ERR_INIT;
    sbx_spool_init(&spool, "/nonexistent", 16, 100);
    assert_int_equal(sbx_spool_add(&spool, "0123456789abcdef", 16, &err), 0);
    assert_int_equal(spool.fd, -1);
    check_contents(&spool, "0123456789abcdef", 16);
    char byte;
    assert_int_equal(sbx_spool_read(&spool, 15, &byte, 1, &err), 1);
    assert_int_equal(byte, 'f');
    assert_int_equal(sbx_spool_read(&spool, 16, &byte, 1, &err), 0);
    assert_int_equal(sbx_spool_read(&spool, 1000, &byte, 1, &err), 0);
    sbx_spool_done(&spool);
}

static void contents_are_the_same_in_any_mix_of_memory_and_file(void **state)
{
    char all[1000];
    for (size_t i = 0; i < sizeof(all); i++)
        all[i] = (char)(i * 7 + i / 256);
    for (size_t memory = 0; memory <= 64; memory += 16) {
        for (size_t piece = 1; piece <= 100; piece += 9) {
            struct sbx_spool spool;
            struct sbx_err err = SBX_ERR_INIT;
            sbx_spool_init(&spool, *state, memory, sizeof(all));
            for (size_t at = 0; at < sizeof(all); at += piece) {
                size_t n = sizeof(all) - at < piece ? sizeof(all) - at : piece;
                assert_int_equal(sbx_spool_add(&spool, all + at, n, &err), 0);
            }
            assert_true(spool.fd >= 0);
            check_contents(&spool, all, sizeof(all));
            sbx_spool_done(&spool);
        }
    }
}

static void the_file_has_no_name(void **state)
{
    struct sbx_spool spool;
    struct sbx_err err = SBX_ERR_INIT;
    sbx_spool_init(&spool, *state, 1, 100);
    assert_int_equal(sbx_spool_add(&spool, "spooled", 7, &err), 0);
    DIR *dir = opendir(*state);
    int entries = 0;
    while (readdir(dir))
        entries++;
    closedir(dir);
    assert_int_equal(entries, 2); /* . and .. */
    sbx_spool_done(&spool);
    assert_int_equal(spool.fd, -1);
}

static void more_than_the_most_is_refused_and_changes_nothing(void **state)
{
    struct sbx_spool spool;
    struct sbx_err err = SBX_ERR_INIT;
    sbx_spool_init(&spool, *state, 4, 10);
    assert_int_equal(sbx_spool_add(&spool, "01234567", 8, &err), 0);
    assert_int_equal(sbx_spool_add(&spool, "xyz", 3, &err), -1);
    assert_int_equal(err.kind, SBX_ERR_TOO_LARGE);
    assert_int_equal(sbx_spool_add(&spool, "89", 2, &err), 0);
    check_contents(&spool, "0123456789", 10);
    sbx_spool_done(&spool);
}

static void a_missing_directory_is_an_error(void **state)
{
    struct sbx_spool spool;
    struct sbx_err err = SBX_ERR_INIT;
    sbx_spool_init(&spool, "/nonexistent/dir", 4, 100);
    assert_int_equal(sbx_spool_add(&spool, "0123456789", 10, &err), -1);
    assert_int_equal(err.kind, SBX_ERR_INTERNAL);
    assert_non_null(strstr(err.msg, "/nonexistent/dir"));
    sbx_spool_done(&spool);
}

static void a_full_disk_is_unavailable_and_keeps_what_was_there(void **state)
{
    struct sbx_spool spool;
    struct sbx_err err = SBX_ERR_INIT;
    struct rlimit old, small;
    static char block[8192];
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    small = old;
    small.rlim_cur = 6000;
    sbx_spool_init(&spool, *state, 16, 100000);
    assert_int_equal(sbx_spool_add(&spool, "0123456789abcdef!", 17, &err), 0);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    int rc = sbx_spool_add(&spool, block, sizeof(block), &err);
    setrlimit(RLIMIT_FSIZE, &old);
    assert_int_equal(rc, -1);
    assert_int_equal(err.kind, SBX_ERR_UNAVAILABLE);
    check_contents(&spool, "0123456789abcdef!", 17);
    assert_int_equal(sbx_spool_add(&spool, "more", 4, &err), 0);
    check_contents(&spool, "0123456789abcdef!more", 21);
    sbx_spool_done(&spool);
}

static void a_file_that_is_there_is_read_as_far_as_told(void **state)
{
    struct sbx_err err = SBX_ERR_INIT;
    char byte;
    int fd = sbx_tmpfile(*state, &err);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, "0123456789", 10), 10);
    struct sbx_spool spool = sbx_spool_of(fd, 8);
    check_contents(&spool, "01234567", 8);
    assert_int_equal(sbx_spool_read(&spool, 8, &byte, 1, &err), 0);
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(small_contents_stay_in_memory),
        cmocka_unit_test_setup_teardown(contents_are_the_same_in_any_mix_of_memory_and_file, make_dir,
                                        drop_dir),
        cmocka_unit_test_setup_teardown(the_file_has_no_name, make_dir, drop_dir),
        cmocka_unit_test_setup_teardown(more_than_the_most_is_refused_and_changes_nothing, make_dir,
                                        drop_dir),
        cmocka_unit_test(a_missing_directory_is_an_error),
        cmocka_unit_test_setup_teardown(a_file_that_is_there_is_read_as_far_as_told, make_dir, drop_dir),
        cmocka_unit_test_setup_teardown(a_full_disk_is_unavailable_and_keeps_what_was_there, make_dir,
                                        drop_dir),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
