#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdlib.h>

#include "sandboxd/supervisor.h"

#define GENERATION (SBX_WORKERS_MAX + SBX_CONTROL_WORKERS_MAX + 1)

/* No process is behind a slot here. */
void sbx_children_dismiss(struct sbx_slot *slot)
{
    slot->told_to_leave = true;
}

static int setup(void **state)
{
    struct sbx_master *master = calloc(1, sizeof(*master));
    master->board = calloc(1, sizeof(*master->board));
    *state = master;
    return 0;
}

static int teardown(void **state)
{
    struct sbx_master *master = *state;
    free(master->board);
    free(master);
    return 0;
}

/* So many more of the current generation; how many found a slot. */
static int begin(struct sbx_master *master, enum sbx_role role, enum sbx_activity activity, int count)
{
    struct sbx_slot *slot = NULL;
    int begun = 0;
    while (begun < count && (slot = sbx_scoreboard_take(master->board))) {
        *slot = (struct sbx_slot){.pid = 1 + (pid_t)(slot - master->board->slots),
                                  .role = role,
                                  .generation = master->generation,
                                  .activity = activity};
        begun++;
    }
    return begun;
}

static int count(const struct sbx_master *master, uint32_t generation, bool told)
{
    int found = 0;
    for (size_t i = 0; i < SBX_SLOTS; i++) {
        const struct sbx_slot *slot = &master->board->slots[i];
        found += slot->pid > 0 && slot->generation == generation && slot->told_to_leave == told;
    }
    return found;
}

/* Whoever was told and serves nobody is gone; whoever was starting is ready. */
static void pass_time(struct sbx_master *master)
{
    for (size_t i = 0; i < SBX_SLOTS; i++) {
        struct sbx_slot *slot = &master->board->slots[i];
        if (slot->told_to_leave && slot->activity == SBX_ACTIVITY_IDLE)
            *slot = (struct sbx_slot){.pid = 0};
        else if (slot->activity == SBX_ACTIVITY_STARTING)
            slot->activity = SBX_ACTIVITY_IDLE;
    }
}

static void older_ones_stay_until_enough_can_take_over(void **state)
{
    struct sbx_master *master = *state;
    begin(master, SBX_ROLE_WORKER, SBX_ACTIVITY_IDLE, 4);
    begin(master, SBX_ROLE_CONTROL, SBX_ACTIVITY_IDLE, 1);
    master->generation++;
    begin(master, SBX_ROLE_WORKER, SBX_ACTIVITY_IDLE, 3);
    begin(master, SBX_ROLE_WORKER, SBX_ACTIVITY_STARTING, 1);
    sbx_relieve(master, SBX_ROLE_WORKER, 4, 0);
    assert_int_equal(count(master, 0, true), 0);
    pass_time(master);
    sbx_relieve(master, SBX_ROLE_WORKER, 4, 0);
    assert_int_equal(count(master, 0, true), 4);
    assert_int_equal(count(master, 1, true), 0);
}

static void two_generations_of_the_most_processes_have_slots(void **state)
{
    struct sbx_master *master = *state;
    assert_int_equal(begin(master, SBX_ROLE_WORKER, SBX_ACTIVITY_IDLE, GENERATION), GENERATION);
    master->generation++;
    assert_int_equal(begin(master, SBX_ROLE_WORKER, SBX_ACTIVITY_IDLE, GENERATION), GENERATION);
    assert_int_equal(sbx_scoreboard_count(master->board, SBX_ROLE_WORKER, SBX_ACTIVITY_IDLE), 2 * GENERATION);
}

static void nobody_makes_room_where_there_is_some(void **state)
{
    struct sbx_master *master = *state;
    begin(master, SBX_ROLE_WORKER, SBX_ACTIVITY_IDLE, SBX_SLOTS - 1);
    master->generation++;
    sbx_relieve(master, SBX_ROLE_WORKER, 4, 4);
    assert_int_equal(count(master, 0, true), 0);
}

static void who_serves_nobody_makes_room_first_and_few_at_a_time(void **state)
{
    struct sbx_master *master = *state;
    begin(master, SBX_ROLE_CONTROL, SBX_ACTIVITY_IDLE, 2);
    begin(master, SBX_ROLE_WORKER, SBX_ACTIVITY_BUSY, SBX_SLOTS - 4);
    begin(master, SBX_ROLE_WORKER, SBX_ACTIVITY_IDLE, 2);
    master->generation++;
    sbx_relieve(master, SBX_ROLE_WORKER, 4, 2);
    assert_int_equal(count(master, 0, true), 2);
    sbx_relieve(master, SBX_ROLE_WORKER, 4, 2); /* they are about to go */
    assert_int_equal(count(master, 0, true), 2);
    pass_time(master);
    assert_int_equal(begin(master, SBX_ROLE_WORKER, SBX_ACTIVITY_IDLE, 100), 2);
    sbx_relieve(master, SBX_ROLE_WORKER, 4, 2); /* nobody is left who serves nobody */
    assert_int_equal(count(master, 0, true), 2);
    sbx_relieve(master, SBX_ROLE_CONTROL, 2, 2);
    assert_int_equal(count(master, 0, true), 4);
}

static void a_third_generation_comes_up_over_two_that_fill_every_slot(void **state)
{
    struct sbx_master *master = *state;
    begin(master, SBX_ROLE_WORKER, SBX_ACTIVITY_BUSY, SBX_WORKERS_MAX); /* long requests */
    master->generation++;
    begin(master, SBX_ROLE_WORKER, SBX_ACTIVITY_IDLE, SBX_SLOTS - SBX_WORKERS_MAX);
    sbx_relieve(master, SBX_ROLE_WORKER, SBX_WORKERS_MAX, 0);
    assert_int_equal(count(master, 0, true), SBX_WORKERS_MAX);
    master->generation++;
    int missing = SBX_WORKERS_MAX;
    for (int rounds = 0; missing > 0 && rounds < SBX_SLOTS; rounds++) {
        missing -= begin(master, SBX_ROLE_WORKER, SBX_ACTIVITY_STARTING, missing);
        sbx_relieve(master, SBX_ROLE_WORKER, SBX_WORKERS_MAX, missing);
        pass_time(master);
    }
    assert_int_equal(missing, 0);
    sbx_relieve(master, SBX_ROLE_WORKER, SBX_WORKERS_MAX, missing);
    assert_int_equal(count(master, 1, false), 0);
    assert_int_equal(count(master, 2, false), SBX_WORKERS_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(older_ones_stay_until_enough_can_take_over, setup, teardown),
        cmocka_unit_test_setup_teardown(two_generations_of_the_most_processes_have_slots, setup, teardown),
        cmocka_unit_test_setup_teardown(nobody_makes_room_where_there_is_some, setup, teardown),
        cmocka_unit_test_setup_teardown(who_serves_nobody_makes_room_first_and_few_at_a_time, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_third_generation_comes_up_over_two_that_fill_every_slot, setup,
                                        teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
