/* Runs of ephemeral sessions whose worker died: found by their labels, told from living ones by the session's
 * lock. */
#include "session/internal.h"

#include <string.h>

#define PAGE 100

/* Sessions that have objects of a run. More than a page are left to the next sweep. */
struct found {
    const char *instance;
    char ids[PAGE][SBX_UUID_LEN + 1];
    int count;
};

static void add(struct found *found, struct json_object *labels)
{
    struct json_object *id = NULL;
    struct json_object *instance = NULL;
    if (!json_object_object_get_ex(labels, SBX_LABEL_SESSION, &id) ||
        !json_object_object_get_ex(labels, SBX_LABEL_INSTANCE, &instance) ||
        strcmp(json_object_get_string(instance), found->instance) != 0 ||
        !sbx_is_uuid(json_object_get_string(id)) || found->count == PAGE)
        return;
    for (int i = 0; i < found->count; i++) {
        if (strcmp(found->ids[i], json_object_get_string(id)) == 0)
            return;
    }
    memcpy(found->ids[found->count++], json_object_get_string(id), sizeof(found->ids[0]));
}

static int on_container(void *arg, const char *id, const char *name, struct json_object *labels)
{
    add(arg, labels);
    return 0;
}

static int on_volume(void *arg, const char *name, struct json_object *labels)
{
    add(arg, labels);
    return 0;
}

static void note_run(bool *any, struct json_object *labels)
{
    struct json_object *role = NULL;
    if (json_object_object_get_ex(labels, SBX_LABEL_ROLE, &role) &&
        strcmp(json_object_get_string(role), "run") == 0)
        *any = true;
}

static int on_left_container(void *arg, const char *id, const char *name, struct json_object *labels)
{
    note_run(arg, labels);
    return 0;
}

static int on_left_volume(void *arg, const char *name, struct json_object *labels)
{
    note_run(arg, labels);
    return 0;
}

/* What the list showed may have been a run that has ended by itself since. Asked under the lock. */
static int still_there(struct sbx_engine *engine, const char *id, bool *any, struct sbx_err *err)
{
    *any = false;
    if (sbx_docker_list(engine->docker, engine->wait, SBX_LABEL_SESSION, id, on_left_container, any, err) < 0)
        return -1;
    return sbx_docker_list_volumes(engine->docker, engine->wait, SBX_LABEL_SESSION, id, on_left_volume, any,
                                   err);
}

/* 1 removed, 0 nothing to do: somebody works in the session, it is being closed, or its run has ended; -1. */
static int sweep_one(struct sbx_engine *engine, const char *id, struct sbx_err *err)
{
    struct sbx_lock lock = SBX_LOCK_INIT;
    struct sbx_err failure = SBX_ERR_INIT;
    if (sbx_store_lock(engine->store, engine->wait, id, 0, &lock, &failure) < 0) {
        *err = failure;
        return failure.kind == SBX_ERR_CONFLICT ? 0 : -1;
    }
    struct sbx_record record;
    sbx_record_init(&record);
    int known = sbx_store_get(engine->store, id, &record, &failure);
    bool any;
    int rc = still_there(engine, id, &any, err);
    if (rc == 0 && any)
        rc = sbx_run_remove_objects(engine, id, true, err);
    sbx_record_done(&record);
    sbx_store_unlock(&lock, engine->wait, known < 0 && failure.kind == SBX_ERR_NOT_FOUND);
    return rc < 0 ? -1 : any;
}

int sbx_run_sweep(struct sbx_engine *engine, struct sbx_sweep_counts *counts, struct sbx_err *err)
{
    struct found found = {.instance = sbx_store_instance(engine->store)};
    if (sbx_docker_list(engine->docker, engine->wait, SBX_LABEL_ROLE, "run", on_container, &found, err) < 0 ||
        sbx_docker_list_volumes(engine->docker, engine->wait, SBX_LABEL_ROLE, "run", on_volume, &found, err) <
            0)
        return -1;
    for (int i = 0; i < found.count; i++) {
        struct sbx_err failure = SBX_ERR_INIT;
        int rc = sweep_one(engine, found.ids[i], &failure);
        if (rc == 0)
            continue;
        if (engine->notice)
            engine->notice(rc < 0 ? "sweep failed" : "swept", found.ids[i],
                           rc < 0 ? failure.msg : "containers and volumes of a run whose worker died");
        counts->reclaimed += rc > 0;
    }
    return 0;
}
