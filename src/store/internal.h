/* What the two implementations of store.h share with store.c, which checks arguments and dispatches to them.
 */
#ifndef STORE_INTERNAL_H
#define STORE_INTERNAL_H

#include "sandboxd/store.h"

/* Last-used times closer than this to the recorded one are not written (sbx_store_touch), or than this part
 * of the idle limit; the least is that part of a limit of a second. */
#define SBX_STORE_TOUCH_MS    30000
#define SBX_STORE_TOUCH_PART  20
#define SBX_STORE_TOUCH_LEAST (1000 / SBX_STORE_TOUCH_PART)

/* Contracts as in store.h unless said otherwise. */
struct sbx_store_ops {
    void (*close)(struct sbx_store *store);
    int (*ping)(struct sbx_store *store, struct sbx_err *err);

    int (*insert)(struct sbx_store *store, const struct sbx_record *record, struct sbx_err *err);
    int (*get)(struct sbx_store *store, const char *id, struct sbx_record *ret, struct sbx_err *err);
    int (*find_key)(struct sbx_store *store, const char *key, struct sbx_record *ret, struct sbx_err *err);
    int (*count)(struct sbx_store *store, const char *owner, int64_t *ret, struct sbx_err *err);
    int (*set_ready)(struct sbx_store *store, const struct sbx_record *record, struct sbx_err *err);
    int (*set_seeded)(struct sbx_store *store, const char *id, struct sbx_err *err);
    int (*set_closing)(struct sbx_store *store, const char *id, struct sbx_err *err);
    int (*set_stopped)(struct sbx_store *store, const char *id, struct sbx_err *err);
    int (*set_resumed)(struct sbx_store *store, const char *id, struct sbx_err *err);
    int (*update)(struct sbx_store *store, const struct sbx_record *record, struct sbx_err *err);
    /* Write now_ms unless what is stored is within lazy_ms of it. */
    int (*touch)(struct sbx_store *store, const char *id, int64_t now_ms, int64_t lazy_ms,
                 struct sbx_err *err);
    int (*pool_add)(struct sbx_store *store, const struct sbx_record *record, int target,
                    struct sbx_err *err);
    int (*pool_ready)(struct sbx_store *store, const struct sbx_record *record, struct sbx_err *err);
    int (*pool_claim)(struct sbx_store *store, const char *pool, struct sbx_record *record,
                      struct sbx_err *err);
    int (*pool_drop)(struct sbx_store *store, const char *id, struct sbx_err *err);
    int (*wish)(struct sbx_store *store, const char *wish, double at, struct sbx_err *err);
    int (*wishes)(struct sbx_store *store, double least, struct sbx_wish *out, int limit,
                  struct sbx_err *err);
    int (*delete)(struct sbx_store *store, const char *id, struct sbx_err *err);
    /* The first n records with id > after into out[] (initialised); how many there were, or -1. */
    int (*page)(struct sbx_store *store, const char *after, int n, struct sbx_record *out,
                struct sbx_err *err);

    /* One attempt at the lock of lock->id, without waiting: 1 got it (fence and fd or token are set), 0 busy,
     * -1. */
    int (*try_lock)(struct sbx_store *store, struct sbx_lock *lock, struct sbx_err *err);
    /* NULL where a held lock needs no refresh; else called every refresh_ms of the handle. */
    int (*refresh)(struct sbx_store *store, struct sbx_lock *lock, struct sbx_err *err);
    void (*unlock)(struct sbx_store *store, struct sbx_lock *lock, bool gone);
    /* NULL where a dead holder's lock is free by itself. */
    int (*free_dead)(struct sbx_store *store, struct sbx_err *err);

    int (*lease)(struct sbx_store *store, const char *name, const char *holder, int64_t ttl_ms,
                 struct sbx_err *err);
    int (*lease_release)(struct sbx_store *store, const char *name, const char *holder, struct sbx_err *err);
};

/* First member of each implementation's handle. */
struct sbx_store {
    const struct sbx_store_ops *ops;
    char instance[SBX_UUID_LEN + 1];
    int64_t refresh_ms;
};

/* NOT_FOUND, in the words of the contract. Returns -1. */
int sbx_store_not_found(struct sbx_err *err);

struct sbx_store *sbx_store_open_embedded(const struct sbx_store_options *options,
                                          struct sbx_err *err) SBX_MUST_CHECK;
struct sbx_store *sbx_store_open_redis(const struct sbx_store_options *options,
                                       struct sbx_err *err) SBX_MUST_CHECK;

/* <dir>/instance. find: 1 and the id, 0 when there is none (or not a usable one), -1. make: find it, or make
 * one; all who come at the same time get the same. keep: this one from now on. */
int sbx_instance_find(const char *dir, char out[SBX_UUID_LEN + 1], struct sbx_err *err) SBX_MUST_CHECK;
int sbx_instance_make(const char *dir, char out[SBX_UUID_LEN + 1], struct sbx_err *err) SBX_MUST_CHECK;
int sbx_instance_keep(const char *dir, const char *id, struct sbx_err *err) SBX_MUST_CHECK;

/* Fill lock from <dir>/<id>.lock; as try_lock above. */
int sbx_filelock_try(const char *dir, struct sbx_lock *lock, struct sbx_err *err) SBX_MUST_CHECK;
void sbx_filelock_release(const char *dir, struct sbx_lock *lock, bool gone);

#endif
