/* The embedded store: sqlite_open.c keeps the database open and whole, sqlite.c reads and writes it. */
#ifndef STORE_SQLITE_H
#define STORE_SQLITE_H

#include <limits.h>
#include <sqlite3.h>

#include "internal.h"

/* Statements, prepared at first use and kept; the texts are in sqlite.c. */
enum sbx_sqlite_stmt {
    SBX_SQLITE_INSERT,
    SBX_SQLITE_GET,
    SBX_SQLITE_FIND_KEY,
    SBX_SQLITE_PAGE,
    SBX_SQLITE_COUNT,
    SBX_SQLITE_READY,
    SBX_SQLITE_SEEDED,
    SBX_SQLITE_CLOSING,
    SBX_SQLITE_STOPPED,
    SBX_SQLITE_RESUMED,
    SBX_SQLITE_UPDATE,
    SBX_SQLITE_TOUCH,
    SBX_SQLITE_DELETE,
    SBX_SQLITE_POOL_ADD,
    SBX_SQLITE_POOL_READY,
    SBX_SQLITE_POOL_CLAIM,
    SBX_SQLITE_POOL_DROP,
    SBX_SQLITE_WISH,
    SBX_SQLITE_WISHES,
    SBX_SQLITE_WISHES_FORGET,
    SBX_SQLITE_LEASE,
    SBX_SQLITE_LEASE_RELEASE,
    SBX_SQLITE_STMTS,
};

struct sbx_sqlite {
    struct sbx_store base;
    char dir[PATH_MAX - 64]; /* room for the names below it */
    char locks[PATH_MAX];
    char path[PATH_MAX];
    sqlite3 *db; /* NULL while it is closed: the next use opens it */
    sqlite3_stmt *stmts[SBX_SQLITE_STMTS];
    int64_t busy_until_ms;
};

/* Make the directories and the instance id, open the database. */
int sbx_sqlite_start(struct sbx_sqlite *store, const char *dir, struct sbx_err *err) SBX_MUST_CHECK;
void sbx_sqlite_stop(struct sbx_sqlite *store);

/* A kept statement, reset, of a database that is open and still the one at its path. NULL on failure. */
sqlite3_stmt *sbx_sqlite_use(struct sbx_sqlite *store, enum sbx_sqlite_stmt which, const char *sql,
                             struct sbx_err *err) SBX_MUST_CHECK;

/* UNAVAILABLE from the handle's last error; a corrupt database is replaced for the next call. All statements
 * must have been reset. Returns -1. */
int sbx_sqlite_fail(struct sbx_sqlite *store, struct sbx_err *err);

/* Run a write and reset it: rows changed, or -1. */
int sbx_sqlite_run(struct sbx_store *store, sqlite3_stmt *stmt, struct sbx_err *err) SBX_MUST_CHECK;

/* The same for a statement whose only parameter is an id. */
int sbx_sqlite_run_id(struct sbx_store *store, enum sbx_sqlite_stmt which, const char *sql, const char *id,
                      struct sbx_err *err) SBX_MUST_CHECK;

/* Bound text is borrowed until the statement has run; NULL binds NULL. */
void sbx_sqlite_bind(sqlite3_stmt *stmt, int param, const char *text);

/* The operations of sqlite_state.c, see struct sbx_store_ops. */
int sbx_sqlite_set_ready(struct sbx_store *store, const struct sbx_record *record, struct sbx_err *err);
int sbx_sqlite_set_seeded(struct sbx_store *store, const char *id, struct sbx_err *err);
int sbx_sqlite_set_closing(struct sbx_store *store, const char *id, struct sbx_err *err);
int sbx_sqlite_set_stopped(struct sbx_store *store, const char *id, struct sbx_err *err);
int sbx_sqlite_set_resumed(struct sbx_store *store, const char *id, struct sbx_err *err);
int sbx_sqlite_update(struct sbx_store *store, const struct sbx_record *record, struct sbx_err *err);
int sbx_sqlite_touch(struct sbx_store *store, const char *id, int64_t now_ms, int64_t lazy_ms,
                     struct sbx_err *err);
int sbx_sqlite_lease(struct sbx_store *store, const char *name, const char *holder, int64_t ttl_ms,
                     struct sbx_err *err);
int sbx_sqlite_lease_release(struct sbx_store *store, const char *name, const char *holder,
                             struct sbx_err *err);
int sbx_sqlite_ping(struct sbx_store *store, struct sbx_err *err);

/* The operations of sqlite_pool.c, likewise. */
int sbx_sqlite_pool_add(struct sbx_store *store, const struct sbx_record *record, int target,
                        struct sbx_err *err);
int sbx_sqlite_pool_ready(struct sbx_store *store, const struct sbx_record *record, struct sbx_err *err);
int sbx_sqlite_pool_claim(struct sbx_store *store, const char *pool, struct sbx_record *record,
                          struct sbx_err *err);
int sbx_sqlite_pool_drop(struct sbx_store *store, const char *id, struct sbx_err *err);
int sbx_sqlite_wish(struct sbx_store *store, const char *wish, double at, struct sbx_err *err);
int sbx_sqlite_wishes(struct sbx_store *store, double least, struct sbx_wish *out, int limit,
                      struct sbx_err *err);

#endif
