#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "sandboxd/base.h"

static int make_dir(void **state)
{
    const char *tmp = getenv("TMPDIR");
    char *dir = NULL;
    if (asprintf(&dir, "%s/util-XXXXXX", tmp ? tmp : "/tmp") < 0 || !mkdtemp(dir))
        return -1;
    *state = dir;
    return 0;
}

static int drop_dir(void **state)
{
    int rc = rmdir(*state);
    free(*state);
    return rc;
}

static const char *in_dir(void **state, const char *name)
{
    static char path[512];
    snprintf(path, sizeof(path), "%s/%s", (const char *)*state, name);
    return path;
}

static void put_file(const char *path, const char *data, size_t n)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    struct sbx_err err = SBX_ERR_INIT;
    assert_true(fd >= 0);
    assert_int_equal(sbx_write_full(fd, data, n, &err), 0);
    sbx_close(&fd);
    assert_int_equal(fd, -1);
}

static void a_file_is_read_whole_up_to_its_limit(void **state)
{
    struct sbx_err err = SBX_ERR_INIT;
    char *text = NULL;
    size_t n = 0;
    const char *path = in_dir(state, "file");
    put_file(path, "ab\0cd", 5);
    assert_int_equal(sbx_read_file(path, 5, &text, &n, &err), 0);
    assert_int_equal(n, 5);
    assert_memory_equal(text, "ab\0cd", 6);
    free(text);
    text = NULL;
    assert_int_equal(sbx_read_file(path, 4, &text, &n, &err), -1);
    assert_int_equal(err.kind, SBX_ERR_TOO_LARGE);
    assert_non_null(strstr(err.msg, path));
    assert_null(text);
    put_file(path, "", 0);
    assert_int_equal(sbx_read_file(path, 4, &text, NULL, &err), 0);
    assert_string_equal(text, "");
    free(text);
    unlink(path);
    assert_int_equal(sbx_read_file(path, 4, &text, &n, &err), -1);
    assert_int_equal(err.kind, SBX_ERR_NOT_FOUND);
    assert_int_equal(sbx_read_file(*state, 4, &text, &n, &err), -1);
    assert_int_equal(err.kind, SBX_ERR_INTERNAL);
    assert_int_equal(err.os_errno, EISDIR);
}

static void missing_directories_are_made_with_the_mode_asked_for(void **state)
{
    struct sbx_err err = SBX_ERR_INIT;
    struct stat st;
    char path[512], deep[600];
    snprintf(path, sizeof(path), "%s/a", (const char *)*state);
    snprintf(deep, sizeof(deep), "%s//b/./c/", path);
    mode_t old = umask(077);
    assert_int_equal(sbx_mkdirs(deep, 0755, &err), 0);
    assert_int_equal(sbx_mkdirs(deep, 0700, &err), 0); /* there already: left alone */
    umask(old);
    assert_int_equal(stat(deep, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0755);
    assert_int_equal(stat(*state, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0700);
    assert_int_equal(rmdir(deep), 0);
    snprintf(deep, sizeof(deep), "%s/b/file", path);
    put_file(deep, "", 0);
    snprintf(deep, sizeof(deep), "%s/b/file/d", path);
    assert_int_equal(sbx_mkdirs(deep, 0755, &err), -1);
    assert_int_equal(err.os_errno, ENOTDIR);
    snprintf(deep, sizeof(deep), "%s/b/file", path);
    unlink(deep);
    snprintf(deep, sizeof(deep), "%s/b", path);
    rmdir(deep);
    assert_int_equal(rmdir(path), 0);
}

static void a_temporary_file_has_no_name_and_is_not_inherited(void **state)
{
    struct sbx_err err = SBX_ERR_INIT;
    struct stat st;
    int fd = sbx_tmpfile(*state, &err);
    assert_true(fd >= 0);
    assert_int_equal(fcntl(fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
    assert_int_equal(fstat(fd, &st), 0);
    assert_int_equal(st.st_nlink, 0);
    assert_int_equal(sbx_write_full(fd, "x", 1, &err), 0);
    sbx_close(&fd);
    assert_int_equal(sbx_tmpfile(in_dir(state, "missing"), &err), -1);
    assert_non_null(strstr(err.msg, "missing"));
}

static void closing_keeps_errno_and_takes_closed_descriptors(void **state)
{
    int fd = -1;
    errno = ENOENT;
    sbx_close(&fd);
    fd = 100000;
    sbx_close(&fd);
    assert_int_equal(errno, ENOENT);
    assert_int_equal(fd, -1);
}

static void clocks_have_the_units_they_say(void **state)
{
    int64_t us = sbx_now_us(), ms = sbx_now_ms();
    assert_true(ms >= us / 1000 && ms < us / 1000 + 10000);
    assert_true(sbx_wall_ms() > INT64_C(1600000000000) && sbx_wall_ms() < INT64_C(9999999999999));
}

static void uuids_are_random_version_4(void **state)
{
    char a[SBX_UUID_LEN + 1], b[SBX_UUID_LEN + 1];
    for (int i = 0; i < 100; i++) {
        sbx_uuid4(a);
        sbx_uuid4(b);
        assert_true(sbx_is_uuid(a));
        assert_string_not_equal(a, b);
        assert_int_equal(a[14], '4');
        assert_non_null(strchr("89ab", a[19]));
    }
}

static void only_canonical_uuids_are_uuids(void **state)
{
    assert_true(sbx_is_uuid("550e8400-e29b-41d4-a716-446655440000"));
    assert_true(sbx_is_uuid("550E8400-E29B-41D4-A716-446655440000"));
    assert_false(sbx_is_uuid(""));
    assert_false(sbx_is_uuid("550e8400"));
    assert_false(sbx_is_uuid("550e8400-e29b-41d4-a716-44665544000"));
    assert_false(sbx_is_uuid("550e8400-e29b-41d4-a716-4466554400000"));
    assert_false(sbx_is_uuid("550e8400e29b41d4a716446655440000"));
    assert_false(sbx_is_uuid("{50e8400-e29b-41d4-a716-44665544000}"));
    assert_false(sbx_is_uuid("550e8400-e29b-41d4-a716-44665544000g"));
    assert_false(sbx_is_uuid("550e8400-e29b-41d4-a716-446655440000\n"));
}

static void hashes_are_sha_256(void **state)
{
    char hex[SBX_SHA256_HEX + 1];
    sbx_sha256_hex("", 0, hex);
    assert_string_equal(hex, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    sbx_sha256_hex("abc", 3, hex);
    assert_string_equal(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

static void base64_goes_both_ways(void **state)
{
    static const char *const pairs[][2] = {{"", ""},
                                           {"f", "Zg=="},
                                           {"fo", "Zm8="},
                                           {"foo", "Zm9v"},
                                           {"foob", "Zm9vYg=="},
                                           {"fooba", "Zm9vYmE="},
                                           {"foobar", "Zm9vYmFy"},
                                           {"\xFB\xFF\xBF", "+/+/"}};
    char out[64];
    for (size_t i = 0; i < SBX_ARRAY_LEN(pairs); i++) {
        size_t n = strlen(pairs[i][0]);
        assert_int_equal(sbx_base64_encode(pairs[i][0], n, out), strlen(pairs[i][1]));
        assert_string_equal(out, pairs[i][1]);
        assert_int_equal(sbx_base64_decode(pairs[i][1], strlen(pairs[i][1]), out), n);
        assert_memory_equal(out, pairs[i][0], n);
    }
    uint8_t all[256], back[256];
    char text[345];
    for (size_t n = 0; n <= sizeof(all); n++) {
        for (size_t i = 0; i < n; i++)
            all[i] = (uint8_t)(i * 37 + n);
        size_t len = sbx_base64_encode(all, n, text);
        assert_int_equal(len, (n + 2) / 3 * 4);
        assert_int_equal(sbx_base64_decode(text, len, back), n);
        assert_memory_equal(all, back, n);
    }
}

static void base64_that_is_not_canonical_is_refused(void **state)
{
    static const char *const bad[] = {
        "Z",    "Zg",       "Zg=",  "Zm9vZg=", "Zm9v\n",  "Zm 9v", " Zm9v", "Zm9v ", "Z===",     "====",
        "=Zg=", "Zg==Zg==", "Zm=v", "Z-_v",    "Zm9\xC3", "Zh==",  "Zm9=",  "Zg=v",  "Zm9v====",
    };
    char out[64];
    for (size_t i = 0; i < SBX_ARRAY_LEN(bad); i++)
        assert_int_equal(sbx_base64_decode(bad[i], strlen(bad[i]), out), -1);
    assert_int_equal(sbx_base64_decode("Zm\0v", 4, out), -1);
}

/* Bytes; what bytes.decode("utf-8", errors="replace") makes of them in Python; their valid prefix. */
static const struct {
    const char *in;
    size_t n;
    const char *out;
    size_t out_n;
    size_t valid;
} texts[] = {
    {"abc", 3, "abc", 3, 3},
    {"\303\251", 2, "\303\251", 2, 2},
    {"\342\202\254", 3, "\342\202\254", 3, 3},
    {"\360\237\230\200", 4, "\360\237\230\200", 4, 4},
    {"\300\257", 2, "\357\277\275\357\277\275", 6, 0},
    {"\301\277", 2, "\357\277\275\357\277\275", 6, 0},
    {"\340\200\257", 3, "\357\277\275\357\277\275\357\277\275", 9, 0},
    {"\340\237\277", 3, "\357\277\275\357\277\275\357\277\275", 9, 0},
    {"\360\200\200\257", 4, "\357\277\275\357\277\275\357\277\275\357\277\275", 12, 0},
    {"\360\217\277\277", 4, "\357\277\275\357\277\275\357\277\275\357\277\275", 12, 0},
    {"\355\240\200", 3, "\357\277\275\357\277\275\357\277\275", 9, 0},
    {"\355\277\277", 3, "\357\277\275\357\277\275\357\277\275", 9, 0},
    {"\355\240\275\355\270\200", 6,
     "\357\277\275\357\277\275\357\277\275\357\277\275\357\277\275\357\277\275", 18, 0},
    {"\355\237\277", 3, "\355\237\277", 3, 3},
    {"\356\200\200", 3, "\356\200\200", 3, 3},
    {"\364\220\200\200", 4, "\357\277\275\357\277\275\357\277\275\357\277\275", 12, 0},
    {"\364\217\277\277", 4, "\364\217\277\277", 4, 4},
    {"\365\200\200\200", 4, "\357\277\275\357\277\275\357\277\275\357\277\275", 12, 0},
    {"\377\376", 2, "\357\277\275\357\277\275", 6, 0},
    {"\200", 1, "\357\277\275", 3, 0},
    {"\277\200", 2, "\357\277\275\357\277\275", 6, 0},
    {"a\342\202", 3, "a\357\277\275", 4, 1},
    {"a\342\202b", 4, "a\357\277\275b", 5, 1},
    {"\342", 1, "\357\277\275", 3, 0},
    {"\360\237\230", 3, "\357\277\275", 3, 0},
    {"\360\237\230A", 4, "\357\277\275A", 4, 0},
    {"\360\237", 2, "\357\277\275", 3, 0},
    {"\360\237Z\200", 4, "\357\277\275Z\357\277\275", 7, 0},
    {"\361\200\200\342\202\303A", 7, "\357\277\275\357\277\275\357\277\275A", 10, 0},
    {"\303(", 2, "\357\277\275(", 4, 0},
    {"\342(\241", 3, "\357\277\275(\357\277\275", 7, 0},
    {"\342\202(", 3, "\357\277\275(", 4, 0},
    {"\360(\214\274", 4, "\357\277\275(\357\277\275\357\277\275", 10, 0},
    {"\360\220(\274", 4, "\357\277\275(\357\277\275", 7, 0},
    {"\370\210\200\200\200", 5, "\357\277\275\357\277\275\357\277\275\357\277\275\357\277\275", 15, 0},
    {"a\361\200\200\341\200\302b\200c\200\277d", 13,
     "a\357\277\275\357\277\275\357\277\275b\357\277\275c\357\277\275\357\277\275d", 22, 1},
    {"\303\251\303", 3, "\303\251\357\277\275", 5, 2},
    {"x\000y\200", 4, "x\000y\357\277\275", 6, 3},
    {"\357\277\275\377", 4, "\357\277\275\357\277\275", 6, 3},
    {"12345678\37712345678\303", 18, "12345678\357\277\27512345678\357\277\275", 22, 8},
};

static int to_buf(void *arg, const char *bytes, size_t len)
{
    return sbx_buf_add(arg, bytes, len, NULL);
}

static void invalid_utf8_is_replaced_as_python_does(void **state)
{
    for (size_t i = 0; i < SBX_ARRAY_LEN(texts); i++) {
        struct sbx_buf buf;
        sbx_buf_init(&buf, 256);
        /* an allocation of just that size, so that a sanitizer sees a read beyond it */
        char *in = malloc(texts[i].n);
        memcpy(in, texts[i].in, texts[i].n);
        assert_int_equal(sbx_utf8_clean(in, texts[i].n, to_buf, &buf), 0);
        assert_int_equal(buf.len, texts[i].out_n);
        assert_memory_equal(buf.data, texts[i].out, buf.len);
        assert_int_equal(sbx_utf8_valid(in, texts[i].n), texts[i].valid);
        assert_int_equal(sbx_utf8_valid(buf.data, buf.len), buf.len);
        free(in);
        sbx_buf_done(&buf);
    }
    assert_int_equal(sbx_utf8_valid("", 0), 0);
    assert_int_equal(sbx_utf8_clean("", 0, to_buf, NULL), 0);
}

static int stop_at_replacement(void *arg, const char *bytes, size_t len)
{
    (*(int *)arg)++;
    return bytes[0] == '\xEF' ? 7 : 0;
}

static void cleaning_stops_where_the_reader_says_so(void **state)
{
    int calls = 0;
    assert_int_equal(sbx_utf8_clean("ab\xFF"
                                    "cd",
                                    5, stop_at_replacement, &calls),
                     7);
    assert_int_equal(calls, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_file_is_read_whole_up_to_its_limit, make_dir, drop_dir),
        cmocka_unit_test_setup_teardown(missing_directories_are_made_with_the_mode_asked_for, make_dir,
                                        drop_dir),
        cmocka_unit_test_setup_teardown(a_temporary_file_has_no_name_and_is_not_inherited, make_dir,
                                        drop_dir),
        cmocka_unit_test(closing_keeps_errno_and_takes_closed_descriptors),
        cmocka_unit_test(clocks_have_the_units_they_say),
        cmocka_unit_test(uuids_are_random_version_4),
        cmocka_unit_test(only_canonical_uuids_are_uuids),
        cmocka_unit_test(hashes_are_sha_256),
        cmocka_unit_test(base64_goes_both_ways),
        cmocka_unit_test(base64_that_is_not_canonical_is_refused),
        cmocka_unit_test(invalid_utf8_is_replaced_as_python_does),
        cmocka_unit_test(cleaning_stops_where_the_reader_says_so),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
