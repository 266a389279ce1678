/*
 * The sanitiser's rules about names, kinds, attributes and limits, on tars made by hand.
 */
#include <locale.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "sandboxd/base/util.h"
#include "unit/archive_kit.h"

static void names_that_leave_refuse_the_archive(void **state)
{
    static const struct {
        const char *name, *words;
    } bad[] = {{"/etc/passwd", "absolute"}, {"/", "absolute"},      {"//a", "absolute"}, {"..", "leaves"},
               {"../a", "leaves"},          {"a/../b", "leaves"},   {"a/..", "leaves"},  {"./..", "leaves"},
               {"a/b/../../..", "leaves"},  {"a//..//b/", "leaves"}};
    static const char types[] = {'0', '1', '2', '3', '5', '6'};
    for (size_t i = 0; i < SBX_ARRAY_LEN(bad); i++) {
        for (size_t t = 0; t < SBX_ARRAY_LEN(types); t++) {
            for (int by_pax = 0; by_pax < 2; by_pax++) {
                struct kit_tar tar;
                struct kit_result result;
                kit_tar_init(&tar);
                kit_file(&tar, "good", "content");
                if (by_pax)
                    kit_pax(&tar, "path", bad[i].name, strlen(bad[i].name));
                kit_put(&tar, types[t], by_pax ? "harmless" : bad[i].name, "good", 0644, "", 0);
                kit_run(&tar, NULL, &result);
                kit_assert_refused(&result, bad[i].words);
            }
        }
    }
}

static void an_empty_name_refuses_the_archive(void **state)
{
    struct kit_tar tar;
    struct kit_result result;
    kit_tar_init(&tar);
    kit_put(&tar, '0', "", NULL, 0644, "x", 1);
    kit_run(&tar, NULL, &result);
    kit_assert_refused(&result, "empty name");
}

static void a_harmless_pax_path_replaces_a_hostile_name(void **state)
{
    struct kit_tar tar;
    struct kit_result result;
    kit_tar_init(&tar);
    kit_pax(&tar, "path", "fine", 4);
    kit_file(&tar, "../../hostile", "x");
    kit_run(&tar, NULL, &result);
    kit_assert_good(&result, 0);
    assert_int_equal(result.count, 1);
    assert_string_equal(result.members[0].name, "fine");
    kit_result_done(&result);
}

static void names_are_normalised(void **state)
{
    struct kit_tar tar;
    struct kit_result result;
    kit_tar_init(&tar);
    kit_dir(&tar, "./");
    kit_dir(&tar, "./a//b/./c/");
    kit_file(&tar, "././a/b///file", "1");
    kit_file(&tar, "a/.../..x..", "2");
    kit_run(&tar, NULL, &result);
    kit_assert_good(&result, 0);
    assert_non_null(kit_find(&result, "a/b/c"));
    assert_non_null(kit_find(&result, "a/b/file"));
    assert_string_equal(kit_find(&result, "a/.../..x..")->content, "2");
    assert_int_equal(result.count, 6);
    kit_result_done(&result);
}

static void an_archive_without_members_gives_one(void **state)
{
    for (int root_entry = 0; root_entry < 2; root_entry++) {
        struct kit_tar tar;
        struct kit_result result;
        kit_tar_init(&tar);
        if (root_entry)
            kit_dir(&tar, "./");
        kit_run(&tar, NULL, &result);
        kit_assert_good(&result, 0);
        assert_int_equal(result.stats.entries, 0);
        assert_int_equal(result.stats.out_bytes, 1024);
        kit_result_done(&result);
    }
}

static void what_is_no_tar_is_refused(void **state)
{
    struct kit_result result;
    char text[3000];
    kit_sanitise("", 0, NULL, &result);
    kit_assert_refused(&result, "empty (0 bytes)");
    memset(text, 'x', sizeof(text));
    for (size_t n = 1; n <= sizeof(text); n += 499) {
        kit_sanitise(text, n, NULL, &result);
        kit_assert_refused(&result, "not a tar");
    }
    kit_sanitise("PK\003\004 and so on", 15, NULL, &result);
    kit_assert_refused(&result, "not a tar");
}

static void only_files_directories_and_symlinks_are_kept(void **state)
{
    struct kit_tar tar;
    struct kit_result result;
    kit_tar_init(&tar);
    kit_put(&tar, '3', "dev/character\n\xff", NULL, 0666, "", 0);
    kit_put(&tar, '4', "dev/block", NULL, 0666, "", 0);
    kit_put(&tar, '6', "dev/fifo", NULL, 0666, "", 0);
    kit_file(&tar, "file", "content");
    kit_put(&tar, '1', "hardlink", "file", 0644, "", 0);
    kit_put(&tar, '1', "hardlink2", "/etc/shadow", 0644, "", 0);
    kit_put(&tar, '1', "file", "other", 0644, "", 0);
    kit_link(&tar, "symlink", "file");
    kit_run(&tar, NULL, &result);
    kit_assert_good(&result, 6);
    assert_string_equal(result.stats.first_skipped, "dev/character?\xef\xbf\xbd");
    assert_int_equal(result.count, 2);
    assert_string_equal(kit_find(&result, "file")->content, "content");
    assert_string_equal(kit_find(&result, "symlink")->target, "file");
    kit_result_done(&result);
}

static void attributes_are_replaced(void **state)
{
    static const struct {
        char type;
        unsigned in, out;
    } modes[] = {{'0', 0, 0644},     {'0', 0600, 0644},  {'0', 0400, 0644},  {'0', 0755, 0755},
                 {'0', 0100, 0755},  {'0', 04755, 0755}, {'0', 06644, 0644}, {'0', 01777, 0777},
                 {'0', 0666, 0666},  {'0', 0001, 0755},  {'5', 0, 0755},     {'5', 0700, 0755},
                 {'5', 01777, 0777}, {'5', 02775, 0775}, {'5', 0600, 0755},  {'7', 0644, 0644}};
    for (size_t i = 0; i < SBX_ARRAY_LEN(modes); i++) {
        struct kit_tar tar;
        struct kit_result result;
        kit_tar_init(&tar);
        kit_pax(&tar, "SCHILY.xattr.security.capability", "\1\0\0\2", 4);
        kit_pax(&tar, "SCHILY.acl.access", "user:root:rwx", 13);
        kit_pax(&tar, "SCHILY.fflags", "immutable", 9);
        kit_pax(&tar, "uname", "n\xc3\xb6n", 4);
        kit_put(&tar, modes[i].type, "x", NULL, modes[i].in, "", 0);
        kit_run(&tar, NULL, &result);
        kit_assert_good(&result, 0);
        assert_int_equal(result.members[0].mode, modes[i].out);
        assert_int_equal(result.members[0].uid, 1000);
        assert_int_equal(result.members[0].gid, 1001);
        assert_int_equal(result.members[0].mtime, KIT_MTIME);
        kit_result_done(&result);
    }
}

static void times_are_kept_within_reason(void **state)
{
    static const struct {
        const char *bytes;
        int64_t mtime;
    } times[] = {{"00000000017\0", 15},
                 {"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x9c", 0},          /* -100 */
                 {"\x80\x00\x00\x00\x00\x00\x00\x02\x00\x00\x00\x00", 8589934591}, /* 2^33 */
                 {"\x80\x00\x00\x00\x7f\xff\xff\xff\xff\xff\xff\xff", 8589934591}};
    for (size_t i = 0; i < SBX_ARRAY_LEN(times); i++) {
        struct kit_tar tar;
        struct kit_result result;
        kit_tar_init(&tar);
        kit_file(&tar, "x", "");
        kit_patch(&tar, 136, times[i].bytes, 12);
        kit_run(&tar, NULL, &result);
        kit_assert_good(&result, 0);
        assert_int_equal(result.members[0].mtime, times[i].mtime);
        kit_result_done(&result);
    }
}

static void missing_parents_are_made(void **state)
{
    struct kit_tar tar;
    struct kit_result result;
    kit_tar_init(&tar);
    kit_file(&tar, "a/b/c", "x");
    kit_link(&tar, "d/e", "../a");
    kit_run(&tar, NULL, &result);
    kit_assert_good(&result, 0);
    static const char *const parents[] = {"a", "a/b", "d"};
    for (size_t i = 0; i < SBX_ARRAY_LEN(parents); i++) {
        const struct kit_member *parent = kit_find(&result, parents[i]);
        assert_int_equal(parent->type, S_IFDIR);
        assert_int_equal(parent->mode, 0755);
        assert_int_equal(parent->uid, 1000);
        assert_true(llabs(parent->mtime - sbx_wall_ms() / 1000) < 60);
    }
    kit_result_done(&result);
}

static void names_pass_byte_for_byte(void **state)
{
    char long_name[4001];
    for (size_t i = 0; i < sizeof(long_name); i++)
        long_name[i] = i % 201 == 200 ? '/' : (char)('a' + i % 26);
    long_name[4000] = '\0';
    char name_150[151] = {0}, name_255[256] = {0};
    memset(name_150, 'y', sizeof(name_150) - 1);
    memset(name_255, 'z', sizeof(name_255) - 1);
    const char *const names[] = {
        "with space",   "new\nline\r\ttab", "-rf",          "--",     "\xf0\x9f\x98\x80", "caf\xc3\xa9",
        "cafe\xcc\x81", "lat\xefn\xff\xfe", "\xed\xa0\x80", "a\\b",   "*?$(x)`y`",        "con:aux|",
        "\x01\x7f",     name_150,           name_255,       long_name};
    for (size_t i = 0; i < SBX_ARRAY_LEN(names); i++) {
        /* in the header, in GNU tar's long name, in a pax record, in one that says it is binary */
        for (int form = strlen(names[i]) > 100 ? 1 : 0; form < 4; form++) {
            struct kit_tar tar;
            struct kit_result result;
            kit_tar_init(&tar);
            for (int link = 0; link < 2; link++) {
                if (form == 1)
                    kit_put(&tar, 'L', "././@LongLink", NULL, 0, names[i], strlen(names[i]) + 1);
                if (form == 3)
                    kit_pax(&tar, "hdrcharset", "BINARY", 6);
                if (form >= 2)
                    kit_pax(&tar, "path", names[i], strlen(names[i]));
                kit_put(&tar, link ? '2' : '0', form == 0 ? names[i] : "cut", "x", 0644, "", 0);
            }
            kit_run(&tar, NULL, &result);
            kit_assert_good(&result, 0);
            assert_non_null(kit_find(&result, names[i]));
            assert_int_equal(kit_find(&result, names[i])->type, S_IFLNK);
            kit_result_done(&result);
        }
    }
}

static void targets_pass_byte_for_byte(void **state)
{
    char target[301];
    memset(target, 'a', sizeof(target));
    memcpy(target, "e\xcc\x81/\xff\xfe", 6);
    target[300] = '\0';
    for (int form = 0; form < 2; form++) {
        struct kit_tar tar;
        struct kit_result result;
        kit_tar_init(&tar);
        if (form == 0)
            kit_put(&tar, 'K', "././@LongLink", NULL, 0, target, sizeof(target));
        else
            kit_pax(&tar, "linkpath", target, strlen(target));
        kit_link(&tar, "link", "cut");
        kit_run(&tar, NULL, &result);
        kit_assert_good(&result, 0);
        assert_string_equal(result.members[0].target, target);
        kit_result_done(&result);
    }
}

static void a_refusal_names_the_member_safely(void **state)
{
    struct kit_tar tar;
    struct kit_result result;
    kit_tar_init(&tar);
    kit_file(&tar, "../\xff\n\x1b[31m\xc3\xa9", "");
    kit_run(&tar, NULL, &result);
    kit_assert_refused(&result, "member '../\xef\xbf\xbd??[31m\xc3\xa9': path leaves the archive");
    static const char euro[3] = {'\xe2', '\x82', '\xac'};
    char name[1000];
    for (size_t shift = 0; shift < 4; shift++) {
        memset(name, 'x', sizeof(name));
        name[0] = '/';
        for (size_t i = 1 + shift; i + 3 < sizeof(name); i += 3)
            memcpy(name + i, euro, sizeof(euro));
        kit_tar_init(&tar);
        kit_pax(&tar, "path", name, sizeof(name));
        kit_file(&tar, "x", "");
        kit_run(&tar, NULL, &result);
        assert_int_equal(sbx_utf8_valid(result.err.msg, strlen(result.err.msg)), strlen(result.err.msg));
        kit_assert_refused(&result, "...': absolute path");
    }
}

static void limits_of_names_are_exact(void **state)
{
    struct sbx_archive_options options = kit_options;
    struct kit_tar tar;
    struct kit_result result;
    char name[5000];
    options.max_depth = 3;
    static const char *const deep[] = {"a/b/c", "a/b/c/d"};
    for (size_t over = 0; over < 2; over++) {
        kit_tar_init(&tar);
        kit_file(&tar, deep[over], "");
        kit_run(&tar, &options, &result);
        if (over)
            kit_assert_refused(&result, "too many components");
        else
            kit_result_done(&result);
        memset(name, 'n', 255 + over);
        kit_tar_init(&tar);
        kit_pax(&tar, "path", name, 255 + over);
        kit_file(&tar, "x", "");
        kit_run(&tar, NULL, &result);
        if (over)
            kit_assert_refused(&result, "longer than 255");
        else
            kit_result_done(&result);
    }
    for (size_t i = 0; i < sizeof(name); i++)
        name[i] = i % 100 == 99 ? '/' : 'n';
    kit_tar_init(&tar);
    kit_pax(&tar, "path", name, 4100);
    kit_file(&tar, "x", "");
    kit_run(&tar, NULL, &result);
    kit_assert_refused(&result, "too long");
}

static void limits_of_numbers_are_exact(void **state)
{
    for (int over = 0; over < 2; over++) {
        struct sbx_archive_options options = kit_options;
        struct kit_tar tar;
        struct kit_result result;
        kit_tar_init(&tar);
        kit_dir(&tar, "./");
        kit_file(&tar, "parent/a", "12345");
        kit_file(&tar, "b", "12345");
        kit_put(&tar, '6', "fifo", NULL, 0644, "", 0);
        kit_end(&tar);
        options.max_entries = 4 - over;
        kit_sanitise(tar.bytes.data, tar.bytes.len, &options, &result);
        if (over)
            kit_assert_refused(&result, "more than 3 entries");
        else
            kit_assert_good(&result, 1), kit_result_done(&result);
        options.max_entries = 100;
        options.max_bytes = 10 - over;
        kit_sanitise(tar.bytes.data, tar.bytes.len, &options, &result);
        if (over)
            kit_assert_refused(&result, "more than 9 bytes");
        else
            kit_assert_good(&result, 1), kit_result_done(&result);
        kit_tar_done(&tar);
    }
}

static ssize_t read_failing(void *arg, void *buf, size_t n, struct sbx_err *err)
{
    struct kit_tar *tar = arg;
    if (n > 700 && tar->bytes.len >= 700) {
        memcpy(buf, tar->bytes.data, 700);
        sbx_buf_consume(&tar->bytes, 700);
        return 700;
    }
    return sbx_err_set(err, SBX_ERR_CANCELLED, "the client is gone");
}

static void an_error_of_the_reader_is_passed_on(void **state)
{
    struct sbx_archive_stats stats;
    for (size_t size = 0; size < 6; size++) {
        struct kit_tar tar;
        struct sbx_err err = SBX_ERR_INIT;
        char *content = calloc(1, 701 * size + 1);
        kit_tar_init(&tar);
        kit_put(&tar, '0', "x", NULL, 0644, content, 701 * size);
        int fd = memfd_create("out", MFD_CLOEXEC);
        assert_int_equal(sbx_archive_sanitise(read_failing, &tar, fd, &kit_options, &stats, &err), -1);
        assert_int_equal(err.kind, SBX_ERR_CANCELLED);
        assert_string_equal(err.msg, "the client is gone");
        assert_int_equal(sbx_archive_sanitise(read_failing, &tar, fd, &kit_options, &stats, NULL), -1);
        close(fd);
        kit_tar_done(&tar);
        free(content);
    }
}

int main(void)
{
    setlocale(LC_CTYPE, "C.UTF-8");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_that_leave_refuse_the_archive),
        cmocka_unit_test(an_empty_name_refuses_the_archive),
        cmocka_unit_test(a_harmless_pax_path_replaces_a_hostile_name),
        cmocka_unit_test(names_are_normalised),
        cmocka_unit_test(an_archive_without_members_gives_one),
        cmocka_unit_test(what_is_no_tar_is_refused),
        cmocka_unit_test(only_files_directories_and_symlinks_are_kept),
        cmocka_unit_test(attributes_are_replaced),
        cmocka_unit_test(times_are_kept_within_reason),
        cmocka_unit_test(missing_parents_are_made),
        cmocka_unit_test(names_pass_byte_for_byte),
        cmocka_unit_test(targets_pass_byte_for_byte),
        cmocka_unit_test(a_refusal_names_the_member_safely),
        cmocka_unit_test(limits_of_names_are_exact),
        cmocka_unit_test(limits_of_numbers_are_exact),
        cmocka_unit_test(an_error_of_the_reader_is_passed_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
