/* What changes of a record, and leases. */
#include "sandboxd/base.h"
#include "sqlite.h"

/* States are the numbers of enum sbx_session_state. A lease taken "in the future" is of an earlier boot (its
 * times are CLOCK_MONOTONIC's): it is free. */
static const char *const sql[SBX_SQLITE_STMTS] = {
    [SBX_SQLITE_READY] = "UPDATE sessions SET state = 2, container = ?2, helper = ?3, volume = ?4,"
                         " used_ms = ?5, expires_ms = ?6 WHERE id = ?1 AND state = 1",
    [SBX_SQLITE_SEEDED] = "UPDATE sessions SET seeded = 1 WHERE id = ?1 AND state = 2 AND seeded = 0",
    [SBX_SQLITE_CLOSING] = "UPDATE sessions SET stopped_ms = CASE state WHEN 3 THEN stopped_ms ELSE ?2 END,"
                           " state = 3, key = '' WHERE id = ?1",
    [SBX_SQLITE_STOPPED] = "UPDATE sessions SET stopped_ms = CASE state WHEN 2 THEN ?2 ELSE stopped_ms END,"
                           " state = 4 WHERE id = ?1 AND state IN (2, 4)",
    [SBX_SQLITE_RESUMED] = "UPDATE sessions SET state = 2, stopped_ms = 0, used_ms = ?2"
                           " WHERE id = ?1 AND state = 4",
    [SBX_SQLITE_UPDATE] = "UPDATE sessions SET labels = ?2, idle_ms = ?3, expires_ms = ?4, used_ms = ?5"
                          " WHERE id = ?1 AND state IN (2, 4)",
    [SBX_SQLITE_TOUCH] = "UPDATE sessions SET used_ms = ?2 WHERE id = ?1 AND abs(used_ms - ?2) >= ?3",
    [SBX_SQLITE_LEASE] = "INSERT INTO leases(name, holder, taken_ms, expires_ms) VALUES(?1, ?2, ?3, ?4)"
                         " ON CONFLICT(name) DO UPDATE SET holder = ?2, taken_ms = ?3, expires_ms = ?4"
                         " WHERE holder = ?2 OR expires_ms <= ?3 OR taken_ms > ?3",
    [SBX_SQLITE_LEASE_RELEASE] = "DELETE FROM leases WHERE name = ?1 AND holder = ?2",
};

static sqlite3_stmt *use(struct sbx_store *store, enum sbx_sqlite_stmt which, struct sbx_err *err)
{
    return sbx_sqlite_use((struct sbx_sqlite *)store, which, sql[which], err);
}

int sbx_sqlite_set_ready(struct sbx_store *store, const struct sbx_record *record, struct sbx_err *err)
{
    sqlite3_stmt *stmt = use(store, SBX_SQLITE_READY, err);
    if (!stmt)
        return -1;
    sbx_sqlite_bind(stmt, 1, record->id);
    sbx_sqlite_bind(stmt, 2, record->container);
    sbx_sqlite_bind(stmt, 3, record->helper);
    sbx_sqlite_bind(stmt, 4, record->volume);
    sqlite3_bind_int64(stmt, 5, record->used_ms);
    sqlite3_bind_int64(stmt, 6, record->expires_ms);
    int changed = sbx_sqlite_run(store, stmt, err);
    return changed == 0 ? sbx_store_not_found(err) : changed < 0 ? -1 : 0;
}

int sbx_sqlite_set_seeded(struct sbx_store *store, const char *id, struct sbx_err *err)
{
    int changed = sbx_sqlite_run_id(store, SBX_SQLITE_SEEDED, sql[SBX_SQLITE_SEEDED], id, err);
    if (changed != 0)
        return changed < 0 ? -1 : 0;
    struct sbx_record record;
    sbx_record_init(&record);
    int got = sbx_store_get(store, id, &record, err);
    bool seeded = record.state == SBX_SESSION_READY && record.seeded;
    sbx_record_done(&record);
    if (got < 0)
        return -1;
    return seeded ? sbx_err_set(err, SBX_ERR_CONFLICT, "Session already seeded") : sbx_store_not_found(err);
}

/* A change of state that notes the time. */
static int set_state(struct sbx_store *store, enum sbx_sqlite_stmt which, const char *id, struct sbx_err *err)
{
    sqlite3_stmt *stmt = use(store, which, err);
    if (!stmt)
        return -1;
    sbx_sqlite_bind(stmt, 1, id);
    sqlite3_bind_int64(stmt, 2, sbx_wall_ms());
    int changed = sbx_sqlite_run(store, stmt, err);
    return changed == 0 ? sbx_store_not_found(err) : changed < 0 ? -1 : 0;
}

int sbx_sqlite_set_closing(struct sbx_store *store, const char *id, struct sbx_err *err)
{
    return set_state(store, SBX_SQLITE_CLOSING, id, err);
}

int sbx_sqlite_set_stopped(struct sbx_store *store, const char *id, struct sbx_err *err)
{
    return set_state(store, SBX_SQLITE_STOPPED, id, err);
}

int sbx_sqlite_set_resumed(struct sbx_store *store, const char *id, struct sbx_err *err)
{
    return set_state(store, SBX_SQLITE_RESUMED, id, err);
}

int sbx_sqlite_update(struct sbx_store *store, const struct sbx_record *record, struct sbx_err *err)
{
    sqlite3_stmt *stmt = use(store, SBX_SQLITE_UPDATE, err);
    if (!stmt)
        return -1;
    sbx_sqlite_bind(stmt, 1, record->id);
    sbx_sqlite_bind(stmt, 2, record->labels);
    sqlite3_bind_int64(stmt, 3, record->idle_ms);
    sqlite3_bind_int64(stmt, 4, record->expires_ms);
    sqlite3_bind_int64(stmt, 5, record->used_ms);
    int changed = sbx_sqlite_run(store, stmt, err);
    return changed == 0 ? sbx_store_not_found(err) : changed < 0 ? -1 : 0;
}

int sbx_sqlite_touch(struct sbx_store *store, const char *id, int64_t now_ms, int64_t lazy_ms,
                     struct sbx_err *err)
{
    sqlite3_stmt *stmt = use(store, SBX_SQLITE_TOUCH, err);
    if (!stmt)
        return -1;
    sbx_sqlite_bind(stmt, 1, id);
    sqlite3_bind_int64(stmt, 2, now_ms);
    sqlite3_bind_int64(stmt, 3, lazy_ms);
    return sbx_sqlite_run(store, stmt, err) < 0 ? -1 : 0;
}

int sbx_sqlite_lease(struct sbx_store *store, const char *name, const char *holder, int64_t ttl_ms,
                     struct sbx_err *err)
{
    sqlite3_stmt *stmt = use(store, SBX_SQLITE_LEASE, err);
    if (!stmt)
        return -1;
    int64_t now = sbx_now_ms();
    sbx_sqlite_bind(stmt, 1, name);
    sbx_sqlite_bind(stmt, 2, holder);
    sqlite3_bind_int64(stmt, 3, now);
    sqlite3_bind_int64(stmt, 4, now + ttl_ms);
    int changed = sbx_sqlite_run(store, stmt, err);
    return changed > 0 ? 1 : changed;
}

/* A lease of its own, renewed by whoever asks: only a write shows that writing works, a full disk included.
 */
int sbx_sqlite_ping(struct sbx_store *store, struct sbx_err *err)
{
    return sbx_sqlite_lease(store, "ping", "ping", 1, err) < 0 ? -1 : 0;
}

int sbx_sqlite_lease_release(struct sbx_store *store, const char *name, const char *holder,
                             struct sbx_err *err)
{
    sqlite3_stmt *stmt = use(store, SBX_SQLITE_LEASE_RELEASE, err);
    if (!stmt)
        return -1;
    sbx_sqlite_bind(stmt, 1, name);
    sbx_sqlite_bind(stmt, 2, holder);
    return sbx_sqlite_run(store, stmt, err) < 0 ? -1 : 0;
}
