/* Remove a session, whatever state it is in. */
#include "session/internal.h"

#include <string.h>

/* How long a close waits for the request it has just cut off to let go of the lock. */
#define LETTING_GO_MS 2000

int sbx_session_remove_objects(struct sbx_engine *engine, const char *id, bool has_volume,
                               struct sbx_err *err)
{
    char name[SBX_NAME_SIZE];
    sbx_name_container(id, name);
    if (sbx_docker_remove(engine->docker, engine->wait, name, err) < 0)
        return -1;
    if (!has_volume)
        return 0;
    sbx_name_helper(id, name);
    if (sbx_docker_remove(engine->docker, engine->wait, name, err) < 0)
        return -1;
    sbx_name_volume(id, name);
    return sbx_docker_volume_remove(engine->docker, engine->wait, name, err);
}

int sbx_session_close(struct sbx_engine *engine, const char *id, struct sbx_err *err)
{
    struct sbx_record record;
    sbx_record_init(&record);
    struct sbx_err failure = SBX_ERR_INIT;
    int rc = sbx_store_get(engine->store, id, &record, &failure);
    /* From here on no other request takes the session up, and a sweep finishes what this process may not. */
    if (rc == 0)
        rc = sbx_store_set_closing(engine->store, id, &failure);
    if (rc < 0) {
        sbx_record_done(&record);
        if (failure.kind == SBX_ERR_NOT_FOUND)
            return 0;
        *err = failure;
        return -1;
    }
    /* The lock is not waited for: a running command dies with its container, and its request finds the
     * session gone. */
    rc = sbx_session_remove_objects(engine, id, record.extract_patch, err);
    sbx_record_done(&record);
    if (rc < 0)
        return -1;
    if (sbx_store_delete(engine->store, id, err) < 0)
        return -1;
    struct sbx_lock lock = SBX_LOCK_INIT;
    struct sbx_err busy = SBX_ERR_INIT;
    if (sbx_store_lock(engine->store, engine->wait, id, LETTING_GO_MS, &lock, &busy) == 0)
        sbx_store_unlock(&lock, engine->wait, true);
    return 0;
}
