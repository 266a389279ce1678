/* Pools of the embedded store, and what they learn from: every step is one statement. */
#include <string.h>

#include "sqlite.h"

/* States are the numbers of enum sbx_session_state. A claim that meets a session with the same key changes
 * nothing. */
static const char add[] =
    "INSERT OR IGNORE INTO sessions(id, state, owner, replica, worker_pid, image, container, helper, volume,"
    " extract_patch, ephemeral, seeded, created_ms, used_ms, options, pool)"
    " SELECT ?1, 1, '', ?2, ?3, ?4, '', '', '', ?5, 0, 0, ?6, ?6, ?7, ?8"
    " WHERE (SELECT count(*) FROM sessions WHERE pool = ?8 AND pool <> '' AND state IN (1, 5)) < ?9";
static const char ready[] = "UPDATE sessions SET state = 5, container = ?2, helper = ?3, volume = ?4"
                            " WHERE id = ?1 AND state = 1 AND pool <> ''";
static const char claim[] =
    "UPDATE OR IGNORE sessions SET state = 1, owner = ?2, replica = ?3, worker_pid = ?4, image = ?5,"
    " created_ms = ?6, used_ms = ?7, options = ?8, labels = ?9, idle_ms = ?10, expires_ms = ?11, key = ?12,"
    " body = ?13, pool = '" SBX_POOL_CLAIMED "'"
    " WHERE id = (SELECT id FROM sessions WHERE pool = ?1 AND pool <> '' AND state = 5"
    " ORDER BY created_ms LIMIT 1) RETURNING id, container, helper, volume";
static const char drop[] = "UPDATE sessions SET state = 3 WHERE id = ?1 AND state = 5";

static const char wish_sql[] =
    "INSERT INTO wishes(wish, score) VALUES(?1, ?2) ON CONFLICT(wish) DO UPDATE SET"
    " score = max(score, ?2) + log2(1 + pow(2, -abs(score - ?2)))";
static const char wishes_sql[] =
    "SELECT wish, score FROM wishes WHERE score >= ?1 ORDER BY score DESC, wish LIMIT ?2";
static const char forget[] = "DELETE FROM wishes WHERE score < ?1";

static struct sbx_sqlite *self(struct sbx_store *store)
{
    return (struct sbx_sqlite *)store;
}

/* Bound text is borrowed until the statement has run. */
static void bind_text(sqlite3_stmt *stmt, int param, const char *text)
{
    sqlite3_bind_text(stmt, param, text, -1, SQLITE_STATIC);
}

/* Run a write: rows changed, or -1. */
static int run(struct sbx_store *store, sqlite3_stmt *stmt, struct sbx_err *err)
{
    (void)sqlite3_step(stmt);
    if (sqlite3_reset(stmt) != SQLITE_OK)
        return sbx_sqlite_fail(self(store), err);
    return sqlite3_changes(self(store)->db);
}

int sbx_sqlite_pool_add(struct sbx_store *store, const struct sbx_record *record, int target,
                        struct sbx_err *err)
{
    sqlite3_stmt *stmt = sbx_sqlite_use(self(store), SBX_SQLITE_POOL_ADD, add, err);
    if (!stmt)
        return -1;
    bind_text(stmt, 1, record->id);
    bind_text(stmt, 2, record->replica);
    sqlite3_bind_int64(stmt, 3, record->worker_pid);
    bind_text(stmt, 4, record->image);
    sqlite3_bind_int(stmt, 5, record->extract_patch);
    sqlite3_bind_int64(stmt, 6, record->created_ms);
    bind_text(stmt, 7, record->options);
    bind_text(stmt, 8, record->pool);
    sqlite3_bind_int(stmt, 9, target);
    return run(store, stmt, err);
}

int sbx_sqlite_pool_ready(struct sbx_store *store, const struct sbx_record *record, struct sbx_err *err)
{
    sqlite3_stmt *stmt = sbx_sqlite_use(self(store), SBX_SQLITE_POOL_READY, ready, err);
    if (!stmt)
        return -1;
    bind_text(stmt, 1, record->id);
    bind_text(stmt, 2, record->container);
    bind_text(stmt, 3, record->helper);
    bind_text(stmt, 4, record->volume);
    int changed = run(store, stmt, err);
    if (changed == 0)
        return sbx_err_set(err, SBX_ERR_NOT_FOUND, "the pool's entry %s is gone", record->id);
    return changed < 0 ? -1 : 0;
}

static void copy(sqlite3_stmt *row, int column, char *out, size_t size)
{
    const char *text = (const char *)sqlite3_column_text(row, column);
    strlcpy(out, text ? text : "", size);
}

int sbx_sqlite_pool_claim(struct sbx_store *store, const char *pool, struct sbx_record *record,
                          struct sbx_err *err)
{
    sqlite3_stmt *stmt = sbx_sqlite_use(self(store), SBX_SQLITE_POOL_CLAIM, claim, err);
    if (!stmt)
        return -1;
    bind_text(stmt, 1, pool);
    bind_text(stmt, 2, record->owner);
    bind_text(stmt, 3, record->replica);
    sqlite3_bind_int64(stmt, 4, record->worker_pid);
    bind_text(stmt, 5, record->image);
    sqlite3_bind_int64(stmt, 6, record->created_ms);
    sqlite3_bind_int64(stmt, 7, record->used_ms);
    bind_text(stmt, 8, record->options); /* NULL binds NULL */
    bind_text(stmt, 9, record->labels);
    sqlite3_bind_int64(stmt, 10, record->idle_ms);
    sqlite3_bind_int64(stmt, 11, record->expires_ms);
    bind_text(stmt, 12, record->key);
    bind_text(stmt, 13, record->body);
    bool found = sqlite3_step(stmt) == SQLITE_ROW;
    struct sbx_record got = {.options = NULL};
    if (found) {
        copy(stmt, 0, got.id, sizeof(got.id));
        copy(stmt, 1, got.container, sizeof(got.container));
        copy(stmt, 2, got.helper, sizeof(got.helper));
        copy(stmt, 3, got.volume, sizeof(got.volume));
        (void)sqlite3_step(stmt); /* the change is committed with the last row */
    }
    if (sqlite3_reset(stmt) != SQLITE_OK)
        return sbx_sqlite_fail(self(store), err);
    if (!found)
        return 0;
    memcpy(record->id, got.id, sizeof(record->id));
    memcpy(record->container, got.container, sizeof(record->container));
    memcpy(record->helper, got.helper, sizeof(record->helper));
    memcpy(record->volume, got.volume, sizeof(record->volume));
    return 1;
}

int sbx_sqlite_pool_drop(struct sbx_store *store, const char *id, struct sbx_err *err)
{
    sqlite3_stmt *stmt = sbx_sqlite_use(self(store), SBX_SQLITE_POOL_DROP, drop, err);
    if (!stmt)
        return -1;
    bind_text(stmt, 1, id);
    return run(store, stmt, err);
}

int sbx_sqlite_wish(struct sbx_store *store, const char *wish, double at, struct sbx_err *err)
{
    sqlite3_stmt *stmt = sbx_sqlite_use(self(store), SBX_SQLITE_WISH, wish_sql, err);
    if (!stmt)
        return -1;
    bind_text(stmt, 1, wish);
    sqlite3_bind_double(stmt, 2, at);
    return run(store, stmt, err) < 0 ? -1 : 0;
}

int sbx_sqlite_wishes(struct sbx_store *store, double least, struct sbx_wish *out, int limit,
                      struct sbx_err *err)
{
    sqlite3_stmt *stmt = sbx_sqlite_use(self(store), SBX_SQLITE_WISHES_FORGET, forget, err);
    if (!stmt)
        return -1;
    sqlite3_bind_double(stmt, 1, least);
    if (run(store, stmt, err) < 0)
        return -1;
    stmt = sbx_sqlite_use(self(store), SBX_SQLITE_WISHES, wishes_sql, err);
    if (!stmt)
        return -1;
    sqlite3_bind_double(stmt, 1, least);
    sqlite3_bind_int(stmt, 2, limit);
    int n = 0;
    for (; sqlite3_step(stmt) == SQLITE_ROW; n++) { /* no more than the limit */
        copy(stmt, 0, out[n].text, sizeof(out[n].text));
        out[n].score = sqlite3_column_double(stmt, 1);
    }
    return sqlite3_reset(stmt) == SQLITE_OK ? n : sbx_sqlite_fail(self(store), err);
}
