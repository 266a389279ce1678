/* The store in Redis: redis.c keeps the connection, redis_script.c holds the Lua scripts, redis_record.c uses
 * them. */
#ifndef STORE_REDIS_H
#define STORE_REDIS_H

#include <hiredis/hiredis.h>
#include <limits.h>

#include "internal.h"
#include "sandboxd/base/redis_url.h"

#define SBX_REDIS_INDEX    "daiv-sandbox:sessions"       /* sorted set of ids, all of score 0 */
#define SBX_REDIS_RECORD   "daiv-sandbox:session:"       /* + id: hash */
#define SBX_REDIS_KEY      "daiv-sandbox:key:"           /* + key of a record: its id */
#define SBX_REDIS_POOL     "daiv-sandbox:pool:"          /* + pool: sorted set of ids by their age */
#define SBX_REDIS_WISHES   "daiv-sandbox:wishes"         /* sorted set of wishes by their score */
#define SBX_REDIS_LOCK     "daiv-sandbox:session-lock:"  /* + id: token of the holder, with a TTL */
#define SBX_REDIS_FENCE    "daiv-sandbox:session-fence:" /* + id: newest fence */
#define SBX_REDIS_LEASE    "daiv-sandbox:lease:"         /* + name: holder, with a TTL */
#define SBX_REDIS_HELD     "daiv-sandbox:locks-of:"      /* + replica: hash of id → token */
#define SBX_REDIS_INSTANCE "daiv-sandbox:instance"
#define SBX_REDIS_PING     "daiv-sandbox:ping"

/* Longest wait for an answer. Health has two seconds to answer in all, and so has a request that cannot be
 * served. */
#define SBX_REDIS_COMMAND_MS 1300

/* Arguments of a command or script, EVALSHA's own three not counted. */
#define SBX_REDIS_MAX_ARGS 64

struct sbx_redis {
    struct sbx_store base;
    struct sbx_redis_url url;
    redisContext *ctx; /* NULL while there is no connection: the next use makes one */
    int64_t lock_ttl_ms;
    int64_t clock_ms; /* what Redis' wall clock is ahead of our monotonic one */
    char replica[64];
    char dir[PATH_MAX]; /* of the instance's copy; "" none */
    char process[48];   /* who takes locks: "<pid>.<start time>" */
    /* After a wait in vain further calls fail at once for a moment: a request makes several, and must not
     * wait for each. */
    int64_t down_until_ms;
    struct sbx_err down;
};

enum sbx_redis_script {
    SBX_REDIS_DO_INSTANCE,
    SBX_REDIS_DO_PING,
    SBX_REDIS_DO_INSERT,
    SBX_REDIS_DO_PAGE,
    SBX_REDIS_DO_COUNT,
    SBX_REDIS_DO_READY,
    SBX_REDIS_DO_SEEDED,
    SBX_REDIS_DO_CLOSING,
    SBX_REDIS_DO_STOPPED,
    SBX_REDIS_DO_RESUMED,
    SBX_REDIS_DO_UPDATE,
    SBX_REDIS_DO_TOUCH,
    SBX_REDIS_DO_DELETE,
    SBX_REDIS_DO_POOL_ADD,
    SBX_REDIS_DO_POOL_READY,
    SBX_REDIS_DO_POOL_CLAIM,
    SBX_REDIS_DO_POOL_DROP,
    SBX_REDIS_DO_WISH,
    SBX_REDIS_DO_WISHES,
    SBX_REDIS_DO_LEASE,
    SBX_REDIS_DO_UNLEASE,
    SBX_REDIS_DO_LOCK,
    SBX_REDIS_DO_REFRESH,
    SBX_REDIS_DO_RELEASE,
    SBX_REDIS_DO_HELD,
    SBX_REDIS_SCRIPTS,
};

struct sbx_redis_lua {
    const char *text;
    int keys; /* how many of the arguments, from the front, are keys */
};

extern const struct sbx_redis_lua sbx_redis_lua[SBX_REDIS_SCRIPTS];

#define SBX_REDIS_KEY_SIZE 256

/* prefix and name. Ids are 36 bytes and lease names short literals: a longer one is cut. Returns out. */
const char *sbx_redis_key(char out[SBX_REDIS_KEY_SIZE], const char *prefix, const char *name);

/* A number as an argument. */
struct sbx_redis_number {
    char text[24];
};
struct sbx_redis_number sbx_redis_number(int64_t value);

#define SBX_REDIS_AUTO_REPLY __attribute__((cleanup(sbx_redis_cleanup_reply)))
void sbx_redis_cleanup_reply(redisReply **reply);

/* Is it there and writable? Gives the instance back to a Redis that lost it. */
int sbx_redis_ping(struct sbx_store *store, struct sbx_err *err);

/* Make the connection now, and learn the instance. */
int sbx_redis_connect(struct sbx_redis *store, struct sbx_err *err) SBX_MUST_CHECK;
void sbx_redis_disconnect(struct sbx_redis *store);

/*
 * Run one command or script; the caller frees the reply (freeReplyObject). NULL with UNAVAILABLE when there
 * is no connection, no answer in time, or the answer is an error. Nothing is sent twice: whether a lost
 * command was carried out is not known.
 */
redisReply *sbx_redis_command(struct sbx_redis *store, int argc, const char **argv,
                              struct sbx_err *err) SBX_MUST_CHECK;
redisReply *sbx_redis_run(struct sbx_redis *store, enum sbx_redis_script script, int argc, const char **argv,
                          struct sbx_err *err) SBX_MUST_CHECK;

/* The same for a script that answers with an integer. */
int sbx_redis_run_int(struct sbx_redis *store, enum sbx_redis_script script, int argc, const char **argv,
                      long long *ret, struct sbx_err *err) SBX_MUST_CHECK;

/* The operations of redis_lock.c, see struct sbx_store_ops. */
int sbx_redis_lease(struct sbx_store *store, const char *name, const char *holder, int64_t ttl_ms,
                    struct sbx_err *err);
int sbx_redis_lease_release(struct sbx_store *store, const char *name, const char *holder,
                            struct sbx_err *err);
int sbx_redis_try_lock(struct sbx_store *store, struct sbx_lock *lock, struct sbx_err *err);
int sbx_redis_refresh(struct sbx_store *store, struct sbx_lock *lock, struct sbx_err *err);
void sbx_redis_unlock(struct sbx_store *store, struct sbx_lock *lock, bool gone);
int sbx_redis_free_dead(struct sbx_store *store, struct sbx_err *err);

/* "<pid>.<start time>" of a living process; -1 when there is none. */
int sbx_redis_process(pid_t pid, char *out, size_t size) SBX_MUST_CHECK;

/* The operations of redis_state.c, likewise. */
int sbx_redis_set_ready(struct sbx_store *store, const struct sbx_record *record, struct sbx_err *err);
int sbx_redis_set_seeded(struct sbx_store *store, const char *id, struct sbx_err *err);
int sbx_redis_set_closing(struct sbx_store *store, const char *id, struct sbx_err *err);
int sbx_redis_set_stopped(struct sbx_store *store, const char *id, struct sbx_err *err);
int sbx_redis_set_resumed(struct sbx_store *store, const char *id, struct sbx_err *err);
int sbx_redis_update(struct sbx_store *store, const struct sbx_record *record, struct sbx_err *err);
int sbx_redis_touch(struct sbx_store *store, const char *id, int64_t now_ms, int64_t lazy_ms,
                    struct sbx_err *err);
int sbx_redis_delete(struct sbx_store *store, const char *id, struct sbx_err *err);

/* The operations of redis_pool.c, likewise. */
int sbx_redis_pool_add(struct sbx_store *store, const struct sbx_record *record, int target,
                       struct sbx_err *err);
int sbx_redis_pool_ready(struct sbx_store *store, const struct sbx_record *record, struct sbx_err *err);
int sbx_redis_pool_claim(struct sbx_store *store, const char *pool, struct sbx_record *record,
                         struct sbx_err *err);
int sbx_redis_pool_drop(struct sbx_store *store, const char *id, struct sbx_err *err);
int sbx_redis_wish(struct sbx_store *store, const char *wish, double at, struct sbx_err *err);
int sbx_redis_wishes(struct sbx_store *store, double least, struct sbx_wish *out, int limit,
                     struct sbx_err *err);

#endif
