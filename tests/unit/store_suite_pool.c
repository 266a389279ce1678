#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "store_suite_pool.h"

static const struct store_suite *suite;

static int add(struct sbx_store *store, const char *pool, int target, struct sbx_record *record)
{
    sbx_record_init(record);
    sbx_uuid4(record->id);
    record->state = SBX_SESSION_CREATING;
    record->worker_pid = getpid();
    record->created_ms = record->used_ms = sbx_wall_ms();
    strlcpy(record->replica, "replica-1", sizeof(record->replica));
    strlcpy(record->image, "image:1", sizeof(record->image));
    strlcpy(record->pool, pool, sizeof(record->pool));
    return sbx_store_pool_add(store, record, target, NULL);
}

/* An entry that can be claimed. */
static void add_ready(struct sbx_store *store, const char *pool, struct sbx_record *record)
{
    assert_int_equal(add(store, pool, 1000, record), 1);
    snprintf(record->container, sizeof(record->container), "c-%s", record->id);
    snprintf(record->helper, sizeof(record->helper), "h-%s", record->id);
    snprintf(record->volume, sizeof(record->volume), "v-%s", record->id);
    assert_int_equal(sbx_store_pool_ready(store, record, NULL), 0);
}

static void a_pool_takes_entries_up_to_its_target(void **state)
{
    struct sbx_store *store = suite_open_empty(&suite->options);
    struct sbx_record first, other;
    assert_int_equal(add(store, "a", 2, &first), 1);
    assert_int_equal(add(store, "a", 2, &other), 1);
    assert_int_equal(add(store, "a", 2, &other), 0); /* those in the making count */
    assert_int_equal(sbx_store_pool_ready(store, &first, NULL), 0);
    assert_int_equal(add(store, "a", 2, &other), 0); /* and the finished ones */
    assert_int_equal(add(store, "b", 1, &other), 1); /* each pool by itself */
    assert_int_equal(sbx_store_delete(store, first.id, NULL), 0);
    assert_int_equal(add(store, "a", 2, &other), 1);
    sbx_store_close(store);
}

static void a_claim_takes_the_oldest_entry_and_makes_it_the_clients(void **state)
{
    struct sbx_store *store = suite_open_empty(&suite->options);
    struct sbx_record making, entry, wish, out;
    sbx_record_init(&out);
    assert_int_equal(add(store, "a", 9, &making), 1);
    add_ready(store, "a", &entry);
    suite_record(&wish);
    char id[SBX_UUID_LEN + 1];
    memcpy(id, wish.id, sizeof(id));
    assert_int_equal(sbx_store_pool_claim(store, "b", &wish, NULL), 0);
    assert_string_equal(wish.id, id);
    assert_int_equal(sbx_store_pool_claim(store, "a", &wish, NULL), 1);
    assert_string_equal(wish.id, entry.id);
    assert_string_equal(wish.container, entry.container);
    assert_string_equal(wish.helper, entry.helper);
    assert_string_equal(wish.volume, entry.volume);
    assert_int_equal(suite_get(store, entry.id, &out), SBX_ERR_NONE);
    assert_int_equal(out.state, SBX_SESSION_CREATING);
    assert_string_equal(out.owner, wish.owner);
    assert_string_equal(out.options, wish.options);
    assert_string_equal(out.labels, wish.labels);
    assert_string_equal(out.key, wish.key);
    assert_string_equal(out.pool, SBX_POOL_CLAIMED);
    assert_int_equal(out.worker_pid, wish.worker_pid);
    assert_int_equal(out.expires_ms, wish.expires_ms);
    assert_int_equal(sbx_store_set_ready(store, &wish, NULL), 0);
    /* what is in the making is nobody's yet */
    struct sbx_record second;
    suite_record(&second);
    assert_int_equal(sbx_store_pool_claim(store, "a", &second, NULL), 0);
    sbx_record_done(&second);
    sbx_record_done(&wish);
    sbx_record_done(&out);
    sbx_store_close(store);
}

static void a_claim_for_a_key_that_a_session_has_takes_nothing(void **state)
{
    struct sbx_store *store = suite_open_empty(&suite->options);
    struct sbx_record entry, holder, wish, out;
    sbx_record_init(&out);
    add_ready(store, "a", &entry);
    suite_insert(store, &holder);
    suite_record(&wish);
    strlcpy(wish.key, holder.key, sizeof(wish.key));
    assert_int_equal(sbx_store_pool_claim(store, "a", &wish, NULL), 0);
    assert_int_equal(suite_get(store, entry.id, &out), SBX_ERR_NONE);
    assert_int_equal(out.state, SBX_SESSION_POOLED);
    sbx_record_done(&holder);
    sbx_record_done(&wish);
    sbx_record_done(&out);
    sbx_store_close(store);
}

static void an_entry_is_dropped_or_claimed_but_not_both(void **state)
{
    struct sbx_store *store = suite_open_empty(&suite->options);
    struct sbx_record entry, wish;
    add_ready(store, "a", &entry);
    assert_int_equal(sbx_store_pool_drop(store, entry.id, NULL), 1);
    assert_int_equal(sbx_store_pool_drop(store, entry.id, NULL), 0);
    suite_record(&wish);
    assert_int_equal(sbx_store_pool_claim(store, "a", &wish, NULL), 0);
    add_ready(store, "a", &entry);
    assert_int_equal(sbx_store_pool_claim(store, "a", &wish, NULL), 1);
    assert_int_equal(sbx_store_pool_drop(store, entry.id, NULL), 0);
    sbx_record_done(&wish);
    sbx_store_close(store);
}

#define CLAIMERS 4
#define ENTRIES  25

/* How many entries one process gets. */
static int claim_all(void *arg)
{
    struct sbx_store *store = sbx_store_open(&suite->options, NULL);
    int got = 0;
    for (int rc = 1; store && rc == 1; got += rc) {
        struct sbx_record wish;
        suite_record(&wish);
        rc = sbx_store_pool_claim(store, "a", &wish, NULL);
        sbx_record_done(&wish);
        if (rc < 0)
            return 200;
    }
    sbx_store_close(store);
    return got;
}

static int add_all(void *arg)
{
    struct sbx_store *store = sbx_store_open(&suite->options, NULL);
    int got = 0;
    for (int rc = 1; store && rc == 1; got += rc) {
        struct sbx_record record;
        rc = add(store, "a", ENTRIES, &record);
        if (rc == 1 && sbx_store_pool_ready(store, &record, NULL) < 0)
            return 200;
        if (rc < 0)
            return 200;
    }
    sbx_store_close(store);
    return got;
}

static int sum_of(int (*fn)(void *))
{
    pid_t pids[CLAIMERS];
    int sum = 0;
    for (int i = 0; i < CLAIMERS; i++)
        pids[i] = suite_spawn(fn, NULL);
    for (int i = 0; i < CLAIMERS; i++)
        sum += suite_reap(pids[i]);
    return sum;
}

static void processes_at_once_fill_to_the_target_and_claim_each_entry_once(void **state)
{
    sbx_store_close(suite_open_empty(&suite->options));
    assert_int_equal(sum_of(add_all), ENTRIES);
    assert_int_equal(sum_of(claim_all), ENTRIES);
}

static void wishes_are_counted_and_lose_weight_with_time(void **state)
{
    struct sbx_store *store = suite_open_empty(&suite->options);
    struct sbx_wish out[4];
    assert_int_equal(sbx_store_wishes(store, -1e9, out, 4, NULL), 0);
    for (int i = 0; i < 4; i++)
        assert_int_equal(sbx_store_wish(store, "four of old", 1000000.0, NULL), 0);
    assert_int_equal(sbx_store_wish(store, "one of now", 1000003.0, NULL), 0);
    assert_int_equal(sbx_store_wish(store, "one of old", 1000000.0, NULL), 0);
    assert_int_equal(sbx_store_wishes(store, 0, out, 4, NULL), 3);
    assert_string_equal(out[0].text, "one of now");
    assert_true(fabs(out[0].score - 1000003.0) < 1e-6);
    assert_string_equal(out[1].text, "four of old");
    assert_true(fabs(out[1].score - 1000002.0) < 1e-6); /* 2^2 times 2^1000000 */
    assert_string_equal(out[2].text, "one of old");
    /* at the same time: 1 + 4/8 */
    assert_int_equal(sbx_store_wish(store, "four of old", 1000003.0, NULL), 0);
    assert_int_equal(sbx_store_wishes(store, 0, out, 1, NULL), 1);
    assert_string_equal(out[0].text, "four of old");
    assert_true(fabs(out[0].score - (1000003.0 + 0.5849625)) < 1e-6);
    /* what is below the least is forgotten */
    assert_int_equal(sbx_store_wishes(store, 1000001.0, out, 4, NULL), 2);
    assert_int_equal(sbx_store_wishes(store, 0, out, 4, NULL), 2);
    sbx_store_close(store);
}

int store_suite_pool_run(const struct store_suite *this_suite)
{
    suite = this_suite;
    const struct CMUnitTest store_pools[] = {
        cmocka_unit_test(a_pool_takes_entries_up_to_its_target),
        cmocka_unit_test(a_claim_takes_the_oldest_entry_and_makes_it_the_clients),
        cmocka_unit_test(a_claim_for_a_key_that_a_session_has_takes_nothing),
        cmocka_unit_test(an_entry_is_dropped_or_claimed_but_not_both),
        cmocka_unit_test(wishes_are_counted_and_lose_weight_with_time),
        cmocka_unit_test(processes_at_once_fill_to_the_target_and_claim_each_entry_once),
    };
    return cmocka_run_group_tests(store_pools, NULL, NULL);
}
