/* A create that is repeated makes one session: the record carries what identifies it. */
#include "session/internal.h"

#include <string.h>

#define PAUSE_MIN_MS 2
#define PAUSE_MAX_MS 50

/* 1: it is the one, and ready; 0: look again later; -1. */
static int judge(struct sbx_engine *engine, const struct sbx_record *other, const struct sbx_record *mine,
                 struct sbx_err *err)
{
    if (strcmp(other->body, mine->body) != 0)
        return sbx_err_set(err, SBX_ERR_INVALID, "Idempotency-Key was used with another request body");
    if (other->state == SBX_SESSION_CREATING)
        return 0;
    struct sbx_record record;
    struct sbx_err failure = SBX_ERR_INIT;
    sbx_record_init(&record);
    int rc = sbx_session_look(engine, other->id, &record, &failure);
    sbx_record_done(&record);
    if (rc == 0)
        return 1;
    /* Over its limit, and not swept yet: that frees the key. */
    if (failure.kind == SBX_ERR_NOT_FOUND)
        return sbx_session_close(engine, other->id, err) < 0 ? -1 : 0;
    *err = failure;
    return -1;
}

/* As judge, for whoever has the key now. */
static int find(struct sbx_engine *engine, const struct sbx_record *record, char ret_id[SBX_UUID_LEN + 1],
                struct sbx_err *err)
{
    struct sbx_record other;
    struct sbx_err failure = SBX_ERR_INIT;
    sbx_record_init(&other);
    int rc = sbx_store_find_key(engine->store, record->key, &other, &failure);
    if (rc == 0)
        rc = judge(engine, &other, record, &failure);
    else if (failure.kind == SBX_ERR_NOT_FOUND) /* freed meanwhile */
        rc = 0;
    if (rc < 0)
        *err = failure;
    if (rc == 1)
        memcpy(ret_id, other.id, SBX_UUID_LEN + 1);
    sbx_record_done(&other);
    return rc;
}

int sbx_session_insert_once(struct sbx_engine *engine, const struct sbx_record *record,
                            char ret_id[SBX_UUID_LEN + 1], struct sbx_err *err)
{
    int64_t until = sbx_now_ms() + engine->config->pull_timeout_ms;
    for (int64_t pause = PAUSE_MIN_MS;; pause = pause * 2 < PAUSE_MAX_MS ? pause * 2 : PAUSE_MAX_MS) {
        struct sbx_err failure = SBX_ERR_INIT;
        if (sbx_store_insert(engine->store, record, &failure) == 0)
            return 1;
        if (failure.kind != SBX_ERR_CONFLICT || !record->key[0]) {
            *err = failure;
            return -1;
        }
        int rc = find(engine, record, ret_id, err);
        if (rc != 0)
            return rc < 0 ? -1 : 0;
        if (sbx_now_ms() >= until)
            return sbx_err_set(err, SBX_ERR_CONFLICT, "A create with this Idempotency-Key is still going on");
        if (sbx_wait_poll(engine->wait, NULL, 0, (int)pause, err) < 0)
            return -1;
    }
}
