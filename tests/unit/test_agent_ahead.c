/* Commands that are sent ahead: each begins when the one it follows is over, if it may. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <errno.h>

#include "support/agent_client.h"

static struct agent agent;

static int start(void **state)
{
    agent_start(&agent, NULL);
    assert_int_equal(agent_hello(&agent, 1, 10), SBX_FRAME_HELLO_ACK);
    return 0;
}

static int stop(void **state)
{
    agent_stop(&agent);
    return 0;
}

static void send_ahead(uint32_t stream, uint32_t follows, bool if_ok, const char *command)
{
    struct agent_request request;
    agent_request_init(&request);
    agent_request_u32(&request, SBX_TAG_FOLLOWS, follows);
    agent_request_u32(&request, SBX_TAG_IF_OK, if_ok);
    agent_request_text(&request, SBX_TAG_COMMAND, command);
    agent_request_send(&agent, &request, SBX_FRAME_EXEC, stream);
}

/* The EXIT of the stream. */
static void expect(uint32_t stream, uint32_t reason, uint32_t code, const char *output)
{
    struct agent_result result;
    agent_collect(&agent, stream, &result, 1000);
    assert_int_equal(result.reason, reason);
    assert_int_equal(result.code, code);
    assert_string_equal((char *)result.out, output);
    agent_result_done(&result);
}

static void expect_skipped(uint32_t stream)
{
    expect(stream, SBX_EXIT_SKIPPED, 126, "");
}

static void assert_output(const char *command, const char *output)
{
    struct agent_result result;
    agent_run(&agent, command, &result);
    assert_string_equal((char *)result.out, output);
    agent_result_done(&result);
}

static void they_run_in_order_and_never_at_once(void **state)
{
    agent_exec(&agent, 1, "echo begin 1 >> /tmp/log; sleep 0.1; echo end 1 >> /tmp/log; echo one", 0);
    send_ahead(2, 1, false, "echo begin 2 >> /tmp/log; sleep 0.05; echo end 2 >> /tmp/log; echo two; exit 3");
    send_ahead(3, 2, false, "echo begin 3 >> /tmp/log; echo three");
    expect(1, SBX_EXIT_EXITED, 0, "one\n");
    expect(2, SBX_EXIT_EXITED, 3, "two\n");
    expect(3, SBX_EXIT_EXITED, 0, "three\n");
    assert_output("tr '\\n' , < /tmp/log", "begin 1,end 1,begin 2,end 2,begin 3,");
}

static void one_that_comes_late_starts_at_once(void **state)
{
    agent_exec(&agent, 1, "true", 0);
    expect(1, SBX_EXIT_EXITED, 0, "");
    send_ahead(2, 1, true, "echo two");
    expect(2, SBX_EXIT_EXITED, 0, "two\n");
    agent_exec(&agent, 3, "false", 0);
    expect(3, SBX_EXIT_EXITED, 1, "");
    send_ahead(4, 3, true, "touch /tmp/ran");
    expect_skipped(4);
    assert_output("ls /tmp", "");
}

static void a_failure_skips_those_that_need_success_and_all_behind_them(void **state)
{
    agent_exec(&agent, 1, "sleep 0.1; false", 0);
    send_ahead(2, 1, false, "echo two; exit 7");
    send_ahead(3, 2, true, "touch /tmp/ran");
    send_ahead(4, 3, false, "touch /tmp/ran");
    expect(1, SBX_EXIT_EXITED, 1, "");
    expect(2, SBX_EXIT_EXITED, 7, "two\n");
    expect_skipped(3);
    expect_skipped(4);
    assert_output("ls /tmp", "");
}

static void one_that_cannot_start_is_a_failure_like_others(void **state)
{
    struct agent_request request;
    agent_exec(&agent, 1, "sleep 0.1", 0);
    agent_request_init(&request);
    agent_request_u32(&request, SBX_TAG_FOLLOWS, 1);
    agent_request_text(&request, SBX_TAG_COMMAND, "true");
    agent_request_text(&request, SBX_TAG_ARG, "and arguments");
    agent_request_send(&agent, &request, SBX_FRAME_EXEC, 2);
    send_ahead(3, 2, false, "echo three");
    send_ahead(4, 3, true, "echo four");
    expect(1, SBX_EXIT_EXITED, 0, "");
    expect(2, SBX_EXIT_FAILED, 126, "");
    expect(3, SBX_EXIT_EXITED, 0, "three\n");
    expect(4, SBX_EXIT_EXITED, 0, "four\n");
}

static void a_timeout_skips_the_rest(void **state)
{
    agent_exec(&agent, 1, "sleep 1000", 200);
    send_ahead(2, 1, false, "touch /tmp/ran");
    send_ahead(3, 2, false, "touch /tmp/ran");
    expect(1, SBX_EXIT_TIMEOUT, 124, "");
    expect_skipped(2);
    expect_skipped(3);
    assert_output("ls /tmp", "");
}

static void a_kill_of_the_first_skips_the_rest(void **state)
{
    agent_exec(&agent, 1, "sleep 1000", 0);
    send_ahead(2, 1, false, "touch /tmp/ran");
    agent_send(&agent, SBX_FRAME_KILL, 0, 1, NULL, 0);
    expect(1, SBX_EXIT_CANCELLED, 137, "");
    expect_skipped(2);
    assert_output("ls /tmp", "");
}

static void a_kill_of_one_that_waits_takes_those_behind_it_too(void **state)
{
    agent_exec(&agent, 1, "while [ ! -e /tmp/go ]; do sleep 0.01; done; rm /tmp/go", 0);
    send_ahead(2, 1, false, "echo two");
    send_ahead(3, 2, false, "touch /tmp/ran");
    send_ahead(4, 3, false, "touch /tmp/ran");
    agent_send(&agent, SBX_FRAME_KILL, 0, 3, NULL, 0);
    expect_skipped(4);
    expect_skipped(3);
    agent_exec(&agent, 9, "touch /tmp/go", 0);
    expect(2, SBX_EXIT_EXITED, 0, "two\n");
    assert_output("ls /tmp", "");
}

static void the_next_hello_drops_them(void **state)
{
    agent_exec(&agent, 1, "sleep 1000", 0);
    send_ahead(2, 1, false, "touch /tmp/ran");
    assert_int_equal(agent_hello(&agent, 2, 11), SBX_FRAME_HELLO_ACK);
    assert_int_equal(agent_processes(&agent, 0, 5000), 0);
    assert_output("ls /tmp", "");
    /* Nor does one of the new connection follow one of the old. */
    assert_int_equal(agent_hello(&agent, 3, 12), SBX_FRAME_HELLO_ACK);
    send_ahead(5, 1, false, "touch /tmp/ran");
    expect(5, SBX_EXIT_FAILED, 126, "");
}

static void only_the_end_of_the_line_can_be_followed(void **state)
{
    agent_exec(&agent, 1, "while [ ! -e /tmp/go ]; do sleep 0.01; done", 0);
    send_ahead(2, 1, false, "echo two");
    send_ahead(3, 1, false, "echo three");
    expect(3, SBX_EXIT_FAILED, 126, "");
    agent_exec(&agent, 9, "touch /tmp/go", 0);
    expect(2, SBX_EXIT_EXITED, 0, "two\n");
}

static void too_many_are_refused_and_the_others_run(void **state)
{
    char expected[16];
    agent_exec(&agent, 1, "while [ ! -e /tmp/go ]; do sleep 0.01; done", 0);
    for (uint32_t i = 2; i <= SBX_AHEAD_MAX + 1; i++) {
        snprintf(expected, sizeof(expected), "echo %u", i);
        send_ahead(i, i - 1, true, expected);
    }
    send_ahead(100, SBX_AHEAD_MAX + 1, true, "touch /tmp/ran");
    expect(100, SBX_EXIT_FAILED, 126, "");
    agent_exec(&agent, 101, "touch /tmp/go", 0);
    for (uint32_t i = 2; i <= SBX_AHEAD_MAX + 1; i++) {
        snprintf(expected, sizeof(expected), "%u\n", i);
        expect(i, SBX_EXIT_EXITED, 0, expected);
    }
    assert_output("ls /tmp", "go\n");
}

static void too_much_is_refused(void **state)
{
    static char command[SBX_AHEAD_BYTES];
    memset(command, ' ', sizeof(command) - 1);
    agent_exec(&agent, 1, "while [ ! -e /tmp/go ]; do sleep 0.01; done", 0);
    send_ahead(2, 1, false, command);
    expect(2, SBX_EXIT_FAILED, 126, "");
    agent_exec(&agent, 3, "touch /tmp/go", 0);
    expect(1, SBX_EXIT_EXITED, 0, "");
}

static void each_has_a_timeout_of_its_own(void **state)
{
    struct agent_request request;
    agent_exec(&agent, 1, "sleep 0.3", 0);
    agent_request_init(&request);
    agent_request_u32(&request, SBX_TAG_FOLLOWS, 1);
    agent_request_u32(&request, SBX_TAG_TIMEOUT_MS, 250);
    agent_request_text(&request, SBX_TAG_COMMAND, "echo in time");
    agent_request_send(&agent, &request, SBX_FRAME_EXEC, 2);
    expect(1, SBX_EXIT_EXITED, 0, "");
    expect(2, SBX_EXIT_EXITED, 0, "in time\n");
}

int main(void)
{
#define TEST(test) cmocka_unit_test_setup_teardown(test, start, stop)
    const struct CMUnitTest tests[] = {
        TEST(they_run_in_order_and_never_at_once),
        TEST(one_that_comes_late_starts_at_once),
        TEST(a_failure_skips_those_that_need_success_and_all_behind_them),
        TEST(one_that_cannot_start_is_a_failure_like_others),
        TEST(a_timeout_skips_the_rest),
        TEST(a_kill_of_the_first_skips_the_rest),
        TEST(a_kill_of_one_that_waits_takes_those_behind_it_too),
        TEST(the_next_hello_drops_them),
        TEST(only_the_end_of_the_line_can_be_followed),
        TEST(too_many_are_refused_and_the_others_run),
        TEST(too_much_is_refused),
        TEST(each_has_a_timeout_of_its_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
