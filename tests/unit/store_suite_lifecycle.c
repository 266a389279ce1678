#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "store_suite_lifecycle.h"

static const struct store_suite *suite;

static void insert_ready(struct sbx_store *store, struct sbx_record *record)
{
    suite_insert(store, record);
    assert_int_equal(sbx_store_set_ready(store, record, NULL), 0);
    record->state = SBX_SESSION_READY;
}

static enum sbx_err_kind stop(struct sbx_store *store, const char *id)
{
    struct sbx_err err = SBX_ERR_INIT;
    return sbx_store_set_stopped(store, id, &err) == 0 ? SBX_ERR_NONE : err.kind;
}

static enum sbx_err_kind resume(struct sbx_store *store, const char *id)
{
    struct sbx_err err = SBX_ERR_INIT;
    return sbx_store_set_resumed(store, id, &err) == 0 ? SBX_ERR_NONE : err.kind;
}

static void a_ready_session_is_stopped_and_resumed(void **state)
{
    struct sbx_store *store = suite_open_empty(&suite->options);
    struct sbx_record record, out;
    sbx_record_init(&out);
    insert_ready(store, &record);
    int64_t before = sbx_wall_ms();
    assert_int_equal(stop(store, record.id), SBX_ERR_NONE);
    assert_int_equal(suite_get(store, record.id, &out), SBX_ERR_NONE);
    assert_int_equal(out.state, SBX_SESSION_STOPPED);
    assert_true(out.stopped_ms >= before);
    int64_t first = out.stopped_ms;
    assert_int_equal(stop(store, record.id), SBX_ERR_NONE); /* the first time counts */
    assert_int_equal(suite_get(store, record.id, &out), SBX_ERR_NONE);
    assert_int_equal(out.stopped_ms, first);

    assert_int_equal(resume(store, record.id), SBX_ERR_NONE);
    assert_int_equal(suite_get(store, record.id, &out), SBX_ERR_NONE);
    assert_int_equal(out.state, SBX_SESSION_READY);
    assert_int_equal(out.stopped_ms, 0);
    assert_true(out.used_ms >= before);
    assert_int_equal(resume(store, record.id), SBX_ERR_NOT_FOUND);
    sbx_record_done(&record);
    sbx_record_done(&out);
    sbx_store_close(store);
}

static void neither_a_half_made_nor_a_closing_session_is_stopped(void **state)
{
    struct sbx_store *store = suite_open_empty(&suite->options);
    struct sbx_record record;
    suite_insert(store, &record);
    assert_int_equal(stop(store, record.id), SBX_ERR_NOT_FOUND);
    assert_int_equal(sbx_store_set_closing(store, record.id, NULL), 0);
    assert_int_equal(stop(store, record.id), SBX_ERR_NOT_FOUND);
    assert_int_equal(resume(store, record.id), SBX_ERR_NOT_FOUND);
    assert_int_equal(sbx_store_delete(store, record.id, NULL), 0);
    assert_int_equal(stop(store, record.id), SBX_ERR_NOT_FOUND);
    assert_int_equal(suite_count(store), 0);
    sbx_record_done(&record);
    sbx_store_close(store);
}

static void limits_and_labels_are_updated_and_nothing_else(void **state)
{
    struct sbx_store *store = suite_open_empty(&suite->options);
    struct sbx_record record, out;
    sbx_record_init(&out);
    insert_ready(store, &record);
    free(record.labels);
    record.labels = strdup("{\"new\":\"ž\"}");
    record.idle_ms = 1;
    record.expires_ms = 0;
    record.used_ms += 7;
    assert_int_equal(sbx_store_update(store, &record, NULL), 0);
    assert_int_equal(suite_get(store, record.id, &out), SBX_ERR_NONE);
    suite_same_record(&record, &out);
    free(record.labels);
    record.labels = NULL;
    assert_int_equal(sbx_store_update(store, &record, NULL), 0);
    assert_int_equal(suite_get(store, record.id, &out), SBX_ERR_NONE);
    suite_same_record(&record, &out);

    struct sbx_err err = SBX_ERR_INIT;
    assert_int_equal(sbx_store_set_closing(store, record.id, NULL), 0);
    assert_int_equal(sbx_store_update(store, &record, &err), -1);
    assert_int_equal(err.kind, SBX_ERR_NOT_FOUND);
    sbx_record_done(&record);
    sbx_record_done(&out);
    sbx_store_close(store);
}

static int64_t count_of(struct sbx_store *store, const char *owner)
{
    int64_t count = -1;
    assert_int_equal(sbx_store_count(store, owner, &count, NULL), 0);
    return count;
}

static void an_owners_open_sessions_are_counted(void **state)
{
    struct sbx_store *store = suite_open_empty(&suite->options);
    struct sbx_record made, open, other;
    assert_int_equal(count_of(store, "nobody"), 0);
    suite_insert(store, &made);
    insert_ready(store, &open);
    suite_record(&other);
    strlcpy(other.owner, "other", sizeof(other.owner));
    assert_int_equal(sbx_store_insert(store, &other, NULL), 0);
    assert_int_equal(count_of(store, made.owner), 2);
    assert_int_equal(count_of(store, "other"), 1);
    assert_int_equal(count_of(store, ""), 0);

    assert_int_equal(stop(store, open.id), SBX_ERR_NONE);
    assert_int_equal(count_of(store, made.owner), 1);
    assert_int_equal(resume(store, open.id), SBX_ERR_NONE);
    assert_int_equal(sbx_store_set_closing(store, open.id, NULL), 0);
    assert_int_equal(sbx_store_delete(store, made.id, NULL), 0);
    assert_int_equal(count_of(store, made.owner), 0);
    sbx_record_done(&made);
    sbx_record_done(&open);
    sbx_record_done(&other);
    sbx_store_close(store);
}

/* Insert a session with a key: NONE or the error's kind. */
static enum sbx_err_kind insert_with(struct sbx_store *store, const char *key, struct sbx_record *record)
{
    struct sbx_err err = SBX_ERR_INIT;
    suite_record(record);
    strlcpy(record->key, key, sizeof(record->key));
    return sbx_store_insert(store, record, &err) == 0 ? SBX_ERR_NONE : err.kind;
}

static enum sbx_err_kind find(struct sbx_store *store, const char *key, struct sbx_record *ret)
{
    struct sbx_err err = SBX_ERR_INIT;
    return sbx_store_find_key(store, key, ret, &err) == 0 ? SBX_ERR_NONE : err.kind;
}

static void a_key_belongs_to_one_session_until_that_is_closing(void **state)
{
    struct sbx_store *store = suite_open_empty(&suite->options);
    struct sbx_record first, second, out;
    sbx_record_init(&out);
    assert_int_equal(find(store, "key", &out), SBX_ERR_NOT_FOUND);
    assert_int_equal(insert_with(store, "key", &first), SBX_ERR_NONE);
    assert_int_equal(insert_with(store, "key", &second), SBX_ERR_CONFLICT);
    assert_int_equal(suite_count(store), 1);
    assert_int_equal(find(store, "key", &out), SBX_ERR_NONE);
    suite_same_record(&first, &out);

    assert_int_equal(sbx_store_set_closing(store, first.id, NULL), 0);
    assert_int_equal(find(store, "key", &out), SBX_ERR_NOT_FOUND);
    assert_int_equal(sbx_store_insert(store, &second, NULL), 0);
    assert_int_equal(sbx_store_delete(store, first.id, NULL), 0); /* not its key any more */
    assert_int_equal(find(store, "key", &out), SBX_ERR_NONE);
    assert_string_equal(out.id, second.id);
    assert_int_equal(sbx_store_delete(store, second.id, NULL), 0);
    assert_int_equal(find(store, "key", &out), SBX_ERR_NOT_FOUND);
    sbx_record_done(&first);
    sbx_record_done(&second);
    sbx_record_done(&out);
    sbx_store_close(store);
}

static void sessions_without_a_key_do_not_meet(void **state)
{
    struct sbx_store *store = suite_open_empty(&suite->options);
    struct sbx_record record, out;
    sbx_record_init(&out);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(insert_with(store, "", &record), SBX_ERR_NONE);
        sbx_record_done(&record);
    }
    assert_int_equal(find(store, "", &out), SBX_ERR_NOT_FOUND);
    assert_int_equal(suite_count(store), 2);
    sbx_store_close(store);
}

int store_suite_lifecycle_run(const struct store_suite *this_suite)
{
    suite = this_suite;
    const struct CMUnitTest store_lifecycle[] = {
        cmocka_unit_test(a_ready_session_is_stopped_and_resumed),
        cmocka_unit_test(neither_a_half_made_nor_a_closing_session_is_stopped),
        cmocka_unit_test(limits_and_labels_are_updated_and_nothing_else),
        cmocka_unit_test(an_owners_open_sessions_are_counted),
        cmocka_unit_test(a_key_belongs_to_one_session_until_that_is_closing),
        cmocka_unit_test(sessions_without_a_key_do_not_meet),
    };
    return cmocka_run_group_tests(store_lifecycle, NULL, NULL);
}
