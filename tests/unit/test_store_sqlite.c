#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "store_sqlite_support.h"

static char unlink_before_flock[PATH_MAX]; /* once; "" not at all */

/* Stands before the C library's, so that a file can vanish at the worst time. */
int flock(int fd, int op)
{
    if (unlink_before_flock[0])
        assert_int_equal(unlink(unlink_before_flock), 0);
    unlink_before_flock[0] = '\0';
    return (int)syscall(SYS_flock, fd, op);
}

static void only_the_service_can_read_the_store(void **state)
{
    struct sbx_store *store = suite_open(&sqlite_options);
    char path[PATH_MAX];
    struct sbx_lock lock = SBX_LOCK_INIT;
    const char *id = sqlite_insert(store);
    assert_int_equal(sbx_store_lock(store, NULL, id, 0, &lock, NULL), 0);
    assert_int_equal(sqlite_mode(sqlite_dir), 0700);
    assert_int_equal(sqlite_mode(sqlite_database), 0600);
    snprintf(path, sizeof(path), "%s/instance", sqlite_dir);
    assert_int_equal(sqlite_mode(path), 0600);
    snprintf(path, sizeof(path), "%s/locks", sqlite_dir);
    assert_int_equal(sqlite_mode(path), 0700);
    snprintf(path, sizeof(path), "%s/locks/%s.lock", sqlite_dir, id);
    assert_int_equal(sqlite_mode(path), 0600);
    sbx_store_unlock(&lock, NULL, false);
    sbx_store_close(store);
}

static void a_deleted_sessions_lock_leaves_no_file(void **state)
{
    struct sbx_store *store = suite_open(&sqlite_options);
    struct sbx_lock lock = SBX_LOCK_INIT;
    const char *id = sqlite_insert(store);
    assert_int_equal(sbx_store_lock(store, NULL, id, 0, &lock, NULL), 0);
    assert_true(fcntl(lock.fd, F_GETFD) & FD_CLOEXEC);
    sbx_store_unlock(&lock, NULL, false);
    assert_int_equal(sqlite_count_files("locks", ""), 1); /* it keeps the fence */
    assert_int_equal(sbx_store_lock(store, NULL, id, 0, &lock, NULL), 0);
    sbx_store_unlock(&lock, NULL, true);
    assert_int_equal(sqlite_count_files("locks", ""), 0);
    sbx_store_close(store);
}

static void a_lock_file_is_not_followed_out_of_the_directory(void **state)
{
    struct sbx_store *store = suite_open(&sqlite_options);
    char id[SBX_UUID_LEN + 1], path[PATH_MAX];
    sbx_uuid4(id);
    snprintf(path, sizeof(path), "%s/locks/%s.lock", sqlite_dir, id);
    assert_int_equal(symlink("../victim", path), 0);
    struct sbx_lock lock = SBX_LOCK_INIT;
    struct sbx_err err = SBX_ERR_INIT;
    assert_int_equal(sbx_store_lock(store, NULL, id, 0, &lock, &err), -1);
    assert_int_equal(err.kind, SBX_ERR_UNAVAILABLE);
    assert_int_equal(sqlite_count_files("", "victim"), 0);
    sbx_store_close(store);
}

static void a_lock_file_unlinked_between_open_and_flock_is_not_taken_for_the_lock(void **state)
{
    struct sbx_store *store = suite_open(&sqlite_options);
    struct sbx_lock lock = SBX_LOCK_INIT, second = SBX_LOCK_INIT;
    char id[SBX_UUID_LEN + 1];
    sbx_uuid4(id);
    snprintf(unlink_before_flock, sizeof(unlink_before_flock), "%s/locks/%s.lock", sqlite_dir, id);
    assert_int_equal(sbx_store_lock(store, NULL, id, 0, &lock, NULL), 0);
    assert_string_equal(unlink_before_flock, "");
    struct sbx_err err = SBX_ERR_INIT;
    assert_int_equal(sbx_store_lock(store, NULL, id, 0, &second, &err), -1);
    assert_int_equal(err.kind, SBX_ERR_CONFLICT);
    sbx_store_unlock(&lock, NULL, true);
    sbx_store_close(store);
}

static void a_fence_grows_also_when_the_clock_was_set_back(void **state)
{
    struct sbx_store *store = suite_open(&sqlite_options);
    struct sbx_lock lock = SBX_LOCK_INIT;
    char id[SBX_UUID_LEN + 1];
    sbx_uuid4(id);
    assert_int_equal(sbx_store_lock(store, NULL, id, 0, &lock, NULL), 0);
    uint64_t future = lock.fence + UINT64_C(3600000000);
    assert_int_equal(pwrite(lock.fd, &future, sizeof(future), 0), sizeof(future));
    sbx_store_unlock(&lock, NULL, false);
    for (uint64_t i = 1; i <= 2; i++) {
        assert_int_equal(sbx_store_lock(store, NULL, id, 0, &lock, NULL), 0);
        assert_true(lock.fence == future + i);
        sbx_store_unlock(&lock, NULL, false);
    }
    sbx_store_close(store);
}

static void a_directory_that_cannot_be_made_is_an_error(void **state)
{
    struct sbx_store_options bad = sqlite_options;
    bad.dir = "/proc/nowhere/state";
    struct sbx_err err = SBX_ERR_INIT;
    assert_null(sbx_store_open(&bad, &err));
    assert_int_not_equal(err.kind, SBX_ERR_NONE);
    assert_non_null(strstr(err.msg, "/proc/nowhere"));
}

static int open_together(void *arg)
{
    struct sbx_store *store = sbx_store_open(&sqlite_options, NULL);
    if (!store)
        return 1;
    int fd = *(int *)arg;
    bool told = write(fd, sbx_store_instance(store), SBX_UUID_LEN) == SBX_UUID_LEN;
    sbx_store_close(store);
    return told ? 0 : 2;
}

static void processes_that_make_the_store_together_agree_on_it(void **state)
{
    enum { CHILDREN = 6 };
    int fds[2];
    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    pid_t children[CHILDREN];
    for (int i = 0; i < CHILDREN; i++)
        children[i] = suite_spawn(open_together, &fds[1]);
    for (int i = 0; i < CHILDREN; i++)
        assert_int_equal(suite_reap(children[i]), 0);
    struct sbx_store *store = suite_open(&sqlite_options);
    for (int i = 0; i < CHILDREN; i++) {
        char instance[SBX_UUID_LEN];
        assert_int_equal(read(fds[0], instance, SBX_UUID_LEN), SBX_UUID_LEN);
        assert_memory_equal(instance, sbx_store_instance(store), SBX_UUID_LEN);
    }
    assert_int_equal(sqlite_count_files("", "instance"), 1);
    close(fds[0]);
    close(fds[1]);
    sbx_store_close(store);
}

/* As the version before wrote it. */
static const char first_schema[] =
    "CREATE TABLE sessions("
    " id TEXT PRIMARY KEY, state INTEGER NOT NULL,"
    " owner TEXT NOT NULL, replica TEXT NOT NULL, worker_pid INTEGER NOT NULL,"
    " image TEXT NOT NULL, container TEXT NOT NULL, helper TEXT NOT NULL,"
    " volume TEXT NOT NULL, extract_patch INTEGER NOT NULL,"
    " ephemeral INTEGER NOT NULL, seeded INTEGER NOT NULL,"
    " created_ms INTEGER NOT NULL, used_ms INTEGER NOT NULL, options TEXT"
    ") WITHOUT ROWID;"
    "CREATE TABLE leases("
    " name TEXT PRIMARY KEY, holder TEXT NOT NULL,"
    " taken_ms INTEGER NOT NULL, expires_ms INTEGER NOT NULL"
    ") WITHOUT ROWID;"
    "INSERT INTO sessions VALUES('00000000-0000-4000-8000-000000000001', 2, 'default', 'r', 7, 'image',"
    " 'container', '', '', 0, 0, 1, 10, 20, '{}');"
    "PRAGMA user_version=1;";

static void a_database_of_the_first_version_is_taken_over(void **state)
{
    sqlite3 *db;
    struct sbx_record record;
    sbx_record_init(&record);
    struct sbx_err err = SBX_ERR_INIT;
    assert_int_equal(sbx_mkdirs(sqlite_dir, 0700, &err), 0);
    assert_int_equal(sqlite3_open(sqlite_database, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, first_schema, NULL, NULL, NULL), SQLITE_OK);
    struct sbx_store *store = suite_open(&sqlite_options);
    assert_int_equal(sbx_store_get(store, "00000000-0000-4000-8000-000000000001", &record, &err), 0);
    assert_int_equal(record.state, SBX_SESSION_READY);
    assert_int_equal(record.used_ms, 20);
    assert_int_equal(record.idle_ms, 0);
    assert_int_equal(record.expires_ms, 0);
    assert_string_equal(record.key, "");
    assert_null(record.labels);
    /* what a process of that version, still running, writes */
    assert_int_equal(sqlite3_exec(db,
                                  "INSERT INTO sessions(id, state, owner, replica, worker_pid, image,"
                                  " container, helper, volume, extract_patch, ephemeral, seeded,"
                                  " created_ms, used_ms, options) VALUES"
                                  "('00000000-0000-4000-8000-000000000002', 2, '', '', 1, '', '', '', '',"
                                  " 0, 0, 0, 1, 2, NULL)",
                                  NULL, NULL, NULL),
                     SQLITE_OK);
    assert_int_equal(sqlite_get(store, "00000000-0000-4000-8000-000000000002"), SBX_ERR_NONE);
    sqlite3_close(db);
    sbx_record_done(&record);
    sbx_store_close(store);
}

int main(void)
{
    if (sqlite_begin() < 0)
        return 1;
    char first[PATH_MAX], second[PATH_MAX];
    snprintf(first, sizeof(first), "%s/first", sqlite_top);
    snprintf(second, sizeof(second), "%s/second", sqlite_top);
    struct store_suite suite = {
        .options = {.dir = first, .replica = "test"},
        .other = {.dir = second, .replica = "test"},
        .freed_at_once = true,
    };
    int failed = store_suite_run(&suite);
    const struct CMUnitTest store_sqlite[] = {
        cmocka_unit_test_setup(only_the_service_can_read_the_store, sqlite_new_dir),
        cmocka_unit_test_setup(a_deleted_sessions_lock_leaves_no_file, sqlite_new_dir),
        cmocka_unit_test_setup(a_lock_file_is_not_followed_out_of_the_directory, sqlite_new_dir),
        cmocka_unit_test_setup(a_lock_file_unlinked_between_open_and_flock_is_not_taken_for_the_lock,
                               sqlite_new_dir),
        cmocka_unit_test_setup(a_fence_grows_also_when_the_clock_was_set_back, sqlite_new_dir),
        cmocka_unit_test_setup(a_directory_that_cannot_be_made_is_an_error, sqlite_new_dir),
        cmocka_unit_test_setup(a_database_of_the_first_version_is_taken_over, sqlite_new_dir),
        cmocka_unit_test_setup(processes_that_make_the_store_together_agree_on_it, sqlite_new_dir),
    };
    failed += cmocka_run_group_tests(store_sqlite, NULL, NULL);
    sqlite_end();
    return failed != 0;
}
