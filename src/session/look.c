/* Sessions as their clients see them, without opening them. */
#include "session/internal.h"

#include <limits.h>
#include <string.h>

int64_t sbx_session_ends_ms(const struct sbx_config *config, const struct sbx_record *record,
                            const char **ret_why)
{
    const char *why = "over its absolute limit";
    int64_t ends_ms = record->expires_ms;
    int64_t unused_ms = 0;
    bool stopped = record->state == SBX_SESSION_STOPPED;
    if (stopped)
        unused_ms = record->stopped_ms + config->stopped_ms;
    else if (record->idle_ms > 0)
        unused_ms = record->used_ms + record->idle_ms;
    if (unused_ms > 0 && (ends_ms == 0 || unused_ms < ends_ms)) {
        ends_ms = unused_ms;
        why = stopped ? "stopped for as long as it is kept" : "over its idle limit";
    }
    if (ret_why)
        *ret_why = why;
    return ends_ms;
}

static bool is_past(int64_t ms)
{
    return ms > 0 && sbx_wall_ms() >= ms;
}

static bool is_usable(const struct sbx_engine *engine, const struct sbx_record *record)
{
    bool open = record->state == SBX_SESSION_READY || record->state == SBX_SESSION_STOPPED;
    return open && !is_past(sbx_session_ends_ms(engine->config, record, NULL));
}

/* Over the limit that holds only while no request works in it. */
static bool is_idle(const struct sbx_engine *engine, const struct sbx_record *record)
{
    return record->state == SBX_SESSION_READY && !is_past(record->expires_ms) && !is_usable(engine, record);
}

int sbx_session_look_locked(struct sbx_engine *engine, const char *id, struct sbx_record *ret,
                            struct sbx_err *err)
{
    if (sbx_session_find(engine, id, ret, err) < 0)
        return -1;
    return is_usable(engine, ret) ? 0 : sbx_session_gone(err);
}

/* Nobody has used it for as long as it may be idle, or somebody still does. */
static int look_idle(struct sbx_engine *engine, const char *id, struct sbx_record *ret, struct sbx_err *err)
{
    struct sbx_lock lock = SBX_LOCK_INIT;
    struct sbx_err failure = SBX_ERR_INIT;
    int rc = sbx_store_lock(engine->store, engine->wait, id, 0, &lock, &failure);
    if (rc < 0 && failure.kind == SBX_ERR_CONFLICT) {
        ret->used_ms = sbx_wall_ms();
        return 0;
    }
    if (rc < 0) {
        *err = failure;
        return -1;
    }
    /* again: whoever used it has noted since that it did */
    sbx_record_done(ret);
    sbx_record_init(ret);
    rc = sbx_session_look_locked(engine, id, ret, err);
    sbx_store_unlock(&lock, engine->wait, false);
    return rc;
}

int sbx_session_look(struct sbx_engine *engine, const char *id, struct sbx_record *ret, struct sbx_err *err)
{
    if (!sbx_is_uuid(id))
        return sbx_session_gone(err);
    if (sbx_session_find(engine, id, ret, err) < 0)
        return -1;
    if (is_idle(engine, ret))
        return look_idle(engine, id, ret, err);
    return is_usable(engine, ret) ? 0 : sbx_session_gone(err);
}

/* Its containers go before its record: where they are, the store has lost the record. */
static bool is_closed(struct sbx_engine *engine, const struct sbx_record *record)
{
    struct sbx_record now;
    struct sbx_docker_state state;
    struct sbx_err failure = SBX_ERR_INIT;
    sbx_record_init(&now);
    bool known = sbx_store_get(engine->store, record->id, &now, &failure) == 0;
    sbx_record_done(&now);
    if (known || failure.kind != SBX_ERR_NOT_FOUND)
        return false;
    failure = (struct sbx_err)SBX_ERR_INIT;
    return sbx_docker_inspect(engine->docker, engine->wait, record->container, &state, &failure) < 0 &&
           failure.kind == SBX_ERR_NOT_FOUND;
}

int sbx_session_change(struct sbx_engine *engine, const struct sbx_record *record, struct sbx_err *err)
{
    if (sbx_store_update(engine->store, record, err) < 0)
        return -1;
    /* There is no note while it is rewritten: a session is not left so because its client is gone. */
    struct sbx_shield shield;
    sbx_shield_raise(&shield, engine);
    int rc = sbx_note_rewrite(engine, record, err);
    /* A close that came in between has not met the new note. */
    if (rc == 0 && is_closed(engine, record))
        rc = sbx_note_remove(engine, record->id, err);
    sbx_shield_lower(&shield, engine);
    return rc;
}

struct listing {
    struct sbx_engine *engine;
    int (*fn)(void *arg, const struct sbx_record *record);
    void *arg;
};

static int on_idle(struct listing *listing, const char *id)
{
    struct sbx_record record;
    struct sbx_err ignored = SBX_ERR_INIT;
    sbx_record_init(&record);
    int rc = sbx_session_look(listing->engine, id, &record, &ignored) == 0
                 ? listing->fn(listing->arg, &record)
                 : 0;
    sbx_record_done(&record);
    return rc;
}

static int on_record(void *arg, const struct sbx_record *record)
{
    struct listing *listing = arg;
    const char *client = listing->engine->client;
    if (client && strcmp(record->owner, client) != 0)
        return 0;
    if (is_idle(listing->engine, record))
        return on_idle(listing, record->id);
    return is_usable(listing->engine, record) ? listing->fn(listing->arg, record) : 0;
}

int sbx_session_list(struct sbx_engine *engine, const char *after,
                     int (*fn)(void *arg, const struct sbx_record *record), void *arg, struct sbx_err *err)
{
    struct listing listing = {.engine = engine, .fn = fn, .arg = arg};
    return sbx_store_list(engine->store, after, INT_MAX, on_record, &listing, err);
}

int sbx_session_usage(struct sbx_engine *engine, const struct sbx_record *record,
                      struct sbx_docker_usage *ret, struct sbx_err *err)
{
    if (record->state != SBX_SESSION_READY)
        return sbx_err_set(err, SBX_ERR_CONFLICT, "the session is stopped");
    return sbx_docker_usage(engine->docker, engine->wait, record->container, ret, err);
}
