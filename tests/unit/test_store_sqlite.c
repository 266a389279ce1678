#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store_suite.h"

static char top[PATH_MAX / 4];
static char dir[PATH_MAX / 2];
static char database[PATH_MAX];
static struct sbx_store_options options;

/* Names in the store's directory that begin with prefix. */
static int count_files(const char *sub, const char *prefix)
{
    char path[PATH_MAX];
    snprintf(path, sizeof(path), "%s/%s", dir, sub);
    DIR *d = opendir(path);
    assert_non_null(d);
    int n = 0;
    for (struct dirent *e; (e = readdir(d)) != NULL;)
        n += e->d_name[0] != '.' && strncmp(e->d_name, prefix, strlen(prefix)) == 0;
    closedir(d);
    return n;
}

/* Databases moved aside, their journals not counted. */
static int count_aside(void)
{
    DIR *d = opendir(dir);
    assert_non_null(d);
    int n = 0;
    for (struct dirent *e; (e = readdir(d)) != NULL;)
        n += strstr(e->d_name, ".corrupt-") && !strstr(e->d_name, "-journal");
    closedir(d);
    return n;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    return remove(path);
}

/* Each test has a store directory of its own. */
static int new_dir(void **state)
{
    static int serial;
    snprintf(dir, sizeof(dir), "%s/state/%d", top, serial++);
    snprintf(database, sizeof(database), "%s/sessions.db", dir);
    options = (struct sbx_store_options){.dir = dir, .replica = "test"};
    return 0;
}

static enum sbx_err_kind get(struct sbx_store *store, const char *id)
{
    struct sbx_err err = SBX_ERR_INIT;
    struct sbx_record record;
    sbx_record_init(&record);
    (void)!sbx_store_get(store, id, &record, &err);
    sbx_record_done(&record);
    return err.kind;
}

/* Insert a record and return its id. */
static const char *insert(struct sbx_store *store)
{
    static char id[SBX_UUID_LEN + 1];
    struct sbx_record record;
    suite_record(&record);
    strlcpy(id, record.id, sizeof(id));
    assert_int_equal(sbx_store_insert(store, &record, NULL), 0);
    sbx_record_done(&record);
    return id;
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

static mode_t mode_of(const char *path)
{
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    return st.st_mode & 07777;
}

static void only_the_service_can_read_the_store(void **state)
{
    struct sbx_store *store = suite_open(&options);
    char path[PATH_MAX];
    struct sbx_lock lock = SBX_LOCK_INIT;
    const char *id = insert(store);
    assert_int_equal(sbx_store_lock(store, NULL, id, 0, &lock, NULL), 0);
    assert_int_equal(mode_of(dir), 0700);
    assert_int_equal(mode_of(database), 0600);
    snprintf(path, sizeof(path), "%s/instance", dir);
    assert_int_equal(mode_of(path), 0600);
    snprintf(path, sizeof(path), "%s/locks", dir);
    assert_int_equal(mode_of(path), 0700);
    snprintf(path, sizeof(path), "%s/locks/%s.lock", dir, id);
    assert_int_equal(mode_of(path), 0600);
    sbx_store_unlock(&lock, NULL, false);
    sbx_store_close(store);
}

static void a_deleted_sessions_lock_leaves_no_file(void **state)
{
    struct sbx_store *store = suite_open(&options);
    struct sbx_lock lock = SBX_LOCK_INIT;
    const char *id = insert(store);
    assert_int_equal(sbx_store_lock(store, NULL, id, 0, &lock, NULL), 0);
    assert_true(fcntl(lock.fd, F_GETFD) & FD_CLOEXEC);
    sbx_store_unlock(&lock, NULL, false);
    assert_int_equal(count_files("locks", ""), 1); /* it keeps the fence */
    assert_int_equal(sbx_store_lock(store, NULL, id, 0, &lock, NULL), 0);
    sbx_store_unlock(&lock, NULL, true);
    assert_int_equal(count_files("locks", ""), 0);
    sbx_store_close(store);
}

static void a_lock_file_is_not_followed_out_of_the_directory(void **state)
{
    struct sbx_store *store = suite_open(&options);
    char id[SBX_UUID_LEN + 1], path[PATH_MAX];
    sbx_uuid4(id);
    snprintf(path, sizeof(path), "%s/locks/%s.lock", dir, id);
    assert_int_equal(symlink("../victim", path), 0);
    struct sbx_lock lock = SBX_LOCK_INIT;
    struct sbx_err err = SBX_ERR_INIT;
    assert_int_equal(sbx_store_lock(store, NULL, id, 0, &lock, &err), -1);
    assert_int_equal(err.kind, SBX_ERR_UNAVAILABLE);
    assert_int_equal(count_files("", "victim"), 0);
    sbx_store_close(store);
}

static int write_for_ever(void *arg)
{
    struct sbx_store *store = sbx_store_open(&options, NULL);
    if (!store)
        return 1;
    for (;;) {
        struct sbx_record record;
        suite_record(&record);
        if (sbx_store_insert(store, &record, NULL) < 0 || sbx_store_set_ready(store, &record, NULL) < 0)
            return 2;
        sbx_record_done(&record);
    }
}

static void assert_intact(void)
{
    sqlite3 *db;
    sqlite3_stmt *stmt;
    assert_int_equal(sqlite3_open_v2(database, &db, SQLITE_OPEN_READWRITE, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(db, "PRAGMA integrity_check", -1, &stmt, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(stmt), SQLITE_ROW);
    assert_string_equal((const char *)sqlite3_column_text(stmt, 0), "ok");
    sqlite3_finalize(stmt);
    sqlite3_close(db);
}

static void killed_writers_leave_a_whole_database(void **state)
{
    struct sbx_store *store = suite_open(&options);
    int before = 0;
    for (int round = 0; round < 10; round++) {
        sbx_store_close(store);
        pid_t writers[2] = {suite_spawn(write_for_ever, NULL), suite_spawn(write_for_ever, NULL)};
        store = suite_open(&options);
        int64_t start = sbx_now_ms();
        while (suite_count(store) < before + 20)
            assert_true(sbx_now_ms() - start < 60000);
        for (int i = 0; i < 2; i++)
            kill(writers[i], SIGKILL);
        for (int i = 0; i < 2; i++)
            assert_int_equal(suite_reap(writers[i]), 1000 + SIGKILL);
        before = suite_count(store); /* and whoever was open all the time rolls back what was half-written */
        assert_int_equal(get(store, insert(store)), SBX_ERR_NONE);
        assert_intact();
    }
    assert_int_equal(count_aside(), 0);
    sbx_store_close(store);
}

static void a_database_that_is_none_is_moved_aside_and_begun_anew(void **state)
{
    struct sbx_store *store = suite_open(&options);
    char instance[SBX_UUID_LEN + 1];
    strlcpy(instance, sbx_store_instance(store), sizeof(instance));
    insert(store);
    sbx_store_close(store);
    overwrite(database, 0, 4096);

    store = suite_open(&options);
    assert_int_equal(suite_count(store), 0);
    assert_int_equal(count_aside(), 1);
    assert_string_equal(sbx_store_instance(store), instance); /* containers made before are still its own */
    assert_int_equal(get(store, insert(store)), SBX_ERR_NONE);
    sbx_store_close(store);
    assert_int_equal(mode_of(database), 0600);
    assert_intact();
}

static void a_journal_of_a_corrupt_database_is_not_applied_to_the_new_one(void **state)
{
    struct sbx_store *store = suite_open(&options);
    insert(store);
    sbx_store_close(store);
    overwrite(database, 0, 4096);
    char journal[PATH_MAX + 16];
    snprintf(journal, sizeof(journal), "%s-journal", database);
    FILE *f = fopen(journal, "w");
    assert_non_null(f);
    assert_int_equal(fwrite("not a journal at all", 20, 1, f), 1);
    fclose(f);
    store = suite_open(&options);
    assert_int_equal(suite_count(store), 0);
    assert_int_equal(get(store, insert(store)), SBX_ERR_NONE);
    sbx_store_close(store);
    assert_intact();
}

static void open_handles_go_over_to_the_new_database(void **state)
{
    struct sbx_store *a = suite_open(&options);
    struct sbx_store *b = suite_open(&options);
    char old[SBX_UUID_LEN + 1];
    strlcpy(old, insert(a), sizeof(old));
    assert_int_equal(get(b, old), SBX_ERR_NONE);
    struct stat st;
    assert_int_equal(stat(database, &st), 0);
    overwrite(database, 0, (size_t)st.st_size);

    assert_int_equal(get(a, old), SBX_ERR_UNAVAILABLE);
    assert_int_equal(get(a, old), SBX_ERR_NOT_FOUND);
    const char *id = insert(a);
    assert_int_equal(get(b, id), SBX_ERR_NONE);
    assert_int_equal(suite_count(b), 1);
    assert_int_equal(count_aside(), 1);
    sbx_store_close(a);
    sbx_store_close(b);
    assert_intact();
}

static void a_removed_database_is_begun_anew(void **state)
{
    struct sbx_store *store = suite_open(&options);
    insert(store);
    assert_int_equal(unlink(database), 0);
    assert_int_equal(suite_count(store), 0);
    assert_int_equal(get(store, insert(store)), SBX_ERR_NONE);
    sbx_store_close(store);
}

static void a_database_of_a_newer_version_is_left_alone(void **state)
{
    struct sbx_store *store = suite_open(&options);
    insert(store);
    sbx_store_close(store);
    sqlite3 *db;
    assert_int_equal(sqlite3_open(database, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, "PRAGMA user_version=99", NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
    struct sbx_err err = SBX_ERR_INIT;
    assert_null(sbx_store_open(&options, &err));
    assert_int_equal(err.kind, SBX_ERR_UNAVAILABLE);
    assert_non_null(strstr(err.msg, "newer version"));
    assert_int_equal(count_aside(), 0);
}

static void a_directory_that_cannot_be_made_is_an_error(void **state)
{
    struct sbx_store_options bad = options;
    bad.dir = "/proc/nowhere/state";
    struct sbx_err err = SBX_ERR_INIT;
    assert_null(sbx_store_open(&bad, &err));
    assert_int_not_equal(err.kind, SBX_ERR_NONE);
    assert_non_null(strstr(err.msg, "/proc/nowhere"));
}

static int open_together(void *arg)
{
    struct sbx_store *store = sbx_store_open(&options, NULL);
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
    struct sbx_store *store = suite_open(&options);
    for (int i = 0; i < CHILDREN; i++) {
        char instance[SBX_UUID_LEN];
        assert_int_equal(read(fds[0], instance, SBX_UUID_LEN), SBX_UUID_LEN);
        assert_memory_equal(instance, sbx_store_instance(store), SBX_UUID_LEN);
    }
    assert_int_equal(count_files("", "instance"), 1);
    close(fds[0]);
    close(fds[1]);
    sbx_store_close(store);
}

int main(void)
{
    const char *tmp = getenv("TMPDIR");
    snprintf(top, sizeof(top), "%s/sandboxd-store-XXXXXX", tmp ? tmp : "/tmp");
    if (!mkdtemp(top))
        return 1;
    char first[PATH_MAX], second[PATH_MAX];
    snprintf(first, sizeof(first), "%s/first", top);
    snprintf(second, sizeof(second), "%s/second", top);
    struct store_suite suite = {
        .options = {.dir = first, .replica = "test"},
        .other = {.dir = second, .replica = "test"},
        .freed_at_once = true,
    };
    int failed = store_suite_run(&suite);
    const struct CMUnitTest store_sqlite[] = {
        cmocka_unit_test_setup(only_the_service_can_read_the_store, new_dir),
        cmocka_unit_test_setup(a_deleted_sessions_lock_leaves_no_file, new_dir),
        cmocka_unit_test_setup(a_lock_file_is_not_followed_out_of_the_directory, new_dir),
        cmocka_unit_test_setup(killed_writers_leave_a_whole_database, new_dir),
        cmocka_unit_test_setup(a_database_that_is_none_is_moved_aside_and_begun_anew, new_dir),
        cmocka_unit_test_setup(a_journal_of_a_corrupt_database_is_not_applied_to_the_new_one, new_dir),
        cmocka_unit_test_setup(open_handles_go_over_to_the_new_database, new_dir),
        cmocka_unit_test_setup(a_removed_database_is_begun_anew, new_dir),
        cmocka_unit_test_setup(a_database_of_a_newer_version_is_left_alone, new_dir),
        cmocka_unit_test_setup(a_directory_that_cannot_be_made_is_an_error, new_dir),
        cmocka_unit_test_setup(processes_that_make_the_store_together_agree_on_it, new_dir),
    };
    failed += cmocka_run_group_tests(store_sqlite, NULL, NULL);
    nftw(top, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    return failed != 0;
}
