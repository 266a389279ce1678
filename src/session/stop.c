/* Sessions that are stopped instead of removed, and started again by their next use. */
#include "session/internal.h"

#include <string.h>

/* How long a stop waits for the request it has cut off. */
#define LETTING_GO_MS 2000

static int kill_containers(struct sbx_engine *engine, const struct sbx_record *record, struct sbx_err *err)
{
    if (record->container[0] && sbx_docker_kill(engine->docker, engine->wait, record->container, err) < 0)
        return -1;
    if (record->helper[0] && sbx_docker_kill(engine->docker, engine->wait, record->helper, err) < 0)
        return -1;
    return record->ephemeral ? sbx_run_remove_objects(engine, record->id, record->extract_patch, err) : 0;
}

/* A request that was at work may have started its container again behind our back. */
static void kill_again(struct sbx_engine *engine, const char *id)
{
    struct sbx_err ignored = SBX_ERR_INIT;
    struct sbx_lock lock = SBX_LOCK_INIT;
    struct sbx_record record;
    if (sbx_store_lock(engine->store, engine->wait, id, LETTING_GO_MS, &lock, &ignored) < 0)
        return;
    sbx_record_init(&record);
    if (sbx_store_get(engine->store, id, &record, &ignored) == 0 && record.state == SBX_SESSION_STOPPED)
        (void)!kill_containers(engine, &record, &ignored);
    sbx_record_done(&record);
    sbx_store_unlock(&lock, engine->wait, false);
}

/* 1: stopped; 0: it is not one to be kept; -1. */
static int stop(struct sbx_engine *engine, const char *id, struct sbx_err *err)
{
    struct sbx_record record;
    struct sbx_err failure = SBX_ERR_INIT;
    sbx_record_init(&record);
    int rc = sbx_session_put(engine, id, sbx_session_look, sbx_store_set_stopped, &record, &failure);
    if (rc == 0)
        rc = kill_containers(engine, &record, &failure) < 0 ? -1 : 1;
    else if (failure.kind == SBX_ERR_NOT_FOUND)
        rc = 0;
    sbx_record_done(&record);
    if (rc < 0)
        *err = failure;
    return rc;
}

int sbx_session_leave(struct sbx_engine *engine, const char *id, struct sbx_err *err)
{
    int rc = strcmp(engine->config->close, "stop") == 0 ? stop(engine, id, err) : 0;
    if (rc == 0)
        return sbx_session_close(engine, id, err);
    if (rc == 1)
        kill_again(engine, id);
    return rc < 0 ? -1 : 0;
}

/* A record that the store has lost meanwhile is ready when it is rebuilt. */
static int set_resumed(struct sbx_engine *engine, const char *id, struct sbx_err *err)
{
    struct sbx_err failure = SBX_ERR_INIT;
    if (sbx_store_set_resumed(engine->store, id, &failure) == 0)
        return 0;
    if (failure.kind == SBX_ERR_NOT_FOUND)
        return sbx_session_restore(engine, id, err);
    *err = failure;
    return -1;
}

int sbx_session_resume(struct sbx_session *session, struct sbx_err *err)
{
    struct sbx_engine *engine = session->engine;
    struct sbx_record *record = &session->record;
    struct sbx_err failure = SBX_ERR_INIT;
    int rc = sbx_agent_start(engine, record->container, record->image, &failure);
    if (rc == 0 && record->helper[0])
        rc = sbx_agent_start(engine, record->helper, engine->config->git_image, &failure);
    struct sbx_link *link = rc == 0 ? sbx_session_link(session, &failure) : NULL;
    if (!link || sbx_link_greet(link, &failure) < 0)
        rc = -1;
    link = rc == 0 && record->helper[0] ? sbx_session_helper(session, &failure) : link;
    if (rc == 0 && (!link || sbx_link_greet(link, &failure) < 0))
        rc = -1;
    if (rc == 0)
        rc = set_resumed(engine, record->id, &failure);
    if (rc == 0) {
        record->state = SBX_SESSION_READY;
        return 0;
    }
    sbx_link_close(session->link);
    sbx_link_close(session->helper);
    session->link = session->helper = NULL;
    *err = failure;
    if (failure.kind == SBX_ERR_NOT_FOUND) /* removed meanwhile */
        return sbx_session_gone(err);
    return sbx_err_wrap(err, "the stopped session cannot be started again");
}
