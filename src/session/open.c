/* Open a session for work: lock, record, links to its agents. */
#include "session/internal.h"

#include <string.h>

/* How often a record may be lost again while it is asked for. */
#define LOSSES 3

int sbx_session_gone(struct sbx_err *err)
{
    return sbx_err_set(err, SBX_ERR_NOT_FOUND, "Session not found or already closed");
}

static int lost_again(struct sbx_err *err)
{
    return sbx_err_set(err, SBX_ERR_UNAVAILABLE, "the store keeps losing the session's record");
}

/* The record, rebuilt where the store has lost it. A store that loses it again at once has not said that the
 * session is gone: only its note says that. */
static int get(struct sbx_engine *engine, const char *id, struct sbx_record *ret, struct sbx_err *err)
{
    for (int i = 0; i < LOSSES; i++) {
        struct sbx_err failure = SBX_ERR_INIT;
        if (sbx_store_get(engine->store, id, ret, &failure) == 0)
            return 0;
        if (failure.kind != SBX_ERR_NOT_FOUND) {
            *err = failure;
            return -1;
        }
        if (sbx_session_restore(engine, id, err) < 0)
            return -1;
    }
    return lost_again(err);
}

int sbx_session_find(struct sbx_engine *engine, const char *id, struct sbx_record *ret, struct sbx_err *err)
{
    struct sbx_err failure = SBX_ERR_INIT;
    int rc = get(engine, id, ret, &failure);
    bool foreign = rc == 0 && engine->client && strcmp(ret->owner, engine->client) != 0;
    if (rc == 0 && !foreign)
        return 0;
    if (foreign || failure.kind == SBX_ERR_NOT_FOUND)
        return sbx_session_gone(err);
    *err = failure;
    return -1;
}

int sbx_session_put(struct sbx_engine *engine, const char *id,
                    int (*find)(struct sbx_engine *, const char *, struct sbx_record *, struct sbx_err *),
                    int (*set)(struct sbx_store *, const char *, struct sbx_err *), struct sbx_record *ret,
                    struct sbx_err *err)
{
    for (int i = 0; i < LOSSES; i++) {
        struct sbx_err failure = SBX_ERR_INIT;
        if (find(engine, id, ret, err) < 0)
            return -1;
        if (set(engine->store, id, &failure) == 0)
            return 0;
        if (failure.kind != SBX_ERR_NOT_FOUND) {
            *err = failure;
            return -1;
        }
        sbx_record_done(ret);
        sbx_record_init(ret);
    }
    return lost_again(err);
}

/* Somebody has the session's lock: that is told to its own client only. */
static int busy(struct sbx_session *session, const char *id, struct sbx_err *err)
{
    struct sbx_err failure = SBX_ERR_INIT;
    if (err->kind == SBX_ERR_CONFLICT &&
        sbx_session_find(session->engine, id, &session->record, &failure) < 0)
        *err = failure;
    sbx_record_done(&session->record);
    return -1;
}

int sbx_session_open(struct sbx_engine *engine, const char *id, struct sbx_session *session,
                     struct sbx_err *err)
{
    return sbx_session_open_within(engine, id, engine->config->session_lock_wait_ms, true, session, err);
}

int sbx_session_open_within(struct sbx_engine *engine, const char *id, int64_t wait_ms, bool resume,
                            struct sbx_session *session, struct sbx_err *err)
{
    *session = (struct sbx_session){.engine = engine, .lock = SBX_LOCK_INIT};
    sbx_record_init(&session->record);
    if (!sbx_is_uuid(id))
        return sbx_session_gone(err);
    if (sbx_store_lock(engine->store, engine->wait, id, wait_ms, &session->lock, err) < 0)
        return busy(session, id, err);
    session->opened_ms = sbx_now_ms();
    int rc = sbx_session_look_locked(engine, id, &session->record, err);
    bool gone = session->record.id[0] == '\0' && err->kind == SBX_ERR_NOT_FOUND;
    if (rc == 0 && session->record.state == SBX_SESSION_STOPPED)
        rc = resume ? sbx_session_resume(session, err) : sbx_session_gone(err);
    if (rc == 0)
        return 0;
    sbx_store_unlock(&session->lock, engine->wait, gone);
    sbx_record_done(&session->record);
    return -1;
}

bool sbx_session_closed(struct sbx_session *session, bool *ret_gone)
{
    struct sbx_record record;
    struct sbx_err failure = SBX_ERR_INIT;
    sbx_record_init(&record);
    bool known = sbx_session_find(session->engine, session->record.id, &record, &failure) == 0;
    bool closed = known ? record.state != SBX_SESSION_READY : failure.kind == SBX_ERR_NOT_FOUND;
    if (ret_gone)
        *ret_gone = closed && !(known && record.state == SBX_SESSION_STOPPED);
    sbx_record_done(&record);
    return closed;
}

void sbx_session_done(struct sbx_session *session, struct sbx_err *err)
{
    sbx_link_close(session->link);
    sbx_link_close(session->helper);
    session->link = session->helper = NULL;
    struct sbx_err ignored = SBX_ERR_INIT;
    bool failed = err && (err->kind == SBX_ERR_UNAVAILABLE || err->kind == SBX_ERR_NOT_FOUND ||
                          err->kind == SBX_ERR_UPSTREAM || err->kind == SBX_ERR_CONFLICT);
    /* Whatever a request stumbled over while its session was closed is that. */
    bool gone = false;
    bool closed = (failed || session->run) && sbx_session_closed(session, &gone);
    if (failed && closed)
        sbx_session_gone(err);
    if (session->run)
        sbx_run_end(session, gone);
    if (!closed)
        (void)!sbx_store_touch(session->engine->store, &session->record, sbx_now_ms() - session->opened_ms,
                               &ignored);
    sbx_store_unlock(&session->lock, session->engine->wait, gone);
    sbx_record_done(&session->record);
}

static struct sbx_link *attach(struct sbx_session *session, const char *container, struct sbx_err *err)
{
    struct sbx_err failure = SBX_ERR_INIT;
    struct sbx_link *link = sbx_link_open(session->engine, container, session->lock.fence, &failure);
    if (!link) {
        *err = failure;
        if (failure.kind == SBX_ERR_NOT_FOUND)
            sbx_session_gone(err);
    }
    return link;
}

struct sbx_link *sbx_session_link(struct sbx_session *session, struct sbx_err *err)
{
    if (!session->link)
        session->link = attach(session, session->record.container, err);
    return session->link;
}

struct sbx_link *sbx_session_helper(struct sbx_session *session, struct sbx_err *err)
{
    if (!session->helper)
        session->helper = attach(session, session->record.helper, err);
    return session->helper;
}

int sbx_session_revive(struct sbx_session *session, const char *container, const char *image,
                       struct sbx_err *err)
{
    struct sbx_engine *engine = session->engine;
    if (sbx_session_closed(session, NULL)) /* that is why it stopped */
        return sbx_session_gone(err);
    if (engine->notice)
        engine->notice("container started again", container, err->msg);
    if (sbx_agent_start(engine, container, image, err) < 0)
        return sbx_err_wrap(err, "the session's container stopped and cannot be started again");
    return 0;
}
