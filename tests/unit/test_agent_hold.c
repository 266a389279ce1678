/* Held execs: commands that outlive connections, their output read by number. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <errno.h>
#include <signal.h>
#include <time.h>

#include "support/agent_client.h"

#define PATIENCE_MS 10000
#define KEPT        (128 * 1024)

static struct agent agent;
static uint32_t streams;
static uint64_t fences;

/* What an operation was answered with. */
struct answer {
    uint32_t status, code, signal, reason, running, input, tty;
    uint64_t first, end, from, to, accepted;
    unsigned states; /* HELD_STATE frames */
    char ids[512];   /* of those, each followed by a blank */
    char message[512];
    char request[128];
    size_t len;
    uint8_t output[KEPT + 1];
    uint8_t last_channel;
};

static int start(void **state)
{
    agent_start(&agent, NULL);
    streams = 0;
    fences = 1;
    assert_int_equal(agent_hello(&agent, 1, fences), SBX_FRAME_HELLO_ACK);
    return 0;
}

static int stop(void **state)
{
    agent_stop(&agent);
    return 0;
}

static void reconnect(void)
{
    fences++;
    assert_int_equal(agent_hello(&agent, 100 + fences, fences), SBX_FRAME_HELLO_ACK);
}

static void take_field(const struct sbx_field *field, struct answer *ret)
{
    uint32_t u32 = 0;
    uint64_t u64 = 0;
    (void)sbx_field_u32(field, &u32);
    (void)sbx_field_u64(field, &u64);
    const struct {
        uint8_t tag;
        uint32_t *small;
        uint64_t *large;
    } places[] = {
        {SBX_TAG_STATUS, &ret->status, NULL},   {SBX_TAG_CODE, &ret->code, NULL},
        {SBX_TAG_SIGNAL, &ret->signal, NULL},   {SBX_TAG_REASON, &ret->reason, NULL},
        {SBX_TAG_RUNNING, &ret->running, NULL}, {SBX_TAG_INPUT, &ret->input, NULL},
        {SBX_TAG_TTY, &ret->tty, NULL},         {SBX_TAG_FIRST, NULL, &ret->first},
        {SBX_TAG_END, NULL, &ret->end},         {SBX_TAG_FROM, NULL, &ret->from},
        {SBX_TAG_TO, NULL, &ret->to},           {SBX_TAG_ACCEPTED, NULL, &ret->accepted},
    };
    for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
        if (places[i].tag != field->tag)
            continue;
        if (places[i].small)
            *places[i].small = u32;
        else
            *places[i].large = u64;
    }
    if (field->tag == SBX_TAG_HELD)
        snprintf(ret->ids + strlen(ret->ids), sizeof(ret->ids) - strlen(ret->ids), "%.*s ", (int)field->len,
                 (const char *)field->data);
    if (field->tag == SBX_TAG_REQUEST)
        snprintf(ret->request, sizeof(ret->request), "%.*s", (int)field->len, (const char *)field->data);
    if (field->tag == SBX_TAG_MESSAGE)
        snprintf(ret->message, sizeof(ret->message), "%.*s", (int)field->len, (const char *)field->data);
}

static void take_output(const struct sbx_frame *frame, struct answer *ret)
{
    size_t n = frame->len - 1;
    assert_true(n > 0);
    assert_true(ret->len + n <= KEPT);
    memcpy(ret->output + ret->len, frame->payload + 1, n);
    ret->len += n;
    ret->last_channel = frame->payload[0];
}

/* Everything up to RESULT (or EXIT) of the stream. */
static void take_answer(uint32_t stream, struct answer *ret)
{
    struct sbx_frame frame;
    memset(ret, 0, sizeof(*ret));
    for (;;) {
        assert_true(agent_receive(&agent, &frame, PATIENCE_MS));
        assert_int_equal(frame.stream, stream);
        if (frame.type == SBX_FRAME_OUTPUT) {
            take_output(&frame, ret);
            continue;
        }
        ret->states += frame.type == SBX_FRAME_HELD_STATE;
        struct sbx_field field;
        for (size_t off = 0; sbx_field_next(frame.payload, frame.len, &off, &field);)
            take_field(&field, ret);
        if (frame.type == SBX_FRAME_RESULT || frame.type == SBX_FRAME_EXIT)
            return;
        assert_int_equal(frame.type, SBX_FRAME_HELD_STATE);
    }
}

static void send_request(struct agent_request *request, uint8_t type, struct answer *ret)
{
    agent_request_send(&agent, request, type, ++streams);
    take_answer(streams, ret);
}

static void begin(struct agent_request *request, const char *id, const char *command)
{
    agent_request_init(request);
    agent_request_text(request, SBX_TAG_HELD, id);
    agent_request_text(request, SBX_TAG_COMMAND, command);
    agent_request_u32(request, SBX_TAG_SPLIT, 1);
}

static void hold(const char *id, const char *command)
{
    struct agent_request request;
    struct answer answer;
    begin(&request, id, command);
    send_request(&request, SBX_FRAME_EXEC, &answer);
    assert_int_equal(answer.status, 0);
    assert_int_equal(answer.states, 1);
    assert_int_equal(answer.running, 1);
}

static void operation(struct agent_request *request, uint32_t op, const char *id)
{
    agent_request_init(request);
    agent_request_u32(request, SBX_TAG_OP, op);
    if (id)
        agent_request_text(request, SBX_TAG_HELD, id);
}

static void ask(uint32_t op, const char *id, struct answer *ret)
{
    struct agent_request request;
    operation(&request, op, id);
    send_request(&request, SBX_FRAME_HELD, ret);
}

static void read_after(const char *id, uint64_t after, uint64_t limit, struct answer *ret)
{
    struct agent_request request;
    operation(&request, SBX_HELD_READ, id);
    agent_request_u64(&request, SBX_TAG_AFTER, after);
    agent_request_u64(&request, SBX_TAG_LIMIT, limit);
    send_request(&request, SBX_FRAME_HELD, ret);
}

static void pause_briefly(void)
{
    nanosleep(&(struct timespec){.tv_nsec = 5 * 1000 * 1000}, NULL);
}

static void await_end(const char *id, struct answer *ret)
{
    for (int i = 0; i < PATIENCE_MS / 5; i++) {
        ask(SBX_HELD_STATE, id, ret);
        if (!ret->running)
            return;
        pause_briefly();
    }
    fail_msg("%s is still running", id);
}

static void await_bytes(const char *id, uint64_t bytes)
{
    struct answer answer;
    for (int i = 0; i < PATIENCE_MS / 5; i++) {
        ask(SBX_HELD_STATE, id, &answer);
        if (answer.end >= bytes)
            return;
        pause_briefly();
    }
    fail_msg("%s has not written %lu bytes", id, (unsigned long)bytes);
}

static void input(const char *id, const char *text, bool eof, struct answer *ret)
{
    struct agent_request request;
    operation(&request, SBX_HELD_INPUT, id);
    if (text)
        agent_request_text(&request, SBX_TAG_DATA, text);
    agent_request_u32(&request, SBX_TAG_EOF, eof);
    send_request(&request, SBX_FRAME_HELD, ret);
}

static void output_and_end_are_kept(void **state)
{
    struct answer answer;
    hold("a", "echo one; exit 3");
    await_end("a", &answer);
    assert_int_equal(answer.code, 3);
    assert_int_equal(answer.reason, SBX_EXIT_EXITED);
    assert_int_equal(answer.end, 4);
    read_after("a", 0, 1000, &answer);
    assert_string_equal((char *)answer.output, "one\n");
    assert_int_equal(answer.from, 0);
    assert_int_equal(answer.to, 4);
    read_after("a", 0, 1000, &answer);
    assert_string_equal((char *)answer.output, "one\n");
}

static void let_go(void)
{
    struct agent_result result = {0};
    agent_run(&agent, "touch /tmp/go", &result);
    agent_result_done(&result);
}

static void a_new_connection_finds_it_running(void **state)
{
    struct answer answer;
    hold("a", "echo before; until test -e /tmp/go; do sleep 0.01; done; echo after");
    await_bytes("a", 7);
    reconnect();
    let_go();
    await_end("a", &answer);
    assert_int_equal(answer.code, 0);
    read_after("a", 0, 1000, &answer);
    assert_string_equal((char *)answer.output, "before\nafter\n");
}

static void reading_goes_on_after_any_number(void **state)
{
    static const char digits[] = "0123456789";
    struct answer answer;
    hold("a", "printf 0123456789");
    await_end("a", &answer);
    for (uint64_t after = 0; after <= 10; after++) {
        read_after("a", after, 3, &answer);
        assert_int_equal(answer.from, after);
        assert_int_equal(answer.to, after + 3 < 10 ? after + 3 : 10);
        assert_memory_equal(answer.output, digits + after, answer.len);
        assert_int_equal(answer.len, answer.to - answer.from);
    }
    read_after("a", 11, 3, &answer);
    assert_int_equal(answer.from, 10);
    assert_int_equal(answer.to, 10);
}

/* Between two pipes there is an order only where the agent has read the one before the other is written. */
static void channels_keep_their_order(void **state)
{
    struct agent_result result;
    struct answer answer;
    hold("a",
         "echo out; until test -e /tmp/err; do sleep 0.01; done; echo err >&2; until test -e /tmp/out; do "
         "sleep 0.01; done; echo out");
    await_bytes("a", 4);
    agent_run(&agent, "touch /tmp/err", &result);
    agent_result_done(&result);
    await_bytes("a", 8);
    agent_run(&agent, "touch /tmp/out", &result);
    agent_result_done(&result);
    await_end("a", &answer);
    read_after("a", 0, 1000, &answer);
    assert_string_equal((char *)answer.output, "out\nerr\nout\n");
    read_after("a", 4, 4, &answer);
    assert_string_equal((char *)answer.output, "err\n");
    assert_int_equal(answer.last_channel, 2);
}

static void the_ring_drops_the_oldest_and_counts(void **state)
{
    struct agent_request request;
    struct answer answer;
    begin(&request, "a", "head -c 1000000 /dev/zero | tr '\\0' x; printf end");
    agent_request_u64(&request, SBX_TAG_BUFFER, 65536);
    send_request(&request, SBX_FRAME_EXEC, &answer);
    await_end("a", &answer);
    assert_int_equal(answer.end, 1000003);
    assert_int_equal(answer.first, 1000003 - 65536);
    read_after("a", 0, 1000000, &answer);
    assert_int_equal(answer.from, 1000003 - 65536);
    assert_int_equal(answer.len, 65536);
    assert_memory_equal(answer.output + 65536 - 4, "xend", 4);
}

static void many_changes_of_channel_drop_the_oldest(void **state)
{
    struct answer answer;
    hold("a", "i=0; while [ $i -lt 5000 ]; do echo $i; echo $i >&2; i=$((i+1)); done; echo end");
    await_end("a", &answer);
    read_after("a", 0, KEPT, &answer);
    assert_non_null(memmem(answer.output, answer.len, "end\n", 4));
    assert_int_equal(answer.from, answer.first);
    assert_int_equal(answer.to, answer.end);
}

/* A command that waits for its reader, its ring of 64 KiB full. */
static void hold_waiting(const char *id, const char *command)
{
    struct agent_request request;
    struct answer answer;
    begin(&request, id, command);
    agent_request_u64(&request, SBX_TAG_BUFFER, 65536);
    agent_request_u32(&request, SBX_TAG_BLOCK, 1);
    send_request(&request, SBX_FRAME_EXEC, &answer);
    assert_int_equal(answer.status, 0);
    await_bytes(id, 65536);
}

/* All of what it writes, from its start and without a gap. */
static void read_to_the_end(const char *id, uint64_t expected)
{
    struct answer answer;
    uint64_t at = 0;
    do {
        read_after(id, at, KEPT, &answer);
        assert_int_equal(answer.from, at);
        at = answer.to;
    } while (answer.running || at < answer.end);
    assert_int_equal(at, expected);
}

static void a_blocking_ring_waits_for_its_reader(void **state)
{
    hold_waiting("a", "head -c 500000 /dev/zero");
    read_to_the_end("a", 500000);
}

static void a_number_that_was_never_given_does_not_count_as_read(void **state)
{
    struct agent_result plain;
    struct answer answer;
    hold_waiting("a", "head -c 500000 /dev/zero");
    read_after("a", 65536 + 1, KEPT, &answer);
    assert_int_equal(answer.len, 0);
    read_after("a", 999999999, KEPT, &answer);
    assert_int_equal(answer.len, 0);
    agent_run(&agent, "true", &plain); /* the agent's loop has gone round meanwhile */
    agent_result_done(&plain);
    read_to_the_end("a", 500000);
}

/* One that runs, with the last of its output still in the pipe. */
static void hold_full(const char *id)
{
    struct agent_result result;
    hold_waiting(id, "head -c 69000 /dev/zero; touch /tmp/full; sleep 1000");
    agent_run(&agent, "until test -e /tmp/full; do sleep 0.01; done", &result);
    agent_result_done(&result);
}

static void a_cancelled_command_waits_for_no_reader(void **state)
{
    struct answer answer;
    hold_full("a");
    ask(SBX_HELD_CANCEL, "a", &answer);
    await_end("a", &answer);
    assert_int_equal(answer.reason, SBX_EXIT_CANCELLED);
    assert_int_equal(answer.end, 69000);
    assert_int_equal(answer.first, 69000 - 65536);

    /* its leader has ended already */
    hold_waiting("b", "head -c 69000 /dev/zero");
    assert_int_equal(agent_processes(&agent, 0, PATIENCE_MS), 0);
    ask(SBX_HELD_STATE, "b", &answer);
    assert_int_equal(answer.running, 1);
    ask(SBX_HELD_CANCEL, "b", &answer);
    await_end("b", &answer);
    assert_int_equal(answer.reason, SBX_EXIT_EXITED);
    assert_int_equal(answer.end, 69000);
}

static void a_forgotten_command_that_waited_leaves_its_place(void **state)
{
    struct agent_request request;
    struct answer answer;
    hold_full("a");
    ask(SBX_HELD_FORGET, "a", &answer);
    ask(SBX_HELD_LIST, NULL, &answer);
    assert_int_equal(answer.states, 0);
    for (int i = 0; i < PATIENCE_MS / 5; i++) {
        begin(&request, "a", "true");
        send_request(&request, SBX_FRAME_EXEC, &answer);
        if (answer.status == 0)
            return;
        assert_int_equal(answer.status, EEXIST);
        pause_briefly();
    }
    fail_msg("it is still there");
}

static void an_output_limit_ends_the_command(void **state)
{
    struct agent_request request;
    struct answer answer;
    begin(&request, "a", "yes");
    agent_request_u64(&request, SBX_TAG_OUTPUT_LIMIT, 100001);
    send_request(&request, SBX_FRAME_EXEC, &answer);
    await_end("a", &answer);
    assert_int_equal(answer.reason, SBX_EXIT_OUTPUT_LIMIT);
    assert_int_equal(answer.end, 100001);
    assert_int_equal(agent_processes(&agent, 0, PATIENCE_MS), 0);
}

static void exactly_the_limit_is_no_fault(void **state)
{
    struct agent_request request;
    struct answer answer;
    begin(&request, "a", "printf 12345");
    agent_request_u64(&request, SBX_TAG_OUTPUT_LIMIT, 5);
    send_request(&request, SBX_FRAME_EXEC, &answer);
    await_end("a", &answer);
    assert_int_equal(answer.reason, SBX_EXIT_EXITED);
    assert_int_equal(answer.end, 5);
}

static void input_is_accepted_as_far_as_there_is_room(void **state)
{
    struct agent_request request;
    struct answer answer;
    size_t n = 600000;
    uint8_t *bytes = calloc(1, n + 64);
    begin(&request, "a", "until test -e /tmp/go; do sleep 0.01; done; wc -c");
    agent_request_u32(&request, SBX_TAG_STDIN, 1);
    send_request(&request, SBX_FRAME_EXEC, &answer);
    assert_int_equal(answer.input, 1);
    size_t len = sbx_field_put_u32(bytes, n + 64, 0, SBX_TAG_OP, SBX_HELD_INPUT);
    len = sbx_field_put(bytes, n + 64, len, SBX_TAG_HELD, "a", 1);
    uint8_t *data = bytes + len;
    uint8_t zeros[500000] = {0};
    len = sbx_field_put(data, 590000, 0, SBX_TAG_DATA, zeros, sizeof(zeros));
    agent_send_message(&agent, SBX_FRAME_HELD, ++streams, bytes, (size_t)(data - bytes) + len);
    take_answer(streams, &answer);
    assert_int_equal(answer.status, 0);
    assert_true(answer.accepted >= SBX_WIRE_WINDOW && answer.accepted < sizeof(zeros));
    uint64_t accepted = answer.accepted;
    let_go();
    do
        input("a", "tail", true, &answer);
    while (answer.accepted == 0);
    await_end("a", &answer);
    read_after("a", 0, 1000, &answer);
    assert_int_equal(strtoull((char *)answer.output, NULL, 10), accepted + 4);
    input("a", "more", false, &answer);
    assert_int_equal(answer.status, EPIPE);
    free(bytes);
}

static void signals_and_cancel_reach_the_tree(void **state)
{
    struct agent_request request;
    struct answer answer;
    hold("a", "trap 'echo caught; exit 7' USR1; echo ready; while :; do sleep 0.05; done");
    await_bytes("a", 6);
    operation(&request, SBX_HELD_SIGNAL, "a");
    agent_request_u32(&request, SBX_TAG_SIGNAL, SIGUSR1);
    send_request(&request, SBX_FRAME_HELD, &answer);
    assert_int_equal(answer.status, 0);
    await_end("a", &answer);
    assert_int_equal(answer.code, answer.reason == SBX_EXIT_SIGNALLED ? 138 : 7);

    hold("b", "setsid sleep 100 & sleep 100");
    ask(SBX_HELD_CANCEL, "b", &answer);
    assert_int_equal(answer.status, 0);
    await_end("b", &answer);
    assert_int_equal(answer.reason, SBX_EXIT_CANCELLED);
    assert_int_equal(agent_processes(&agent, 0, PATIENCE_MS), 0);
    operation(&request, SBX_HELD_SIGNAL, "b");
    agent_request_u32(&request, SBX_TAG_SIGNAL, SIGUSR1);
    send_request(&request, SBX_FRAME_HELD, &answer);
    assert_int_equal(answer.status, ESRCH);
}

static void a_timeout_ends_it_without_a_connection(void **state)
{
    struct agent_request request;
    struct answer answer;
    begin(&request, "a", "sleep 100");
    agent_request_u32(&request, SBX_TAG_TIMEOUT_MS, 100);
    send_request(&request, SBX_FRAME_EXEC, &answer);
    reconnect();
    await_end("a", &answer);
    assert_int_equal(answer.reason, SBX_EXIT_TIMEOUT);
    assert_int_equal(answer.code, 124);
}

static void what_cannot_run_says_why(void **state)
{
    struct agent_request request;
    struct answer answer;
    begin(&request, "a", "true");
    agent_request_text(&request, SBX_TAG_CWD, "/nowhere");
    send_request(&request, SBX_FRAME_EXEC, &answer);
    await_end("a", &answer);
    assert_int_equal(answer.reason, SBX_EXIT_FAILED);
    assert_non_null(strstr(answer.message, "/nowhere"));
    begin(&request, "a", "true");
    send_request(&request, SBX_FRAME_EXEC, &answer);
    assert_int_equal(answer.status, EEXIST);
}

static void the_oldest_that_are_over_give_way(void **state)
{
    struct answer answer;
    char id[16];
    hold("running", "sleep 100");
    for (int i = 0; i < SBX_HELD_FINISHED + 3; i++) {
        snprintf(id, sizeof(id), "%d", i);
        hold(id, "true");
        await_end(id, &answer);
    }
    ask(SBX_HELD_STATE, "2", &answer);
    assert_int_equal(answer.status, ENOENT);
    ask(SBX_HELD_STATE, "3", &answer);
    assert_int_equal(answer.status, 0);
    ask(SBX_HELD_LIST, NULL, &answer);
    assert_int_equal(answer.states, SBX_HELD_FINISHED + 1);
    assert_memory_equal(answer.ids, "running 3 4 ", 12);
}

static void no_more_than_a_number_run_at_once(void **state)
{
    struct agent_request request;
    struct answer answer;
    char id[16];
    for (int i = 0; i < SBX_HELD_RUNNING; i++) {
        snprintf(id, sizeof(id), "%d", i);
        hold(id, "sleep 100");
    }
    begin(&request, "more", "true");
    send_request(&request, SBX_FRAME_EXEC, &answer);
    assert_int_equal(answer.status, EAGAIN);
    struct agent_result plain;
    agent_run(&agent, "echo a plain command runs all the same", &plain);
    assert_int_equal(plain.code, 0);
    agent_result_done(&plain);
    ask(SBX_HELD_FORGET, "0", &answer);
    ask(SBX_HELD_STATE, "0", &answer);
    assert_int_equal(answer.status, ENOENT);
    for (int i = 0; i < PATIENCE_MS / 5; i++) {
        begin(&request, "more", "true");
        send_request(&request, SBX_FRAME_EXEC, &answer);
        if (answer.status == 0)
            return;
        assert_int_equal(answer.status, EAGAIN);
        pause_briefly();
    }
    fail_msg("the place of a forgotten command stays taken");
}

static void what_is_unknown_is_refused(void **state)
{
    struct agent_request request;
    struct answer answer;
    ask(SBX_HELD_STATE, "nobody", &answer);
    assert_int_equal(answer.status, ENOENT);
    ask(SBX_HELD_READ, NULL, &answer);
    assert_int_equal(answer.status, ENOENT);
    hold("a", "sleep 100");
    ask(99, "a", &answer);
    assert_int_equal(answer.status, ENOSYS);
    ask(SBX_HELD_RESIZE, "a", &answer);
    assert_int_equal(answer.status, ENOTTY);
    operation(&request, SBX_HELD_SIGNAL, "a");
    agent_request_u32(&request, SBX_TAG_SIGNAL, 1000);
    send_request(&request, SBX_FRAME_HELD, &answer);
    assert_int_equal(answer.status, EINVAL);
    agent_send(&agent, SBX_FRAME_HELD, 0, ++streams, "\x60\xff\xff\xff\xffrubbish", 12);
    take_answer(streams, &answer);
    assert_int_equal(answer.status, ENOENT);
}

static void it_names_the_request_that_started_it(void **state)
{
    struct answer answer;
    struct sbx_frame frame;
    char longest[SBX_REQUEST_ID_MAX + 2] = "";
    memset(longest, 'x', SBX_REQUEST_ID_MAX);

    hold("nobody", "true");
    assert_int_equal(agent_hello_for(&agent, 100, ++fences, longest, &frame), SBX_FRAME_HELLO_ACK);
    hold("one", "true");
    longest[SBX_REQUEST_ID_MAX] = 'x';
    assert_int_equal(agent_hello_for(&agent, 101, ++fences, longest, &frame), SBX_FRAME_HELLO_ACK);
    hold("too-long", "true");
    longest[SBX_REQUEST_ID_MAX] = '\0';
    ask(SBX_HELD_STATE, "nobody", &answer);
    assert_string_equal(answer.request, "");
    ask(SBX_HELD_STATE, "one", &answer);
    assert_string_equal(answer.request, longest);
    ask(SBX_HELD_STATE, "too-long", &answer);
    assert_string_equal(answer.request, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, start, stop)
        T(output_and_end_are_kept),
        T(a_new_connection_finds_it_running),
        T(reading_goes_on_after_any_number),
        T(channels_keep_their_order),
        T(the_ring_drops_the_oldest_and_counts),
        T(many_changes_of_channel_drop_the_oldest),
        T(a_blocking_ring_waits_for_its_reader),
        T(a_number_that_was_never_given_does_not_count_as_read),
        T(a_cancelled_command_waits_for_no_reader),
        T(a_forgotten_command_that_waited_leaves_its_place),
        T(an_output_limit_ends_the_command),
        T(exactly_the_limit_is_no_fault),
        T(input_is_accepted_as_far_as_there_is_room),
        T(signals_and_cancel_reach_the_tree),
        T(a_timeout_ends_it_without_a_connection),
        T(what_cannot_run_says_why),
        T(the_oldest_that_are_over_give_way),
        T(no_more_than_a_number_run_at_once),
        T(what_is_unknown_is_refused),
        T(it_names_the_request_that_started_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
