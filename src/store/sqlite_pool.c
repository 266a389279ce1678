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

int sbx_sqlite_pool_add(struct sbx_store *store, const struct sbx_record *record, int target,
                        struct sbx_err *err)
{
    sqlite3_stmt *stmt = sbx_sqlite_use(self(store), SBX_SQLITE_POOL_ADD, add, err);
    if (!stmt)
        return -1;
    sbx_sqlite_bind(stmt, 1, record->id);
    sbx_sqlite_bind(stmt, 2, record->replica);
    sqlite3_bind_int64(stmt, 3, record->worker_pid);
    sbx_sqlite_bind(stmt, 4, record->image);
    sqlite3_bind_int(stmt, 5, record->extract_patch);
    sqlite3_bind_int64(stmt, 6, record->created_ms);
    sbx_sqlite_bind(stmt, 7, record->options);
    sbx_sqlite_bind(stmt, 8, record->pool);
    sqlite3_bind_int(stmt, 9, target);
    return sbx_sqlite_run(store, stmt, err);
}

int sbx_sqlite_pool_ready(struct sbx_store *store, const struct sbx_record *record, struct sbx_err *err)
{
    sqlite3_stmt *stmt = sbx_sqlite_use(self(store), SBX_SQLITE_POOL_READY, ready, err);
    if (!stmt)
        return -1;
    sbx_sqlite_bind(stmt, 1, record->id);
    sbx_sqlite_bind(stmt, 2, record->container);
    sbx_sqlite_bind(stmt, 3, record->helper);
    sbx_sqlite_bind(stmt, 4, record->volume);
    int changed = sbx_sqlite_run(store, stmt, err);
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
    sbx_sqlite_bind(stmt, 1, pool);
    sbx_sqlite_bind(stmt, 2, record->owner);
    sbx_sqlite_bind(stmt, 3, record->replica);
    sqlite3_bind_int64(stmt, 4, record->worker_pid);
    sbx_sqlite_bind(stmt, 5, record->image);
    sqlite3_bind_int64(stmt, 6, record->created_ms);
    sqlite3_bind_int64(stmt, 7, record->used_ms);
    sbx_sqlite_bind(stmt, 8, record->options); /* NULL binds NULL */
    sbx_sqlite_bind(stmt, 9, record->labels);
    sqlite3_bind_int64(stmt, 10, record->idle_ms);
    sqlite3_bind_int64(stmt, 11, record->expires_ms);
    sbx_sqlite_bind(stmt, 12, record->key);
    sbx_sqlite_bind(stmt, 13, record->body);
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
    return sbx_sqlite_run_id(store, SBX_SQLITE_POOL_DROP, drop, id, err);
}

int sbx_sqlite_wish(struct sbx_store *store, const char *wish, double at, struct sbx_err *err)
{
    sqlite3_stmt *stmt = sbx_sqlite_use(self(store), SBX_SQLITE_WISH, wish_sql, err);
    if (!stmt)
        return -1;
    sbx_sqlite_bind(stmt, 1, wish);
    sqlite3_bind_double(stmt, 2, at);
    return sbx_sqlite_run(store, stmt, err) < 0 ? -1 : 0;
}

int sbx_sqlite_wishes(struct sbx_store *store, double least, struct sbx_wish *out, int limit,
                      struct sbx_err *err)
{
    sqlite3_stmt *stmt = sbx_sqlite_use(self(store), SBX_SQLITE_WISHES_FORGET, forget, err);
    if (!stmt)
        return -1;
    sqlite3_bind_double(stmt, 1, least);
    if (sbx_sqlite_run(store, stmt, err) < 0)
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
