/* Leases and session locks in Redis: a lock is a random token with a TTL, refreshed while it is held. */
#include "redis.h"

#include <stdio.h>
#include <string.h>

/* How long a deleted session's fence is kept, for whoever still waits for its lock. */
#define GONE_FENCE_MS "60000"

static struct sbx_redis *self(struct sbx_store *store)
{
    return (struct sbx_redis *)store;
}

int sbx_redis_lease(struct sbx_store *store, const char *name, const char *holder, int64_t ttl_ms,
                    struct sbx_err *err)
{
    char lease_key[SBX_REDIS_KEY_SIZE];
    struct sbx_redis_number ttl = sbx_redis_number(ttl_ms);
    const char *argv[] = {sbx_redis_key(lease_key, SBX_REDIS_LEASE, name), holder, ttl.text};
    long long had;
    if (sbx_redis_run_int(self(store), SBX_REDIS_DO_LEASE, 3, argv, &had, err) < 0)
        return -1;
    return had ? 1 : 0;
}

int sbx_redis_lease_release(struct sbx_store *store, const char *name, const char *holder,
                            struct sbx_err *err)
{
    char lease_key[SBX_REDIS_KEY_SIZE];
    const char *argv[] = {sbx_redis_key(lease_key, SBX_REDIS_LEASE, name), "", holder, ""};
    long long done;
    return sbx_redis_run_int(self(store), SBX_REDIS_DO_RELEASE, 4, argv, &done, err);
}

/* When the answer is lost the lock may have been granted to nobody: it is free again after its TTL. */
int sbx_redis_try_lock(struct sbx_store *store, struct sbx_lock *lock, struct sbx_err *err)
{
    if (!lock->token[0]) {
        unsigned char random[16];
        sbx_random(random, sizeof(random));
        for (size_t i = 0; i < sizeof(random); i++)
            snprintf(lock->token + 2 * i, 3, "%02x", random[i]);
    }
    char lock_key[SBX_REDIS_KEY_SIZE], fence_key[SBX_REDIS_KEY_SIZE];
    struct sbx_redis_number ttl = sbx_redis_number(self(store)->lock_ttl_ms);
    const char *argv[] = {sbx_redis_key(lock_key, SBX_REDIS_LOCK, lock->id),
                          sbx_redis_key(fence_key, SBX_REDIS_FENCE, lock->id), lock->token, ttl.text};
    int64_t before = sbx_now_ms();
    long long fence;
    if (sbx_redis_run_int(self(store), SBX_REDIS_DO_LOCK, 4, argv, &fence, err) < 0)
        return -1;
    lock->fence = (uint64_t)fence;
    lock->until_ms = before + self(store)->lock_ttl_ms;
    return fence ? 1 : 0;
}

/* While Redis cannot be reached the lock is trusted until its TTL, as measured here, would pass before the
 * next try. */
int sbx_redis_refresh(struct sbx_store *store, struct sbx_lock *lock, struct sbx_err *err)
{
    char lock_key[SBX_REDIS_KEY_SIZE];
    struct sbx_redis_number ttl = sbx_redis_number(self(store)->lock_ttl_ms);
    const char *argv[] = {sbx_redis_key(lock_key, SBX_REDIS_LOCK, lock->id), lock->token, ttl.text};
    int64_t before = sbx_now_ms();
    long long held;
    struct sbx_err why = SBX_ERR_INIT;
    if (sbx_redis_run_int(self(store), SBX_REDIS_DO_REFRESH, 3, argv, &held, &why) < 0) {
        if (sbx_now_ms() + store->refresh_ms < lock->until_ms)
            return 0;
        return sbx_err_set(err, SBX_ERR_UNAVAILABLE, "session lock cannot be kept: %.300s", why.msg);
    }
    if (!held)
        return sbx_err_set(err, SBX_ERR_UNAVAILABLE, "session lock was lost");
    lock->until_ms = before + self(store)->lock_ttl_ms;
    return 0;
}

/* A release that fails is made up for by the TTL. */
void sbx_redis_unlock(struct sbx_store *store, struct sbx_lock *lock, bool gone)
{
    char lock_key[SBX_REDIS_KEY_SIZE], fence_key[SBX_REDIS_KEY_SIZE];
    const char *argv[] = {sbx_redis_key(lock_key, SBX_REDIS_LOCK, lock->id),
                          sbx_redis_key(fence_key, SBX_REDIS_FENCE, lock->id), lock->token,
                          gone ? GONE_FENCE_MS : ""};
    long long done;
    (void)!sbx_redis_run_int(self(store), SBX_REDIS_DO_RELEASE, 4, argv, &done, NULL);
}
