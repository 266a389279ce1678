/*
 * The connection to Redis. A context is dropped whenever its state is in doubt: after a timeout the late
 * answer would be taken for the next command's. SIGPIPE must be ignored by the process.
 */
#include "redis.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sha1.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CONNECT_MS 500

/* How long a Redis that did not answer is not asked again, from a wait of this length on. */
#define DOWN_MS 250
#define SLOW_MS 100

void sbx_redis_cleanup_reply(redisReply **reply)
{
    if (*reply)
        freeReplyObject(*reply);
}

const char *sbx_redis_key(char out[SBX_REDIS_KEY_SIZE], const char *prefix, const char *name)
{
    snprintf(out, SBX_REDIS_KEY_SIZE, "%s%s", prefix, name);
    return out;
}

struct sbx_redis_number sbx_redis_number(int64_t value)
{
    struct sbx_redis_number number;
    snprintf(number.text, sizeof(number.text), "%lld", (long long)value);
    return number;
}

void sbx_redis_disconnect(struct sbx_redis *store)
{
    if (store->ctx)
        redisFree(store->ctx);
    store->ctx = NULL;
}

/* The connection is no good. Remember a failure that took long. */
static void give_up(struct sbx_redis *store, int64_t begun, const struct sbx_err *why)
{
    int64_t now = sbx_now_ms();
    if (now - begun >= SLOW_MS) {
        store->down_until_ms = now + DOWN_MS;
        store->down = *why;
    }
    sbx_redis_disconnect(store);
}

/* Send and wait for the answer on the present connection. Error answers are returned like any other. */
static redisReply *exchange(struct sbx_redis *store, int argc, const char **argv, struct sbx_err *err)
{
    int64_t begun = sbx_now_ms();
    struct sbx_err failure = SBX_ERR_INIT;
    errno = 0;
    redisReply *reply = redisCommandArgv(store->ctx, argc, argv, NULL);
    if (reply)
        return reply;
    if (store->ctx->err == REDIS_ERR_IO && errno == EAGAIN)
        sbx_err_set(&failure, SBX_ERR_UNAVAILABLE, "redis: no answer within %d ms", SBX_REDIS_COMMAND_MS);
    else
        sbx_err_set(&failure, SBX_ERR_UNAVAILABLE, "redis: %s",
                    store->ctx->err ? store->ctx->errstr : "no answer");
    give_up(store, begun, &failure);
    if (err)
        *err = failure;
    return NULL;
}

/* Turn an error answer into *err and free it. After a failover the old master says READONLY: look for the new
 * one. */
static redisReply *checked(struct sbx_redis *store, redisReply *reply, struct sbx_err *err)
{
    if (!reply || reply->type != REDIS_REPLY_ERROR)
        return reply;
    sbx_err_set(err, SBX_ERR_UNAVAILABLE, "redis: %s", reply->str);
    if (strncmp(reply->str, "READONLY", 8) == 0)
        sbx_redis_disconnect(store);
    freeReplyObject(reply);
    return NULL;
}

static int dial(struct sbx_redis *store, struct sbx_err *err)
{
    const struct timeval connect_time = {CONNECT_MS / 1000, CONNECT_MS % 1000 * 1000};
    const struct timeval command_time = {SBX_REDIS_COMMAND_MS / 1000, SBX_REDIS_COMMAND_MS % 1000 * 1000};
    const struct sbx_redis_url *url = &store->url;
    store->ctx = url->is_unix ? redisConnectUnixWithTimeout(url->address, connect_time)
                              : redisConnectWithTimeout(url->address, url->port, connect_time);
    if (!store->ctx)
        return sbx_err_set(err, SBX_ERR_INTERNAL, "out of memory for a connection to redis");
    if (store->ctx->err || redisSetTimeout(store->ctx, command_time) != REDIS_OK)
        return sbx_err_set(err, SBX_ERR_UNAVAILABLE, "cannot connect to redis at %s: %s", url->address,
                           store->ctx->errstr);
    if (fcntl(store->ctx->fd, F_SETFD, FD_CLOEXEC) < 0)
        return sbx_err_sys(err, SBX_ERR_UNAVAILABLE, errno, "connection to redis");
    if (!url->is_unix)
        (void)redisEnableKeepAlive(store->ctx);
    return 0;
}

static int learn_clock(struct sbx_redis *store, struct sbx_err *err)
{
    const char *argv[1] = {"TIME"};
    SBX_REDIS_AUTO_REPLY redisReply *reply = checked(store, exchange(store, 1, argv, err), err);
    if (!reply)
        return -1;
    if (reply->type != REDIS_REPLY_ARRAY || reply->elements != 2)
        return sbx_err_set(err, SBX_ERR_UNAVAILABLE, "redis: unexpected answer of type %d", reply->type);
    int64_t wall_ms =
        strtoll(reply->element[0]->str, NULL, 10) * 1000 + strtoll(reply->element[1]->str, NULL, 10) / 1000;
    store->clock_ms = wall_ms - sbx_now_ms();
    return 0;
}

static int greet(struct sbx_redis *store, struct sbx_err *err)
{
    if (store->url.password[0]) {
        const char *auth[3] = {"AUTH", store->url.user, store->url.password};
        if (!store->url.user[0])
            auth[1] = store->url.password;
        SBX_REDIS_AUTO_REPLY redisReply *reply =
            checked(store, exchange(store, store->url.user[0] ? 3 : 2, auth, err), err);
        if (!reply)
            return -1;
    }
    if (store->url.db > 0) {
        char db[16];
        snprintf(db, sizeof(db), "%d", store->url.db);
        const char *select[2] = {"SELECT", db};
        SBX_REDIS_AUTO_REPLY redisReply *reply = checked(store, exchange(store, 2, select, err), err);
        if (!reply)
            return -1;
    }
    return 0;
}

/* Scripts go by their hash, and as text only where Redis does not know them (yet, or any more). */
static redisReply *run(struct sbx_redis *store, enum sbx_redis_script script, int argc, const char **argv,
                       struct sbx_err *err)
{
    static char hashes[SBX_REDIS_SCRIPTS][SHA1_DIGEST_STRING_LENGTH];
    const struct sbx_redis_lua *lua = &sbx_redis_lua[script];
    char *hash = hashes[script];
    if (!*hash)
        SHA1Data((const uint8_t *)lua->text, strlen(lua->text), hash);

    char keys[16];
    snprintf(keys, sizeof(keys), "%d", lua->keys);
    const char *full[SBX_REDIS_MAX_ARGS + 3] = {"EVALSHA", hash, keys};
    if (argc > SBX_REDIS_MAX_ARGS) {
        sbx_err_set(err, SBX_ERR_INTERNAL, "too many arguments for a script");
        return NULL;
    }
    memcpy(full + 3, argv, (size_t)argc * sizeof(*argv));
    redisReply *reply = exchange(store, argc + 3, full, err);
    if (reply && reply->type == REDIS_REPLY_ERROR && strncmp(reply->str, "NOSCRIPT", 8) == 0) {
        freeReplyObject(reply);
        full[0] = "EVAL";
        full[1] = lua->text;
        reply = exchange(store, argc + 3, full, err);
    }
    return checked(store, reply, err);
}

/* The instance as Redis knows it, in *reply, is this process's from now on, and kept on disk. */
static int take_instance(struct sbx_redis *store, const redisReply *reply, struct sbx_err *err)
{
    if (!reply)
        return -1;
    if (reply->type != REDIS_REPLY_STRING || !sbx_is_uuid(reply->str))
        return sbx_err_set(err, SBX_ERR_UNAVAILABLE, "redis: %s holds no id", SBX_REDIS_INSTANCE);
    bool same = strcmp(store->base.instance, reply->str) == 0;
    strlcpy(store->base.instance, reply->str, sizeof(store->base.instance));
    return same || !store->dir[0] ? 0 : sbx_instance_keep(store->dir, store->base.instance, err);
}

/* The first of all processes names the instance. After a Redis came back empty it gets the old name again, so
 * that the containers made before stay its own. */
static int learn_instance(struct sbx_redis *store, struct sbx_err *err)
{
    char candidate[SBX_UUID_LEN + 1];
    sbx_uuid4(candidate);
    if (store->base.instance[0])
        strlcpy(candidate, store->base.instance, sizeof(candidate));
    const char *argv[2] = {SBX_REDIS_INSTANCE, candidate};
    SBX_REDIS_AUTO_REPLY redisReply *reply = run(store, SBX_REDIS_DO_INSTANCE, 2, argv, err);
    return take_instance(store, reply, err);
}

int sbx_redis_ping(struct sbx_store *base, struct sbx_err *err)
{
    struct sbx_redis *store = (struct sbx_redis *)base;
    if (sbx_redis_connect(store, err) < 0)
        return -1;
    const char *argv[] = {SBX_REDIS_INSTANCE, SBX_REDIS_PING, store->base.instance};
    SBX_REDIS_AUTO_REPLY redisReply *reply = run(store, SBX_REDIS_DO_PING, 3, argv, err);
    return take_instance(store, reply, err);
}

/* Nothing is outstanding between two commands: a readable connection was closed by the other side. */
static bool is_stale(const struct sbx_redis *store)
{
    struct pollfd fd = {store->ctx->fd, POLLIN, 0};
    return poll(&fd, 1, 0) != 0;
}

int sbx_redis_connect(struct sbx_redis *store, struct sbx_err *err)
{
    if (store->ctx && is_stale(store))
        sbx_redis_disconnect(store);
    if (store->ctx)
        return 0;
    int64_t begun = sbx_now_ms();
    struct sbx_err failure = store->down;
    if (begun >= store->down_until_ms) {
        failure = (struct sbx_err)SBX_ERR_INIT;
        if (dial(store, &failure) == 0 && greet(store, &failure) == 0 && learn_clock(store, &failure) == 0 &&
            learn_instance(store, &failure) == 0)
            return 0;
        give_up(store, begun, &failure);
    }
    if (err)
        *err = failure;
    return -1;
}

redisReply *sbx_redis_command(struct sbx_redis *store, int argc, const char **argv, struct sbx_err *err)
{
    if (sbx_redis_connect(store, err) < 0)
        return NULL;
    return checked(store, exchange(store, argc, argv, err), err);
}

redisReply *sbx_redis_run(struct sbx_redis *store, enum sbx_redis_script script, int argc, const char **argv,
                          struct sbx_err *err)
{
    if (sbx_redis_connect(store, err) < 0)
        return NULL;
    return run(store, script, argc, argv, err);
}

int sbx_redis_run_int(struct sbx_redis *store, enum sbx_redis_script script, int argc, const char **argv,
                      long long *ret, struct sbx_err *err)
{
    SBX_REDIS_AUTO_REPLY redisReply *reply = sbx_redis_run(store, script, argc, argv, err);
    if (!reply)
        return -1;
    if (reply->type != REDIS_REPLY_INTEGER)
        return sbx_err_set(err, SBX_ERR_UNAVAILABLE, "redis: unexpected answer of type %d", reply->type);
    *ret = reply->integer;
    return 0;
}
