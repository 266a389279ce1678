#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sandboxd/admission.h"

#define SECOND 1000000

struct fixture {
    struct sbx_scoreboard *board;
    int64_t now;
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    f->board = calloc(1, sizeof(*f->board));
    f->now = 5 * SECOND;
    for (size_t i = 0; i < SBX_SLOTS; i++)
        sbx_scoreboard_take(f->board)->pid = (pid_t)(i + 1);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    free(f->board);
    free(f);
    return 0;
}

static struct sbx_client client_of(const char *name, double rate, int64_t concurrent)
{
    struct sbx_client client = {.rate = rate, .concurrent = concurrent};
    snprintf(client.name, sizeof(client.name), "%s", name);
    return client;
}

static int64_t begin(struct fixture *f, size_t slot, const struct sbx_client *client)
{
    return sbx_admission_begin(f->board, &f->board->slots[slot], client, f->now);
}

/* How many of so many requests, each over before the next, get in now. */
static int passed(struct fixture *f, const struct sbx_client *client, int requests)
{
    int count = 0;
    for (int i = 0; i < requests; i++) {
        count += begin(f, 0, client) == 0;
        sbx_admission_end(&f->board->slots[0]);
    }
    return count;
}

static void without_limits_nothing_is_refused_or_noted(void **state)
{
    struct fixture *f = *state;
    struct sbx_client client = client_of("free", 0, 0);
    assert_int_equal(passed(f, &client, 100000), 100000);
    assert_int_equal(begin(f, 3, &client), 0);
    assert_int_equal(f->board->slots[3].client, 0);
    static const struct sbx_rate none[SBX_RATES];
    assert_memory_equal(f->board->rates, none, sizeof(none));
}

static void a_second_s_requests_pass_at_once_and_then_the_pace(void **state)
{
    struct fixture *f = *state;
    struct sbx_client client = client_of("paced", 5, 0);
    assert_int_equal(passed(f, &client, 20), 5);
    assert_int_equal(begin(f, 0, &client), 200);
    f->now += SECOND / 5 - 1;
    assert_int_equal(begin(f, 0, &client), 1);
    f->now += 1;
    assert_int_equal(passed(f, &client, 20), 1);
    f->now += 100 * SECOND; /* what was not used is not saved up */
    assert_int_equal(passed(f, &client, 20), 5);
}

static void a_rate_below_one_lets_one_through_and_says_how_long_to_wait(void **state)
{
    struct fixture *f = *state;
    struct sbx_client client = client_of("slow", 0.1, 0);
    assert_int_equal(begin(f, 0, &client), 0);
    assert_int_equal(begin(f, 0, &client), 10000);
    f->now += 4 * SECOND;
    assert_int_equal(begin(f, 0, &client), 6000);
    f->now += 6 * SECOND;
    assert_int_equal(begin(f, 0, &client), 0);
}

static void clients_have_rates_of_their_own(void **state)
{
    struct fixture *f = *state;
    for (int i = 0; i < SBX_RATES / 4; i++) {
        char name[32];
        snprintf(name, sizeof(name), "client-%d", i);
        struct sbx_client client = client_of(name, 2, 0);
        assert_int_equal(passed(f, &client, 5), 2);
    }
    f->now += 10 * SECOND; /* entries of idle clients are free again */
    for (int i = 0; i < SBX_RATES / 4; i++) {
        char name[32];
        snprintf(name, sizeof(name), "another-%d", i);
        struct sbx_client client = client_of(name, 2, 0);
        assert_int_equal(passed(f, &client, 5), 2);
    }
}

static void more_clients_than_entries_never_get_more_than_they_may(void **state)
{
    struct fixture *f = *state;
    for (int i = 0; i < 3 * SBX_RATES; i++) {
        char name[32];
        snprintf(name, sizeof(name), "client-%d", i);
        struct sbx_client client = client_of(name, 2, 0);
        assert_in_range(passed(f, &client, 5), 0, 2);
    }
}

static void so_many_at_a_time_and_an_end_makes_room(void **state)
{
    struct fixture *f = *state;
    struct sbx_client client = client_of("few", 0, 2), other = client_of("other", 0, 1);
    assert_int_equal(begin(f, 0, &client), 0);
    assert_int_equal(begin(f, 1, &client), 0);
    assert_true(begin(f, 2, &client) > 0);
    assert_int_equal(f->board->slots[2].client, 0); /* it counts no further */
    assert_int_equal(begin(f, 3, &other), 0);
    sbx_admission_end(&f->board->slots[0]);
    assert_int_equal(begin(f, 2, &client), 0);
    assert_true(begin(f, 0, &client) > 0);
    f->board->slots[1].pid = 0; /* killed */
    assert_int_equal(begin(f, 0, &client), 0);
}

static void one_refused_for_its_number_does_not_use_up_the_rate(void **state)
{
    struct fixture *f = *state;
    struct sbx_client client = client_of("both", 2, 1);
    assert_int_equal(begin(f, 0, &client), 0);
    for (int i = 0; i < 10; i++)
        assert_true(begin(f, 1, &client) > 0);
    sbx_admission_end(&f->board->slots[0]);
    assert_int_equal(begin(f, 1, &client), 0);
    sbx_admission_end(&f->board->slots[1]);
    assert_int_equal(begin(f, 1, &client), 500);
    assert_int_equal(f->board->slots[1].client, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(without_limits_nothing_is_refused_or_noted, setup, teardown),
        cmocka_unit_test_setup_teardown(a_second_s_requests_pass_at_once_and_then_the_pace, setup, teardown),
        cmocka_unit_test_setup_teardown(a_rate_below_one_lets_one_through_and_says_how_long_to_wait, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(clients_have_rates_of_their_own, setup, teardown),
        cmocka_unit_test_setup_teardown(more_clients_than_entries_never_get_more_than_they_may, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(so_many_at_a_time_and_an_end_makes_room, setup, teardown),
        cmocka_unit_test_setup_teardown(one_refused_for_its_number_does_not_use_up_the_rate, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
