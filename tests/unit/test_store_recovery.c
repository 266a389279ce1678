/* The embedded store after deaths in the middle of a write and with a database that is damaged, gone or too
 * new. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <fcntl.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "store_sqlite_support.h"

static int writes_until_death; /* this process dies instead of the n-th write; 0 never */

/* Stands before the C library's, which SQLite writes with. */
ssize_t pwrite(int fd, const void *data, size_t n, off_t at)
{
    if (writes_until_death > 0 && --writes_until_death == 0)
        raise(SIGKILL);
    return syscall(SYS_pwrite64, fd, data, n, at);
}

static void (*before_flock)(void); /* once; NULL not at all */

/* Likewise: what another process might do just before this one has the lock. */
int flock(int fd, int op)
{
    void (*meanwhile)(void) = before_flock;
    before_flock = NULL;
    if (meanwhile)
        meanwhile();
    return (int)syscall(SYS_flock, fd, op);
}

static void overwrite(const char *path, off_t from, size_t n)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    char block[512];
    memset(block, 0xa5, sizeof(block));
    for (size_t done = 0; done < n; done += sizeof(block))
        assert_int_equal(pwrite(fd, block, sizeof(block), from + (off_t)done), sizeof(block));
    close(fd);
}

static void assert_intact(void)
{
    sqlite3 *db;
    sqlite3_stmt *stmt;
    assert_int_equal(sqlite3_open_v2(sqlite_database, &db, SQLITE_OPEN_READWRITE, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(db, "PRAGMA integrity_check", -1, &stmt, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(stmt), SQLITE_ROW);
    assert_string_equal((const char *)sqlite3_column_text(stmt, 0), "ok");
    sqlite3_finalize(stmt);
    sqlite3_close(db);
}

/* Makes the store and fills it; *arg counts what has been committed. Options span several pages. */
static int write_until_killed(void *arg)
{
    int *committed = arg;
    struct sbx_store *store = sbx_store_open(&sqlite_options, NULL);
    if (!store)
        return 1;
    for (int i = 0; i < 4; i++) {
        struct sbx_record record;
        suite_record(&record);
        char *large = realloc(record.options, 9000);
        if (!large)
            return 2;
        memset(large, 'x', 8999);
        large[8999] = '\0';
        record.options = large;
        if (sbx_store_insert(store, &record, NULL) < 0)
            return 3;
        ++*committed;
        if (sbx_store_set_ready(store, &record, NULL) < 0)
            return 4;
        sbx_record_done(&record);
    }
    sbx_store_close(store);
    return 0;
}

static void a_writer_killed_at_any_write_leaves_a_whole_database(void **state)
{
    int *committed = mmap(NULL, sizeof(int), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(committed, MAP_FAILED);
    int status = -1, kills = 0;
    for (; status != 0; kills++) {
        sqlite_new_dir(state);
        *committed = 0;
        writes_until_death = kills + 1;
        pid_t writer = suite_spawn(write_until_killed, committed);
        writes_until_death = 0;
        status = suite_reap(writer);
        assert_true(status == 0 || status == 1000 + SIGKILL);
        struct sbx_store *store = suite_open(&sqlite_options);
        assert_in_range(suite_count(store), *committed, *committed + 1);
        assert_int_equal(sqlite_get(store, sqlite_insert(store)), SBX_ERR_NONE);
        sbx_store_close(store);
        assert_intact();
        assert_int_equal(sqlite_count_aside(), 0);
    }
    assert_true(kills > 30);
    munmap(committed, sizeof(int));
}

static void a_database_that_is_none_is_moved_aside_and_begun_anew(void **state)
{
    struct sbx_store *store = suite_open(&sqlite_options);
    char instance[SBX_UUID_LEN + 1];
    strlcpy(instance, sbx_store_instance(store), sizeof(instance));
    sqlite_insert(store);
    sbx_store_close(store);
    overwrite(sqlite_database, 0, 4096);

    store = suite_open(&sqlite_options);
    assert_int_equal(suite_count(store), 0);
    assert_int_equal(sqlite_count_aside(), 1);
    assert_string_equal(sbx_store_instance(store), instance); /* containers made before are still its own */
    assert_int_equal(sqlite_get(store, sqlite_insert(store)), SBX_ERR_NONE);
    sbx_store_close(store);
    assert_int_equal(sqlite_mode(sqlite_database), 0600);
    assert_intact();
}

static void a_corrupt_database_keeps_its_journal(void **state)
{
    struct sbx_store *store = suite_open(&sqlite_options);
    char id[SBX_UUID_LEN + 1];
    strlcpy(id, sqlite_insert(store), sizeof(id));
    sqlite3 *writer; /* in the middle of a transaction */
    assert_int_equal(sqlite3_open(sqlite_database, &writer), SQLITE_OK);
    assert_int_equal(sqlite3_exec(writer,
                                  "PRAGMA synchronous=OFF; BEGIN IMMEDIATE; UPDATE sessions SET used_ms = 1",
                                  NULL, NULL, NULL),
                     SQLITE_OK);
    char journal[PATH_MAX + 16];
    struct stat st;
    snprintf(journal, sizeof(journal), "%s-journal", sqlite_database);
    assert_int_equal(stat(journal, &st), 0);
    assert_true(st.st_size > 512);
    overwrite(sqlite_database, 0, 4096);

    assert_int_equal(sqlite_get(store, id), SBX_ERR_UNAVAILABLE);
    assert_int_equal(suite_count(store), 0);
    assert_int_equal(sqlite_get(store, sqlite_insert(store)), SBX_ERR_NONE);
    (void)sqlite3_exec(writer, "COMMIT", NULL, NULL, NULL);
    sqlite3_close(writer);
    assert_int_equal(suite_count(store), 1);
    assert_int_equal(sqlite_count_aside(), 1);
    assert_int_equal(sqlite_count_files("", "sessions.db.corrupt-"), 2);
    sbx_store_close(store);
    assert_intact();
}

static void open_handles_go_over_to_the_new_database(void **state)
{
    struct sbx_store *a = suite_open(&sqlite_options);
    struct sbx_store *b = suite_open(&sqlite_options);
    char old[SBX_UUID_LEN + 1];
    strlcpy(old, sqlite_insert(a), sizeof(old));
    assert_int_equal(sqlite_get(b, old), SBX_ERR_NONE);
    struct stat st;
    assert_int_equal(stat(sqlite_database, &st), 0);
    overwrite(sqlite_database, 0, (size_t)st.st_size);

    assert_int_equal(sqlite_get(a, old), SBX_ERR_UNAVAILABLE);
    assert_int_equal(sqlite_get(a, old), SBX_ERR_NOT_FOUND);
    const char *id = sqlite_insert(a);
    assert_int_equal(sqlite_get(b, id), SBX_ERR_NONE);
    assert_int_equal(suite_count(b), 1);
    assert_int_equal(sqlite_count_aside(), 1);
    sbx_store_close(a);
    sbx_store_close(b);
    assert_intact();
}

static struct sbx_store *faster;
static char from_faster[SBX_UUID_LEN + 1];

static void replace_first(void)
{
    assert_int_equal(sqlite_get(faster, "x"), SBX_ERR_UNAVAILABLE);
    strlcpy(from_faster, sqlite_insert(faster), sizeof(from_faster));
}

static void a_database_that_two_processes_find_corrupt_is_replaced_once(void **state)
{
    struct sbx_store *slower = suite_open(&sqlite_options);
    faster = suite_open(&sqlite_options);
    sqlite_insert(slower);
    assert_int_equal(suite_count(faster), 1);
    overwrite(sqlite_database, 0, 4096);
    before_flock = replace_first;
    assert_int_equal(sqlite_get(slower, "x"), SBX_ERR_UNAVAILABLE);
    assert_null(before_flock);
    assert_int_equal(sqlite_get(slower, from_faster), SBX_ERR_NONE);
    assert_int_equal(suite_count(slower), 1);
    assert_int_equal(sqlite_count_aside(), 1);
    sbx_store_close(slower);
    sbx_store_close(faster);
}

static void a_removed_database_is_begun_anew(void **state)
{
    struct sbx_store *store = suite_open(&sqlite_options);
    sqlite_insert(store);
    assert_int_equal(unlink(sqlite_database), 0);
    assert_int_equal(suite_count(store), 0);
    assert_int_equal(sqlite_get(store, sqlite_insert(store)), SBX_ERR_NONE);
    sbx_store_close(store);
}

static void a_database_of_a_newer_version_is_left_alone(void **state)
{
    struct sbx_store *store = suite_open(&sqlite_options);
    sqlite_insert(store);
    sbx_store_close(store);
    sqlite3 *db;
    assert_int_equal(sqlite3_open(sqlite_database, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, "PRAGMA user_version=99", NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
    struct sbx_err err = SBX_ERR_INIT;
    assert_null(sbx_store_open(&sqlite_options, &err));
    assert_int_equal(err.kind, SBX_ERR_UNAVAILABLE);
    assert_non_null(strstr(err.msg, "newer version"));
    assert_int_equal(sqlite_count_aside(), 0);
}

int main(void)
{
    if (sqlite_begin() < 0)
        return 1;
    const struct CMUnitTest store_recovery[] = {
        cmocka_unit_test_setup(a_writer_killed_at_any_write_leaves_a_whole_database, sqlite_new_dir),
        cmocka_unit_test_setup(a_database_that_is_none_is_moved_aside_and_begun_anew, sqlite_new_dir),
        cmocka_unit_test_setup(a_corrupt_database_keeps_its_journal, sqlite_new_dir),
        cmocka_unit_test_setup(open_handles_go_over_to_the_new_database, sqlite_new_dir),
        cmocka_unit_test_setup(a_database_that_two_processes_find_corrupt_is_replaced_once, sqlite_new_dir),
        cmocka_unit_test_setup(a_removed_database_is_begun_anew, sqlite_new_dir),
        cmocka_unit_test_setup(a_database_of_a_newer_version_is_left_alone, sqlite_new_dir),
    };
    int failed = cmocka_run_group_tests(store_recovery, NULL, NULL);
    sqlite_end();
    return failed != 0;
}
