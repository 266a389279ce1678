/*
 * Symlinks and duplicate names: nothing leads out, nothing is written through a link, the last one wins.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <locale.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmocka.h>

#include "sandboxd/base/util.h"
#include "unit/archive_kit.h"

static void the_rule_for_one_link(void **state)
{
    static const struct {
        const char *name, *target;
        int inside;
    } links[] = {
        {"a", "b", 1},
        {"a", ".", 1},
        {"a", "./b/./c//d/", 1},
        {"a", "..", 0},
        {"a", "../b", 0},
        {"a/b", "..", 1},
        {"a/b", "../c", 1},
        {"a/b", "../..", 0},
        {"a/b/c", "../..", 1},
        {"a/b/c", "../../../d", 0},
        {"a", "/etc/passwd", 0},
        {"a", "/", 0},
        {"a", "", 0},
        {"a", "b/..", 0},
        {"a/b", "c/../d", 0},
        {"a/b", ".././.././c", 0},
        {"a/b", "./../c", 1},
        {"a", "...", 1},
        {"a", "..b", 1},
        {"a", "b..", 1},
        {"./a//b/", "../c", 1},
        {"..", "a", 0},
        {"/a", "b", 0},
        {"", "b", 0},
        {".", "b", 0},
        {"a/../b", "c", 0},
        {"a", ".../...", 1},
        {"a", ".b/.c", 1},
    };
    for (size_t i = 0; i < SBX_ARRAY_LEN(links); i++) {
        if (sbx_archive_link_inside(links[i].name, links[i].target) != links[i].inside)
            fail_msg("%s -> %s", links[i].name, links[i].target);
    }
    char target[4097];
    memset(target, 'x', sizeof(target));
    target[4096] = '\0';
    assert_int_equal(sbx_archive_link_inside("a", target), 0);
    target[4095] = '\0';
    assert_int_equal(sbx_archive_link_inside("a", target), 1);
}

/* A tar as a list of "type name[ target]", content of files is their place in the list. */
static void sanitise_list(const char *const *list, struct kit_result *result)
{
    struct kit_tar tar;
    kit_tar_init(&tar);
    for (int i = 0; list[i]; i++) {
        char name[200], content[16];
        snprintf(name, sizeof(name), "%s", list[i] + 2);
        snprintf(content, sizeof(content), "%d", i);
        char *target = strchr(name, ' ');
        if (target)
            *target++ = '\0';
        if (list[i][0] == 'f')
            kit_file(&tar, name, content);
        else if (list[i][0] == 'd')
            kit_dir(&tar, name);
        else
            kit_link(&tar, name, target ? target : "");
    }
    kit_run(&tar, NULL, result);
    assert_int_equal(result->ret, 0);
}

/* What is on disk when all is extracted: "f a=3" (content), "d a", "l a b"; NULL-terminated, and the number
 * skipped. */
static void expect(const char *const *list, const char *const *final, int64_t skipped)
{
    struct kit_result result;
    sanitise_list(list, &result);
    kit_assert_good(&result, skipped);
    size_t names = 0;
    for (size_t i = 0; i < result.count; i++)
        names += kit_find(&result, result.members[i].name) == &result.members[i];
    size_t expected = 0;
    for (; final[expected]; expected++) {
        char have[300] = "", name[200];
        snprintf(name, sizeof(name), "%.*s", (int)strcspn(final[expected] + 2, " ="), final[expected] + 2);
        const struct kit_member *member = kit_find(&result, name);
        if (member && member->type == S_IFREG)
            snprintf(have, sizeof(have), "f %s=%s", name, member->content);
        else if (member && member->type == S_IFLNK)
            snprintf(have, sizeof(have), "l %s %s", name, member->target);
        else if (member)
            snprintf(have, sizeof(have), "d %s", name);
        assert_string_equal(have, final[expected]);
    }
    assert_int_equal(names, expected);
    kit_result_done(&result);
}

#define LIST(...)                                                                                            \
    (const char *const[])                                                                                    \
    {                                                                                                        \
        __VA_ARGS__, NULL                                                                                    \
    }
#define NOTHING                                                                                              \
    (const char *const[])                                                                                    \
    {                                                                                                        \
        NULL                                                                                                 \
    }

static void links_that_lead_out_are_skipped(void **state)
{
    expect(LIST("l a /etc"), NOTHING, 1);
    expect(LIST("l a ../x", "l b ..", "l c ./../."), NOTHING, 3);
    expect(LIST("d a", "l a/b ../../x", "l a/c ../x"), LIST("d a", "l a/c ../x"), 1);
    expect(LIST("l a b", "l b ../out"), LIST("l a b"), 1);
}

static void links_that_stay_inside_are_kept(void **state)
{
    expect(
        LIST("f a/b/c", "l a/l b/c", "l l a/b/c", "l a/b/up ../..", "l self .", "l dangling no/such/thing"),
        LIST("d a", "d a/b", "f a/b/c=0", "l a/l b/c", "l l a/b/c", "l a/b/up ../..", "l self .",
             "l dangling no/such/thing"),
        0);
}

static void a_dotdot_after_a_real_directory_is_kept(void **state)
{
    /* in whatever order the directory and the link come */
    expect(LIST("l l d/../f", "f d/x", "f f"), LIST("l l d/../f", "d d", "f d/x=1", "f f=2"), 0);
    expect(LIST("d d", "l l d/../f"), LIST("d d", "l l d/../f"), 0);
    expect(LIST("d d/e", "l l d/e/../../d/./e/.."), LIST("d d", "d d/e", "l l d/e/../../d/./e/.."), 0);
    expect(LIST("d d", "l d/l ../d/../d/x"), LIST("d d", "l d/l ../d/../d/x"), 0);
}

static void a_dotdot_after_anything_else_is_skipped(void **state)
{
    expect(LIST("l l d/../../x", "d d"), LIST("d d"), 1);
    expect(LIST("l l missing/../x"), NOTHING, 1);
    expect(LIST("f f", "l l f/../x"), LIST("f f=0"), 1);
    /* d is one level down, so d/.. is not what it looks like */
    expect(LIST("d a/b", "l a/b/d ../..", "l l a/b/d/../../x"), LIST("d a", "d a/b", "l a/b/d ../.."), 1);
    /* a directory when the link came, a link at the end */
    expect(LIST("d d", "l l d/../x", "l d ."), LIST("l d ."), 1);
    /* and the other way round */
    expect(LIST("l d .", "l l d/../x", "d d"), LIST("d d", "l l d/../x"), 0);
}

static void chains_of_links_cannot_leave(void **state)
{
    expect(LIST("d a/b", "l up a/b/..", "l a/b/x ../../up/../.."), LIST("d a", "d a/b", "l up a/b/.."), 1);
    expect(LIST("l a b", "l b c", "l c ."), LIST("l a b", "l b c", "l c ."), 0);
    expect(LIST("l here .", "l x here/.."), LIST("l here ."), 1);
    expect(LIST("d s", "l s/here ..", "l s/x here/../../etc"), LIST("d s", "l s/here .."), 1);
}

static void nothing_is_written_below_a_link(void **state)
{
    expect(LIST("d d", "l l d", "f l/x"), LIST("d d", "l l d"), 1);
    expect(LIST("l l .", "f l/x", "d l/y", "l l/z x", "f l/a/b/c"), LIST("l l ."), 4);
    expect(LIST("l a b", "l b c", "f a/x", "f b/x"), LIST("l a b", "l b c"), 2);
    expect(LIST("d d/e", "l d/e/l ../..", "f d/e/l/d/e/f"), LIST("d d", "d d/e", "l d/e/l ../.."), 1);
    /* a link that is not in the output stands in nobody's way */
    expect(LIST("l l /etc", "f l/x"), LIST("d l", "f l/x=1"), 1);
}

static void a_link_becomes_a_directory_again(void **state)
{
    expect(LIST("l l .", "f l/x", "d l", "f l/y"), LIST("d l", "f l/y=3"), 1);
    expect(LIST("l l .", "f l", "f l/y"), LIST("d l", "f l/y=2"), 0);
}

static void the_last_of_a_name_wins(void **state)
{
    expect(LIST("f a", "f a", "f ./a"), LIST("f a=2"), 0);
    expect(LIST("f a", "d a"), LIST("d a"), 0);
    expect(LIST("f a", "l a b"), LIST("l a b"), 0);
    expect(LIST("d a", "f a"), LIST("f a=1"), 0);
    expect(LIST("d a", "d a"), LIST("d a"), 0);
    expect(LIST("d a", "l a b"), LIST("l a b"), 0);
    expect(LIST("l a b", "f a"), LIST("f a=1"), 0);
    expect(LIST("l a b", "d a"), LIST("d a"), 0);
    expect(LIST("l a b", "l a c"), LIST("l a c"), 0);
    expect(LIST("l a bbbbbbbbbbbb", "l a c", "l a dddddddddddddddddddddddd"),
           LIST("l a dddddddddddddddddddddddd"), 0);
    expect(LIST("f a", "l a b", "f a", "l a c", "d a", "f a", "d a", "l a d"), LIST("l a d"), 0);
    expect(LIST("f a", "f a/b", "f a/b/c"), LIST("d a", "d a/b", "f a/b/c=2"), 0);
}

static void a_link_that_leads_out_does_not_replace_anything(void **state)
{
    expect(LIST("f a", "l a /etc/passwd"), LIST("f a=0"), 1);
    expect(LIST("l a b", "l a ../c"), LIST("l a b"), 1);
}

static void a_directory_with_members_stays(void **state)
{
    expect(LIST("f a/x", "f a"), LIST("d a", "f a/x=0"), 1);
    expect(LIST("f a/x", "l a b", "f a/y"), LIST("d a", "f a/x=0", "f a/y=2"), 1);
    expect(LIST("d a/b", "l a ."), LIST("d a", "d a/b"), 1);
    expect(LIST("l a/b c", "f a"), LIST("d a", "l a/b c"), 1);
}

static void the_last_attributes_of_a_directory_win(void **state)
{
    struct kit_tar tar;
    struct kit_result result;
    kit_tar_init(&tar);
    kit_file(&tar, "implied/x", "");
    kit_put(&tar, '5', "implied", NULL, 0775, "", 0);
    kit_put(&tar, '5', "twice", NULL, 0777, "", 0);
    kit_file(&tar, "twice/x", "");
    kit_put(&tar, '5', "twice", NULL, 0700, "", 0);
    kit_put(&tar, '5', "same", NULL, 0775, "", 0);
    kit_file(&tar, "same/x", "");
    kit_put(&tar, '5', "same", NULL, 0775, "", 0);
    kit_run(&tar, NULL, &result);
    kit_assert_good(&result, 0);
    assert_int_equal(kit_find(&result, "implied")->mode, 0775);
    assert_int_equal(kit_find(&result, "implied")->mtime, KIT_MTIME);
    assert_int_equal(kit_find(&result, "twice")->mode, 0755);
    assert_int_equal(kit_find(&result, "same")->mode, 0775);
    assert_int_equal(result.count, 8); /* three files, three directories, two of them again */
    kit_result_done(&result);
}

static void symlink_targets_have_a_ceiling(void **state)
{
    struct kit_tar tar;
    struct kit_result result;
    char target[4001], name[32];
    memset(target, 't', sizeof(target));
    target[4000] = '\0';
    kit_tar_init(&tar);
    for (int i = 0; i < 18000; i++) { /* 72 MB */
        snprintf(name, sizeof(name), "link%d", i);
        kit_put(&tar, 'K', "././@LongLink", NULL, 0, target, sizeof(target));
        kit_link(&tar, name, "cut");
    }
    kit_run(&tar, NULL, &result);
    kit_assert_refused(&result, "names of directories and symlinks");
}

static int open_beneath(int dir, const char *path)
{
    struct open_how how = {.flags = O_PATH | O_CLOEXEC, .resolve = RESOLVE_BENEATH};
    return (int)syscall(SYS_openat2, dir, path, &how, sizeof(how));
}

/* Extract with tar as root into `path` and compare with the listing; every symlink is followed by the kernel,
 * which says whether it leaves. */
static void check_on_disk(const struct kit_result *result, const char *path)
{
    const char *const argv[] = {"tar", "-C", path, "--numeric-owner", "-xpf", "-", NULL};
    assert_int_equal(kit_spawn(argv, result->fd), 0);
    int dir = open(path, O_DIRECTORY | O_RDONLY | O_CLOEXEC);
    for (size_t i = 0; i < result->count; i++) {
        const struct kit_member *member = &result->members[i];
        struct stat st;
        if (kit_find(result, member->name) != member)
            continue;
        assert_int_equal(fstatat(dir, member->name, &st, AT_SYMLINK_NOFOLLOW), 0);
        assert_int_equal(st.st_mode & S_IFMT, member->type);
        assert_int_equal(st.st_uid, 1000);
        assert_int_equal(st.st_gid, 1001);
        if (member->type != S_IFLNK) {
            assert_int_equal(st.st_mode & 07777, member->mode);
        } else {
            int fd = open_beneath(dir, member->name);
            if (fd < 0 && errno != ENOENT && errno != ELOOP && errno != ENOTDIR)
                fail_msg("%s -> %s: %s", member->name, member->target, strerror(errno));
            sbx_close(&fd);
        }
        if (member->type == S_IFREG) {
            assert_int_equal(st.st_size, member->size);
            assert_int_equal(st.st_mtime, member->mtime);
        }
    }
    close(dir);
}

/* Small alphabets, so that names meet and links form chains. */
static void random_path(char *out, size_t room, int most, bool target)
{
    static const char *const parts[] = {"a", "b", "c", "..", "."};
    int n = 1 + rand() % most;
    size_t len = 0;
    for (int i = 0; i < n; i++)
        len +=
            (size_t)snprintf(out + len, room - len, "%s%s", i ? "/" : "", parts[rand() % (target ? 5 : 3)]);
}

static void random_archives_stay_inside_on_disk(void **state)
{
    int64_t kept = 0;
    srand(20);
    for (int round = 0; round < 60; round++) {
        struct kit_tar tar;
        struct kit_result result;
        char dir[64], inner[80];
        kit_tar_init(&tar);
        for (int i = 0; i < 30; i++) {
            char name[100], target[100];
            random_path(name, sizeof(name), 4, false);
            random_path(target, sizeof(target), 5, true);
            int what = rand() % 8;
            if (what < 2)
                kit_file(&tar, name, target);
            else if (what < 4)
                kit_dir(&tar, name);
            else
                kit_link(&tar, name, target);
        }
        kit_run(&tar, NULL, &result);
        assert_int_equal(result.ret, 0);
        kept += result.stats.entries;
        kit_tmpdir(dir);
        snprintf(inner, sizeof(inner), "%s/in", dir);
        assert_int_equal(mkdir(inner, 0755), 0);
        check_on_disk(&result, inner);
        kit_remove(inner);
        assert_int_equal(rmdir(dir), 0); /* nothing beside it */
        kit_result_done(&result);
    }
    assert_true(kept > 600);
}

static void tar_extracts_hostile_names_as_they_are(void **state)
{
    struct kit_tar tar;
    struct kit_result result;
    char dir[64], long_name[231];
    memset(long_name, 'l', 230);
    long_name[230] = '\0';
    kit_tar_init(&tar);
    kit_put(&tar, '0', "-rf", NULL, 04711, "x", 1);
    kit_put(&tar, '5', "di\nr", NULL, 01700, "", 0);
    kit_put(&tar, '0', "di\nr/\xff\xfe \xf0\x9f\x98\x80", NULL, 0, "yy", 2);
    kit_pax(&tar, "path", long_name, 230);
    kit_file(&tar, "x", "long");
    kit_link(&tar, "di\nr/up", "../-rf");
    kit_run(&tar, NULL, &result);
    kit_assert_good(&result, 0);
    kit_tmpdir(dir);
    check_on_disk(&result, dir);
    kit_remove(dir);
    kit_result_done(&result);
}

static void the_one_file_archive_shows_the_name_only_when_whole(void **state)
{
    char dir[64], path[128], file[80], *data = malloc(300000);
    struct sbx_err err = SBX_ERR_INIT;
    struct stat st, part;
    void *tar;
    size_t n, got;
    memset(data, 'A', 300000);
    assert_int_equal(sbx_archive_one_file("agent", data, 300000, 0755, &tar, &n, &err), 0);
    assert_true(n < 310000 && n % 512 == 0);
    /* the link is a member behind the content */
    assert_string_equal(tar, "agent.part");
    assert_null(memmem(tar, 300000, "agent\0", 6));
    kit_tmpdir(dir);
    snprintf(file, sizeof(file), "%s/tar", dir);
    FILE *out = fopen(file, "we");
    assert_int_equal(fwrite(tar, 1, n, out), n);
    fclose(out);
    const char *const argv[] = {"tar", "-C", dir, "-xpf", file, NULL};
    assert_int_equal(kit_spawn(argv, -1), 0);
    snprintf(path, sizeof(path), "%s/agent", dir);
    assert_int_equal(lstat(path, &st), 0);
    char *back;
    assert_int_equal(sbx_read_file(path, 1 << 20, &back, &got, &err), 0);
    assert_int_equal(got, 300000);
    assert_memory_equal(back, data, got);
    assert_int_equal(st.st_mode, S_IFREG | 0755);
    assert_int_equal(st.st_uid, 0);
    snprintf(path, sizeof(path), "%s/agent.part", dir);
    assert_int_equal(lstat(path, &part), 0);
    assert_int_equal(part.st_ino, st.st_ino);
    kit_remove(dir);
    free(back);
    free(tar);
    free(data);
}

int main(void)
{
    setlocale(LC_CTYPE, "C.UTF-8");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_rule_for_one_link),
        cmocka_unit_test(links_that_lead_out_are_skipped),
        cmocka_unit_test(links_that_stay_inside_are_kept),
        cmocka_unit_test(a_dotdot_after_a_real_directory_is_kept),
        cmocka_unit_test(a_dotdot_after_anything_else_is_skipped),
        cmocka_unit_test(chains_of_links_cannot_leave),
        cmocka_unit_test(nothing_is_written_below_a_link),
        cmocka_unit_test(a_link_becomes_a_directory_again),
        cmocka_unit_test(the_last_of_a_name_wins),
        cmocka_unit_test(a_link_that_leads_out_does_not_replace_anything),
        cmocka_unit_test(a_directory_with_members_stays),
        cmocka_unit_test(the_last_attributes_of_a_directory_win),
        cmocka_unit_test(symlink_targets_have_a_ceiling),
        cmocka_unit_test(random_archives_stay_inside_on_disk),
        cmocka_unit_test(tar_extracts_hostile_names_as_they_are),
        cmocka_unit_test(the_one_file_archive_shows_the_name_only_when_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
