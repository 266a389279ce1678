/* Records, leases and session locks in Redis. */
#include "redis.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* How long a deleted session's fence is kept, for whoever still waits for its lock. */
#define GONE_FENCE_MS "60000"

#define KEY_SIZE 256

/* Fields of a record's hash, in the order in which they are fetched. */
enum field {
    F_ID,
    F_STATE,
    F_OWNER,
    F_REPLICA,
    F_WORKER_PID,
    F_IMAGE,
    F_CONTAINER,
    F_HELPER,
    F_VOLUME,
    F_EXTRACT_PATCH,
    F_EPHEMERAL,
    F_SEEDED,
    F_CREATED_MS,
    F_USED_MS,
    F_OPTIONS,
    FIELDS,
};

static const char *const names[FIELDS] = {
    "id",     "state",         "owner",     "replica", "worker_pid", "image",   "container", "helper",
    "volume", "extract_patch", "ephemeral", "seeded",  "created_ms", "used_ms", "options",
};

struct number {
    char text[24];
};

static const char *format(struct number *out, int64_t value)
{
    snprintf(out->text, sizeof(out->text), "%lld", (long long)value);
    return out->text;
}

/* Ids are 36 bytes and lease names short literals: a longer one is cut and matches nothing. */
static const char *key(char out[KEY_SIZE], const char *prefix, const char *name)
{
    snprintf(out, KEY_SIZE, "%s%s", prefix, name);
    return out;
}

static struct sbx_redis *self(struct sbx_store *store)
{
    return (struct sbx_redis *)store;
}

static int not_found(struct sbx_err *err)
{
    return sbx_err_set(err, SBX_ERR_NOT_FOUND, "Session not found or already closed");
}

static const char *text_of(const redisReply *row, enum field field)
{
    const redisReply *value = row->element[field];
    return value->type == REDIS_REPLY_STRING ? value->str : "";
}

static int64_t number_of(const redisReply *row, enum field field)
{
    return strtoll(text_of(row, field), NULL, 10);
}

static int read_row(const redisReply *row, struct sbx_record *ret, struct sbx_err *err)
{
    sbx_record_done(ret);
    strlcpy(ret->id, text_of(row, F_ID), sizeof(ret->id));
    ret->state = (enum sbx_session_state)number_of(row, F_STATE);
    strlcpy(ret->owner, text_of(row, F_OWNER), sizeof(ret->owner));
    strlcpy(ret->replica, text_of(row, F_REPLICA), sizeof(ret->replica));
    ret->worker_pid = number_of(row, F_WORKER_PID);
    strlcpy(ret->image, text_of(row, F_IMAGE), sizeof(ret->image));
    strlcpy(ret->container, text_of(row, F_CONTAINER), sizeof(ret->container));
    strlcpy(ret->helper, text_of(row, F_HELPER), sizeof(ret->helper));
    strlcpy(ret->volume, text_of(row, F_VOLUME), sizeof(ret->volume));
    ret->extract_patch = number_of(row, F_EXTRACT_PATCH) != 0;
    ret->ephemeral = number_of(row, F_EPHEMERAL) != 0;
    ret->seeded = number_of(row, F_SEEDED) != 0;
    ret->created_ms = number_of(row, F_CREATED_MS);
    ret->used_ms = number_of(row, F_USED_MS);
    if (row->element[F_OPTIONS]->type == REDIS_REPLY_NIL)
        return 0;
    ret->options = strdup(text_of(row, F_OPTIONS));
    if (!ret->options)
        return sbx_err_set(err, SBX_ERR_INTERNAL, "out of memory for the options of a session");
    return 0;
}

static bool is_row(const redisReply *reply)
{
    return reply->type == REDIS_REPLY_ARRAY && reply->elements == FIELDS;
}

static int insert(struct sbx_store *store, const struct sbx_record *record, struct sbx_err *err)
{
    char name[KEY_SIZE];
    struct number state, pid, extract, ephemeral, seeded, created, used;
    const char *values[FIELDS] = {
        [F_ID] = record->id,
        [F_STATE] = format(&state, record->state),
        [F_OWNER] = record->owner,
        [F_REPLICA] = record->replica,
        [F_WORKER_PID] = format(&pid, record->worker_pid),
        [F_IMAGE] = record->image,
        [F_CONTAINER] = record->container,
        [F_HELPER] = record->helper,
        [F_VOLUME] = record->volume,
        [F_EXTRACT_PATCH] = format(&extract, record->extract_patch),
        [F_EPHEMERAL] = format(&ephemeral, record->ephemeral),
        [F_SEEDED] = format(&seeded, record->seeded),
        [F_CREATED_MS] = format(&created, record->created_ms),
        [F_USED_MS] = format(&used, record->used_ms),
        [F_OPTIONS] = record->options,
    };
    const char *argv[SBX_REDIS_MAX_ARGS] = {key(name, SBX_REDIS_RECORD, record->id), SBX_REDIS_INDEX,
                                            record->id};
    int argc = 3;
    for (int i = 0; i < FIELDS; i++) {
        if (!values[i]) /* no options: no field */
            continue;
        argv[argc++] = names[i];
        argv[argc++] = values[i];
    }
    long long added;
    if (sbx_redis_run_int(self(store), SBX_REDIS_DO_INSERT, argc, argv, &added, err) < 0)
        return -1;
    if (!added)
        return sbx_err_set(err, SBX_ERR_CONFLICT, "session %s exists already", record->id);
    return 0;
}

static int get(struct sbx_store *store, const char *id, struct sbx_record *ret, struct sbx_err *err)
{
    char name[KEY_SIZE];
    const char *argv[2 + FIELDS] = {"HMGET", key(name, SBX_REDIS_RECORD, id)};
    memcpy(argv + 2, names, sizeof(names));
    SBX_REDIS_AUTO_REPLY redisReply *reply = sbx_redis_command(self(store), 2 + FIELDS, argv, err);
    if (!reply)
        return -1;
    if (!is_row(reply))
        return sbx_err_set(err, SBX_ERR_UNAVAILABLE, "redis: unexpected answer of type %d", reply->type);
    if (reply->element[F_ID]->type == REDIS_REPLY_NIL)
        return not_found(err);
    return read_row(reply, ret, err);
}

static int page(struct sbx_store *store, const char *after, int n, struct sbx_record *out,
                struct sbx_err *err)
{
    char from[SBX_UUID_LEN + 2];
    struct number count;
    snprintf(from, sizeof(from), "%s%s", *after ? "(" : "-", after);
    const char *argv[4 + FIELDS] = {SBX_REDIS_INDEX, from, format(&count, n), SBX_REDIS_RECORD};
    memcpy(argv + 4, names, sizeof(names));
    SBX_REDIS_AUTO_REPLY redisReply *reply =
        sbx_redis_run(self(store), SBX_REDIS_DO_PAGE, 4 + FIELDS, argv, err);
    if (!reply)
        return -1;
    if (reply->type != REDIS_REPLY_ARRAY || reply->elements > (size_t)n)
        return sbx_err_set(err, SBX_ERR_UNAVAILABLE, "redis: unexpected answer of type %d", reply->type);
    for (size_t i = 0; i < reply->elements; i++) {
        if (!is_row(reply->element[i]))
            return sbx_err_set(err, SBX_ERR_UNAVAILABLE, "redis: unexpected row");
        if (read_row(reply->element[i], &out[i], err) < 0)
            return -1;
    }
    return (int)reply->elements;
}

static int set_ready(struct sbx_store *store, const struct sbx_record *record, struct sbx_err *err)
{
    char name[KEY_SIZE];
    const char *argv[] = {key(name, SBX_REDIS_RECORD, record->id), record->container, record->helper,
                          record->volume};
    long long done;
    if (sbx_redis_run_int(self(store), SBX_REDIS_DO_READY, 4, argv, &done, err) < 0)
        return -1;
    return done ? 0 : not_found(err);
}

static int set_seeded(struct sbx_store *store, const char *id, struct sbx_err *err)
{
    char name[KEY_SIZE];
    const char *argv[] = {key(name, SBX_REDIS_RECORD, id)};
    long long done;
    if (sbx_redis_run_int(self(store), SBX_REDIS_DO_SEEDED, 1, argv, &done, err) < 0)
        return -1;
    if (done == 0)
        return sbx_err_set(err, SBX_ERR_CONFLICT, "Session already seeded");
    return done > 0 ? 0 : not_found(err);
}

static int set_closing(struct sbx_store *store, const char *id, struct sbx_err *err)
{
    char name[KEY_SIZE];
    const char *argv[] = {key(name, SBX_REDIS_RECORD, id)};
    long long done;
    if (sbx_redis_run_int(self(store), SBX_REDIS_DO_CLOSING, 1, argv, &done, err) < 0)
        return -1;
    return done ? 0 : not_found(err);
}

static int touch(struct sbx_store *store, const char *id, int64_t now_ms, struct sbx_err *err)
{
    char name[KEY_SIZE];
    struct number now, lazy;
    const char *argv[] = {key(name, SBX_REDIS_RECORD, id), format(&now, now_ms),
                          format(&lazy, SBX_STORE_TOUCH_MS)};
    long long done;
    return sbx_redis_run_int(self(store), SBX_REDIS_DO_TOUCH, 3, argv, &done, err);
}

static int delete (struct sbx_store *store, const char *id, struct sbx_err *err)
{
    char name[KEY_SIZE];
    const char *argv[] = {key(name, SBX_REDIS_RECORD, id), SBX_REDIS_INDEX, id};
    long long done;
    return sbx_redis_run_int(self(store), SBX_REDIS_DO_DELETE, 3, argv, &done, err);
}

/* A write: a read-only replica and a full Redis answer PING as well. */
static int ping(struct sbx_store *store, struct sbx_err *err)
{
    const char *argv[] = {"SET", SBX_REDIS_PING, "1", "PX", "1000"};
    SBX_REDIS_AUTO_REPLY redisReply *reply = sbx_redis_command(self(store), 5, argv, err);
    return reply ? 0 : -1;
}

static int lease(struct sbx_store *store, const char *name, const char *holder, int64_t ttl_ms,
                 struct sbx_err *err)
{
    char lease_key[KEY_SIZE];
    struct number ttl;
    const char *argv[] = {key(lease_key, SBX_REDIS_LEASE, name), holder, format(&ttl, ttl_ms)};
    long long had;
    if (sbx_redis_run_int(self(store), SBX_REDIS_DO_LEASE, 3, argv, &had, err) < 0)
        return -1;
    return had ? 1 : 0;
}

static int lease_release(struct sbx_store *store, const char *name, const char *holder, struct sbx_err *err)
{
    char lease_key[KEY_SIZE];
    const char *argv[] = {key(lease_key, SBX_REDIS_LEASE, name), "", holder, ""};
    long long done;
    return sbx_redis_run_int(self(store), SBX_REDIS_DO_RELEASE, 4, argv, &done, err);
}

/* When the answer is lost the lock may have been granted to nobody: it is free again after its TTL. */
static int try_lock(struct sbx_store *store, struct sbx_lock *lock, struct sbx_err *err)
{
    if (!lock->token[0]) {
        unsigned char random[16];
        sbx_random(random, sizeof(random));
        for (size_t i = 0; i < sizeof(random); i++)
            snprintf(lock->token + 2 * i, 3, "%02x", random[i]);
    }
    char lock_key[KEY_SIZE], fence_key[KEY_SIZE];
    struct number ttl;
    const char *argv[] = {key(lock_key, SBX_REDIS_LOCK, lock->id), key(fence_key, SBX_REDIS_FENCE, lock->id),
                          lock->token, format(&ttl, self(store)->lock_ttl_ms)};
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
static int refresh(struct sbx_store *store, struct sbx_lock *lock, struct sbx_err *err)
{
    char lock_key[KEY_SIZE];
    struct number ttl;
    const char *argv[] = {key(lock_key, SBX_REDIS_LOCK, lock->id), lock->token,
                          format(&ttl, self(store)->lock_ttl_ms)};
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
static void unlock(struct sbx_store *store, struct sbx_lock *lock, bool gone)
{
    char lock_key[KEY_SIZE], fence_key[KEY_SIZE];
    const char *argv[] = {key(lock_key, SBX_REDIS_LOCK, lock->id), key(fence_key, SBX_REDIS_FENCE, lock->id),
                          lock->token, gone ? GONE_FENCE_MS : ""};
    long long done;
    (void)!sbx_redis_run_int(self(store), SBX_REDIS_DO_RELEASE, 4, argv, &done, NULL);
}

static void close_store(struct sbx_store *store)
{
    sbx_redis_disconnect(self(store));
    explicit_bzero(&self(store)->url, sizeof(self(store)->url));
    free(store);
}

static const struct sbx_store_ops ops = {
    .close = close_store,
    .ping = ping,
    .insert = insert,
    .get = get,
    .set_ready = set_ready,
    .set_seeded = set_seeded,
    .set_closing = set_closing,
    .touch = touch,
    .delete = delete,
    .page = page,
    .try_lock = try_lock,
    .refresh = refresh,
    .unlock = unlock,
    .lease = lease,
    .lease_release = lease_release,
};

struct sbx_store *sbx_store_open_redis(const struct sbx_store_options *options, struct sbx_err *err)
{
    if (options->lock_refresh_ms <= 0 || options->lock_refresh_ms >= options->lock_ttl_ms) {
        sbx_err_set(err, SBX_ERR_INVALID, "session lock must be refreshed more often than its TTL passes");
        return NULL;
    }
    struct sbx_redis *store = calloc(1, sizeof(*store));
    if (!store) {
        sbx_err_set(err, SBX_ERR_INTERNAL, "out of memory for the store");
        return NULL;
    }
    store->base.ops = &ops;
    store->base.refresh_ms = options->lock_refresh_ms;
    store->lock_ttl_ms = options->lock_ttl_ms;
    if (sbx_redis_url_parse(options->redis_url, &store->url, err) < 0 || sbx_redis_connect(store, err) < 0) {
        close_store(&store->base);
        return NULL;
    }
    return &store->base;
}
