/* Pools in Redis: the set of a pool's entries is only an index, what holds is the state in their records. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "redis.h"

static struct sbx_redis *self(struct sbx_store *store)
{
    return (struct sbx_redis *)store;
}

int sbx_redis_pool_add(struct sbx_store *store, const struct sbx_record *record, int target,
                       struct sbx_err *err)
{
    char name[SBX_REDIS_KEY_SIZE], pool[SBX_REDIS_KEY_SIZE];
    struct sbx_redis_number pid = sbx_redis_number(record->worker_pid);
    struct sbx_redis_number created = sbx_redis_number(record->created_ms);
    struct sbx_redis_number count = sbx_redis_number(target);
    const char *argv[] = {sbx_redis_key(name, SBX_REDIS_RECORD, record->id),
                          SBX_REDIS_INDEX,
                          sbx_redis_key(pool, SBX_REDIS_POOL, record->pool),
                          SBX_REDIS_POOL,
                          record->id,
                          count.text,
                          SBX_REDIS_RECORD,
                          created.text,
                          "id",
                          record->id,
                          "state",
                          "1",
                          "replica",
                          record->replica,
                          "worker_pid",
                          pid.text,
                          "image",
                          record->image,
                          "extract_patch",
                          record->extract_patch ? "1" : "0",
                          "created_ms",
                          created.text,
                          "used_ms",
                          created.text,
                          "options",
                          record->options ? record->options : "{}",
                          "pool",
                          record->pool};
    long long added;
    if (sbx_redis_run_int(self(store), SBX_REDIS_DO_POOL_ADD, SBX_ARRAY_LEN(argv), argv, &added, err) < 0)
        return -1;
    return added == 1;
}

int sbx_redis_pool_ready(struct sbx_store *store, const struct sbx_record *record, struct sbx_err *err)
{
    char name[SBX_REDIS_KEY_SIZE];
    const char *argv[] = {sbx_redis_key(name, SBX_REDIS_RECORD, record->id), record->container,
                          record->helper, record->volume};
    long long done;
    if (sbx_redis_run_int(self(store), SBX_REDIS_DO_POOL_READY, SBX_ARRAY_LEN(argv), argv, &done, err) < 0)
        return -1;
    return done ? 0 : sbx_err_set(err, SBX_ERR_NOT_FOUND, "the pool's entry %s is gone", record->id);
}

static const char *text_at(const redisReply *row, size_t i)
{
    return row->element[i]->type == REDIS_REPLY_STRING ? row->element[i]->str : "";
}

int sbx_redis_pool_claim(struct sbx_store *store, const char *pool, struct sbx_record *record,
                         struct sbx_err *err)
{
    char set[SBX_REDIS_KEY_SIZE], key[SBX_REDIS_KEY_SIZE];
    struct sbx_redis_number pid = sbx_redis_number(record->worker_pid);
    struct sbx_redis_number created = sbx_redis_number(record->created_ms);
    struct sbx_redis_number used = sbx_redis_number(record->used_ms);
    struct sbx_redis_number idle = sbx_redis_number(record->idle_ms);
    struct sbx_redis_number expires = sbx_redis_number(record->expires_ms);
    const char *argv[SBX_REDIS_MAX_ARGS] = {sbx_redis_key(set, SBX_REDIS_POOL, pool),
                                            sbx_redis_key(key, SBX_REDIS_KEY, record->key),
                                            SBX_REDIS_RECORD,
                                            record->key,
                                            "owner",
                                            record->owner,
                                            "replica",
                                            record->replica,
                                            "worker_pid",
                                            pid.text,
                                            "image",
                                            record->image,
                                            "created_ms",
                                            created.text,
                                            "used_ms",
                                            used.text,
                                            "options",
                                            record->options ? record->options : "{}",
                                            "idle_ms",
                                            idle.text,
                                            "expires_ms",
                                            expires.text,
                                            "key",
                                            record->key,
                                            "body",
                                            record->body,
                                            "pool",
                                            SBX_POOL_CLAIMED};
    int argc = 28;
    if (record->labels) {
        argv[argc++] = "labels";
        argv[argc++] = record->labels;
    }
    SBX_REDIS_AUTO_REPLY redisReply *reply =
        sbx_redis_run(self(store), SBX_REDIS_DO_POOL_CLAIM, argc, argv, err);
    if (!reply)
        return -1;
    if (reply->type == REDIS_REPLY_NIL)
        return 0;
    if (reply->type != REDIS_REPLY_ARRAY || reply->elements != 4)
        return sbx_err_set(err, SBX_ERR_UNAVAILABLE, "redis: unexpected answer of type %d", reply->type);
    strlcpy(record->id, text_at(reply, 0), sizeof(record->id));
    strlcpy(record->container, text_at(reply, 1), sizeof(record->container));
    strlcpy(record->helper, text_at(reply, 2), sizeof(record->helper));
    strlcpy(record->volume, text_at(reply, 3), sizeof(record->volume));
    return 1;
}

int sbx_redis_pool_drop(struct sbx_store *store, const char *id, struct sbx_err *err)
{
    char name[SBX_REDIS_KEY_SIZE];
    const char *argv[] = {sbx_redis_key(name, SBX_REDIS_RECORD, id)};
    long long done;
    if (sbx_redis_run_int(self(store), SBX_REDIS_DO_POOL_DROP, 1, argv, &done, err) < 0)
        return -1;
    return done == 1;
}

int sbx_redis_wish(struct sbx_store *store, const char *wish, double at, struct sbx_err *err)
{
    char score[32];
    snprintf(score, sizeof(score), "%.17g", at);
    const char *argv[] = {SBX_REDIS_WISHES, wish, score};
    long long done;
    return sbx_redis_run_int(self(store), SBX_REDIS_DO_WISH, SBX_ARRAY_LEN(argv), argv, &done, err);
}

int sbx_redis_wishes(struct sbx_store *store, double least, struct sbx_wish *out, int limit,
                     struct sbx_err *err)
{
    char score[32];
    snprintf(score, sizeof(score), "%.17g", least);
    struct sbx_redis_number count = sbx_redis_number(limit);
    const char *argv[] = {SBX_REDIS_WISHES, score, count.text};
    SBX_REDIS_AUTO_REPLY redisReply *reply =
        sbx_redis_run(self(store), SBX_REDIS_DO_WISHES, SBX_ARRAY_LEN(argv), argv, err);
    if (!reply)
        return -1;
    if (reply->type != REDIS_REPLY_ARRAY || reply->elements > 2 * (size_t)limit)
        return sbx_err_set(err, SBX_ERR_UNAVAILABLE, "redis: unexpected answer of type %d", reply->type);
    for (size_t i = 0; i + 1 < reply->elements; i += 2) {
        strlcpy(out[i / 2].text, text_at(reply, i), sizeof(out->text));
        out[i / 2].score = strtod(text_at(reply, i + 1), NULL);
    }
    return (int)(reply->elements / 2);
}
