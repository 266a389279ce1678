/* The agent's commands: what a worker sees of them, and what is left of them afterwards. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "support/agent_client.h"

static struct agent agent;

static int start_with(const struct agent_options *options)
{
    agent_start(&agent, options);
    assert_int_equal(agent_hello(&agent, 1, 1), SBX_FRAME_HELLO_ACK);
    return 0;
}

static int start(void **state)
{
    return start_with(NULL);
}

static int start_without_shell(void **state)
{
    return start_with(&(struct agent_options){.no_shell = true});
}

static int start_with_plain_sh(void **state)
{
    return start_with(&(struct agent_options){.dash_like = true});
}

static int start_without_tags(void **state)
{
    return start_with(&(struct agent_options){.user_ns = true});
}

static int stop(void **state)
{
    agent_stop(&agent);
    return 0;
}

static void assert_output(const char *command, uint32_t code, const char *output)
{
    struct agent_result result;
    agent_run(&agent, command, &result);
    if (strcmp((char *)result.out, output) != 0)
        print_error("%s: %s%s\n", command, (char *)result.out, result.message);
    assert_string_equal((char *)result.out, output);
    assert_int_equal(result.code, code);
    agent_result_done(&result);
}

static void true_exits_with_zero_and_usage(void **state)
{
    struct agent_result result;
    agent_run(&agent, "true", &result);
    assert_int_equal(result.code, 0);
    assert_int_equal(result.signal, 0);
    assert_int_equal(result.reason, SBX_EXIT_EXITED);
    assert_int_equal(result.len, 0);
    assert_true(result.max_rss > 0);
    assert_true(result.duration_us > 0 && result.duration_us < 10000000);
    agent_result_done(&result);
}

static void exit_codes_come_back(void **state)
{
    assert_output("exit 3", 3, "");
    assert_output("exit 255", 255, "");
    assert_output("false", 1, "");
    assert_output("no-such-program 2>/dev/null", 127, "");
}

static void a_failure_inside_a_pipe_counts(void **state)
{
    assert_output("false | true", 1, "");
}

static void a_signal_is_reported_as_a_shell_would(void **state)
{
    struct agent_result result;
    agent_run(&agent, "kill -SEGV $$", &result);
    assert_int_equal(result.code, 139);
    assert_int_equal(result.signal, 11);
    assert_int_equal(result.reason, SBX_EXIT_SIGNALLED);
    agent_result_done(&result);
}

static void both_channels_keep_their_order(void **state)
{
    assert_output("echo 1; echo 2 >&2; echo 3; echo 4 >&2; printf 5", 0, "1\n2\n3\n4\n5");
}

static void split_channels_come_apart(void **state)
{
    struct agent_request request;
    struct agent_result result;
    agent_request_init(&request);
    agent_request_text(&request, SBX_TAG_COMMAND, "echo out; echo err >&2; echo out");
    agent_request_u32(&request, SBX_TAG_SPLIT, 1);
    agent_request_send(&agent, &request, SBX_FRAME_EXEC, 5);
    agent_collect(&agent, 5, &result, 1000);
    assert_string_equal((char *)result.out, "out\nout\n");
    assert_string_equal((char *)result.err, "err\n");
    agent_result_done(&result);
}

static void binary_output_is_unchanged(void **state)
{
    struct agent_result result;
    agent_run(&agent, "printf 'a\\000b\\377\\r\\n'", &result);
    assert_int_equal(result.len, 6);
    assert_memory_equal(result.out, "a\0b\xff\r\n", 6);
    agent_result_done(&result);
}

static void a_background_process_does_not_delay_the_answer(void **state)
{
    struct agent_result result;
    agent_run(&agent, "sleep 1000 & echo started", &result);
    assert_string_equal((char *)result.out, "started\n");
    assert_true(result.duration_us < 1000000);
    agent_result_done(&result);
    assert_int_equal(agent_processes(&agent, 1, 0), 1);
}

static void a_background_process_that_floods_does_not_delay_the_answer(void **state)
{
    struct agent_result result;
    agent_run(&agent, "yes & echo started", &result);
    assert_int_equal(result.code, 0);
    agent_result_done(&result);
    assert_int_equal(agent_processes(&agent, 1, 0), 1);
}

static void a_background_writer_goes_on_living(void **state)
{
    struct agent_result result;
    /* it reports after it has written to the pipe of a command long gone */
    agent_run(&agent,
              "(while [ ! -e /tmp/go ]; do sleep 0.01; done; seq 100000; echo $? >/tmp/.s; mv /tmp/.s "
              "/tmp/status) & true",
              &result);
    agent_result_done(&result);
    assert_output("touch /tmp/go; while [ ! -e /tmp/status ]; do sleep 0.01; done; cat /tmp/status", 0,
                  "0\n");
}

static void a_background_writer_outlives_many_others(void **state)
{
    struct agent_result result;
    agent_run(&agent,
              "(while [ ! -e /tmp/go ]; do sleep 0.01; done; echo late; echo $? >/tmp/.s; mv /tmp/.s "
              "/tmp/status) & true",
              &result);
    agent_result_done(&result);
    for (int i = 0; i < 40; i++)
        assert_output("sleep 1000 & true", 0, "");
    agent_run(&agent, "touch /tmp/go", &result);
    agent_result_done(&result);
    assert_int_equal(agent_processes(&agent, 40, 20000), 40);
    assert_output("cat /tmp/status", 0, "0\n");
}

static void what_outlives_the_shell_a_moment_is_still_heard(void **state)
{
    struct agent_result result;
    bool heard = false;
    for (int i = 0; i < 10 && !heard; i++) { /* a busy machine may make it more than a moment */
        agent_run(&agent, "(sleep 0.003; echo late) & echo early", &result);
        heard = strcmp((char *)result.out, "early\nlate\n") == 0;
        agent_result_done(&result);
    }
    assert_true(heard);
}

static void a_timeout_ends_the_tree_and_keeps_the_output(void **state)
{
    struct agent_result result;
    bool begun = false;
    for (int i = 0; i < 10 && !begun; i++) { /* a busy machine may not come to the echo in time */
        agent_exec(&agent, 9, "echo before; sleep 1000; echo after", 1000);
        agent_collect(&agent, 9, &result, 1000);
        assert_int_equal(result.code, 124);
        assert_int_equal(result.reason, SBX_EXIT_TIMEOUT);
        assert_true(result.duration_us >= 1000000 && result.duration_us < 3000000);
        begun = result.len > 0;
        assert_string_equal((char *)result.out, begun ? "before\n" : "");
        agent_result_done(&result);
        assert_int_equal(agent_processes(&agent, 0, 0), 0);
    }
    assert_true(begun);
}

static const char escapees[] = "trap '' TERM; setsid sleep 1001 & (setsid sh -c 'trap \"\" TERM HUP; (sleep "
                               "1002 & sleep 1003) & wait' &) ; "
                               "(sleep 1004 &) ; wait; sleep 1005";

static void a_timeout_finds_processes_that_left_the_session(void **state)
{
    struct agent_result result;
    agent_exec(&agent, 9, escapees, 200);
    agent_collect(&agent, 9, &result, 1000);
    assert_int_equal(result.code, 124);
    assert_true(result.duration_us < 4000000);
    agent_result_done(&result);
    assert_int_equal(agent_processes(&agent, 0, 0), 0);
}

static void a_timeout_beats_a_fork_bomb(void **state)
{
    struct agent_result result;
    /* bounded, so that a failure does not take the machine with it */
    agent_exec(&agent, 9,
               "f() { [ $1 -gt 5 ] || { f $(($1+1)) & f $(($1+1)) & }; trap '' TERM; while :; do sleep 0.01; "
               "done; }; f 0",
               300);
    agent_collect(&agent, 9, &result, 1000);
    assert_int_equal(result.code, 124);
    agent_result_done(&result);
    assert_int_equal(agent_processes(&agent, 0, 0), 0);
}

static void kill_ends_the_tree_at_once(void **state)
{
    struct agent_result result;
    agent_exec(&agent, 9, escapees, 0);
    assert_int_equal(agent_processes(&agent, 6, 10000), 6);
    agent_send(&agent, SBX_FRAME_KILL, 0, 9, NULL, 0);
    agent_collect(&agent, 9, &result, 1000);
    assert_int_equal(result.reason, SBX_EXIT_CANCELLED);
    assert_int_equal(result.code, 137);
    agent_result_done(&result);
    assert_int_equal(agent_processes(&agent, 0, 0), 0);
}

static void kill_right_behind_exec_leaves_nothing(void **state)
{
    for (uint32_t stream = 1; stream < 20; stream++) {
        struct agent_result result;
        agent_exec(&agent, stream, "setsid sleep 1000 & sleep 1000", 0);
        agent_send(&agent, SBX_FRAME_KILL, 0, stream, NULL, 0);
        agent_collect(&agent, stream, &result, 100);
        assert_int_equal(result.reason, SBX_EXIT_CANCELLED);
        agent_result_done(&result);
        assert_int_equal(agent_processes(&agent, 0, 0), 0);
    }
}

static void background_processes_of_other_commands_survive_a_kill(void **state)
{
    struct agent_result result;
    agent_run(&agent, "setsid sleep 1000 & true", &result);
    agent_result_done(&result);
    agent_exec(&agent, 9, "sleep 1000", 0);
    agent_send(&agent, SBX_FRAME_KILL, 0, 9, NULL, 0);
    agent_collect(&agent, 9, &result, 1000);
    agent_result_done(&result);
    assert_int_equal(agent_processes(&agent, 1, 0), 1);
}

static void pause_ms(long ms)
{
    nanosleep(&(struct timespec){.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000}, NULL);
}

/* The passes over so many processes take a while: one of them is under way, or the next is due. */
static void an_agent_that_stood_still_while_it_killed_ends_the_tree_and_nobody_else(void **state)
{
    struct agent_result result;
    agent_run(&agent, "setsid sleep 1000 & true", &result);
    agent_result_done(&result);
    for (int i = 0; i < 3; i++) {
        agent_exec(&agent, 9, "for i in $(seq 300); do setsid sleep 1001 & done; sleep 1001", 0);
        assert_int_equal(agent_processes(&agent, 302, 20000), 302);
        agent_send(&agent, SBX_FRAME_KILL, 0, 9, NULL, 0);
        pause_ms(4 + 4 * i);
        kill(agent.pid, SIGSTOP);
        pause_ms(1100);
        kill(agent.pid, SIGCONT);
        agent_collect(&agent, 9, &result, 1000);
        assert_int_equal(result.reason, SBX_EXIT_CANCELLED);
        agent_result_done(&result);
        assert_int_equal(agent_processes(&agent, 1, 0), 1);
        assert_output("cat /proc/[0-9]*/status 2>/dev/null | grep -c '^State:.T' || true", 0,
                      "0\n"); /* it goes on */
    }
}

static void orphans_are_reaped(void **state)
{
    assert_output("for i in 1 2 3 4 5 6 7 8; do (sleep 0.01 &) ; done", 0, "");
    assert_int_equal(agent_processes(&agent, 0, 10000), 0);
    assert_output("grep -c zombie /proc/[0-9]*/status | grep -vc ':0' || true", 0, "0\n");
}

static void a_missing_shell_is_said(void **state)
{
    struct agent_result result;
    agent_run(&agent, "true", &result);
    assert_int_equal(result.reason, SBX_EXIT_FAILED);
    assert_int_equal(result.code, 127);
    assert_int_equal(result.status, ENOENT);
    assert_non_null(strstr(result.message, "no shell"));
    agent_result_done(&result);
}

static void run_argv(uint32_t stream, const char *const *argv, struct agent_result *result)
{
    struct agent_request request;
    agent_request_init(&request);
    for (; *argv; argv++)
        agent_request_text(&request, SBX_TAG_ARG, *argv);
    agent_request_send(&agent, &request, SBX_FRAME_EXEC, stream);
    agent_collect(&agent, stream, result, 100000);
}

static void argv_runs_without_a_shell(void **state)
{
    struct agent_result result;
    run_argv(1, (const char *const[]){"echo", "a  b", "$HOME", "", NULL}, &result);
    assert_string_equal((char *)result.out, "a  b $HOME \n");
    agent_result_done(&result);
    run_argv(2, (const char *const[]){"no-such-program", NULL}, &result);
    assert_int_equal(result.code, 127);
    assert_int_equal(result.reason, SBX_EXIT_FAILED);
    assert_string_equal(result.message, "cannot run 'no-such-program': No such file or directory");
    agent_result_done(&result);
    run_argv(3, (const char *const[]){"/etc", NULL}, &result);
    assert_int_equal(result.code, 126);
    assert_int_equal(result.status, EACCES);
    agent_result_done(&result);
}

static void a_shell_without_pipefail_is_used_without(void **state)
{
    assert_output("echo plain; false | true", 0, "plain\n");
}

static void a_bad_working_directory_is_said(void **state)
{
    struct agent_request request;
    struct agent_result result;
    agent_request_init(&request);
    agent_request_text(&request, SBX_TAG_COMMAND, "true");
    agent_request_text(&request, SBX_TAG_CWD, "/nowhere");
    agent_request_send(&agent, &request, SBX_FRAME_EXEC, 5);
    agent_collect(&agent, 5, &result, 1000);
    assert_int_equal(result.reason, SBX_EXIT_FAILED);
    assert_int_equal(result.code, 126);
    assert_int_equal(result.status, ENOENT);
    assert_string_equal(result.message, "cannot change to directory '/nowhere': No such file or directory");
    agent_result_done(&result);
}

static void the_environment_is_image_then_ours_then_the_request(void **state)
{
    struct agent_request request;
    struct agent_result result;
    agent_request_init(&request);
    agent_request_text(&request, SBX_TAG_COMMAND,
                       "echo $HOME:$XDG_DATA_HOME:$IMAGE_VAR:$PWD:$XDG_CACHE_HOME:$A; pwd");
    agent_request_text(&request, SBX_TAG_ENV, "XDG_CACHE_HOME=/c");
    agent_request_text(&request, SBX_TAG_ENV, "A=1");
    agent_request_text(&request, SBX_TAG_ENV, "A=2=3");
    agent_request_send(&agent, &request, SBX_FRAME_EXEC, 5);
    agent_collect(&agent, 5, &result, 1000);
    assert_string_equal(
        (char *)result.out,
        "/home/daiv-sandbox:/home/daiv-sandbox/.local/share:from image:/repo:/c:2=3\n/repo\n");
    agent_result_done(&result);
}

static void malformed_requests_are_refused(void **state)
{
    struct agent_request request;
    struct agent_result result;
    agent_request_init(&request);
    agent_request_text(&request, SBX_TAG_COMMAND, "true");
    agent_request_text(&request, SBX_TAG_ENV, "novalue");
    agent_request_send(&agent, &request, SBX_FRAME_EXEC, 5);
    agent_collect(&agent, 5, &result, 1000);
    assert_int_equal(result.reason, SBX_EXIT_FAILED);
    assert_int_equal(result.status, EINVAL);
    agent_result_done(&result);
    agent_send(&agent, SBX_FRAME_EXEC, 0, 6, "\x10\xff\xff\xff\xffx", 6);
    agent_collect(&agent, 6, &result, 1000);
    assert_int_equal(result.reason, SBX_EXIT_FAILED);
    agent_result_done(&result);
    agent_send(&agent, SBX_FRAME_EXEC, 0, 7, NULL, 0);
    agent_collect(&agent, 7, &result, 1000);
    assert_int_equal(result.reason, SBX_EXIT_FAILED);
    agent_result_done(&result);
}

static void commands_have_no_privilege(void **state)
{
    assert_output("id -u; id -g; grep -E '^(Cap|NoNewPrivs|SigBlk|SigIgn)' /proc/self/status | tr -d '\\t'",
                  0,
                  "1000\n1000\nSigBlk:0000000000000000\nSigIgn:0000000000000000\nCapInh:0000000000000000\n"
                  "CapPrm:0000000000000000\nCapEff:0000000000000000\nCapBnd:0000000000000000\n"
                  "CapAmb:0000000000000000\nNoNewPrivs:1\n");
    assert_output(
        "cat /proc/self/oom_score_adj; ls /proc/self/fd | wc -l; cat /proc/1/environ 2>/dev/null || echo no",
        0, "1000\n4\nno\n");
    assert_output("kill -9 1 2>/dev/null || echo no; kill -9 -1 2>/dev/null; echo still here", 0,
                  "no\nstill here\n");
}

static void directories_belong_to_the_user(void **state)
{
    assert_output("cd $HOME && for d in /repo /skills . .cache .config .local .local/share .local/state "
                  "/workspace/tmp; do "
                  "stat -c %u:%g:%a $d; done | sort | uniq -c | tr -s ' '; readlink /workspace/repo",
                  0, " 9 1000:1000:755\n/repo\n");
}

static void stdin_is_echoed_and_ends(void **state)
{
    static uint8_t data[100000];
    struct agent_request request;
    struct agent_result result;
    for (size_t i = 0; i < sizeof(data); i++)
        data[i] = (uint8_t)(i * 7 + i / 251);
    agent_request_init(&request);
    agent_request_text(&request, SBX_TAG_COMMAND, "cat; echo end");
    agent_request_u32(&request, SBX_TAG_STDIN, 1);
    agent_request_send(&agent, &request, SBX_FRAME_EXEC, 5);
    for (size_t at = 0; at < sizeof(data); at += 4000)
        agent_send(&agent, SBX_FRAME_STDIN, 0, 5, data + at, 4000);
    agent_send(&agent, SBX_FRAME_STDIN_EOF, 0, 5, NULL, 0);
    agent_collect(&agent, 5, &result, 200000);
    assert_int_equal(result.len, sizeof(data) + 4);
    assert_memory_equal(result.out, data, sizeof(data));
    agent_result_done(&result);
}

static void stdin_is_credited_also_when_nobody_reads_it(void **state)
{
    struct agent_request request;
    struct sbx_frame frame;
    struct agent_result result;
    uint32_t credited = 0;
    static uint8_t data[4000];
    agent_request_init(&request);
    agent_request_text(&request, SBX_TAG_COMMAND, "exec <&-; sleep 1000");
    agent_request_u32(&request, SBX_TAG_STDIN, 1);
    agent_request_send(&agent, &request, SBX_FRAME_EXEC, 5);
    for (int i = 0; i < 60; i++)
        agent_send(&agent, SBX_FRAME_STDIN, 0, 5, data, sizeof(data));
    while (credited < 60 * sizeof(data)) {
        assert_true(agent_receive(&agent, &frame, 10000));
        assert_int_equal(frame.type, SBX_FRAME_CREDIT);
        assert_int_equal(frame.stream, 5);
        credited +=
            (uint32_t)frame.payload[0] | (uint32_t)frame.payload[1] << 8 | (uint32_t)frame.payload[2] << 16;
    }
    assert_int_equal(credited, 60 * sizeof(data));
    agent_send(&agent, SBX_FRAME_KILL, 0, 5, NULL, 0);
    agent_collect(&agent, 5, &result, 10);
    agent_result_done(&result);
}

static void much_output_passes_with_credit(void **state)
{
    struct agent_result result;
    agent_exec(&agent, 5, "dd if=/dev/zero bs=1000000 count=200 2>/dev/null", 0);
    agent_collect(&agent, 5, &result, 100);
    assert_int_equal(result.total, 200000000);
    assert_int_equal(result.code, 0);
    agent_result_done(&result);
}

static void output_stops_where_the_credit_does(void **state)
{
    struct sbx_frame frame;
    size_t total = 0;
    agent_exec(&agent, 5, "yes", 0);
    while (total < SBX_WIRE_WINDOW) {
        assert_true(agent_receive(&agent, &frame, 10000));
        assert_int_equal(frame.type, SBX_FRAME_OUTPUT);
        total += frame.len;
    }
    assert_int_equal(total, SBX_WIRE_WINDOW);
    assert_false(agent_receive(&agent, &frame, 100));
}

static void output_owed_at_the_end_waits_for_credit(void **state)
{
    struct agent_result result;
    agent_exec(&agent, 5, "head -c 400000 /dev/zero; echo end", 0);
    agent_collect(&agent, 5, &result, 500000);
    assert_int_equal(result.len, 400004);
    agent_result_done(&result);
}

static void a_command_of_a_mebibyte_runs(void **state)
{
    size_t size = 1 << 20;
    char *command = malloc(size + 1);
    struct agent_result result;
    assert_non_null(command);
    memset(command, ' ', size);
    memcpy(command, "echo a; false | true || echo piped; [ -e /proc/self/fd/9 ]; echo $?; x='", 72);
    memset(command + 72, 'x', size - 72);
    memcpy(command + size - 14, "'; echo ${#x} ", 14);
    command[size] = '\0';
    agent_run(&agent, command, &result);
    assert_int_equal(result.code, 0);
    /* the script's own descriptor is closed before the first command */
    char expected[64];
    snprintf(expected, sizeof(expected), "a\npiped\n1\n%zu\n", size - 72 - 14);
    if (strcmp((char *)result.out, expected) != 0)
        print_error("%s", (char *)result.out);
    assert_string_equal((char *)result.out, expected);
    agent_result_done(&result);
    free(command);
}

static void a_request_over_the_limit_is_refused(void **state)
{
    static uint8_t big[SBX_MESSAGE_MAX + 1];
    struct agent_result result;
    agent_send_message(&agent, SBX_FRAME_EXEC, 5, big, sizeof(big));
    agent_collect(&agent, 5, &result, 10);
    assert_int_equal(result.reason, SBX_EXIT_FAILED);
    assert_int_equal(result.status, E2BIG);
    agent_result_done(&result);
}

static void commands_run_side_by_side(void **state)
{
    struct agent_result result;
    for (uint32_t i = 1; i <= 20; i++)
        agent_exec(&agent, i, "while [ ! -e /tmp/go ]; do sleep 0.01; done", 0);
    agent_exec(&agent, 21, "touch /tmp/go", 0);
    for (unsigned seen = 0; seen < 21;) {
        struct sbx_frame frame;
        assert_true(agent_receive(&agent, &frame, 10000));
        seen += frame.type == SBX_FRAME_EXIT;
    }
    agent_run(&agent, "true", &result);
    agent_result_done(&result);
}

static void too_many_commands_are_refused(void **state)
{
    struct agent_result result;
    for (uint32_t i = 1; i <= 64; i++)
        agent_exec(&agent, i, "sleep 1000", 0);
    agent_exec(&agent, 65, "true", 0);
    agent_collect(&agent, 65, &result, 10);
    assert_int_equal(result.reason, SBX_EXIT_FAILED);
    assert_int_equal(result.status, EAGAIN);
    agent_result_done(&result);
}

int main(void)
{
#define WITH(setup, test) cmocka_unit_test_setup_teardown(test, setup, stop)
    const struct CMUnitTest tests[] = {
        WITH(start, true_exits_with_zero_and_usage),
        WITH(start, exit_codes_come_back),
        WITH(start, a_failure_inside_a_pipe_counts),
        WITH(start, a_signal_is_reported_as_a_shell_would),
        WITH(start, both_channels_keep_their_order),
        WITH(start, split_channels_come_apart),
        WITH(start, binary_output_is_unchanged),
        WITH(start, a_background_process_does_not_delay_the_answer),
        WITH(start, a_background_process_that_floods_does_not_delay_the_answer),
        WITH(start, a_background_writer_goes_on_living),
        WITH(start, a_background_writer_outlives_many_others),
        WITH(start, what_outlives_the_shell_a_moment_is_still_heard),
        WITH(start, a_timeout_ends_the_tree_and_keeps_the_output),
        WITH(start, a_timeout_finds_processes_that_left_the_session),
        WITH(start_without_tags, a_timeout_finds_processes_that_left_the_session),
        WITH(start, a_timeout_beats_a_fork_bomb),
        WITH(start_without_tags, a_timeout_beats_a_fork_bomb),
        WITH(start, kill_ends_the_tree_at_once),
        WITH(start_without_tags, kill_ends_the_tree_at_once),
        WITH(start, kill_right_behind_exec_leaves_nothing),
        WITH(start, background_processes_of_other_commands_survive_a_kill),
        WITH(start_without_tags, background_processes_of_other_commands_survive_a_kill),
        WITH(start, an_agent_that_stood_still_while_it_killed_ends_the_tree_and_nobody_else),
        WITH(start, orphans_are_reaped),
        WITH(start_without_shell, a_missing_shell_is_said),
        WITH(start_without_shell, argv_runs_without_a_shell),
        WITH(start_with_plain_sh, a_shell_without_pipefail_is_used_without),
        WITH(start, a_bad_working_directory_is_said),
        WITH(start, the_environment_is_image_then_ours_then_the_request),
        WITH(start, malformed_requests_are_refused),
        WITH(start, commands_have_no_privilege),
        WITH(start, directories_belong_to_the_user),
        WITH(start, stdin_is_echoed_and_ends),
        WITH(start, stdin_is_credited_also_when_nobody_reads_it),
        WITH(start, much_output_passes_with_credit),
        WITH(start, output_stops_where_the_credit_does),
        WITH(start, output_owed_at_the_end_waits_for_credit),
        WITH(start, a_command_of_a_mebibyte_runs),
        WITH(start, a_request_over_the_limit_is_refused),
        WITH(start, commands_run_side_by_side),
        WITH(start, too_many_commands_are_refused),
    };
    return cmocka_run_group_tests_name("agent", tests, NULL, NULL);
}
