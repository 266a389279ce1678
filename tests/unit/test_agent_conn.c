/* The agent's connection: holders that come and go, frames that are cut, forged or too old; and the files it
 * writes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "support/agent_client.h"

static struct agent agent;
static uint8_t data[100000];

static int start(void **state)
{
    for (size_t i = 0; i < sizeof(data); i++)
        data[i] = (uint8_t)(i * 31 + i / 255);
    agent_start(&agent, NULL);
    assert_int_equal(agent_hello(&agent, 1, 10), SBX_FRAME_HELLO_ACK);
    return 0;
}

static int start_with_little_patience(void **state)
{
    agent_start(&agent, &(struct agent_options){.patience_ms = 200});
    assert_int_equal(agent_hello(&agent, 1, 10), SBX_FRAME_HELLO_ACK);
    return 0;
}

static int stop(void **state)
{
    agent_stop(&agent);
    return 0;
}

static void assert_works(void)
{
    struct agent_result result;
    agent_run(&agent, "echo works", &result);
    assert_string_equal((char *)result.out, "works\n");
    agent_result_done(&result);
}

static void hello_and_exec_in_one_write_work(void **state)
{
    static const char command[] = "echo pipelined";
    uint8_t out[2 * SBX_FRAME_MAX], fields[256];
    struct agent_result result;

    size_t n = agent_encode_hello(out, 77, 11);
    agent.key = agent.reader.key = sbx_wire_key(77);
    size_t len = sbx_field_put(fields, sizeof(fields), 0, SBX_TAG_COMMAND, command, sizeof(command) - 1);
    n += sbx_frame_encode(out + n, agent.key, SBX_FRAME_EXEC, 0, 3, fields, len);
    agent_send_raw(&agent, out, n);
    agent_collect(&agent, 3, &result, 100);
    assert_string_equal((char *)result.out, "pipelined\n");
    agent_result_done(&result);
}

static void an_older_fence_is_refused_and_changes_nothing(void **state)
{
    agent_exec(&agent, 1, "sleep 1000", 0);
    assert_int_equal(agent_hello(&agent, 2, 9), SBX_FRAME_REFUSED);
    assert_works();
    assert_int_equal(agent_processes(&agent, 1, 10000), 1);
}

static void a_refusal_names_the_request_that_holds_the_session(void **state)
{
    struct sbx_frame frame;
    struct sbx_field field;
    char message[256] = "";
    assert_int_equal(agent_hello_for(&agent, 2, 11, "the-newer", &frame), SBX_FRAME_HELLO_ACK);
    assert_int_equal(agent_hello_for(&agent, 3, 10, "the-older", &frame), SBX_FRAME_REFUSED);
    for (size_t off = 0; sbx_field_next(frame.payload, frame.len, &off, &field);)
        if (field.tag == SBX_TAG_MESSAGE)
            snprintf(message, sizeof(message), "%.*s", (int)field.len, (const char *)field.data);
    assert_string_equal(message, "a newer holder of the session has attached, request the-newer");
    assert_works();
}

static void the_same_fence_attaches_again(void **state)
{
    assert_int_equal(agent_hello(&agent, 2, 10), SBX_FRAME_HELLO_ACK);
    assert_works();
}

static void hello_ends_the_commands_of_the_older_connection(void **state)
{
    struct sbx_frame frame;
    agent_exec(&agent, 1, "setsid sleep 1000 & echo; sleep 1000", 0);
    assert_true(agent_receive(&agent, &frame, 10000));
    assert_int_equal(agent_hello(&agent, 2, 11), SBX_FRAME_HELLO_ACK);
    assert_int_equal(agent_processes(&agent, 0, 10000), 0);
    /* nobody waits for that EXIT any more */
    assert_false(agent_receive(&agent, &frame, 50));
    assert_works();
}

static void a_kept_command_survives_hello(void **state)
{
    struct agent_request request;
    struct agent_result result;
    agent_request_init(&request);
    agent_request_text(&request, SBX_TAG_COMMAND,
                       "while [ ! -e /tmp/go ]; do sleep 0.01; done; seq 200000; touch /tmp/kept");
    agent_request_u32(&request, SBX_TAG_KEEP, 1);
    agent_request_send(&agent, &request, SBX_FRAME_EXEC, 1);
    assert_int_equal(agent_hello(&agent, 2, 11), SBX_FRAME_HELLO_ACK);
    agent_run(&agent, "touch /tmp/go; while [ ! -e /tmp/kept ]; do sleep 0.01; done; echo kept", &result);
    assert_string_equal((char *)result.out, "kept\n");
    agent_result_done(&result);
}

static void queued_output_of_an_older_connection_is_forgotten(void **state)
{
    struct sbx_frame frame;
    uint8_t out[64];
    /* more than stdout's pipe takes: the rest is in the agent's queue, its first frame half written */
    agent_exec(&agent, 1, "yes", 0);
    assert_int_equal(agent_processes(&agent, 1, 10000), 1);
    assert_true(agent_receive(&agent, &frame, 10000));
    agent_send_raw(&agent, out, agent_encode_hello(out, 2, 11));
    size_t before = 0;
    while (agent_receive(&agent, &frame, 10000) && frame.type == SBX_FRAME_OUTPUT)
        before += frame.len;
    assert_int_equal(frame.type, SBX_FRAME_HELLO_ACK);
    assert_true(before < SBX_WIRE_WINDOW);
    assert_int_equal(agent.reader.dropped, 0);
    agent.key = agent.reader.key = sbx_wire_key(2);
    assert_works();
}

static void frames_of_the_older_key_are_dropped(void **state)
{
    uint8_t old[SBX_FRAME_MAX];
    size_t n = sbx_frame_encode(old, agent.key, SBX_FRAME_EXEC, 0, 5, "\x10\x06\0\0\0touch /tmp/forged", 21);
    assert_int_equal(agent_hello(&agent, 2, 11), SBX_FRAME_HELLO_ACK);
    agent_send_raw(&agent, old, n);
    assert_works();
    assert_int_equal(access(agent_path(&agent, "/tmp/forged"), F_OK), -1);
}

static void a_frame_cut_by_a_dying_worker_does_not_hold_up_the_next(void **state)
{
    static const size_t cuts[] = {1, 2, 9, 15, 16, 17, 500, 3900};
    uint8_t frame[SBX_FRAME_MAX];

    for (size_t i = 0; i < sizeof(cuts) / sizeof(cuts[0]); i++) {
        sbx_frame_encode(frame, agent.key, SBX_FRAME_STDIN, 0, 1, data, SBX_PAYLOAD_MAX);
        agent_send_raw(&agent, frame, cuts[i]);
        assert_int_equal(agent_hello(&agent, 100 + i, 11), SBX_FRAME_HELLO_ACK);
        assert_works();
    }
}

/* dockerd may pass on what it has of a dead worker after the next one's HELLO. */
static void half_a_frame_that_comes_after_hello_does_not_hold_up_what_follows(void **state)
{
    static const size_t cuts[] = {1, 9, 16, 17, 500, 3900};
    uint8_t frame[SBX_FRAME_MAX];

    for (size_t i = 0; i < sizeof(cuts) / sizeof(cuts[0]); i++) {
        sbx_frame_encode(frame, agent.key, SBX_FRAME_STDIN, 0, 1, data, SBX_PAYLOAD_MAX);
        assert_int_equal(agent_hello(&agent, 100 + i, 11), SBX_FRAME_HELLO_ACK);
        agent_send_raw(&agent, frame, cuts[i]);
        assert_works();
    }
}

static void a_frame_that_pauses_longer_than_the_silence_still_arrives(void **state)
{
    uint8_t frame[SBX_FRAME_MAX];
    struct sbx_frame answer;
    size_t n = sbx_frame_encode(frame, agent.key, SBX_FRAME_PING, 0, 0, data, 1000);
    agent_send_raw(&agent, frame, 500);
    assert_false(agent_receive(&agent, &answer, 3 * SBX_WIRE_SILENCE_MS));
    agent_send_raw(&agent, frame + 500, n - 500);
    assert_true(agent_receive(&agent, &answer, 10000));
    assert_int_equal(answer.type, SBX_FRAME_PONG);
    assert_int_equal(answer.len, 1000);
    assert_memory_equal(answer.payload, data, 1000);
}

static void garbage_between_frames_is_passed_over(void **state)
{
    agent_send_raw(&agent, "XSXSXS garbage XS", 17);
    agent_send_raw(&agent, data, sizeof(data));
    assert_int_equal(agent_hello(&agent, 3, 11), SBX_FRAME_HELLO_ACK);
    assert_works();
}

static void a_frame_forged_inside_a_file_is_only_content(void **state)
{
    uint8_t forged[SBX_FRAME_MAX], fields[128];
    size_t len = sbx_field_put(fields, sizeof(fields), 0, SBX_TAG_COMMAND, "touch /tmp/forged", 17);
    size_t n = sbx_frame_encode(forged, 0, SBX_FRAME_EXEC, 0, 9, fields, len);
    assert_int_equal(agent_write(&agent, 1, "/repo/f", 0644, forged, n, NULL), 0);
    agent_send_raw(&agent, forged, n);
    assert_works();
    assert_int_equal(access(agent_path(&agent, "/tmp/forged"), F_OK), -1);
}

static void ping_is_answered_in_kind(void **state)
{
    struct sbx_frame frame;
    agent_send(&agent, SBX_FRAME_PING, 0, 0, "12345678", 8);
    assert_true(agent_receive(&agent, &frame, 10000));
    assert_int_equal(frame.type, SBX_FRAME_PONG);
    assert_memory_equal(frame.payload, "12345678", 8);
}

static void unknown_frames_and_streams_are_ignored(void **state)
{
    agent_send(&agent, 50, 0, 1, data, 100);
    agent_send(&agent, SBX_FRAME_KILL, 0, 999, NULL, 0);
    agent_send(&agent, SBX_FRAME_DATA, 0, 999, data, 100);
    agent_send(&agent, SBX_FRAME_STDIN, 0, 999, data, 100);
    agent_send(&agent, SBX_FRAME_CREDIT, 0, 999, data, 3);
    assert_works();
}

static void assert_file(const char *path, mode_t mode, const void *content, size_t n)
{
    static uint8_t buf[sizeof(data) + 1];
    struct stat st;
    assert_return_code(lstat(agent_path(&agent, path), &st), errno);
    assert_int_equal(st.st_mode, S_IFREG | mode);
    assert_int_equal(st.st_uid, AGENT_UID);
    assert_int_equal(st.st_gid, AGENT_UID);
    int fd = open(agent_path(&agent, path), O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(read(fd, buf, sizeof(buf)), n);
    assert_memory_equal(buf, content, n);
    close(fd);
}

static void files_are_written_with_their_parents(void **state)
{
    struct stat st;
    assert_int_equal(agent_write(&agent, 1, "/repo/a/b/c.txt", 0644, "content", 7, NULL), 0);
    assert_file("/repo/a/b/c.txt", 0644, "content", 7);
    assert_int_equal(agent_write(&agent, 2, "/repo//a/./big", 0600, data, sizeof(data), NULL), 0);
    assert_file("/repo/a/big", 0600, data, sizeof(data));
    assert_int_equal(agent_write(&agent, 3, "/repo/empty", 0644, NULL, 0, NULL), 0);
    assert_file("/repo/empty", 0644, "", 0);
    assert_return_code(stat(agent_path(&agent, "/repo/a"), &st), errno);
    assert_int_equal(st.st_mode, S_IFDIR | 0755);
    assert_int_equal(st.st_uid, AGENT_UID);
}

static void the_mode_asked_for_is_the_mode_on_disk(void **state)
{
    static const mode_t modes[] = {0, 0400, 0755, 0777, 04755, 02711, 01644, 07777};
    for (uint32_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
        assert_int_equal(agent_write(&agent, i + 1, "/repo/same", modes[i], data, i, NULL), 0);
        assert_file("/repo/same", modes[i], data, i);
    }
}

static void assert_refused(const char *path, uint32_t status, const char *message)
{
    static uint32_t stream = 500;
    char got[256];
    assert_int_equal(agent_write(&agent, ++stream, path, 0644, data, 10000, got), status);
    assert_string_equal(got, message);
}

static void paths_outside_are_refused(void **state)
{
    assert_refused("/etc/passwd", EXDEV, "is outside /repo");
    assert_refused("/repository/x", EXDEV, "is outside /repo");
    assert_refused("repo/x", EINVAL, "is not an absolute path");
    assert_refused("", EINVAL, "is not an absolute path");
    assert_refused("/repo/a/../../etc/x", EINVAL, "contains '..'");
    assert_refused("/repo/..", EINVAL, "contains '..'");
    assert_refused("/repo", EISDIR, "is a directory");
    assert_refused("/repo/", EISDIR, "is a directory");
    assert_refused("/repo/new/", EISDIR, "is a directory");
    assert_int_equal(agent_write(&agent, 1, "/repo/..a../..b", 0644, "x", 1, NULL), 0);
}

static void what_is_in_the_way_is_said(void **state)
{
    struct agent_result result;
    char path[5000];
    agent_run(&agent, "mkdir dir; touch file; mkdir closed; chmod 0 closed", &result);
    agent_result_done(&result);
    assert_refused("/repo/dir", EISDIR, "is a directory");
    assert_refused("/repo/file/x", ENOTDIR, "not a directory");
    assert_refused("/repo/closed/x", EACCES, "permission denied");
    memset(path, 'x', sizeof(path));
    memcpy(path, "/repo/", 6);
    path[6 + 256] = '\0';
    assert_refused(path, ENAMETOOLONG, "file name too long");
    path[4096] = '\0';
    assert_works();
}

static void symlinks_that_stay_inside_are_followed(void **state)
{
    struct agent_result result;
    agent_run(
        &agent,
        "mkdir -p a/b c; ln -s ../c a/rel; ln -s /repo/c abs; ln -s a/b/../rel chain; ln -s /repo root; "
        "ln -s new/dir dangling",
        &result);
    assert_int_equal(result.code, 0);
    agent_result_done(&result);
    assert_int_equal(agent_write(&agent, 1, "/repo/a/rel/1", 0644, "1", 1, NULL), 0);
    assert_int_equal(agent_write(&agent, 2, "/repo/abs/2", 0644, "2", 1, NULL), 0);
    assert_int_equal(agent_write(&agent, 3, "/repo/chain/3", 0644, "3", 1, NULL), 0);
    assert_int_equal(agent_write(&agent, 4, "/repo/root/root/c/4", 0644, "4", 1, NULL), 0);
    assert_int_equal(agent_write(&agent, 5, "/repo/dangling/5", 0644, "5", 1, NULL), 0);
    assert_file("/repo/c/1", 0644, "1", 1);
    assert_file("/repo/c/2", 0644, "2", 1);
    assert_file("/repo/c/3", 0644, "3", 1);
    assert_file("/repo/c/4", 0644, "4", 1);
    assert_file("/repo/new/dir/5", 0644, "5", 1);
}

static void symlinks_that_lead_out_are_refused(void **state)
{
    struct agent_result result;
    agent_run(&agent,
              "mkdir /tmp/out a; ln -s /tmp/out abs; ln -s ../tmp/out rel; ln -s ../../tmp/out a/up; ln -s "
              "/repo/../tmp/out "
              "sly; ln -s loop loop; ln -s /repository near",
              &result);
    assert_int_equal(result.code, 0);
    agent_result_done(&result);
    assert_refused("/repo/abs/x", EXDEV, "leaves /repo through a symlink");
    assert_refused("/repo/rel/x", EXDEV, "leaves /repo through a symlink");
    assert_refused("/repo/a/up/x", EXDEV, "leaves /repo through a symlink");
    assert_refused("/repo/sly/x", EXDEV, "leaves /repo through a symlink");
    assert_refused("/repo/near/x", EXDEV, "leaves /repo through a symlink");
    assert_refused("/repo/loop/x", ELOOP, "too many levels of symbolic links");
    assert_int_equal(rmdir(agent_path(&agent, "/tmp/out")), 0);
}

static void a_symlink_in_the_last_place_is_replaced(void **state)
{
    struct agent_result result;
    agent_run(&agent, "echo keep >/tmp/target; ln -s /tmp/target link; mkdir d; ln -s d dirlink", &result);
    agent_result_done(&result);
    assert_int_equal(agent_write(&agent, 1, "/repo/link", 0644, "new", 3, NULL), 0);
    assert_file("/repo/link", 0644, "new", 3);
    assert_file("/tmp/target", 0644, "keep\n", 5);
    assert_int_equal(agent_write(&agent, 2, "/repo/dirlink", 0644, "new", 3, NULL), 0);
    assert_file("/repo/dirlink", 0644, "new", 3);
}

static void begin_write(uint32_t stream, const char *path, uint64_t size)
{
    uint8_t fields[256];
    size_t len = sbx_field_put(fields, sizeof(fields), 0, SBX_TAG_PATH, path, strlen(path));
    len = sbx_field_put_u64(fields, sizeof(fields), len, SBX_TAG_SIZE, size);
    agent_send(&agent, SBX_FRAME_WRITE, 0, stream, fields, len);
    agent_send(&agent, SBX_FRAME_DATA, 0, stream, data, 1000);
}

static void a_write_cut_short_leaves_nothing(void **state)
{
    struct agent_result result;
    begin_write(1, "/repo/new/file", 5000);
    begin_write(2, "/repo/new/other", 5000);
    agent_run(&agent, "ls -A new | wc -l", &result);
    assert_string_equal((char *)result.out, "2\n");
    agent_result_done(&result);
    assert_int_equal(agent_hello(&agent, 2, 11), SBX_FRAME_HELLO_ACK);
    agent_run(&agent, "ls -A new | wc -l", &result);
    assert_string_equal((char *)result.out, "0\n");
    agent_result_done(&result);
}

/* How many names a directory has, waited for. */
static void await_names(const char *path, size_t expected)
{
    for (int i = 0; i < 10000 / 5; i++) {
        size_t n = 0;
        DIR *dir = opendir(agent_path(&agent, path));
        assert_non_null(dir);
        for (const struct dirent *entry; (entry = readdir(dir));)
            n += strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
        closedir(dir);
        if (n == expected)
            return;
        nanosleep(&(struct timespec){.tv_nsec = 5 * 1000 * 1000}, NULL);
    }
    fail_msg("%s has not got %zu names", path, expected);
}

/* dockerd stood still, and the worker behind it goes on as if nothing had been. */
static void a_write_that_a_silence_cut_is_answered_all_the_same(void **state)
{
    struct sbx_frame frame;
    struct sbx_field field;
    uint32_t status = 0;
    begin_write(1, "/repo/new/file", 2000);
    agent_send(&agent, SBX_FRAME_PING, 0, 0, NULL, 0);
    assert_true(agent_receive(&agent, &frame, 10000));
    assert_int_equal(frame.type, SBX_FRAME_PONG);
    await_names("/repo/new", 0);
    agent_send(&agent, SBX_FRAME_DATA, 0, 1, data + 1000, 1000);
    assert_true(agent_receive(&agent, &frame, 10000));
    assert_int_equal(frame.type, SBX_FRAME_RESULT);
    size_t off = 0;
    assert_true(sbx_field_next(frame.payload, frame.len, &off, &field));
    assert_true(sbx_field_u32(&field, &status));
    assert_int_equal(status, ECANCELED);
    await_names("/repo/new", 0);
    assert_int_equal(agent_write(&agent, 2, "/repo/new/file", 0644, data, 2000, NULL), 0);
}

static void readers_see_the_old_file_until_the_new_one_is_whole(void **state)
{
    struct agent_result result;
    struct sbx_frame frame;
    assert_int_equal(agent_write(&agent, 1, "/repo/f", 0644, "old", 3, NULL), 0);
    begin_write(2, "/repo/f", 2000);
    agent_run(&agent, "cat f", &result);
    assert_string_equal((char *)result.out, "old");
    agent_result_done(&result);
    agent_send(&agent, SBX_FRAME_DATA, 0, 2, data + 1000, 1000);
    assert_true(agent_receive(&agent, &frame, 10000));
    assert_int_equal(frame.type, SBX_FRAME_RESULT);
    assert_file("/repo/f", 0644, data, 2000);
}

static void data_beyond_the_size_spoils_the_file(void **state)
{
    struct sbx_frame frame;
    begin_write(1, "/repo/f", 999);
    assert_true(agent_receive(&agent, &frame, 10000));
    assert_int_equal(frame.type, SBX_FRAME_RESULT);
    struct sbx_field field;
    size_t off = 0;
    uint32_t status = 0;
    assert_true(sbx_field_next(frame.payload, frame.len, &off, &field));
    assert_true(sbx_field_u32(&field, &status));
    assert_int_equal(status, EINVAL);
    assert_int_equal(access(agent_path(&agent, "/repo/f"), F_OK), -1);
}

static void another_protocol_version_is_refused(void **state)
{
    uint8_t fields[64], out[128];
    struct sbx_frame frame;
    size_t len = sbx_field_put_u32(fields, sizeof(fields), 0, SBX_TAG_VERSION, SBX_WIRE_VERSION + 1);
    len = sbx_field_put_u64(fields, sizeof(fields), len, SBX_TAG_FENCE, 1000);
    agent_send_raw(&agent, out, sbx_frame_encode(out, 0, SBX_FRAME_HELLO, 0, 0, fields, len));
    assert_true(agent_receive(&agent, &frame, 10000));
    assert_int_equal(frame.type, SBX_FRAME_REFUSED);
    assert_works();
}

static void sigterm_ends_everything(void **state)
{
    struct agent_result result;
    agent_run(&agent, "setsid sleep 1000 & true", &result);
    agent_result_done(&result);
    assert_return_code(kill(agent.pid, SIGTERM), errno);
}

int main(void)
{
#define TEST(test) cmocka_unit_test_setup_teardown(test, start, stop)
    const struct CMUnitTest tests[] = {
        TEST(hello_and_exec_in_one_write_work),
        TEST(an_older_fence_is_refused_and_changes_nothing),
        TEST(a_refusal_names_the_request_that_holds_the_session),
        TEST(the_same_fence_attaches_again),
        TEST(hello_ends_the_commands_of_the_older_connection),
        TEST(a_kept_command_survives_hello),
        TEST(queued_output_of_an_older_connection_is_forgotten),
        TEST(frames_of_the_older_key_are_dropped),
        TEST(a_frame_cut_by_a_dying_worker_does_not_hold_up_the_next),
        TEST(half_a_frame_that_comes_after_hello_does_not_hold_up_what_follows),
        TEST(a_frame_that_pauses_longer_than_the_silence_still_arrives),
        TEST(garbage_between_frames_is_passed_over),
        TEST(a_frame_forged_inside_a_file_is_only_content),
        TEST(another_protocol_version_is_refused),
        TEST(sigterm_ends_everything),
        TEST(ping_is_answered_in_kind),
        TEST(unknown_frames_and_streams_are_ignored),
        TEST(files_are_written_with_their_parents),
        TEST(the_mode_asked_for_is_the_mode_on_disk),
        TEST(paths_outside_are_refused),
        TEST(what_is_in_the_way_is_said),
        TEST(symlinks_that_stay_inside_are_followed),
        TEST(symlinks_that_lead_out_are_refused),
        TEST(a_symlink_in_the_last_place_is_replaced),
        TEST(a_write_cut_short_leaves_nothing),
        cmocka_unit_test_setup_teardown(a_write_that_a_silence_cut_is_answered_all_the_same,
                                        start_with_little_patience, stop),
        TEST(readers_see_the_old_file_until_the_new_one_is_whole),
        TEST(data_beyond_the_size_spoils_the_file),
    };
    return cmocka_run_group_tests_name("agent_conn", tests, NULL, NULL);
}
