#include "internal.h"

#include <stdlib.h>
#include <string.h>

#include "sandboxd/base/trace.h"

/* Records fetched at a time by sbx_store_list; they are in memory before the callback runs, so that it may
 * use the store. */
#define PAGE 32

/* First and longest pause between two attempts at a lock. */
#define PAUSE_MIN_MS 1
#define PAUSE_MAX_MS 10

void sbx_record_init(struct sbx_record *record)
{
    *record = (struct sbx_record){.options = NULL};
}

void sbx_record_done(struct sbx_record *record)
{
    free(record->options);
    free(record->labels);
    sbx_record_init(record);
}

struct sbx_store *sbx_store_open(const struct sbx_store_options *options, struct sbx_err *err)
{
    if (options->redis_url && *options->redis_url)
        return sbx_store_open_redis(options, err);
    return sbx_store_open_embedded(options, err);
}

void sbx_store_close(struct sbx_store *store)
{
    if (store)
        store->ops->close(store);
}

int sbx_store_not_found(struct sbx_err *err)
{
    return sbx_err_set(err, SBX_ERR_NOT_FOUND, "Session not found or already closed");
}

int sbx_store_ping(struct sbx_store *store, struct sbx_err *err)
{
    return store->ops->ping(store, err);
}

const char *sbx_store_instance(struct sbx_store *store)
{
    return store->instance;
}

int sbx_store_insert(struct sbx_store *store, const struct sbx_record *record, struct sbx_err *err)
{
    return store->ops->insert(store, record, err);
}

int sbx_store_get(struct sbx_store *store, const char *id, struct sbx_record *ret, struct sbx_err *err)
{
    return store->ops->get(store, id, ret, err);
}

int sbx_store_count(struct sbx_store *store, const char *owner, int64_t *ret, struct sbx_err *err)
{
    return store->ops->count(store, owner, ret, err);
}

int sbx_store_set_ready(struct sbx_store *store, const struct sbx_record *record, struct sbx_err *err)
{
    return store->ops->set_ready(store, record, err);
}

int sbx_store_set_seeded(struct sbx_store *store, const char *id, struct sbx_err *err)
{
    return store->ops->set_seeded(store, id, err);
}

int sbx_store_set_closing(struct sbx_store *store, const char *id, struct sbx_err *err)
{
    return store->ops->set_closing(store, id, err);
}

int sbx_store_find_key(struct sbx_store *store, const char *key, struct sbx_record *ret, struct sbx_err *err)
{
    return store->ops->find_key(store, key, ret, err);
}

int sbx_store_set_stopped(struct sbx_store *store, const char *id, struct sbx_err *err)
{
    return store->ops->set_stopped(store, id, err);
}

int sbx_store_set_resumed(struct sbx_store *store, const char *id, struct sbx_err *err)
{
    return store->ops->set_resumed(store, id, err);
}

int sbx_store_update(struct sbx_store *store, const struct sbx_record *record, struct sbx_err *err)
{
    return store->ops->update(store, record, err);
}

int sbx_store_touch(struct sbx_store *store, const struct sbx_record *record, int64_t read_ms,
                    struct sbx_err *err)
{
    int64_t now = sbx_wall_ms();
    int64_t age = now - record->used_ms;
    int64_t lazy = SBX_STORE_TOUCH_MS;
    if (record->idle_ms > 0 && record->idle_ms / SBX_STORE_TOUCH_PART < lazy)
        lazy = record->idle_ms / SBX_STORE_TOUCH_PART;
    if (read_ms > SBX_STORE_TOUCH_LEAST) /* the limit may be another by now */
        lazy = SBX_STORE_TOUCH_LEAST;
    /* The clock may have been set back: a time far ahead of it is as stale as one far behind. */
    if (age < lazy && age > -lazy)
        return 0;
    return store->ops->touch(store, record->id, now, lazy, err);
}

int sbx_store_pool_add(struct sbx_store *store, const struct sbx_record *record, int target,
                       struct sbx_err *err)
{
    return store->ops->pool_add(store, record, target, err);
}

int sbx_store_pool_ready(struct sbx_store *store, const struct sbx_record *record, struct sbx_err *err)
{
    return store->ops->pool_ready(store, record, err);
}

int sbx_store_pool_claim(struct sbx_store *store, const char *pool, struct sbx_record *record,
                         struct sbx_err *err)
{
    int got = store->ops->pool_claim(store, pool, record, err);
    if (got == 1)
        strlcpy(record->pool, SBX_POOL_CLAIMED, sizeof(record->pool));
    return got;
}

int sbx_store_pool_drop(struct sbx_store *store, const char *id, struct sbx_err *err)
{
    return store->ops->pool_drop(store, id, err);
}

int sbx_store_wish(struct sbx_store *store, const char *wish, double at, struct sbx_err *err)
{
    return store->ops->wish(store, wish, at, err);
}

int sbx_store_wishes(struct sbx_store *store, double least, struct sbx_wish *out, int limit,
                     struct sbx_err *err)
{
    return store->ops->wishes(store, least, out, limit, err);
}

int sbx_store_delete(struct sbx_store *store, const char *id, struct sbx_err *err)
{
    return store->ops->delete (store, id, err);
}

int sbx_store_list(struct sbx_store *store, const char *after, int limit,
                   int (*fn)(void *arg, const struct sbx_record *record), void *arg, struct sbx_err *err)
{
    struct sbx_record *page = calloc(PAGE, sizeof(*page));
    if (!page)
        return sbx_err_set(err, SBX_ERR_INTERNAL, "out of memory for a page of session records");
    char from[SBX_UUID_LEN + 1];
    strlcpy(from, after, sizeof(from));
    int ret = 0;
    bool more = true;
    while (more && limit > 0) {
        int want = limit < PAGE ? limit : PAGE;
        int got = store->ops->page(store, from, want, page, err);
        more = got == want;
        limit -= want;
        if (got < 0)
            ret = -1;
        for (int i = 0; i < got; i++) {
            if (i == got - 1)
                strlcpy(from, page[i].id, sizeof(from));
            if (ret == 0 && fn(arg, &page[i]) != 0)
                ret = 1;
            sbx_record_done(&page[i]);
        }
        more = more && ret == 0;
    }
    for (int i = 0; i < PAGE; i++) /* a failed page may have been filled in part */
        sbx_record_done(&page[i]);
    free(page);
    return ret < 0 ? -1 : 0;
}

static int refresh(void *arg, struct sbx_err *err)
{
    struct sbx_lock *lock = arg;
    return lock->store->ops->refresh(lock->store, lock, err);
}

/* Try until wait_ms are over. */
static int acquire(struct sbx_store *store, struct sbx_wait *wait, int64_t wait_ms, struct sbx_lock *lock,
                   struct sbx_err *err)
{
    int64_t until = sbx_now_ms() + wait_ms;
    int64_t pause = PAUSE_MIN_MS;
    for (;;) {
        int got = store->ops->try_lock(store, lock, err);
        if (got != 0)
            return got < 0 ? -1 : 0;
        int64_t left = until - sbx_now_ms();
        if (left <= 0)
            return sbx_err_set(err, SBX_ERR_CONFLICT, "Session is busy");
        if (sbx_wait_poll(wait, NULL, 0, (int)(pause < left ? pause : left), err) < 0)
            return -1;
        pause = pause * 2 < PAUSE_MAX_MS ? pause * 2 : PAUSE_MAX_MS;
    }
}

int sbx_store_lock(struct sbx_store *store, struct sbx_wait *wait, const char *id, int64_t wait_ms,
                   struct sbx_lock *lock, struct sbx_err *err)
{
    SBX_SPAN("lock", "take the lock");
    *lock = (struct sbx_lock)SBX_LOCK_INIT;
    if (!sbx_is_uuid(id)) /* it becomes a file name */
        return sbx_err_set(err, SBX_ERR_INVALID, "session id is not a UUID");
    strlcpy(lock->id, id, sizeof(lock->id));
    if (acquire(store, wait, wait_ms, lock, err) < 0)
        return -1;
    lock->store = store;
    if (!wait || !store->ops->refresh)
        return 0;
    lock->hook = sbx_wait_add(wait, store->refresh_ms, refresh, lock);
    if (lock->hook < 0) {
        sbx_store_unlock(lock, wait, false);
        return sbx_err_set(err, SBX_ERR_INTERNAL, "no free hook to refresh the session lock");
    }
    return 0;
}

void sbx_store_unlock(struct sbx_lock *lock, struct sbx_wait *wait, bool gone)
{
    if (!lock->store)
        return;
    if (wait && lock->hook >= 0)
        sbx_wait_remove(wait, lock->hook);
    lock->store->ops->unlock(lock->store, lock, gone);
    *lock = (struct sbx_lock)SBX_LOCK_INIT;
}

int sbx_store_free_dead(struct sbx_store *store, struct sbx_err *err)
{
    return store->ops->free_dead ? store->ops->free_dead(store, err) : 0;
}

int sbx_store_lease(struct sbx_store *store, const char *name, const char *holder, int64_t ttl_ms,
                    struct sbx_err *err)
{
    return store->ops->lease(store, name, holder, ttl_ms, err);
}

int sbx_store_lease_release(struct sbx_store *store, const char *name, const char *holder,
                            struct sbx_err *err)
{
    return store->ops->lease_release(store, name, holder, err);
}
