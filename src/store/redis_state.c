/* What changes of a session's record in Redis. */
#include "redis.h"

static struct sbx_redis *self(struct sbx_store *store)
{
    return (struct sbx_redis *)store;
}

int sbx_redis_set_ready(struct sbx_store *store, const struct sbx_record *record, struct sbx_err *err)
{
    char name[SBX_REDIS_KEY_SIZE];
    struct sbx_redis_number used = sbx_redis_number(record->used_ms);
    struct sbx_redis_number expires = sbx_redis_number(record->expires_ms);
    const char *argv[] = {sbx_redis_key(name, SBX_REDIS_RECORD, record->id),
                          record->container,
                          record->helper,
                          record->volume,
                          used.text,
                          expires.text};
    long long done;
    if (sbx_redis_run_int(self(store), SBX_REDIS_DO_READY, 6, argv, &done, err) < 0)
        return -1;
    return done ? 0 : sbx_store_not_found(err);
}

int sbx_redis_set_seeded(struct sbx_store *store, const char *id, struct sbx_err *err)
{
    char name[SBX_REDIS_KEY_SIZE];
    const char *argv[] = {sbx_redis_key(name, SBX_REDIS_RECORD, id)};
    long long done;
    if (sbx_redis_run_int(self(store), SBX_REDIS_DO_SEEDED, 1, argv, &done, err) < 0)
        return -1;
    if (done == 0)
        return sbx_err_set(err, SBX_ERR_CONFLICT, "Session already seeded");
    return done > 0 ? 0 : sbx_store_not_found(err);
}

int sbx_redis_set_closing(struct sbx_store *store, const char *id, struct sbx_err *err)
{
    char name[SBX_REDIS_KEY_SIZE];
    struct sbx_redis_number now = sbx_redis_number(sbx_wall_ms());
    const char *argv[] = {sbx_redis_key(name, SBX_REDIS_RECORD, id), id, SBX_REDIS_KEY, now.text};
    long long done;
    if (sbx_redis_run_int(self(store), SBX_REDIS_DO_CLOSING, 4, argv, &done, err) < 0)
        return -1;
    return done ? 0 : sbx_store_not_found(err);
}

/* A change of state that notes the time. */
static int set_state(struct sbx_store *store, enum sbx_redis_script script, const char *id,
                     struct sbx_err *err)
{
    char name[SBX_REDIS_KEY_SIZE];
    struct sbx_redis_number now = sbx_redis_number(sbx_wall_ms());
    const char *argv[] = {sbx_redis_key(name, SBX_REDIS_RECORD, id), now.text};
    long long done;
    if (sbx_redis_run_int(self(store), script, 2, argv, &done, err) < 0)
        return -1;
    return done ? 0 : sbx_store_not_found(err);
}

int sbx_redis_set_stopped(struct sbx_store *store, const char *id, struct sbx_err *err)
{
    return set_state(store, SBX_REDIS_DO_STOPPED, id, err);
}

int sbx_redis_set_resumed(struct sbx_store *store, const char *id, struct sbx_err *err)
{
    return set_state(store, SBX_REDIS_DO_RESUMED, id, err);
}

int sbx_redis_update(struct sbx_store *store, const struct sbx_record *record, struct sbx_err *err)
{
    char name[SBX_REDIS_KEY_SIZE];
    struct sbx_redis_number idle = sbx_redis_number(record->idle_ms);
    struct sbx_redis_number expires = sbx_redis_number(record->expires_ms);
    struct sbx_redis_number used = sbx_redis_number(record->used_ms);
    const char *argv[] = {sbx_redis_key(name, SBX_REDIS_RECORD, record->id),
                          record->labels ? record->labels : "", idle.text, expires.text, used.text};
    long long done;
    if (sbx_redis_run_int(self(store), SBX_REDIS_DO_UPDATE, 5, argv, &done, err) < 0)
        return -1;
    return done ? 0 : sbx_store_not_found(err);
}

int sbx_redis_touch(struct sbx_store *store, const char *id, int64_t now_ms, int64_t lazy_ms,
                    struct sbx_err *err)
{
    char name[SBX_REDIS_KEY_SIZE];
    struct sbx_redis_number now = sbx_redis_number(now_ms);
    struct sbx_redis_number lazy = sbx_redis_number(lazy_ms);
    const char *argv[] = {sbx_redis_key(name, SBX_REDIS_RECORD, id), now.text, lazy.text};
    long long done;
    return sbx_redis_run_int(self(store), SBX_REDIS_DO_TOUCH, 3, argv, &done, err);
}

int sbx_redis_delete(struct sbx_store *store, const char *id, struct sbx_err *err)
{
    char name[SBX_REDIS_KEY_SIZE];
    const char *argv[] = {sbx_redis_key(name, SBX_REDIS_RECORD, id), SBX_REDIS_INDEX, id, SBX_REDIS_KEY};
    long long done;
    return sbx_redis_run_int(self(store), SBX_REDIS_DO_DELETE, 4, argv, &done, err);
}
