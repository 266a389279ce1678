/* Leases and session locks in Redis: a lock is a random token with a TTL, refreshed while it is held. */
#include "redis.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sandboxd/base/proc.h"

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
    const char *argv[] = {sbx_redis_key(lease_key, SBX_REDIS_LEASE, name), holder};
    long long done;
    return sbx_redis_run_int(self(store), SBX_REDIS_DO_UNLEASE, 2, argv, &done, err);
}

/* Run a script about a lock: its keys, id, token and at most two arguments more. */
static int run(struct sbx_redis *store, enum sbx_redis_script script, const char *id, const char *token,
               const char *third, const char *fourth, long long *ret, struct sbx_err *err)
{
    char lock_key[SBX_REDIS_KEY_SIZE], fence_key[SBX_REDIS_KEY_SIZE], held_key[SBX_REDIS_KEY_SIZE];
    const char *argv[] = {sbx_redis_key(lock_key, SBX_REDIS_LOCK, id),
                          sbx_redis_key(fence_key, SBX_REDIS_FENCE, id),
                          sbx_redis_key(held_key, SBX_REDIS_HELD, store->replica),
                          id,
                          token,
                          third,
                          fourth};
    return sbx_redis_run_int(store, script, fourth ? 7 : 6, argv, ret, err);
}

static void make_token(const struct sbx_redis *store, struct sbx_lock *lock)
{
    unsigned char random[16];
    sbx_random(random, sizeof(random));
    int n = snprintf(lock->token, sizeof(lock->token), "%s.", store->process);
    for (size_t i = 0; i < sizeof(random); i++)
        n += snprintf(lock->token + n, sizeof(lock->token) - (size_t)n, "%02x", random[i]);
}

/* When the answer is lost on its way the lock was granted to nobody: it is free again after its TTL, or when
 * this process ends. */
int sbx_redis_try_lock(struct sbx_store *store, struct sbx_lock *lock, struct sbx_err *err)
{
    if (!lock->token[0])
        make_token(self(store), lock);
    struct sbx_redis_number ttl = sbx_redis_number(self(store)->lock_ttl_ms);
    int64_t before = sbx_now_ms();
    long long fence;
    /* A Redis that was frozen carries out what it finds in its sockets: too late, for nobody. */
    if (sbx_redis_connect(self(store), err) < 0)
        return -1;
    struct sbx_redis_number until = sbx_redis_number(before + self(store)->clock_ms + SBX_REDIS_COMMAND_MS);
    if (run(self(store), SBX_REDIS_DO_LOCK, lock->id, lock->token, ttl.text, until.text, &fence, err) < 0)
        return -1;
    if (fence < 0) { /* or its clock was set: learn it again */
        sbx_redis_disconnect(self(store));
        return sbx_err_set(err, SBX_ERR_UNAVAILABLE, "redis: the answer came too late");
    }
    lock->fence = (uint64_t)fence;
    lock->until_ms = before + self(store)->lock_ttl_ms;
    return fence ? 1 : 0;
}

/* While Redis cannot be reached the lock is trusted until its TTL, as measured here, would pass before the
 * next try. */
int sbx_redis_refresh(struct sbx_store *store, struct sbx_lock *lock, struct sbx_err *err)
{
    struct sbx_redis_number ttl = sbx_redis_number(self(store)->lock_ttl_ms);
    struct sbx_redis_number fence = sbx_redis_number((int64_t)lock->fence);
    int64_t before = sbx_now_ms();
    long long held;
    struct sbx_err why = SBX_ERR_INIT;
    if (run(self(store), SBX_REDIS_DO_REFRESH, lock->id, lock->token, ttl.text, fence.text, &held, &why) <
        0) {
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
    long long done;
    (void)!run(self(store), SBX_REDIS_DO_RELEASE, lock->id, lock->token, gone ? GONE_FENCE_MS : "", NULL,
               &done, NULL);
}

int sbx_redis_process(pid_t pid, char *out, size_t size)
{
    struct sbx_proc proc;
    if (sbx_proc_look(pid, &proc) < 0)
        return -1;
    snprintf(out, size, "%d.%lld", (int)pid, (long long)proc.start);
    return 0;
}

static bool is_dead(const char *token)
{
    char process[sizeof(((struct sbx_redis *)NULL)->process)];
    if (sbx_redis_process((pid_t)strtol(token, NULL, 10), process, sizeof(process)) < 0)
        return true;
    size_t n = strlen(process);
    return strncmp(token, process, n) != 0 || token[n] != '.';
}

int sbx_redis_free_dead(struct sbx_store *store, struct sbx_err *err)
{
    char held_key[SBX_REDIS_KEY_SIZE];
    const char *argv[] = {sbx_redis_key(held_key, SBX_REDIS_HELD, self(store)->replica), SBX_REDIS_LOCK};
    SBX_REDIS_AUTO_REPLY redisReply *reply = sbx_redis_run(self(store), SBX_REDIS_DO_HELD, 2, argv, err);
    if (!reply)
        return -1;
    int freed = 0;
    for (size_t i = 0; reply->type == REDIS_REPLY_ARRAY && i + 1 < reply->elements; i += 2) {
        const redisReply *id = reply->element[i], *token = reply->element[i + 1];
        long long done = 0;
        if (id->type != REDIS_REPLY_STRING || token->type != REDIS_REPLY_STRING || !is_dead(token->str))
            continue;
        if (run(self(store), SBX_REDIS_DO_RELEASE, id->str, token->str, "", NULL, &done, err) < 0)
            return -1;
        freed += done > 0;
    }
    return freed;
}
