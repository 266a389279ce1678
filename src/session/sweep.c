/* Give back what dead processes and lost records left: run by the janitor, and by --purge. */
#include "session/internal.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define PAGE 100

/* A session that is CLOSING for less than that is left to the request that closes it. */
#define CLOSER_MS 2500

static void notice(struct sbx_engine *engine, const char *event, const char *subject, const char *detail)
{
    if (engine->notice)
        engine->notice(event, subject, detail);
}

/* Records are collected a page at a time and then closed: closing one changes the table that is being walked.
 */
struct record_sweep {
    struct sbx_engine *engine;
    bool (*alive)(void *arg, int64_t pid);
    void *alive_arg;
    bool everything;
    bool ephemeral; /* there are sessions of the kind that has runs */
    int later;      /* sessions that are being closed */
    char last[SBX_UUID_LEN + 1];
    int seen;
    char ids[PAGE][SBX_UUID_LEN + 1];
    bool half_made[PAGE];
    int count;
};

static bool wants_closing(const struct record_sweep *sweep, const struct sbx_record *record)
{
    int64_t now = sbx_wall_ms();
    if (sweep->everything)
        return true;
    if (record->state == SBX_SESSION_CLOSING)
        return now - record->stopped_ms >= CLOSER_MS || now < record->stopped_ms;
    if (record->state != SBX_SESSION_CREATING)
        return false;
    const struct sbx_config *config = sweep->engine->config;
    if (strcmp(record->replica, config->replica) == 0 && sweep->alive)
        return !sweep->alive(sweep->alive_arg, record->worker_pid);
    /* Another replica's: it sweeps its own; this is for one that never came back. A create waits for a pull
     * at most. */
    return now - record->created_ms > config->orphan_grace_ms + 2 * config->pull_timeout_ms;
}

static int on_record(void *arg, const struct sbx_record *record)
{
    struct record_sweep *sweep = arg;
    memcpy(sweep->last, record->id, sizeof(sweep->last));
    sweep->seen++;
    sweep->ephemeral |= record->ephemeral && record->state == SBX_SESSION_READY;
    if (wants_closing(sweep, record)) {
        memcpy(sweep->ids[sweep->count], record->id, sizeof(sweep->ids[0]));
        sweep->half_made[sweep->count++] = record->state == SBX_SESSION_CREATING;
    } else if (record->state == SBX_SESSION_CLOSING) {
        sweep->later++;
    }
    return 0;
}

static int sweep_records(struct record_sweep *sweep, struct sbx_sweep_counts *counts, struct sbx_err *err)
{
    struct sbx_engine *engine = sweep->engine;
    do {
        sweep->seen = sweep->count = 0;
        if (sbx_store_list(engine->store, sweep->last, PAGE, on_record, sweep, err) < 0)
            return -1;
        for (int i = 0; i < sweep->count; i++) {
            struct sbx_err failure = SBX_ERR_INIT;
            bool again = sweep->half_made[i] && !sweep->everything;
            int rc = again ? sbx_session_retire(engine, sweep->ids[i], &failure)
                           : sbx_session_close(engine, sweep->ids[i], &failure);
            if (rc < 0) {
                notice(engine, "sweep failed", sweep->ids[i], failure.msg);
                continue;
            }
            notice(engine, "swept", sweep->ids[i],
                   sweep->half_made[i] ? "half-made session" : "closing session");
            *(sweep->half_made[i] ? &counts->reclaimed : &counts->closed) += 1;
        }
    } while (sweep->seen == PAGE);
    counts->later += sweep->later;
    return 0;
}

int sbx_session_sweep_records(struct sbx_engine *engine, bool (*alive)(void *, int64_t), void *arg,
                              struct sbx_sweep_counts *counts, struct sbx_err *err)
{
    struct record_sweep sweep = {.engine = engine, .alive = alive, .alive_arg = arg};
    if (sweep_records(&sweep, counts, err) < 0)
        return -1;
    return sweep.ephemeral ? sbx_run_sweep(engine, counts, err) : 0;
}

struct orphan_sweep {
    struct sbx_engine *engine;
    struct sbx_sweep_counts *counts;
    int64_t grace_ms;
    bool everything;
};

static bool is_orphan(struct orphan_sweep *sweep, struct json_object *labels)
{
    const char *id = NULL;
    const char *created = NULL;
    struct json_object *value;
    if (json_object_object_get_ex(labels, SBX_LABEL_SESSION, &value))
        id = json_object_get_string(value);
    if (json_object_object_get_ex(labels, SBX_LABEL_CREATED, &value))
        created = json_object_get_string(value);
    if (!id || !created)
        return false;
    struct sbx_record record;
    struct sbx_err failure = SBX_ERR_INIT;
    sbx_record_init(&record);
    int rc = sbx_store_get(sweep->engine->store, id, &record, &failure);
    sbx_record_done(&record);
    if (rc == 0 || failure.kind != SBX_ERR_NOT_FOUND)
        return false;
    if (sweep->everything)
        return true;
    failure = (struct sbx_err)SBX_ERR_INIT;
    return sbx_session_restore(sweep->engine, id, &failure) < 0 && failure.kind == SBX_ERR_NOT_FOUND &&
           sbx_wall_ms() - strtoll(created, NULL, 10) >= sweep->grace_ms;
}

/* An object of a kind: is it there still, remove it. */
struct kind {
    int (*look)(struct sbx_docker *, struct sbx_wait *, const char *, struct sbx_err *);
    int (*remove)(struct sbx_docker *, struct sbx_wait *, const char *, struct sbx_err *);
    const char *what;
};

static int look_container(struct sbx_docker *docker, struct sbx_wait *wait, const char *id,
                          struct sbx_err *err)
{
    struct sbx_docker_state state;
    if (sbx_docker_inspect(docker, wait, id, &state, err) < 0)
        return -1;
    return state.removing ? sbx_err_set(err, SBX_ERR_NOT_FOUND, "container %s is being removed", id) : 0;
}

static int look_volume(struct sbx_docker *docker, struct sbx_wait *wait, const char *name,
                       struct sbx_err *err)
{
    struct json_object *labels = NULL;
    int rc = sbx_docker_volume_labels(docker, wait, name, &labels, err);
    json_object_put(labels);
    return rc;
}

static int look_image(struct sbx_docker *docker, struct sbx_wait *wait, const char *id, struct sbx_err *err)
{
    return sbx_docker_image(docker, wait, id, NULL, err);
}

static const struct kind CONTAINER = {look_container, sbx_docker_remove, "container without a record"};
static const struct kind VOLUME = {look_volume, sbx_docker_volume_remove, "volume without a record"};
static const struct kind IMAGE = {look_image, sbx_docker_image_remove, "image without a record"};

/* Remove one object when no record knows it. What cannot be removed now is met again by the next sweep. */
static void sweep_object(struct orphan_sweep *sweep, const struct kind *kind, const char *id,
                         const char *name, struct json_object *labels)
{
    struct sbx_err failure = SBX_ERR_INIT;
    if (!is_orphan(sweep, labels))
        return;
    /* The list is older than what was learnt of the record: a close may have removed both meanwhile. */
    if (kind->look(sweep->engine->docker, sweep->engine->wait, id, &failure) < 0 &&
        failure.kind == SBX_ERR_NOT_FOUND)
        return;
    if (kind->remove(sweep->engine->docker, sweep->engine->wait, id, &failure) < 0) {
        notice(sweep->engine, "sweep failed", name, failure.msg);
        return;
    }
    notice(sweep->engine, "swept", name, kind->what);
    sweep->counts->orphans++;
}

static int on_container(void *arg, const char *id, const char *name, struct json_object *labels)
{
    sweep_object(arg, &CONTAINER, id, name, labels);
    return 0;
}

static int on_volume(void *arg, const char *name, struct json_object *labels)
{
    sweep_object(arg, &VOLUME, name, name, labels);
    return 0;
}

static int on_image(void *arg, const char *id, struct json_object *labels)
{
    sweep_object(arg, &IMAGE, id, id, labels);
    return 0;
}

static int sweep_orphans(struct orphan_sweep *sweep, struct sbx_err *err)
{
    struct sbx_engine *engine = sweep->engine;
    const char *instance = sbx_store_instance(engine->store);
    if (sbx_docker_list(engine->docker, engine->wait, SBX_LABEL_INSTANCE, instance, on_container, sweep,
                        err) < 0)
        return -1;
    if (sbx_docker_list_volumes(engine->docker, engine->wait, SBX_LABEL_INSTANCE, instance, on_volume, sweep,
                                err) < 0)
        return -1;
    return sbx_docker_list_images(engine->docker, engine->wait, SBX_LABEL_INSTANCE, instance, on_image, sweep,
                                  err);
}

int sbx_session_sweep_orphans(struct sbx_engine *engine, struct sbx_sweep_counts *counts, struct sbx_err *err)
{
    struct orphan_sweep sweep = {
        .engine = engine, .counts = counts, .grace_ms = engine->config->orphan_grace_ms};
    return sweep_orphans(&sweep, err);
}

int sbx_session_purge(struct sbx_engine *engine, struct sbx_sweep_counts *counts, struct sbx_err *err)
{
    struct record_sweep records = {.engine = engine, .everything = true};
    if (sweep_records(&records, counts, err) < 0)
        return -1;
    struct orphan_sweep orphans = {.engine = engine, .counts = counts, .everything = true};
    return sweep_orphans(&orphans, err);
}
