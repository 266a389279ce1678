#include "sqlite.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

/* Longest wait for another process's transaction; they take well under a millisecond. */
#define BUSY_MS 5000

/*
 * Rollback journal, truncated at commit: WAL with several processes has a corruption bug in the SQLite of
 * Debian 12. Nothing is synced: a killed process cannot hurt the database (the kernel has the pages), and a
 * crashed machine has lost the containers as well.
 */
static const char pragmas[] = "PRAGMA journal_mode=TRUNCATE;"
                              "PRAGMA synchronous=OFF;"
                              "PRAGMA temp_store=MEMORY;"
                              "PRAGMA cache_size=-512;";

/*
 * Steps from one version of the schema to the next; user_version counts those that were taken. Columns are
 * only ever added, with defaults: processes of the version before go on working with them.
 */
static const char *const schema[] = {
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
    "PRAGMA user_version=1;",

    "ALTER TABLE sessions ADD COLUMN labels TEXT;"
    "ALTER TABLE sessions ADD COLUMN idle_ms INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE sessions ADD COLUMN expires_ms INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE sessions ADD COLUMN stopped_ms INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE sessions ADD COLUMN key TEXT NOT NULL DEFAULT '';"
    "ALTER TABLE sessions ADD COLUMN body TEXT NOT NULL DEFAULT '';"
    "CREATE UNIQUE INDEX sessions_key ON sessions(key) WHERE key <> '';"
    "PRAGMA user_version=2;",

    "ALTER TABLE sessions ADD COLUMN pool TEXT NOT NULL DEFAULT '';"
    "CREATE INDEX sessions_pool ON sessions(pool, state, created_ms) WHERE pool <> '';"
    "PRAGMA user_version=3;",

    "CREATE TABLE wishes("
    " wish TEXT PRIMARY KEY, score REAL NOT NULL"
    ") WITHOUT ROWID;"
    "PRAGMA user_version=4;",
};

#define SCHEMA_VERSION ((int)SBX_ARRAY_LEN(schema))

static bool is_corrupt(int code)
{
    int primary = code & 0xff;
    return primary == SQLITE_CORRUPT || primary == SQLITE_NOTADB;
}

/* Short sleeps first: a reader meets a writer for some tens of microseconds only. */
static int busy(void *arg, int count)
{
    struct sbx_sqlite *store = arg;
    int64_t now = sbx_now_ms();
    if (count == 0)
        store->busy_until_ms = now + BUSY_MS;
    else if (now >= store->busy_until_ms)
        return 0;
    usleep(count < 10 ? 100 : 1000);
    return 1;
}

static void close_database(struct sbx_sqlite *store)
{
    for (size_t i = 0; i < SBX_ARRAY_LEN(store->stmts); i++) {
        sqlite3_finalize(store->stmts[i]);
        store->stmts[i] = NULL;
    }
    sqlite3_close(store->db);
    store->db = NULL;
}

/* The database file was renamed, removed or replaced since it was opened. */
static bool has_moved(struct sbx_sqlite *store)
{
    int moved = 0;
    return sqlite3_file_control(store->db, "main", SQLITE_FCNTL_HAS_MOVED, &moved) == SQLITE_OK && moved;
}

/* Its journal goes with it, and first: it must neither meet the new database nor be missing where somebody
 * repairs the old. */
static int move_aside(struct sbx_sqlite *store, struct sbx_err *err)
{
    char to[PATH_MAX + 64], journal[PATH_MAX + 16], journal_to[PATH_MAX + 80];
    snprintf(to, sizeof(to), "%s.corrupt-%lld", store->path, (long long)sbx_wall_ms());
    snprintf(journal, sizeof(journal), "%s-journal", store->path);
    snprintf(journal_to, sizeof(journal_to), "%s-journal", to);
    if (rename(journal, journal_to) < 0 && errno != ENOENT)
        return sbx_err_sys(err, SBX_ERR_UNAVAILABLE, errno, "cannot move %s aside", journal);
    if (rename(store->path, to) < 0 && errno != ENOENT)
        return sbx_err_sys(err, SBX_ERR_UNAVAILABLE, errno, "cannot move %s aside", store->path);
    return 0;
}

/* Give up the corrupt file behind the open handle and close it. One process at a time, and only while the
 * path still names that file: another one may have replaced it already. */
static int replace_corrupt(struct sbx_sqlite *store, struct sbx_err *err)
{
    char guard_path[PATH_MAX];
    snprintf(guard_path, sizeof(guard_path), "%s/replace.lock", store->dir);
    SBX_AUTO_CLOSE int guard = open(guard_path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (guard < 0 || flock(guard, LOCK_EX) < 0)
        return sbx_err_sys(err, SBX_ERR_UNAVAILABLE, errno, "cannot lock %s", guard_path);
    int ret = has_moved(store) ? 0 : move_aside(store, err);
    close_database(store);
    return ret;
}

int sbx_sqlite_fail(struct sbx_sqlite *store, struct sbx_err *err)
{
    sbx_err_set(err, SBX_ERR_UNAVAILABLE, "session database: %s", sqlite3_errmsg(store->db));
    if (is_corrupt(sqlite3_errcode(store->db)))
        (void)replace_corrupt(store,
                              NULL); /* the error to tell is the corruption; the next use tries again */
    return -1;
}

static int read_version(struct sbx_sqlite *store, int *ret)
{
    sqlite3_stmt *stmt = NULL;
    int rc = sqlite3_prepare_v2(store->db, "PRAGMA user_version", -1, &stmt, NULL);
    if (rc == SQLITE_OK && sqlite3_step(stmt) == SQLITE_ROW)
        *ret = sqlite3_column_int(stmt, 0);
    int end = sqlite3_finalize(stmt);
    return rc == SQLITE_OK ? end : rc;
}

/* Bring a new or older file up to date; several processes may come at once. SQLITE_MISMATCH: made by a newer
 * version. */
static int migrate(struct sbx_sqlite *store)
{
    int version = 0;
    int rc = read_version(store, &version);
    if (rc != SQLITE_OK || version == SCHEMA_VERSION)
        return rc;
    if (version > SCHEMA_VERSION)
        return SQLITE_MISMATCH;
    rc = sqlite3_exec(store->db, "BEGIN IMMEDIATE", NULL, NULL, NULL);
    if (rc != SQLITE_OK)
        return rc;
    rc = read_version(store, &version);
    for (; rc == SQLITE_OK && version < SCHEMA_VERSION; version++)
        rc = sqlite3_exec(store->db, schema[version], NULL, NULL, NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_exec(store->db, "COMMIT", NULL, NULL, NULL);
    return rc;
}

static int open_once(struct sbx_sqlite *store, struct sbx_err *err)
{
    /* SQLite would make it with the umask's mode. Only a file that is new may be opened and closed here:
     * closing drops all POSIX locks this process has on it. The journal gets the database's mode. */
    int fd = open(store->path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0 && errno != EEXIST)
        return sbx_err_sys(err, SBX_ERR_UNAVAILABLE, errno, "cannot make session database %s", store->path);
    sbx_close(&fd);

    int rc = sqlite3_open_v2(store->path, &store->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL);
    if (rc == SQLITE_OK) {
        sqlite3_busy_handler(store->db, busy, store);
        rc = sqlite3_exec(store->db, pragmas, NULL, NULL, NULL);
    }
    if (rc == SQLITE_OK)
        rc = migrate(store);
    if (rc == SQLITE_OK)
        return 0;
    sbx_err_set(err, SBX_ERR_UNAVAILABLE, "cannot open session database %s: %s", store->path,
                rc == SQLITE_MISMATCH ? "it was made by a newer version" : sqlite3_errmsg(store->db));
    return is_corrupt(rc) ? 1 : -1;
}

/* A corrupt database is moved aside and a new one begun: records can be rebuilt from the containers' labels.
 */
static int open_database(struct sbx_sqlite *store, struct sbx_err *err)
{
    int opened = open_once(store, err);
    if (opened == 1) {
        if (replace_corrupt(store, err) < 0)
            return -1;
        opened = open_once(store, err);
    }
    if (opened == 0)
        return 0;
    close_database(store);
    return -1;
}

sqlite3_stmt *sbx_sqlite_use(struct sbx_sqlite *store, enum sbx_sqlite_stmt which, const char *sql,
                             struct sbx_err *err)
{
    if (store->db && has_moved(store))
        close_database(store);
    if (!store->db && open_database(store, err) < 0)
        return NULL;
    sqlite3_stmt **stmt = &store->stmts[which];
    if (!*stmt &&
        sqlite3_prepare_v3(store->db, sql, -1, SQLITE_PREPARE_PERSISTENT, stmt, NULL) != SQLITE_OK) {
        sbx_sqlite_fail(store, err);
        return NULL;
    }
    return *stmt;
}

int sbx_sqlite_start(struct sbx_sqlite *store, const char *dir, struct sbx_err *err)
{
    if (strlcpy(store->dir, dir, sizeof(store->dir)) >= sizeof(store->dir))
        return sbx_err_set(err, SBX_ERR_INVALID, "path of the store is too long: %.200s", dir);
    snprintf(store->locks, sizeof(store->locks), "%s/locks", store->dir);
    snprintf(store->path, sizeof(store->path), "%s/sessions.db", store->dir);
    if (sbx_mkdirs(store->locks, 0700, err) < 0 ||
        sbx_instance_make(store->dir, store->base.instance, err) < 0 || open_database(store, err) < 0)
        return -1;
    return 0;
}

void sbx_sqlite_stop(struct sbx_sqlite *store)
{
    close_database(store);
}

int sbx_sqlite_run(struct sbx_store *store, sqlite3_stmt *stmt, struct sbx_err *err)
{
    struct sbx_sqlite *self = (struct sbx_sqlite *)store;
    (void)sqlite3_step(stmt);
    if (sqlite3_reset(stmt) != SQLITE_OK) /* what step failed with */
        return sbx_sqlite_fail(self, err);
    return sqlite3_changes(self->db);
}

void sbx_sqlite_bind(sqlite3_stmt *stmt, int param, const char *text)
{
    sqlite3_bind_text(stmt, param, text, -1, SQLITE_STATIC);
}

int sbx_sqlite_run_id(struct sbx_store *store, enum sbx_sqlite_stmt which, const char *sql, const char *id,
                      struct sbx_err *err)
{
    sqlite3_stmt *stmt = sbx_sqlite_use((struct sbx_sqlite *)store, which, sql, err);
    if (!stmt)
        return -1;
    sbx_sqlite_bind(stmt, 1, id);
    return sbx_sqlite_run(store, stmt, err);
}
