/* The agent's file operations, as fields. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "support/agent_client.h"

#define STREAM          7
#define OWN_DESCRIPTORS 5 /* of an operation that waits for its input: the three, and where it will write */

static struct agent agent;

static int start(void **state)
{
    agent_start(&agent, NULL);
    assert_int_equal(agent_hello(&agent, 1, 1), SBX_FRAME_HELLO_ACK);
    return 0;
}

static int start_without_shell(void **state)
{
    agent_start(&agent, &(struct agent_options){.no_shell = true});
    assert_int_equal(agent_hello(&agent, 1, 1), SBX_FRAME_HELLO_ACK);
    return 0;
}

static int stop(void **state)
{
    agent_stop(&agent);
    return 0;
}

/* An operation under way: args end with NULL; input NULL: none. */
static void begin(const char *const *args, bool input)
{
    struct agent_request request;
    agent_request_init(&request);
    agent_request_text(&request, SBX_TAG_BUILTIN, "fs");
    agent_request_text(&request, SBX_TAG_CWD, "/");
    agent_request_u32(&request, SBX_TAG_SPLIT, 1);
    agent_request_u32(&request, SBX_TAG_STDIN, input);
    for (; *args; args++)
        agent_request_text(&request, SBX_TAG_ARG, *args);
    agent_request_send(&agent, &request, SBX_FRAME_EXEC, STREAM);
}

static struct agent_result result; /* of the last operation */

/* Run one; returns its code. */
static uint32_t run(const char *const *args, const char *input)
{
    uint32_t code = UINT32_MAX;
    struct sbx_field field;
    agent_result_done(&result);
    begin(args, input != NULL);
    if (input) {
        agent_send(&agent, SBX_FRAME_STDIN, 0, STREAM, input, strlen(input));
        agent_send(&agent, SBX_FRAME_STDIN_EOF, 0, STREAM, NULL, 0);
    }
    agent_collect(&agent, STREAM, &result, 4 << 20);
    size_t off = 0;
    while (sbx_field_next(result.out, result.len, &off, &field))
        if (field.tag == SBX_TAG_FS_CODE)
            assert_true(sbx_field_u32(&field, &code));
    assert_int_equal(off, result.len);
    return code;
}

#define RUN(...) run((const char *const[]){__VA_ARGS__, NULL}, NULL)

/* The nth field of a tag in the last answer. */
static bool nth(uint8_t tag, size_t n, struct sbx_field *ret)
{
    size_t off = 0;
    while (sbx_field_next(result.out, result.len, &off, ret))
        if (ret->tag == tag && n-- == 0)
            return true;
    return false;
}

static void assert_text(uint8_t tag, size_t n, const char *want)
{
    struct sbx_field field;
    assert_true(nth(tag, n, &field));
    assert_int_equal(field.len, strlen(want));
    assert_memory_equal(field.data, want, field.len);
}

static void assert_number(uint8_t tag, uint64_t want)
{
    struct sbx_field field;
    uint64_t value = 0;
    assert_true(nth(tag, 0, &field) && sbx_field_u64(&field, &value));
    assert_int_equal(value, want);
}

static void give(const char *path, const char *content)
{
    assert_int_equal(agent_write(&agent, 99, path, 0644, content, strlen(content), NULL), 0);
}

static void shell(const char *command)
{
    struct agent_result done;
    agent_run(&agent, command, &done);
    assert_int_equal(done.code, 0);
    agent_result_done(&done);
}

static void reads_give_lines(void **state)
{
    give("/repo/f", "one\ntwo\nthree\n");
    assert_int_equal(RUN("read", "/repo/f", "1", "1"), SBX_FS_OK);
    assert_text(SBX_TAG_FS_TEXT, 0, "two");
    assert_number(SBX_TAG_FS_COUNT, 3);
    assert_number(SBX_TAG_FS_END, 2);
    assert_number(SBX_TAG_FS_TRUNCATED, 1);
    assert_int_equal(RUN("read", "/workspace/repo/f", "3", "1"), SBX_FS_INVALID_OFFSET);
    assert_int_equal(RUN("read", "/repo/none", "0", "1"), SBX_FS_NOT_FOUND);
}

static void listings_are_in_order(void **state)
{
    give("/repo/b", "");
    give("/repo/d/x", "");
    give("/repo/a", "");
    assert_int_equal(RUN("ls", "/workspace/repo/"), SBX_FS_OK);
    assert_text(SBX_TAG_PATH, 0, "/workspace/repo/a");
    assert_text(SBX_TAG_PATH, 2, "/workspace/repo/d");
    assert_text(SBX_TAG_FS_KIND, 2, "dir");
    assert_int_equal(RUN("glob", "**", "/repo"), SBX_FS_OK);
    assert_text(SBX_TAG_PATH, 3, "/repo/d/x");
}

static void searches_skip_what_is_pruned_and_what_is_no_text(void **state)
{
    give("/repo/a", "x\nneedle 1\n");
    give("/repo/skip/b", "needle");
    shell("printf 'needle\\0' > /repo/binary; mkfifo /repo/pipe; ln -s / /repo/root");
    assert_int_equal(RUN("grep", "need.e", "/repo", "", "sk*"), SBX_FS_OK);
    assert_text(SBX_TAG_PATH, 0, "/repo/a");
    assert_number(SBX_TAG_FS_LINE, 2);
    assert_text(SBX_TAG_FS_TEXT, 0, "needle 1");
    struct sbx_field field;
    assert_false(nth(SBX_TAG_PATH, 1, &field));
    assert_int_equal(RUN("grep", "(", "/repo", ""), SBX_FS_INVALID_PATTERN);
}

static void edits_keep_the_mode_and_leave_nothing_behind(void **state)
{
    give("/repo/f", "one two two");
    shell("chmod 750 /repo/f");
    static const char *const once[] = {"edit", "/repo/f", "0", "3", NULL};
    static const char *const all[] = {"edit", "/repo/f", "1", "3", NULL};
    assert_int_equal(run(once, "one1"), SBX_FS_OK);
    assert_int_equal(run(once, "two2"), SBX_FS_MULTIPLE_OCCURRENCES);
    assert_int_equal(run(all, "two2"), SBX_FS_OK);
    assert_number(SBX_TAG_FS_COUNT, 2);
    assert_int_equal(run(all, "six6"), SBX_FS_STRING_NOT_FOUND);
    shell("[ \"$(cat /repo/f)\" = '1 2 2' ] && [ $(stat -c %a /repo/f) = 750 ] && [ $(ls -A /repo | wc -l) = "
          "1 ]");
}

static void writes_never_replace(void **state)
{
    static const char *const args[] = {"write", "/repo/new/f", "384", NULL};
    assert_int_equal(run(args, "first"), SBX_FS_OK);
    assert_int_equal(run(args, "second"), SBX_FS_ALREADY_EXISTS);
    shell("[ $(cat /repo/new/f) = first ] && [ $(stat -c %a%u /repo/new/f) = 6001000 ] && [ $(ls -A "
          "/repo/new) = f ]");
}

static void ranges_are_those_of_http(void **state)
{
    give("/repo/f", "0123456789");
    assert_int_equal(RUN("get", "/repo/f", "2", "4"), SBX_FS_OK);
    assert_text(SBX_TAG_FS_TEXT, 0, "234");
    assert_int_equal(RUN("get", "/repo/f", "", "3"), SBX_FS_OK);
    assert_text(SBX_TAG_FS_TEXT, 0, "789");
    assert_int_equal(RUN("get", "/repo/f", "8", "99"), SBX_FS_OK);
    assert_text(SBX_TAG_FS_TEXT, 0, "89");
    assert_int_equal(RUN("get", "/repo/f", "10", ""), SBX_FS_OK);
    assert_number(SBX_TAG_FS_COUNT, 0);
    assert_int_equal(RUN("get", "/repo/f", "-", "-"), SBX_FS_OK);
    struct sbx_field field;
    assert_false(nth(SBX_TAG_FS_TEXT, 0, &field));
    assert_number(SBX_TAG_SIZE, 10);
}

static void paths_stay_in_the_workspace(void **state)
{
    static const char *const OUT[] = {
        "/etc/passwd", "/repo/../etc", "/repo/out/x", "/repo/up/x", "repo", "/", ""};
    shell("ln -s /etc /repo/out; ln -s ../etc /repo/up; ln -s loop /repo/loop");
    for (size_t i = 0; i < sizeof(OUT) / sizeof(OUT[0]); i++) {
        assert_int_equal(RUN("stat", OUT[i]), SBX_FS_INVALID_PATH);
        assert_int_equal(RUN("delete", OUT[i], "1"), SBX_FS_INVALID_PATH);
    }
    assert_int_equal(RUN("read", "/repo/loop/x", "0", "1"), SBX_FS_INVALID_PATH);
    assert_int_equal(RUN("delete", "/repo", "1"), SBX_FS_INVALID_PATH);
    assert_int_equal(RUN("delete", "/workspace/repo", "1"), SBX_FS_INVALID_PATH);
}

static void a_symlink_to_the_workspace_leads_there_by_every_name(void **state)
{
    shell("ln -s /workspace /repo/top");
    assert_int_equal(RUN("ls", "/repo/top"), SBX_FS_OK);
    assert_text(SBX_TAG_PATH, 1, "/repo/top/skills");
    assert_int_equal(RUN("ls", "/workspace/repo/top"), SBX_FS_OK);
    assert_text(SBX_TAG_PATH, 1, "/workspace/repo/top/skills");
}

static void wrong_arguments_are_failures_and_no_more(void **state)
{
    assert_int_equal(RUN("nothing"), SBX_FS_EXEC_FAILED);
    assert_int_equal(RUN("ls"), SBX_FS_EXEC_FAILED);
    assert_int_equal(RUN("ls", "/repo", "/repo"), SBX_FS_EXEC_FAILED);
    assert_int_equal(RUN("read", "/repo", "x", "-1"), SBX_FS_EXEC_FAILED);
    shell("true");
}

static void an_operation_holds_nobody_up_and_ends_when_it_is_told(void **state)
{
    static const char *const args[] = {"put", "/repo/f", "", NULL};
    begin(args, true); /* its input does not come */
    shell("true");
    agent_send(&agent, SBX_FRAME_KILL, 0, STREAM, NULL, 0);
    agent_result_done(&result);
    agent_collect(&agent, STREAM, &result, 4096);
    assert_int_equal(result.reason, SBX_EXIT_CANCELLED);
    assert_int_equal(agent_processes(&agent, 0, 2000), 0);
}

/* Open descriptors of a process; 0 when it cannot be looked at. */
static size_t descriptors(long pid)
{
    char path[64];
    size_t count = 0;
    snprintf(path, sizeof(path), "/proc/%ld/fd", pid);
    DIR *dir = opendir(path);
    for (const struct dirent *entry; dir && (entry = readdir(dir));)
        count += entry->d_name[0] != '.';
    if (dir)
        closedir(dir);
    return count;
}

/* The agent's only child, as seen from here. */
static long only_child(void)
{
    char path[64];
    long pid = 0, another = 0;
    snprintf(path, sizeof(path), "/proc/%d/task/%d/children", (int)agent.pid, (int)agent.pid);
    FILE *file = fopen(path, "re");
    assert_non_null(file);
    assert_int_equal(fscanf(file, "%ld %ld", &pid, &another), 1);
    fclose(file);
    return pid;
}

static void an_operation_inherits_nothing_of_the_agent(void **state)
{
    static const char *const args[] = {"put", "/repo/f", "", NULL};
    size_t count = 0;
    begin(args, true); /* it waits for its input, in the end without any descriptor but its own */
    shell("true");     /* and has been started */
    long pid = only_child();
    for (int i = 0; i < 2000 && (count = descriptors(pid)) > OWN_DESCRIPTORS; i++)
        nanosleep(&(struct timespec){.tv_nsec = 5 * 1000 * 1000}, NULL);
    assert_in_range(count, 1, OWN_DESCRIPTORS);
    agent_send(&agent, SBX_FRAME_STDIN_EOF, 0, STREAM, NULL, 0);
    agent_result_done(&result);
    agent_collect(&agent, STREAM, &result, 4096);
    assert_int_equal(result.code, 0);
}

static void they_need_no_shell(void **state)
{
    static const char *const args[] = {"write", "/repo/f", "420", NULL};
    assert_int_equal(run(args, "word\n"), SBX_FS_OK);
    assert_int_equal(RUN("grep", "w", "/repo", ""), SBX_FS_OK);
    assert_text(SBX_TAG_FS_TEXT, 0, "word");
    assert_int_equal(RUN("move", "/repo/f", "/workspace/tmp/g", "0"), SBX_FS_OK);
    assert_int_equal(RUN("tar", "/workspace/tmp"), SBX_FS_OK);
    struct sbx_field field;
    assert_true(nth(SBX_TAG_FS_TEXT, 0, &field) && field.len == 512 && memcmp(field.data, "g", 2) == 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, start, stop)
    const struct CMUnitTest tests[] = {
        TEST(reads_give_lines),
        TEST(listings_are_in_order),
        TEST(searches_skip_what_is_pruned_and_what_is_no_text),
        TEST(edits_keep_the_mode_and_leave_nothing_behind),
        TEST(writes_never_replace),
        TEST(ranges_are_those_of_http),
        TEST(paths_stay_in_the_workspace),
        TEST(a_symlink_to_the_workspace_leads_there_by_every_name),
        TEST(wrong_arguments_are_failures_and_no_more),
        TEST(an_operation_holds_nobody_up_and_ends_when_it_is_told),
        TEST(an_operation_inherits_nothing_of_the_agent),
        cmocka_unit_test_setup_teardown(they_need_no_shell, start_without_shell, stop),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    agent_result_done(&result);
    return failed;
}
