/* Session records in Redis, and the table of its operations. */
#include "redis.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

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
    F_LABELS,
    F_IDLE_MS,
    F_EXPIRES_MS,
    F_STOPPED_MS,
    F_KEY,
    F_BODY,
    F_POOL,
    FIELDS,
};

static const char *const names[FIELDS] = {
    "id",      "state",         "owner",      "replica", "worker_pid", "image",   "container", "helper",
    "volume",  "extract_patch", "ephemeral",  "seeded",  "created_ms", "used_ms", "options",   "labels",
    "idle_ms", "expires_ms",    "stopped_ms", "key",     "body",       "pool",
};

static struct sbx_redis *self(struct sbx_store *store)
{
    return (struct sbx_redis *)store;
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

/* A field that is missing, as in records of earlier versions, stays NULL. */
static int dup_text(const redisReply *row, enum field field, char **ret)
{
    if (row->element[field]->type == REDIS_REPLY_NIL)
        return 0;
    *ret = strdup(text_of(row, field));
    return *ret ? 0 : -1;
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
    ret->idle_ms = number_of(row, F_IDLE_MS);
    ret->expires_ms = number_of(row, F_EXPIRES_MS);
    ret->stopped_ms = number_of(row, F_STOPPED_MS);
    strlcpy(ret->key, text_of(row, F_KEY), sizeof(ret->key));
    strlcpy(ret->body, text_of(row, F_BODY), sizeof(ret->body));
    strlcpy(ret->pool, text_of(row, F_POOL), sizeof(ret->pool));
    if (dup_text(row, F_OPTIONS, &ret->options) < 0 || dup_text(row, F_LABELS, &ret->labels) < 0)
        return sbx_err_set(err, SBX_ERR_INTERNAL, "out of memory for the record of a session");
    return 0;
}

static bool is_row(const redisReply *reply)
{
    return reply->type == REDIS_REPLY_ARRAY && reply->elements == FIELDS;
}

static int insert(struct sbx_store *store, const struct sbx_record *record, struct sbx_err *err)
{
    char name[SBX_REDIS_KEY_SIZE], key[SBX_REDIS_KEY_SIZE];
    struct sbx_redis_number state = sbx_redis_number(record->state);
    struct sbx_redis_number pid = sbx_redis_number(record->worker_pid);
    struct sbx_redis_number extract = sbx_redis_number(record->extract_patch);
    struct sbx_redis_number ephemeral = sbx_redis_number(record->ephemeral);
    struct sbx_redis_number seeded = sbx_redis_number(record->seeded);
    struct sbx_redis_number created = sbx_redis_number(record->created_ms);
    struct sbx_redis_number used = sbx_redis_number(record->used_ms);
    struct sbx_redis_number idle = sbx_redis_number(record->idle_ms);
    struct sbx_redis_number expires = sbx_redis_number(record->expires_ms);
    struct sbx_redis_number stopped = sbx_redis_number(record->stopped_ms);
    const char *values[FIELDS] = {
        [F_ID] = record->id,
        [F_STATE] = state.text,
        [F_OWNER] = record->owner,
        [F_REPLICA] = record->replica,
        [F_WORKER_PID] = pid.text,
        [F_IMAGE] = record->image,
        [F_CONTAINER] = record->container,
        [F_HELPER] = record->helper,
        [F_VOLUME] = record->volume,
        [F_EXTRACT_PATCH] = extract.text,
        [F_EPHEMERAL] = ephemeral.text,
        [F_SEEDED] = seeded.text,
        [F_CREATED_MS] = created.text,
        [F_USED_MS] = used.text,
        [F_OPTIONS] = record->options,
        [F_LABELS] = record->labels,
        [F_IDLE_MS] = idle.text,
        [F_EXPIRES_MS] = expires.text,
        [F_STOPPED_MS] = stopped.text,
        [F_KEY] = record->key,
        [F_BODY] = record->body,
        [F_POOL] = record->pool,
    };
    const char *argv[SBX_REDIS_MAX_ARGS] = {sbx_redis_key(name, SBX_REDIS_RECORD, record->id),
                                            SBX_REDIS_INDEX, sbx_redis_key(key, SBX_REDIS_KEY, record->key),
                                            record->id, record->key[0] ? SBX_REDIS_RECORD : ""};
    int argc = 5;
    for (int i = 0; i < FIELDS; i++) {
        if (!values[i]) /* no options or labels: no field */
            continue;
        argv[argc++] = names[i];
        argv[argc++] = values[i];
    }
    long long added;
    if (sbx_redis_run_int(self(store), SBX_REDIS_DO_INSERT, argc, argv, &added, err) < 0)
        return -1;
    if (!added)
        return sbx_err_set(err, SBX_ERR_CONFLICT, "session %s or its key exists already", record->id);
    return 0;
}

static int get(struct sbx_store *store, const char *id, struct sbx_record *ret, struct sbx_err *err)
{
    char name[SBX_REDIS_KEY_SIZE];
    const char *argv[2 + FIELDS] = {"HMGET", sbx_redis_key(name, SBX_REDIS_RECORD, id)};
    memcpy(argv + 2, names, sizeof(names));
    SBX_REDIS_AUTO_REPLY redisReply *reply = sbx_redis_command(self(store), 2 + FIELDS, argv, err);
    if (!reply)
        return -1;
    if (!is_row(reply))
        return sbx_err_set(err, SBX_ERR_UNAVAILABLE, "redis: unexpected answer of type %d", reply->type);
    if (reply->element[F_ID]->type == REDIS_REPLY_NIL)
        return sbx_store_not_found(err);
    return read_row(reply, ret, err);
}

static int find_key(struct sbx_store *store, const char *key, struct sbx_record *ret, struct sbx_err *err)
{
    char name[SBX_REDIS_KEY_SIZE];
    const char *argv[] = {"GET", sbx_redis_key(name, SBX_REDIS_KEY, key)};
    SBX_REDIS_AUTO_REPLY redisReply *reply = sbx_redis_command(self(store), 2, argv, err);
    if (!reply)
        return -1;
    if (reply->type != REDIS_REPLY_STRING)
        return sbx_store_not_found(err);
    if (get(store, reply->str, ret, err) < 0)
        return -1;
    return strcmp(ret->key, key) == 0 ? 0 : sbx_store_not_found(err); /* it was freed in between */
}

static int page(struct sbx_store *store, const char *after, int n, struct sbx_record *out,
                struct sbx_err *err)
{
    char from[SBX_UUID_LEN + 2];
    struct sbx_redis_number count = sbx_redis_number(n);
    snprintf(from, sizeof(from), "%s%s", *after ? "(" : "-", after);
    const char *argv[4 + FIELDS] = {SBX_REDIS_INDEX, from, count.text, SBX_REDIS_RECORD};
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

static int count(struct sbx_store *store, const char *owner, int64_t *ret, struct sbx_err *err)
{
    const char *argv[] = {SBX_REDIS_INDEX, owner, SBX_REDIS_RECORD};
    long long found;
    if (sbx_redis_run_int(self(store), SBX_REDIS_DO_COUNT, 3, argv, &found, err) < 0)
        return -1;
    *ret = found;
    return 0;
}

static void close_store(struct sbx_store *store)
{
    sbx_redis_disconnect(self(store));
    explicit_bzero(&self(store)->url, sizeof(self(store)->url));
    free(store);
}

static const struct sbx_store_ops ops = {
    .close = close_store,
    .ping = sbx_redis_ping,
    .insert = insert,
    .get = get,
    .find_key = find_key,
    .count = count,
    .set_ready = sbx_redis_set_ready,
    .set_seeded = sbx_redis_set_seeded,
    .set_closing = sbx_redis_set_closing,
    .set_stopped = sbx_redis_set_stopped,
    .set_resumed = sbx_redis_set_resumed,
    .update = sbx_redis_update,
    .touch = sbx_redis_touch,
    .pool_add = sbx_redis_pool_add,
    .pool_ready = sbx_redis_pool_ready,
    .pool_claim = sbx_redis_pool_claim,
    .pool_drop = sbx_redis_pool_drop,
    .wish = sbx_redis_wish,
    .wishes = sbx_redis_wishes,
    .delete = sbx_redis_delete,
    .page = page,
    .try_lock = sbx_redis_try_lock,
    .refresh = sbx_redis_refresh,
    .unlock = sbx_redis_unlock,
    .free_dead = sbx_redis_free_dead,
    .lease = sbx_redis_lease,
    .lease_release = sbx_redis_lease_release,
};

/* A process can begin while Redis is away, and serve when it is back: unless this is the first start ever. */
static int open_parts(struct sbx_redis *store, const char *url, struct sbx_err *err)
{
    if (sbx_redis_url_parse(url, &store->url, err) < 0)
        return -1;
    if (sbx_redis_process(getpid(), store->process, sizeof(store->process)) < 0)
        return sbx_err_set(err, SBX_ERR_INTERNAL, "/proc is not readable");
    if (store->dir[0] && (sbx_mkdirs(store->dir, 0700, err) < 0 ||
                          sbx_instance_find(store->dir, store->base.instance, err) < 0))
        return -1;
    struct sbx_err failure = SBX_ERR_INIT;
    if (sbx_redis_connect(store, &failure) == 0 || store->base.instance[0])
        return 0;
    *err = failure;
    return -1;
}

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
    strlcpy(store->replica, options->replica, sizeof(store->replica));
    strlcpy(store->dir, options->dir ? options->dir : "", sizeof(store->dir));
    if (open_parts(store, options->redis_url, err) < 0) {
        close_store(&store->base);
        return NULL;
    }
    return &store->base;
}
