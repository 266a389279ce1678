/* Records and leases of the embedded store. Each write is one statement, a transaction of its own. */
#include "sqlite.h"

#include <stdlib.h>
#include <string.h>

#define COLUMNS                                                                                              \
    "id, state, owner, replica, worker_pid, image, container, helper, volume, extract_patch, ephemeral, "    \
    "seeded, created_ms, used_ms, options, labels, idle_ms, expires_ms, stopped_ms, key, body, pool"

/* Same order as COLUMNS; parameters are numbered from 1. */
enum column {
    COL_ID,
    COL_STATE,
    COL_OWNER,
    COL_REPLICA,
    COL_WORKER_PID,
    COL_IMAGE,
    COL_CONTAINER,
    COL_HELPER,
    COL_VOLUME,
    COL_EXTRACT_PATCH,
    COL_EPHEMERAL,
    COL_SEEDED,
    COL_CREATED_MS,
    COL_USED_MS,
    COL_OPTIONS,
    COL_LABELS,
    COL_IDLE_MS,
    COL_EXPIRES_MS,
    COL_STOPPED_MS,
    COL_KEY,
    COL_BODY,
    COL_POOL,
};

/* States are the numbers of enum sbx_session_state. */
static const char *const sql[SBX_SQLITE_STMTS] = {
    [SBX_SQLITE_INSERT] = "INSERT OR IGNORE INTO sessions(" COLUMNS ")"
                          " VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15,"
                          " ?16, ?17, ?18, ?19, ?20, ?21, ?22)",
    [SBX_SQLITE_GET] = "SELECT " COLUMNS " FROM sessions WHERE id = ?1",
    [SBX_SQLITE_FIND_KEY] = "SELECT " COLUMNS " FROM sessions WHERE key = ?1 AND key <> ''",
    [SBX_SQLITE_PAGE] = "SELECT " COLUMNS " FROM sessions WHERE id > ?1 ORDER BY id LIMIT ?2",
    [SBX_SQLITE_COUNT] = "SELECT count(*) FROM sessions WHERE owner = ?1 AND state IN (1, 2)",
    [SBX_SQLITE_DELETE] = "DELETE FROM sessions WHERE id = ?1",
};

static struct sbx_sqlite *self(struct sbx_store *store)
{
    return (struct sbx_sqlite *)store;
}

static sqlite3_stmt *use(struct sbx_store *store, enum sbx_sqlite_stmt which, struct sbx_err *err)
{
    return sbx_sqlite_use(self(store), which, sql[which], err);
}

static void copy_text(sqlite3_stmt *row, enum column column, char *out, size_t size)
{
    const char *text = (const char *)sqlite3_column_text(row, column);
    strlcpy(out, text ? text : "", size);
}

/* NULL stays NULL. */
static int dup_text(sqlite3_stmt *row, enum column column, char **ret)
{
    if (sqlite3_column_type(row, column) == SQLITE_NULL)
        return 0;
    const char *text = (const char *)sqlite3_column_text(row, column);
    *ret = text ? strdup(text) : NULL;
    return *ret ? 0 : -1;
}

static int read_row(sqlite3_stmt *row, struct sbx_record *ret, struct sbx_err *err)
{
    sbx_record_done(ret);
    copy_text(row, COL_ID, ret->id, sizeof(ret->id));
    ret->state = (enum sbx_session_state)sqlite3_column_int(row, COL_STATE);
    copy_text(row, COL_OWNER, ret->owner, sizeof(ret->owner));
    copy_text(row, COL_REPLICA, ret->replica, sizeof(ret->replica));
    ret->worker_pid = sqlite3_column_int64(row, COL_WORKER_PID);
    copy_text(row, COL_IMAGE, ret->image, sizeof(ret->image));
    copy_text(row, COL_CONTAINER, ret->container, sizeof(ret->container));
    copy_text(row, COL_HELPER, ret->helper, sizeof(ret->helper));
    copy_text(row, COL_VOLUME, ret->volume, sizeof(ret->volume));
    ret->extract_patch = sqlite3_column_int(row, COL_EXTRACT_PATCH) != 0;
    ret->ephemeral = sqlite3_column_int(row, COL_EPHEMERAL) != 0;
    ret->seeded = sqlite3_column_int(row, COL_SEEDED) != 0;
    ret->created_ms = sqlite3_column_int64(row, COL_CREATED_MS);
    ret->used_ms = sqlite3_column_int64(row, COL_USED_MS);
    ret->idle_ms = sqlite3_column_int64(row, COL_IDLE_MS);
    ret->expires_ms = sqlite3_column_int64(row, COL_EXPIRES_MS);
    ret->stopped_ms = sqlite3_column_int64(row, COL_STOPPED_MS);
    copy_text(row, COL_KEY, ret->key, sizeof(ret->key));
    copy_text(row, COL_BODY, ret->body, sizeof(ret->body));
    copy_text(row, COL_POOL, ret->pool, sizeof(ret->pool));
    if (dup_text(row, COL_OPTIONS, &ret->options) < 0 || dup_text(row, COL_LABELS, &ret->labels) < 0)
        return sbx_err_set(err, SBX_ERR_INTERNAL, "out of memory for the record of a session");
    return 0;
}

static int insert(struct sbx_store *store, const struct sbx_record *record, struct sbx_err *err)
{
    sqlite3_stmt *stmt = use(store, SBX_SQLITE_INSERT, err);
    if (!stmt)
        return -1;
    sbx_sqlite_bind(stmt, 1 + COL_ID, record->id);
    sqlite3_bind_int(stmt, 1 + COL_STATE, (int)record->state);
    sbx_sqlite_bind(stmt, 1 + COL_OWNER, record->owner);
    sbx_sqlite_bind(stmt, 1 + COL_REPLICA, record->replica);
    sqlite3_bind_int64(stmt, 1 + COL_WORKER_PID, record->worker_pid);
    sbx_sqlite_bind(stmt, 1 + COL_IMAGE, record->image);
    sbx_sqlite_bind(stmt, 1 + COL_CONTAINER, record->container);
    sbx_sqlite_bind(stmt, 1 + COL_HELPER, record->helper);
    sbx_sqlite_bind(stmt, 1 + COL_VOLUME, record->volume);
    sqlite3_bind_int(stmt, 1 + COL_EXTRACT_PATCH, record->extract_patch);
    sqlite3_bind_int(stmt, 1 + COL_EPHEMERAL, record->ephemeral);
    sqlite3_bind_int(stmt, 1 + COL_SEEDED, record->seeded);
    sqlite3_bind_int64(stmt, 1 + COL_CREATED_MS, record->created_ms);
    sqlite3_bind_int64(stmt, 1 + COL_USED_MS, record->used_ms);
    sbx_sqlite_bind(stmt, 1 + COL_OPTIONS, record->options); /* NULL binds NULL */
    sbx_sqlite_bind(stmt, 1 + COL_LABELS, record->labels);
    sqlite3_bind_int64(stmt, 1 + COL_IDLE_MS, record->idle_ms);
    sqlite3_bind_int64(stmt, 1 + COL_EXPIRES_MS, record->expires_ms);
    sqlite3_bind_int64(stmt, 1 + COL_STOPPED_MS, record->stopped_ms);
    sbx_sqlite_bind(stmt, 1 + COL_KEY, record->key);
    sbx_sqlite_bind(stmt, 1 + COL_BODY, record->body);
    sbx_sqlite_bind(stmt, 1 + COL_POOL, record->pool);
    int changed = sbx_sqlite_run(store, stmt, err);
    if (changed == 0)
        return sbx_err_set(err, SBX_ERR_CONFLICT, "session %s or its key exists already", record->id);
    return changed < 0 ? -1 : 0;
}

static int get_by(struct sbx_store *store, enum sbx_sqlite_stmt which, const char *text,
                  struct sbx_record *ret, struct sbx_err *err)
{
    sqlite3_stmt *stmt = use(store, which, err);
    if (!stmt)
        return -1;
    sbx_sqlite_bind(stmt, 1, text);
    bool found = sqlite3_step(stmt) == SQLITE_ROW;
    int failed = found ? read_row(stmt, ret, err) : 0;
    if (sqlite3_reset(stmt) != SQLITE_OK)
        return sbx_sqlite_fail(self(store), err);
    return found ? failed : sbx_store_not_found(err);
}

static int get(struct sbx_store *store, const char *id, struct sbx_record *ret, struct sbx_err *err)
{
    return get_by(store, SBX_SQLITE_GET, id, ret, err);
}

static int find_key(struct sbx_store *store, const char *key, struct sbx_record *ret, struct sbx_err *err)
{
    return get_by(store, SBX_SQLITE_FIND_KEY, key, ret, err);
}

static int page(struct sbx_store *store, const char *after, int n, struct sbx_record *out,
                struct sbx_err *err)
{
    sqlite3_stmt *stmt = use(store, SBX_SQLITE_PAGE, err);
    if (!stmt)
        return -1;
    sbx_sqlite_bind(stmt, 1, after);
    sqlite3_bind_int(stmt, 2, n);
    int got = 0, failed = 0;
    while (failed == 0 && got < n && sqlite3_step(stmt) == SQLITE_ROW)
        failed = read_row(stmt, &out[got++], err);
    if (sqlite3_reset(stmt) != SQLITE_OK)
        return sbx_sqlite_fail(self(store), err);
    return failed < 0 ? -1 : got;
}

static int count(struct sbx_store *store, const char *owner, int64_t *ret, struct sbx_err *err)
{
    sqlite3_stmt *stmt = use(store, SBX_SQLITE_COUNT, err);
    if (!stmt)
        return -1;
    sbx_sqlite_bind(stmt, 1, owner);
    *ret = sqlite3_step(stmt) == SQLITE_ROW ? sqlite3_column_int64(stmt, 0) : 0;
    return sqlite3_reset(stmt) == SQLITE_OK ? 0 : sbx_sqlite_fail(self(store), err);
}

static int delete_record(struct sbx_store *store, const char *id, struct sbx_err *err)
{
    return sbx_sqlite_run_id(store, SBX_SQLITE_DELETE, sql[SBX_SQLITE_DELETE], id, err) < 0 ? -1 : 0;
}

static int try_lock(struct sbx_store *store, struct sbx_lock *lock, struct sbx_err *err)
{
    return sbx_filelock_try(self(store)->locks, lock, err);
}

static void unlock(struct sbx_store *store, struct sbx_lock *lock, bool gone)
{
    sbx_filelock_release(self(store)->locks, lock, gone);
}

static void close_store(struct sbx_store *store)
{
    sbx_sqlite_stop(self(store));
    free(store);
}

static const struct sbx_store_ops ops = {
    .close = close_store,
    .ping = sbx_sqlite_ping,
    .insert = insert,
    .get = get,
    .find_key = find_key,
    .count = count,
    .set_ready = sbx_sqlite_set_ready,
    .set_seeded = sbx_sqlite_set_seeded,
    .set_closing = sbx_sqlite_set_closing,
    .set_stopped = sbx_sqlite_set_stopped,
    .set_resumed = sbx_sqlite_set_resumed,
    .update = sbx_sqlite_update,
    .touch = sbx_sqlite_touch,
    .delete = delete_record,
    .pool_add = sbx_sqlite_pool_add,
    .pool_ready = sbx_sqlite_pool_ready,
    .pool_claim = sbx_sqlite_pool_claim,
    .pool_drop = sbx_sqlite_pool_drop,
    .wish = sbx_sqlite_wish,
    .wishes = sbx_sqlite_wishes,
    .page = page,
    .try_lock = try_lock,
    .unlock = unlock,
    .lease = sbx_sqlite_lease,
    .lease_release = sbx_sqlite_lease_release,
};

struct sbx_store *sbx_store_open_embedded(const struct sbx_store_options *options, struct sbx_err *err)
{
    struct sbx_sqlite *store = calloc(1, sizeof(*store));
    if (!store) {
        sbx_err_set(err, SBX_ERR_INTERNAL, "out of memory for the store");
        return NULL;
    }
    store->base.ops = &ops;
    if (sbx_sqlite_start(store, options->dir, err) < 0) {
        sbx_sqlite_stop(store);
        free(store);
        return NULL;
    }
    return &store->base;
}
