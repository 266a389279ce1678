/*
 * Session records, per-session locks and leases. Two implementations pass one suite
 * (tests/unit/store_suite.c): embedded (SQLite with a rollback journal, session locks as kernel locks on
 * files; one machine) and Redis (many replicas). One handle a process, opened after fork.
 *
 * Errors: NOT_FOUND, CONFLICT as said at each call; UNAVAILABLE when the store cannot be reached or written.
 */
#ifndef SANDBOXD_STORE_H
#define SANDBOXD_STORE_H

#include <stdbool.h>
#include <stdint.h>

#include "sandboxd/base/err.h"
#include "sandboxd/base/util.h"
#include "sandboxd/base/wait.h"

enum sbx_session_state {
    SBX_SESSION_CREATING = 1, /* its maker is at work, or died at it */
    SBX_SESSION_READY = 2,
    SBX_SESSION_CLOSING = 3, /* what is left of it is being removed */
    SBX_SESSION_STOPPED = 4, /* closed, and kept for a while: its containers are stopped */
    SBX_SESSION_POOLED = 5,  /* made in advance, nobody's yet: see sbx_store_pool_claim */
};

/* Hashes of a record, in hexadecimal. */
#define SBX_RECORD_HASH_SIZE 65

/* A session. Strings live in the record and are empty when there is none; `options` and `labels` are heap
 * memory. */
struct sbx_record {
    char id[SBX_UUID_LEN + 1];
    enum sbx_session_state state;
    char owner[64];     /* client name */
    char replica[64];   /* who makes or made it */
    int64_t worker_pid; /* the process that makes it, while CREATING: its sbx_proc_self */
    char image[512];
    char container[65];
    char helper[65]; /* container of the patch helper */
    char volume[80];
    bool extract_patch;
    bool ephemeral;
    bool seeded;
    char *options;      /* JSON: environment, memory_bytes, cpus, network_enabled …; owned, may be NULL */
    char *labels;       /* JSON object of strings, the client's own; owned, may be NULL */
    int64_t created_ms; /* wall clock */
    int64_t used_ms;
    int64_t idle_ms;    /* it ends when it was not used for that long; 0: no limit */
    int64_t expires_ms; /* wall clock: it ends then, used or not; 0: no limit */
    int64_t stopped_ms; /* wall clock: since when it is STOPPED or CLOSING */
    /* Of a session made with an Idempotency-Key: what tells the client and the key, and the body of that
     * create. At most one session has a key; it is free again when the session is CLOSING. */
    char key[SBX_RECORD_HASH_SIZE];
    char body[SBX_RECORD_HASH_SIZE];
    /* While it is made for a pool and while POOLED: which one; SBX_POOL_CLAIMED for a session that came from
     * a pool; else "". */
    char pool[SBX_RECORD_HASH_SIZE];
};

#define SBX_POOL_CLAIMED "claimed"

void sbx_record_init(struct sbx_record *record);
void sbx_record_done(struct sbx_record *record);

struct sbx_store;

struct sbx_store_options {
    const char *redis_url; /* NULL: embedded */
    const char *dir;       /* of the database and the lock files, made when missing; Redis: of the copy of the
                              instance id, or NULL */
    const char *replica;
    int64_t lock_ttl_ms;     /* Redis only */
    int64_t lock_refresh_ms; /* Redis only */
};

struct sbx_store *sbx_store_open(const struct sbx_store_options *options, struct sbx_err *err) SBX_MUST_CHECK;
void sbx_store_close(struct sbx_store *store);

/* Is it there and writable? */
int sbx_store_ping(struct sbx_store *store, struct sbx_err *err) SBX_MUST_CHECK;

/* A random id made with the store, the same for every process and replica that shares it. Docker objects
 * carry it as a label, so that two deployments on one dockerd never touch each other's. Valid as long as the
 * handle. */
const char *sbx_store_instance(struct sbx_store *store);

/* Add a record; CONFLICT when the id exists, or another session has its key. */
int sbx_store_insert(struct sbx_store *store, const struct sbx_record *record,
                     struct sbx_err *err) SBX_MUST_CHECK;

/* NOT_FOUND when there is none. *ret must be initialised; it is released before it is filled. */
int sbx_store_get(struct sbx_store *store, const char *id, struct sbx_record *ret,
                  struct sbx_err *err) SBX_MUST_CHECK;

/* The session that has a key (not ""); else as sbx_store_get. */
int sbx_store_find_key(struct sbx_store *store, const char *key, struct sbx_record *ret,
                       struct sbx_err *err) SBX_MUST_CHECK;

/* How many sessions of an owner are CREATING or READY. */
int sbx_store_count(struct sbx_store *store, const char *owner, int64_t *ret,
                    struct sbx_err *err) SBX_MUST_CHECK;

/* CREATING → READY with container, helper, volume, used_ms and expires_ms taken from the record. NOT_FOUND
 * when the record is gone or no longer CREATING (then its maker must remove what it made). */
int sbx_store_set_ready(struct sbx_store *store, const struct sbx_record *record,
                        struct sbx_err *err) SBX_MUST_CHECK;

/* Set the seeded flag: CONFLICT "Session already seeded" when it is set, NOT_FOUND when the session is not
 * READY. */
int sbx_store_set_seeded(struct sbx_store *store, const char *id, struct sbx_err *err) SBX_MUST_CHECK;

/* Any state → CLOSING, now unless it was that already; NOT_FOUND when there is no record. */
int sbx_store_set_closing(struct sbx_store *store, const char *id, struct sbx_err *err) SBX_MUST_CHECK;

/* READY → STOPPED, now; nothing when it is STOPPED. NOT_FOUND when it is neither. */
int sbx_store_set_stopped(struct sbx_store *store, const char *id, struct sbx_err *err) SBX_MUST_CHECK;

/* STOPPED → READY, used now; NOT_FOUND when it is not STOPPED. */
int sbx_store_set_resumed(struct sbx_store *store, const char *id, struct sbx_err *err) SBX_MUST_CHECK;

/* Write labels, idle_ms, expires_ms and used_ms of the record; NOT_FOUND when the session is neither READY
 * nor STOPPED. */
int sbx_store_update(struct sbx_store *store, const struct sbx_record *record,
                     struct sbx_err *err) SBX_MUST_CHECK;

/* Note the time of use. Written lazily, at most every 30 s a session or twenty times in its idle limit, and
 * without fsync. read_ms: for how long the record has been in use; after a long time it is written in any
 * case, since the limit may have been changed. */
int sbx_store_touch(struct sbx_store *store, const struct sbx_record *record, int64_t read_ms,
                    struct sbx_err *err) SBX_MUST_CHECK;

/*
 * Pools of sessions that were made in advance. A pool is named by a hash of all that its sessions have in
 * common. An entry is a record like any other: CREATING, then POOLED; a claim makes it CREATING again.
 */

/* Insert a CREATING record for the pool record->pool (of the client's fields it has none), unless the pool
 * has `target` entries already, those in the making included: 1 inserted, 0 it is full, -1. */
int sbx_store_pool_add(struct sbx_store *store, const struct sbx_record *record, int target,
                       struct sbx_err *err) SBX_MUST_CHECK;

/* CREATING → POOLED with container, helper, volume taken from the record. NOT_FOUND as sbx_store_set_ready.
 */
int sbx_store_pool_ready(struct sbx_store *store, const struct sbx_record *record,
                         struct sbx_err *err) SBX_MUST_CHECK;

/* Take the oldest entry of a pool: it becomes CREATING, with everything but id, container, helper and volume
 * taken from the record, which gets those; its `pool` becomes SBX_POOL_CLAIMED. 1 claimed; 0 there is none,
 * or another session has the record's key; -1. */
int sbx_store_pool_claim(struct sbx_store *store, const char *pool, struct sbx_record *record,
                         struct sbx_err *err) SBX_MUST_CHECK;

/* POOLED → CLOSING: 1, or 0 when it is not POOLED (any more), -1. */
int sbx_store_pool_drop(struct sbx_store *store, const char *id, struct sbx_err *err) SBX_MUST_CHECK;

/*
 * What creates ask for, so that a pool can learn. A wish is a short text; its score is the logarithm to the
 * base of two of how often it was wished for, each time counted as 2^at with `at` the time in half-lives. So
 * scores keep their order while time passes, and 2^(score - at) is what is left of the count now.
 */
struct sbx_wish {
    char text[640];
    double score;
};

/* Count a wish, once more. */
int sbx_store_wish(struct sbx_store *store, const char *wish, double at, struct sbx_err *err) SBX_MUST_CHECK;

/* The wishes with the highest scores into out, highest first; how many, or -1. Those with a score below
 * `least` are forgotten. */
int sbx_store_wishes(struct sbx_store *store, double least, struct sbx_wish *out, int limit,
                     struct sbx_err *err) SBX_MUST_CHECK;

/* Remove the record; none is success. */
int sbx_store_delete(struct sbx_store *store, const char *id, struct sbx_err *err) SBX_MUST_CHECK;

/* Call fn for records with id > after ("" for all) in order of id, at most limit of them; a non-zero result
 * stops. fn may call the store. */
int sbx_store_list(struct sbx_store *store, const char *after, int limit,
                   int (*fn)(void *arg, const struct sbx_record *record), void *arg,
                   struct sbx_err *err) SBX_MUST_CHECK;

/*
 * Session locks. One holder at a time among all processes of all replicas; the holder's death frees it
 * (embedded: at once, by the kernel). fence grows with every acquisition of the same session, for ever: the
 * wall clock in microseconds, or one more than the one before where the clock was set back. The struct must
 * stay where it is while the lock is held.
 */
struct sbx_lock {
    struct sbx_store *store; /* NULL while not held */
    uint64_t fence;
    int fd;   /* embedded */
    int hook; /* handle of the refresh in `wait`, -1 none */
    char id[SBX_UUID_LEN + 1];
    char token[96];   /* Redis: "<pid>.<its start time>.<random>" */
    int64_t until_ms; /* Redis: monotonic time up to which it is surely held */
};

#define SBX_LOCK_INIT                                                                                        \
    {                                                                                                        \
        NULL, 0, -1, -1, "", "", 0                                                                           \
    }

/* Wait up to wait_ms for the lock; CONFLICT "Session is busy" after that, INVALID when id is no UUID. The
 * lock is refreshed by a hook in `wait` while the caller waits through it; when it is lost, that hook fails
 * with UNAVAILABLE. */
int sbx_store_lock(struct sbx_store *store, struct sbx_wait *wait, const char *id, int64_t wait_ms,
                   struct sbx_lock *lock, struct sbx_err *err) SBX_MUST_CHECK;

/* Release; nothing when it is not held. gone: the session was deleted, so what the store keeps for its lock
 * can go too. */
void sbx_store_unlock(struct sbx_lock *lock, struct sbx_wait *wait, bool gone);

/* Release the locks of processes of this replica that died: a replica that starts again does not wait for the
 * TTL of what its predecessor held, and neither does a session whose worker was killed. What a living one
 * could not release is forgotten when its TTL is over. How many were released, or -1. */
int sbx_store_free_dead(struct sbx_store *store, struct sbx_err *err) SBX_MUST_CHECK;

/* Leases: name → holder for ttl_ms. 1 when holder has it now (new or renewed), 0 when another has, -1. */
int sbx_store_lease(struct sbx_store *store, const char *name, const char *holder, int64_t ttl_ms,
                    struct sbx_err *err) SBX_MUST_CHECK;
int sbx_store_lease_release(struct sbx_store *store, const char *name, const char *holder,
                            struct sbx_err *err) SBX_MUST_CHECK;

#endif
