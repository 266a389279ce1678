#include "store_suite_shared.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* For what must happen: generous, since the machine may be busy. */
#define SOON_MS 60000

static const struct store_suite *suite;

/* One attempt without waiting: the error's kind, NONE when the lock was had (it is released again). */
static enum sbx_err_kind try_once(struct sbx_store *store, const char *id)
{
    struct sbx_lock lock = SBX_LOCK_INIT;
    struct sbx_err err = SBX_ERR_INIT;
    if (sbx_store_lock(store, NULL, id, 0, &lock, &err) < 0) {
        assert_null(lock.store);
        return err.kind;
    }
    sbx_store_unlock(&lock, NULL, false);
    return SBX_ERR_NONE;
}

static void a_lock_has_one_holder_and_each_session_its_own(void **state)
{
    struct sbx_store *store = suite_open(&suite->options);
    struct sbx_store *second = suite_open(&suite->options);
    char id[SBX_UUID_LEN + 1], other[SBX_UUID_LEN + 1];
    sbx_uuid4(id);
    sbx_uuid4(other);
    struct sbx_lock lock = SBX_LOCK_INIT;
    assert_int_equal(sbx_store_lock(store, NULL, id, 0, &lock, NULL), 0);
    assert_ptr_equal(lock.store, store);
    assert_string_equal(lock.id, id);
    assert_int_equal(try_once(store, id), SBX_ERR_CONFLICT);
    assert_int_equal(try_once(second, id), SBX_ERR_CONFLICT);
    assert_int_equal(try_once(second, other), SBX_ERR_NONE);
    sbx_store_unlock(&lock, NULL, false);
    assert_null(lock.store);
    sbx_store_unlock(&lock, NULL, false); /* not held: nothing */
    assert_int_equal(try_once(second, id), SBX_ERR_NONE);
    assert_int_equal(try_once(store, id), SBX_ERR_NONE);
    sbx_store_close(store);
    sbx_store_close(second);
}

static void a_busy_session_is_a_conflict_after_the_wait(void **state)
{
    struct sbx_store *store = suite_open(&suite->options);
    char id[SBX_UUID_LEN + 1];
    sbx_uuid4(id);
    struct sbx_lock lock = SBX_LOCK_INIT, waiter = SBX_LOCK_INIT;
    struct sbx_wait wait;
    sbx_wait_init(&wait);
    assert_int_equal(sbx_store_lock(store, &wait, id, 0, &lock, NULL), 0);
    int64_t before = sbx_now_ms();
    struct sbx_err err = SBX_ERR_INIT;
    assert_int_equal(sbx_store_lock(store, &wait, id, 60, &waiter, &err), -1);
    int64_t waited = sbx_now_ms() - before;
    assert_int_equal(err.kind, SBX_ERR_CONFLICT);
    assert_string_equal(err.msg, "Session is busy");
    assert_in_range(waited, 60, 2000);
    sbx_store_unlock(&lock, &wait, true);
    sbx_store_close(store);
}

static void waiting_for_a_lock_ends_with_the_requests_deadline(void **state)
{
    struct sbx_store *store = suite_open(&suite->options);
    char id[SBX_UUID_LEN + 1];
    sbx_uuid4(id);
    struct sbx_lock lock = SBX_LOCK_INIT, waiter = SBX_LOCK_INIT;
    assert_int_equal(sbx_store_lock(store, NULL, id, 0, &lock, NULL), 0);
    struct sbx_wait wait;
    sbx_wait_init(&wait);
    wait.deadline_ms = sbx_now_ms() + 30;
    struct sbx_err err = SBX_ERR_INIT;
    assert_int_equal(sbx_store_lock(store, &wait, id, SOON_MS, &waiter, &err), -1);
    assert_int_equal(err.kind, SBX_ERR_TIMEOUT);
    assert_null(waiter.store);
    sbx_store_unlock(&lock, NULL, true);
    sbx_store_close(store);
}

static void a_lock_needs_a_uuid(void **state)
{
    static const char *const bad[] = {"",
                                      ".",
                                      "../../../../etc/passwd",
                                      "00000000-0000-4000-8000-00000000000",
                                      "00000000-0000-4000-8000-0000000000000",
                                      "00000000-0000-4000-8000-00000000000/",
                                      "../00000-0000-4000-8000-000000000000"};
    struct sbx_store *store = suite_open(&suite->options);
    for (size_t i = 0; i < SBX_ARRAY_LEN(bad); i++)
        assert_int_equal(try_once(store, bad[i]), SBX_ERR_INVALID);
    sbx_store_close(store);
}

static void fences_grow_for_ever(void **state)
{
    struct sbx_store *store = suite_open(&suite->options);
    char id[SBX_UUID_LEN + 1];
    sbx_uuid4(id);
    uint64_t last = 0;
    for (int i = 0; i < 300; i++) {
        struct sbx_lock lock = SBX_LOCK_INIT;
        int64_t now = sbx_wall_ms();
        assert_int_equal(sbx_store_lock(store, NULL, id, 0, &lock, NULL), 0);
        assert_true(lock.fence > last);
        assert_true(lock.fence >= (uint64_t)now);
        last = lock.fence;
        sbx_store_unlock(&lock, NULL, i % 3 == 0);
    }
    assert_int_equal(try_once(store, id), SBX_ERR_NONE);
    sbx_store_close(store);
}

/* What the hammering children share. `inside` says whether somebody holds the lock. */
struct arena {
    char id[SBX_UUID_LEN + 1];
    atomic_int inside;
    atomic_int overlaps;
    atomic_int stale_fences;
    atomic_int go;
    volatile uint64_t fence; /* these two are guarded by the lock alone */
    volatile int counter;
    bool gone; /* some releases say that the session is gone */
};

enum { ROUNDS = 5000 };

static int hammer(void *arg)
{
    struct arena *arena = arg;
    struct sbx_store *store = sbx_store_open(&suite->options, NULL);
    if (!store)
        return 1;
    atomic_fetch_add(&arena->go, 1);
    while (atomic_load(&arena->go) < 2)
        sched_yield();
    for (int i = 0; i < ROUNDS; i++) {
        struct sbx_lock lock = SBX_LOCK_INIT;
        if (sbx_store_lock(store, NULL, arena->id, SOON_MS, &lock, NULL) < 0)
            return 2;
        if (atomic_exchange(&arena->inside, 1) != 0)
            atomic_fetch_add(&arena->overlaps, 1);
        if (lock.fence <= arena->fence)
            atomic_fetch_add(&arena->stale_fences, 1);
        arena->fence = lock.fence;
        int counter = arena->counter;
        if (i % 8 == 0)
            sched_yield();
        arena->counter = counter + 1;
        atomic_store(&arena->inside, 0);
        sbx_store_unlock(&lock, NULL, arena->gone && i % 4 == 0);
        if (i % 2 == 0)
            sched_yield();
    }
    sbx_store_close(store);
    return 0;
}

static void hammer_with_two(bool gone)
{
    struct arena *arena =
        mmap(NULL, sizeof(*arena), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(arena, MAP_FAILED);
    sbx_uuid4(arena->id);
    arena->gone = gone;
    pid_t a = suite_spawn(hammer, arena);
    pid_t b = suite_spawn(hammer, arena);
    assert_int_equal(suite_reap(a), 0);
    assert_int_equal(suite_reap(b), 0);
    assert_int_equal(arena->overlaps, 0);
    assert_int_equal(arena->stale_fences, 0);
    assert_int_equal(arena->counter, 2 * ROUNDS);
    munmap(arena, sizeof(*arena));
}

static void two_processes_never_hold_one_lock(void **state)
{
    hammer_with_two(false);
}

static void two_processes_never_hold_one_lock_when_it_is_removed_and_made_again(void **state)
{
    hammer_with_two(true);
}

/* Where a lock has a TTL it is the usual one, which is not over while this looks. */
static void a_killed_holder_frees_its_lock(void **state)
{
    char id[SBX_UUID_LEN + 1];
    sbx_uuid4(id);
    pid_t holder = suite_hold_lock(&suite->options, id);
    struct sbx_store *store = suite_open(&suite->options);
    enum sbx_err_kind while_held = try_once(store, id);
    kill(holder, SIGKILL);
    assert_int_equal(suite_reap(holder), 1000 + SIGKILL);
    assert_int_equal(while_held, SBX_ERR_CONFLICT);
    if (suite->freed_at_once)
        assert_int_equal(try_once(store, id), SBX_ERR_NONE);
    sbx_store_close(store);
}

static void a_killed_holders_lock_is_free_after_its_ttl(void **state)
{
    struct sbx_store_options options = suite->options;
    options.lock_ttl_ms = 1500;
    options.lock_refresh_ms = 500;
    char id[SBX_UUID_LEN + 1];
    sbx_uuid4(id);
    pid_t holder = suite_hold_lock(&options, id);
    kill(holder, SIGKILL);
    assert_int_equal(suite_reap(holder), 1000 + SIGKILL);
    struct sbx_store *store = suite_open(&options);
    struct sbx_lock lock = SBX_LOCK_INIT;
    assert_int_equal(sbx_store_lock(store, NULL, id, SOON_MS, &lock, NULL), 0);
    sbx_store_unlock(&lock, NULL, true);
    sbx_store_close(store);
}

static void a_lease_has_one_holder_who_may_renew_it(void **state)
{
    struct sbx_store *store = suite_open_empty(&suite->options);
    assert_int_equal(sbx_store_lease(store, "held", "a", 600000, NULL), 1);
    assert_int_equal(sbx_store_lease(store, "held", "b", 600000, NULL), 0);
    assert_int_equal(sbx_store_lease(store, "held", "a", 600000, NULL), 1);
    assert_int_equal(sbx_store_lease(store, "held too", "b", 600000, NULL), 1);
    assert_int_equal(sbx_store_lease_release(store, "held", "b", NULL), 0); /* not its holder: no effect */
    assert_int_equal(sbx_store_lease(store, "held", "b", 600000, NULL), 0);
    assert_int_equal(sbx_store_lease_release(store, "held", "a", NULL), 0);
    assert_int_equal(sbx_store_lease_release(store, "held", "a", NULL), 0);
    assert_int_equal(sbx_store_lease(store, "held", "b", 600000, NULL), 1);
    assert_int_equal(sbx_store_lease_release(store, "held", "b", NULL), 0);
    assert_int_equal(sbx_store_lease_release(store, "held too", "b", NULL), 0);
    sbx_store_close(store);
}

static void an_expired_lease_is_free(void **state)
{
    struct sbx_store *store = suite_open_empty(&suite->options);
    int64_t before = sbx_now_ms();
    assert_int_equal(sbx_store_lease(store, "short", "a", 40, NULL), 1);
    int got;
    while ((got = sbx_store_lease(store, "short", "b", 600000, NULL)) == 0) {
        assert_true(sbx_now_ms() - before < SOON_MS);
        assert_int_equal(sbx_wait_poll(NULL, NULL, 0, 5, NULL), 0);
    }
    assert_int_equal(got, 1);
    assert_true(sbx_now_ms() - before >= 39);
    assert_int_equal(sbx_store_lease(store, "short", "a", 40, NULL), 0);
    assert_int_equal(sbx_store_lease_release(store, "short", "b", NULL), 0);
    sbx_store_close(store);
}

static void the_instance_is_the_same_for_all_handles_of_one_store(void **state)
{
    struct sbx_store *a = suite_open(&suite->options);
    struct sbx_store *b = suite_open(&suite->options);
    struct sbx_store *other = suite_open(&suite->other);
    assert_true(sbx_is_uuid(sbx_store_instance(a)));
    assert_string_equal(sbx_store_instance(a), sbx_store_instance(b));
    assert_string_not_equal(sbx_store_instance(a), sbx_store_instance(other));
    assert_int_equal(sbx_store_ping(a, NULL), 0);
    assert_int_equal(sbx_store_ping(other, NULL), 0);
    sbx_store_close(a);
    sbx_store_close(b);
    sbx_store_close(other);
    sbx_store_close(NULL);
}

static int insert_200(void *arg)
{
    struct sbx_store *store = sbx_store_open(&suite->options, NULL);
    if (!store)
        return 1;
    for (int i = 0; i < 200; i++) {
        struct sbx_record record;
        struct sbx_err err = SBX_ERR_INIT;
        suite_record(&record);
        if (sbx_store_insert(store, &record, &err) < 0 ||
            sbx_store_get(store, record.id, &record, &err) < 0) {
            fprintf(stderr, "insert %d: %s\n", i, err.msg);
            return 2;
        }
        sbx_record_done(&record);
    }
    sbx_store_close(store);
    return 0;
}

static void many_processes_write_at_once(void **state)
{
    enum { CHILDREN = 8 };
    sbx_store_close(suite_open_empty(&suite->options));
    pid_t children[CHILDREN];
    for (int i = 0; i < CHILDREN; i++)
        children[i] = suite_spawn(insert_200, NULL);
    for (int i = 0; i < CHILDREN; i++)
        assert_int_equal(suite_reap(children[i]), 0);
    struct sbx_store *store = suite_open(&suite->options);
    assert_int_equal(suite_count(store), CHILDREN * 200);
    sbx_store_close(suite_open_empty(&suite->options));
    sbx_store_close(store);
}

int store_suite_shared_run(const struct store_suite *this_suite)
{
    suite = this_suite;
    const struct CMUnitTest store_shared[] = {
        cmocka_unit_test(a_lock_has_one_holder_and_each_session_its_own),
        cmocka_unit_test(a_busy_session_is_a_conflict_after_the_wait),
        cmocka_unit_test(waiting_for_a_lock_ends_with_the_requests_deadline),
        cmocka_unit_test(a_lock_needs_a_uuid),
        cmocka_unit_test(fences_grow_for_ever),
        cmocka_unit_test(two_processes_never_hold_one_lock),
        cmocka_unit_test(two_processes_never_hold_one_lock_when_it_is_removed_and_made_again),
        cmocka_unit_test(a_killed_holder_frees_its_lock),
        cmocka_unit_test(a_killed_holders_lock_is_free_after_its_ttl),
        cmocka_unit_test(a_lease_has_one_holder_who_may_renew_it),
        cmocka_unit_test(an_expired_lease_is_free),
        cmocka_unit_test(the_instance_is_the_same_for_all_handles_of_one_store),
        cmocka_unit_test(many_processes_write_at_once),
    };
    return cmocka_run_group_tests(store_shared, NULL, NULL);
}
