/* Remove a session, whatever state it is in. */
#include "session/internal.h"

#include <string.h>

/* How long a close waits for the request it has just cut off to let go of the lock … */
#define LETTING_GO_MS 2000
/* … and for one that was making a run's containers meanwhile, which hold volumes. */
#define CUT_OFF_MS       30000
#define HOLDING_ON_MS    5000
#define HOLDING_PAUSE_MS 20

static int remove_container(struct sbx_engine *engine, const char *id, enum sbx_part part,
                            struct sbx_err *err)
{
    char name[SBX_NAME_SIZE];
    sbx_name_of(id, part, name);
    return sbx_docker_remove(engine->docker, engine->wait, name, err);
}

/* A container that another request is removing right now still holds its volume for a moment. */
static int remove_volume(struct sbx_engine *engine, const char *id, enum sbx_part part, struct sbx_err *err)
{
    char name[SBX_NAME_SIZE];
    int64_t deadline = sbx_now_ms() + HOLDING_ON_MS;
    sbx_name_of(id, part, name);
    for (;;) {
        struct sbx_err failure = SBX_ERR_INIT;
        if (sbx_docker_volume_remove(engine->docker, engine->wait, name, &failure) == 0)
            return 0;
        if (failure.kind != SBX_ERR_CONFLICT || sbx_now_ms() >= deadline) {
            *err = failure;
            return -1;
        }
        if (sbx_wait_poll(engine->wait, NULL, 0, HOLDING_PAUSE_MS, err) < 0)
            return -1;
    }
}

int sbx_run_remove_objects(struct sbx_engine *engine, const char *id, bool patch, struct sbx_err *err)
{
    if (remove_container(engine, id, SBX_PART_RUN, err) < 0)
        return -1;
    if (!patch)
        return 0;
    if (remove_container(engine, id, SBX_PART_RUN_PATCH, err) < 0 ||
        remove_volume(engine, id, SBX_PART_RUN_REPO, err) < 0 ||
        remove_volume(engine, id, SBX_PART_RUN_UPPER, err) < 0)
        return -1;
    return remove_volume(engine, id, SBX_PART_RUN_WORK, err);
}

struct image_removal {
    struct sbx_engine *engine;
    struct sbx_err *err;
    int rc;
};

static int remove_image(void *arg, const char *id, struct json_object *labels)
{
    struct image_removal *removal = arg;
    struct sbx_engine *engine = removal->engine;
    removal->rc = sbx_docker_image_remove(engine->docker, engine->wait, id, removal->err);
    return removal->rc;
}

/* By label, not by name: an image whose commit was cut off has none. */
static int remove_images(struct sbx_engine *engine, const char *id, struct sbx_err *err)
{
    struct image_removal removal = {.engine = engine, .err = err};
    if (sbx_docker_list_images(engine->docker, engine->wait, SBX_LABEL_SESSION, id, remove_image, &removal,
                               err) < 0)
        return -1;
    return removal.rc;
}

int sbx_session_remove_objects(struct sbx_engine *engine, const struct sbx_record *record,
                               struct sbx_err *err)
{
    const char *id = record->id;
    bool patch = record->extract_patch;
    if (sbx_note_remove(engine, id, err) < 0 ||
        (record->ephemeral && sbx_run_remove_objects(engine, id, patch, err) < 0))
        return -1;
    if (remove_container(engine, id, SBX_PART_SESSION, err) < 0)
        return -1;
    if (patch && (remove_container(engine, id, SBX_PART_PATCH, err) < 0 ||
                  remove_volume(engine, id, SBX_PART_REPO, err) < 0))
        return -1;
    if (!record->ephemeral)
        return 0;
    if (patch && remove_volume(engine, id, SBX_PART_META, err) < 0)
        return -1;
    return remove_images(engine, id, err);
}

/* The lock is not waited for: a running command dies with its container, and its request finds the session
 * gone. Only a request that made a run's containers behind our back has to end first. */
static int remove_objects(struct sbx_engine *engine, const struct sbx_record *record, struct sbx_err *err)
{
    struct sbx_err failure = SBX_ERR_INIT;
    if (sbx_session_remove_objects(engine, record, &failure) == 0)
        return 0;
    *err = failure;
    if (failure.kind != SBX_ERR_CONFLICT || !record->ephemeral)
        return -1;
    struct sbx_lock lock = SBX_LOCK_INIT;
    if (sbx_store_lock(engine->store, engine->wait, record->id, CUT_OFF_MS, &lock, err) < 0)
        return -1;
    int rc = sbx_session_remove_objects(engine, record, err);
    sbx_store_unlock(&lock, engine->wait, false);
    return rc;
}

int sbx_session_retire(struct sbx_engine *engine, const char *id, struct sbx_err *err)
{
    struct sbx_record record;
    sbx_record_init(&record);
    struct sbx_err failure = SBX_ERR_INIT;
    /* From here on no other request takes the session up, and a sweep finishes what this process may not. */
    int rc = sbx_session_put(engine, id, sbx_session_find, sbx_store_set_closing, &record, &failure);
    if (rc == 0)
        rc = remove_objects(engine, &record, &failure);
    sbx_record_done(&record);
    if (rc < 0)
        *err = failure;
    return rc;
}

int sbx_session_close(struct sbx_engine *engine, const char *id, struct sbx_err *err)
{
    struct sbx_err failure = SBX_ERR_INIT;
    if (sbx_session_retire(engine, id, &failure) < 0) {
        if (failure.kind == SBX_ERR_NOT_FOUND)
            return 0;
        *err = failure;
        return -1;
    }
    if (sbx_store_delete(engine->store, id, err) < 0)
        return -1;
    struct sbx_lock lock = SBX_LOCK_INIT;
    struct sbx_err busy = SBX_ERR_INIT;
    if (sbx_store_lock(engine->store, engine->wait, id, LETTING_GO_MS, &lock, &busy) == 0)
        sbx_store_unlock(&lock, engine->wait, true);
    return 0;
}
