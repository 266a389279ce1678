/* When a worker gives up an agent that does not end its command: with the agent and the clock played. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "session/link.h"

static int64_t clock_ms(void);
#define sbx_now_ms clock_ms
#include "session/link_exec.c"
#undef sbx_now_ms

#define TIMEOUT_MS 60000

/* What the agent has sent when a time has come, and what the worker has done. */
struct played {
    int64_t at_ms;
    uint8_t type;
};

static int64_t now;
static const struct played *script; /* type 0 ends it */
static int64_t client_ms;           /* how long the client takes for output */
static int64_t asleep_ms;           /* how long this process stands still in its next wait */

static int64_t clock_ms(void)
{
    return now;
}

uint32_t sbx_link_stream(struct sbx_link *link)
{
    return 1;
}

int sbx_link_put(struct sbx_link *link, uint8_t type, uint32_t stream, const void *payload, size_t n,
                 struct sbx_err *err)
{
    return 0;
}

/* Nothing is there before a wait has seen it. */
static bool arrived;

int sbx_link_pump(struct sbx_link *link, int timeout_ms, struct sbx_err *err)
{
    int64_t until = timeout_ms < 0 ? INT64_MAX : now + timeout_ms;
    if (asleep_ms > 0) {
        now += asleep_ms;
        asleep_ms = 0;
        return 0;
    }
    if (script->type && script->at_ms <= until) {
        now = script->at_ms > now ? script->at_ms : now;
        arrived = true;
        return 1;
    }
    assert_true(until < INT64_MAX);
    now = until;
    return 0;
}

int sbx_link_next(struct sbx_link *link, struct sbx_frame *ret, struct sbx_err *err)
{
    static const uint8_t output[] = "\1text";
    if (!arrived)
        return 0;
    arrived = false;
    bool text = script->type == SBX_FRAME_OUTPUT;
    *ret = (struct sbx_frame){
        .type = script->type, .stream = 1, .payload = output, .len = text ? sizeof(output) - 1 : 0};
    script++;
    return 1;
}

void sbx_link_abandon(struct sbx_link *link, uint32_t stream)
{
}

static int on_output(void *arg, int channel, const void *data, size_t n, struct sbx_err *err)
{
    now += client_ms;
    return 0;
}

/* Run a command; its end is in *ret_ms. */
static int play(const struct played *frames, int64_t client, int64_t asleep, bool *ret_late, int64_t *ret_ms)
{
    static const struct sbx_exec_spec spec = {.command = "true", .command_len = 4, .timeout_ms = TIMEOUT_MS};
    struct sbx_link link = {.engine = NULL};
    struct sbx_exec_result result;
    struct sbx_err err = SBX_ERR_INIT;
    now = 0;
    script = frames;
    client_ms = client;
    asleep_ms = asleep;
    arrived = false;
    int rc = sbx_link_exec(&link, &spec, on_output, NULL, &result, &err);
    *ret_late = link.late;
    *ret_ms = now;
    return rc;
}

static void an_agent_that_does_not_end_its_command_is_late(void **state)
{
    static const struct played frames[] = {{1000, SBX_FRAME_OUTPUT}, {0, 0}};
    bool late;
    int64_t ms;
    assert_int_equal(play(frames, 0, 0, &late, &ms), -1);
    assert_true(late);
    assert_in_range(ms, TIMEOUT_MS + AGENT_LATE_MS, TIMEOUT_MS + AGENT_LATE_MS + 2 * LAST_LOOK_MS);
}

static void output_without_end_does_not_put_it_off(void **state)
{
    struct played frames[200];
    for (size_t i = 0; i < SBX_ARRAY_LEN(frames); i++)
        frames[i] = (struct played){(int64_t)i * 500, SBX_FRAME_OUTPUT};
    bool late;
    int64_t ms;
    assert_int_equal(play(frames, 0, 0, &late, &ms), -1);
    assert_true(late);
    assert_in_range(ms, TIMEOUT_MS + AGENT_LATE_MS, TIMEOUT_MS + AGENT_LATE_MS + 2 * LAST_LOOK_MS);
}

static void a_client_that_pauses_is_not_the_agents_delay(void **state)
{
    static const struct played frames[] = {{50000, SBX_FRAME_OUTPUT},
                                           {50000, SBX_FRAME_OUTPUT},
                                           {50000, SBX_FRAME_OUTPUT},
                                           {TIMEOUT_MS + 2000, SBX_FRAME_EXIT},
                                           {0, 0}};
    bool late;
    int64_t ms;
    assert_int_equal(play(frames, 30000, 0, &late, &ms), 0);
    assert_false(late);
}

static void an_end_that_lies_unread_counts(void **state)
{
    static const struct played frames[] = {{TIMEOUT_MS + 2000, SBX_FRAME_EXIT}, {0, 0}};
    bool late;
    int64_t ms;
    assert_int_equal(play(frames, 0, TIMEOUT_MS + 10 * AGENT_LATE_MS, &late, &ms), 0);
    assert_false(late);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_agent_that_does_not_end_its_command_is_late),
        cmocka_unit_test(output_without_end_does_not_put_it_off),
        cmocka_unit_test(a_client_that_pauses_is_not_the_agents_delay),
        cmocka_unit_test(an_end_that_lies_unread_counts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
