#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "store_suite.h"
#include "store_suite_lifecycle.h"
#include "store_suite_pool.h"
#include "store_suite_shared.h"

static const struct store_suite *suite;

static void a_record_comes_back_as_it_was_written(void **state)
{
    struct sbx_store *store = suite_open_empty(&suite->options);
    struct sbx_record in, out;
    sbx_record_init(&out);
    suite_insert(store, &in);
    assert_int_equal(suite_get(store, in.id, &out), SBX_ERR_NONE);
    suite_same_record(&in, &out);
    /* fetched again into the same record: nothing leaks, nothing is left of the first */
    assert_int_equal(suite_get(store, in.id, &out), SBX_ERR_NONE);
    suite_same_record(&in, &out);
    sbx_record_done(&in);
    sbx_record_done(&out);
    sbx_store_close(store);
}

static void empty_fields_and_no_options_come_back_so(void **state)
{
    struct sbx_store *store = suite_open_empty(&suite->options);
    struct sbx_record in, out;
    sbx_record_init(&in);
    sbx_record_init(&out);
    sbx_uuid4(in.id);
    in.state = SBX_SESSION_READY;
    in.ephemeral = true;
    in.seeded = true;
    in.created_ms = INT64_C(1) << 41;
    assert_int_equal(sbx_store_insert(store, &in, NULL), 0);
    out.options = strdup("left over");
    assert_int_equal(suite_get(store, in.id, &out), SBX_ERR_NONE);
    suite_same_record(&in, &out);
    sbx_record_done(&out);
    sbx_store_close(store);
}

static void an_unknown_id_is_not_found(void **state)
{
    struct sbx_store *store = suite_open_empty(&suite->options);
    struct sbx_record out;
    sbx_record_init(&out);
    assert_int_equal(suite_get(store, "00000000-0000-4000-8000-000000000000", &out), SBX_ERR_NOT_FOUND);
    assert_int_equal(suite_get(store, "", &out), SBX_ERR_NOT_FOUND);
    assert_int_equal(suite_get(store, "' OR 1=1 --", &out), SBX_ERR_NOT_FOUND);
    sbx_store_close(store);
}

static void an_id_is_inserted_once(void **state)
{
    struct sbx_store *store = suite_open_empty(&suite->options);
    struct sbx_record first, out;
    sbx_record_init(&out);
    suite_insert(store, &first);
    struct sbx_record second = first;
    second.worker_pid = 1;
    struct sbx_err err = SBX_ERR_INIT;
    assert_int_equal(sbx_store_insert(store, &second, &err), -1);
    assert_int_equal(err.kind, SBX_ERR_CONFLICT);
    assert_int_equal(suite_get(store, first.id, &out), SBX_ERR_NONE);
    suite_same_record(&first, &out);
    sbx_record_done(&first);
    sbx_record_done(&out);
    sbx_store_close(store);
}

static void deleting_is_idempotent(void **state)
{
    struct sbx_store *store = suite_open_empty(&suite->options);
    struct sbx_record record, out;
    sbx_record_init(&out);
    suite_insert(store, &record);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(sbx_store_delete(store, record.id, NULL), 0);
        assert_int_equal(suite_get(store, record.id, &out), SBX_ERR_NOT_FOUND);
    }
    assert_int_equal(suite_count(store), 0);
    sbx_record_done(&record);
    sbx_store_close(store);
}

static void only_a_creating_session_becomes_ready(void **state)
{
    struct sbx_store *store = suite_open_empty(&suite->options);
    struct sbx_record record, out;
    sbx_record_init(&out);
    suite_insert(store, &record);
    strlcpy(record.container, "container", sizeof(record.container));
    strlcpy(record.helper, "helper", sizeof(record.helper));
    strlcpy(record.volume, "volume", sizeof(record.volume));
    record.used_ms += 7;
    record.expires_ms += 7;
    assert_int_equal(sbx_store_set_ready(store, &record, NULL), 0);
    record.state = SBX_SESSION_READY;
    assert_int_equal(suite_get(store, record.id, &out), SBX_ERR_NONE);
    suite_same_record(&record, &out);

    struct sbx_err err = SBX_ERR_INIT;
    assert_int_equal(sbx_store_set_ready(store, &record, &err), -1); /* READY already */
    assert_int_equal(err.kind, SBX_ERR_NOT_FOUND);
    assert_int_equal(sbx_store_delete(store, record.id, NULL), 0);
    sbx_record_done(&out);
    suite_insert(store, &out);
    assert_int_equal(sbx_store_set_closing(store, out.id, NULL), 0);
    err.kind = SBX_ERR_NONE;
    assert_int_equal(sbx_store_set_ready(store, &out, &err), -1); /* taken by a close meanwhile */
    assert_int_equal(err.kind, SBX_ERR_NOT_FOUND);
    err.kind = SBX_ERR_NONE;
    assert_int_equal(sbx_store_set_ready(store, &record, &err), -1); /* gone */
    assert_int_equal(err.kind, SBX_ERR_NOT_FOUND);
    assert_int_equal(suite_get(store, record.id, &out), SBX_ERR_NOT_FOUND);
    sbx_record_done(&record);
    sbx_record_done(&out);
    sbx_store_close(store);
}

static enum sbx_err_kind seed(struct sbx_store *store, const char *id)
{
    struct sbx_err err = SBX_ERR_INIT;
    return sbx_store_set_seeded(store, id, &err) == 0 ? SBX_ERR_NONE : err.kind;
}

static void a_ready_session_is_seeded_once(void **state)
{
    struct sbx_store *store = suite_open_empty(&suite->options);
    struct sbx_record record, out;
    sbx_record_init(&out);
    suite_insert(store, &record);
    assert_int_equal(seed(store, record.id), SBX_ERR_NOT_FOUND); /* still CREATING */
    assert_int_equal(sbx_store_set_ready(store, &record, NULL), 0);
    assert_int_equal(seed(store, record.id), SBX_ERR_NONE);
    assert_int_equal(suite_get(store, record.id, &out), SBX_ERR_NONE);
    assert_true(out.seeded);
    assert_int_equal(seed(store, record.id), SBX_ERR_CONFLICT);
    assert_int_equal(sbx_store_set_closing(store, record.id, NULL), 0);
    assert_int_equal(seed(store, record.id), SBX_ERR_NOT_FOUND);
    assert_int_equal(sbx_store_delete(store, record.id, NULL), 0);
    assert_int_equal(seed(store, record.id), SBX_ERR_NOT_FOUND);
    sbx_record_done(&record);
    sbx_record_done(&out);
    sbx_store_close(store);
}

static void any_state_becomes_closing(void **state)
{
    struct sbx_store *store = suite_open_empty(&suite->options);
    for (int from = SBX_SESSION_CREATING; from <= SBX_SESSION_STOPPED; from++) {
        struct sbx_record record, out;
        sbx_record_init(&out);
        suite_record(&record);
        record.state = (enum sbx_session_state)from;
        assert_int_equal(sbx_store_insert(store, &record, NULL), 0);
        assert_int_equal(sbx_store_set_closing(store, record.id, NULL), 0);
        assert_int_equal(suite_get(store, record.id, &out), SBX_ERR_NONE);
        assert_true((record.stopped_ms == out.stopped_ms) == (record.state == SBX_SESSION_CLOSING));
        record.stopped_ms = out.stopped_ms;
        record.state = SBX_SESSION_CLOSING;
        record.key[0] = '\0'; /* free for another */
        suite_same_record(&record, &out);
        sbx_record_done(&record);
        sbx_record_done(&out);
    }
    struct sbx_err err = SBX_ERR_INIT;
    assert_int_equal(sbx_store_set_closing(store, "00000000-0000-4000-8000-000000000000", &err), -1);
    assert_int_equal(err.kind, SBX_ERR_NOT_FOUND);
    sbx_store_close(store);
}

struct listing {
    struct sbx_store *store;
    char last[SBX_UUID_LEN + 1];
    int seen;
    int stop_at;
    bool delete; /* and look up, list: the callback may call the store */
};

static int see(void *arg, const struct sbx_record *record)
{
    struct listing *listing = arg;
    assert_true(strcmp(record->id, listing->last) > 0);
    assert_non_null(record->options);
    strlcpy(listing->last, record->id, sizeof(listing->last));
    listing->seen++;
    if (listing->delete) {
        struct sbx_record out;
        sbx_record_init(&out);
        assert_int_equal(suite_get(listing->store, record->id, &out), SBX_ERR_NONE);
        suite_same_record(record, &out);
        sbx_record_done(&out);
        assert_int_equal(sbx_store_delete(listing->store, record->id, NULL), 0);
        assert_true(suite_count(listing->store) >= 0);
    }
    return listing->seen == listing->stop_at;
}

static int list(struct listing *listing, const char *after, int limit)
{
    listing->seen = 0;
    strlcpy(listing->last, after, sizeof(listing->last));
    assert_int_equal(sbx_store_list(listing->store, after, limit, see, listing, NULL), 0);
    return listing->seen;
}

static void listing_is_in_order_in_parts_and_the_callback_may_use_the_store(void **state)
{
    enum { RECORDS = 75 };
    struct sbx_store *store = suite_open_empty(&suite->options);
    for (int i = 0; i < RECORDS; i++) {
        struct sbx_record record;
        suite_insert(store, &record);
        sbx_record_done(&record);
    }
    struct listing listing = {.store = store};
    assert_int_equal(list(&listing, "", 1000), RECORDS);
    assert_int_equal(list(&listing, "", RECORDS), RECORDS);
    assert_int_equal(list(&listing, "", 0), 0);
    assert_int_equal(list(&listing, "", 40), 40);
    char middle[SBX_UUID_LEN + 1];
    strlcpy(middle, listing.last, sizeof(middle));
    assert_int_equal(list(&listing, middle, 1000), RECORDS - 40);
    assert_int_equal(list(&listing, listing.last, 1000), 0);
    listing.stop_at = 33;
    assert_int_equal(list(&listing, "", 1000), 33);
    listing.stop_at = 0;
    listing.delete = true;
    assert_int_equal(list(&listing, "", 1000), RECORDS);
    assert_int_equal(suite_count(store), 0);
    sbx_store_close(store);
}

/* The time of use that is stored after a touch by somebody who has believed it to be `believed` for read_ms.
 */
static int64_t touched(struct sbx_store *store, int64_t stored, int64_t believed, int64_t idle,
                       int64_t read_ms)
{
    struct sbx_record record, out;
    sbx_record_init(&out);
    suite_record(&record);
    record.used_ms = stored;
    record.idle_ms = idle;
    assert_int_equal(sbx_store_insert(store, &record, NULL), 0);
    record.used_ms = believed;
    assert_int_equal(sbx_store_touch(store, &record, read_ms, NULL), 0);
    assert_int_equal(suite_get(store, record.id, &out), SBX_ERR_NONE);
    int64_t used = out.used_ms;
    sbx_record_done(&record);
    sbx_record_done(&out);
    return used;
}

static void times_of_use_are_written_lazily(void **state)
{
    struct sbx_store *store = suite_open_empty(&suite->options);
    int64_t now = sbx_wall_ms();
    assert_int_equal(touched(store, now - 5000, now - 5000, 0, 1), now - 5000);
    assert_true(touched(store, now - 60000, now - 60000, 0, 1) >= now);
    assert_int_equal(touched(store, now - 5000, now - 60000, 0, 1), now - 5000); /* another worker wrote it */
    assert_true(touched(store, now + 86400000, now + 86400000, 0, 1) <
                now + 86400000 / 2); /* clock was set back */

    /* a short idle limit wants more exact times: here of 20 s instead of 30 */
    assert_true(touched(store, now - 25000, now - 25000, 400000, 1) >= now);
    assert_int_equal(touched(store, now - 1000, now - 1000, 400000, 1), now - 1000);

    /* who has been at it for long cannot know the limit */
    assert_true(touched(store, now - 5000, now - 5000, 0, 5000) >= now);
    assert_true(touched(store, now - 5000, now - 10000, 400000, 10000) >= now);

    struct sbx_record gone;
    suite_record(&gone);
    gone.used_ms = 0;
    assert_int_equal(sbx_store_touch(store, &gone, 0, NULL), 0);
    sbx_record_done(&gone);
    assert_int_equal(suite_count(store), 8);
    sbx_store_close(store);
}

int store_suite_run(const struct store_suite *this_suite)
{
    suite = this_suite;
    const struct CMUnitTest store_records[] = {
        cmocka_unit_test(a_record_comes_back_as_it_was_written),
        cmocka_unit_test(empty_fields_and_no_options_come_back_so),
        cmocka_unit_test(an_unknown_id_is_not_found),
        cmocka_unit_test(an_id_is_inserted_once),
        cmocka_unit_test(deleting_is_idempotent),
        cmocka_unit_test(only_a_creating_session_becomes_ready),
        cmocka_unit_test(a_ready_session_is_seeded_once),
        cmocka_unit_test(any_state_becomes_closing),
        cmocka_unit_test(listing_is_in_order_in_parts_and_the_callback_may_use_the_store),
        cmocka_unit_test(times_of_use_are_written_lazily),
    };
    return cmocka_run_group_tests(store_records, NULL, NULL) + store_suite_lifecycle_run(this_suite) +
           store_suite_pool_run(this_suite) + store_suite_shared_run(this_suite);
}
