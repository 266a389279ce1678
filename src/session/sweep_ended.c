/* Sessions that have to end though nobody closed them: over a limit, stopped and not to be kept any longer,
 * without their container. */
#include "session/internal.h"

#include <stdlib.h>
#include <string.h>

#define PAGE 100

struct stopped {
    int64_t ms;
    char id[SBX_UUID_LEN + 1];
};

struct ended_sweep {
    struct sbx_engine *engine;
    int64_t listed_ms;                 /* when the containers were looked at */
    char (*containers)[SBX_NAME_SIZE]; /* their ids, sorted; owned */
    size_t n_containers;
    struct stopped *stopped; /* owned */
    size_t n_stopped;
    bool no_memory;
    /* Records are collected a page at a time: closing one changes the table that is being walked. */
    char last[SBX_UUID_LEN + 1];
    int seen;
    char ids[PAGE][SBX_UUID_LEN + 1];
    int count;
};

/* Room for one more element of an array whose capacity is the next power of two. */
static void *grow(struct ended_sweep *sweep, void *array, size_t n, size_t size)
{
    if (n & (n - 1)) /* not full: capacities are powers of two */
        return array;
    void *bigger = reallocarray(array, n ? 2 * n : 1, size);
    sweep->no_memory |= !bigger;
    return bigger;
}

static int on_container(void *arg, const char *id, const char *name, struct json_object *labels)
{
    struct ended_sweep *sweep = arg;
    void *bigger = grow(sweep, sweep->containers, sweep->n_containers, sizeof(*sweep->containers));
    if (!bigger)
        return -1;
    sweep->containers = bigger;
    strlcpy(sweep->containers[sweep->n_containers++], id, sizeof(*sweep->containers));
    return 0;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(a, b);
}

static int by_time(const void *a, const void *b)
{
    const struct stopped *one = a;
    const struct stopped *other = b;
    return one->ms < other->ms ? -1 : one->ms > other->ms;
}

/* Was it there when the containers were looked at, but not its container? */
static bool is_hollow(const struct ended_sweep *sweep, const struct sbx_record *record)
{
    if (!record->container[0] ||
        record->created_ms > sweep->listed_ms - sweep->engine->config->orphan_grace_ms)
        return false;
    char key[SBX_NAME_SIZE];
    strlcpy(key, record->container, sizeof(key));
    return sweep->n_containers == 0 ||
           !bsearch(key, sweep->containers, sweep->n_containers, sizeof(*sweep->containers), by_name);
}

/* Why it has to end, or NULL. */
static const char *verdict(const struct ended_sweep *sweep, const struct sbx_record *record)
{
    const char *why;
    if (record->state != SBX_SESSION_READY && record->state != SBX_SESSION_STOPPED)
        return NULL;
    int64_t ends_ms = sbx_session_ends_ms(sweep->engine->config, record, &why);
    if (ends_ms > 0 && sbx_wall_ms() >= ends_ms)
        return why;
    return is_hollow(sweep, record) ? "its container is gone" : NULL;
}

static int on_record(void *arg, const struct sbx_record *record)
{
    struct ended_sweep *sweep = arg;
    memcpy(sweep->last, record->id, sizeof(sweep->last));
    sweep->seen++;
    if (verdict(sweep, record)) {
        memcpy(sweep->ids[sweep->count++], record->id, sizeof(sweep->ids[0]));
    } else if (record->state == SBX_SESSION_STOPPED) {
        void *bigger = grow(sweep, sweep->stopped, sweep->n_stopped, sizeof(*sweep->stopped));
        if (!bigger)
            return -1;
        sweep->stopped = bigger;
        sweep->stopped[sweep->n_stopped].ms = record->stopped_ms;
        memcpy(sweep->stopped[sweep->n_stopped++].id, record->id, SBX_UUID_LEN + 1);
    }
    return 0;
}

/* A list may be wrong: dockerd answers it while containers come and go. */
static bool has_container(struct sbx_engine *engine, const struct sbx_record *record)
{
    struct sbx_docker_state state;
    struct sbx_err failure = SBX_ERR_INIT;
    return sbx_docker_inspect(engine->docker, engine->wait, record->container, &state, &failure) == 0 ||
           failure.kind != SBX_ERR_NOT_FOUND;
}

/* Look once more, now that no request can come in between. beyond: it is one stopped session too many. */
static const char *decide(struct ended_sweep *sweep, const char *id, bool beyond, struct sbx_err *err)
{
    struct sbx_engine *engine = sweep->engine;
    struct sbx_record record;
    sbx_record_init(&record);
    const char *why = NULL;
    if (sbx_store_get(engine->store, id, &record, err) == 0) {
        why = verdict(sweep, &record);
        bool limit = why && sbx_session_ends_ms(engine->config, &record, NULL) > 0 &&
                     sbx_wall_ms() >= sbx_session_ends_ms(engine->config, &record, NULL);
        if (why && !limit && has_container(engine, &record))
            why = NULL;
        if (!why && beyond && record.state == SBX_SESSION_STOPPED)
            why = "more are stopped than are kept";
    }
    if (why && sbx_store_set_closing(engine->store, id, err) < 0)
        why = NULL;
    sbx_record_done(&record);
    return why;
}

/* Whatever works in it, this session has to end now. */
static bool is_over(struct ended_sweep *sweep, const char *id)
{
    struct sbx_record record;
    struct sbx_err ignored = SBX_ERR_INIT;
    sbx_record_init(&record);
    bool over = sbx_store_get(sweep->engine->store, id, &record, &ignored) == 0 && record.expires_ms > 0 &&
                sbx_wall_ms() >= record.expires_ms;
    sbx_record_done(&record);
    return over;
}

static void end(struct ended_sweep *sweep, const char *id, bool beyond, struct sbx_sweep_counts *counts)
{
    struct sbx_engine *engine = sweep->engine;
    struct sbx_err failure = SBX_ERR_INIT;
    struct sbx_lock lock = SBX_LOCK_INIT;
    const char *why = NULL;
    if (is_over(sweep, id)) {
        why = "over its absolute limit";
    } else if (sbx_store_lock(engine->store, engine->wait, id, 0, &lock, &failure) == 0) {
        why = decide(sweep, id, beyond, &failure);
        sbx_store_unlock(&lock, engine->wait, false);
    }
    if (!why && (failure.kind == SBX_ERR_NONE || failure.kind == SBX_ERR_CONFLICT ||
                 failure.kind == SBX_ERR_NOT_FOUND))
        return; /* used, or gone, meanwhile */
    bool failed = !why || sbx_session_close(engine, id, &failure) < 0;
    counts->ended += !failed;
    if (engine->notice && failed)
        engine->notice("sweep failed", id, failure.msg);
    else if (engine->notice)
        engine->notice("swept", id, why);
}

static int walk(struct ended_sweep *sweep, struct sbx_sweep_counts *counts, struct sbx_err *err)
{
    struct sbx_engine *engine = sweep->engine;
    do {
        sweep->seen = sweep->count = 0;
        if (sbx_store_list(engine->store, sweep->last, PAGE, on_record, sweep, err) < 0)
            return -1;
        for (int i = 0; i < sweep->count; i++)
            end(sweep, sweep->ids[i], false, counts);
    } while (sweep->seen == PAGE && !sweep->no_memory);
    if (sweep->n_stopped > 0)
        qsort(sweep->stopped, sweep->n_stopped, sizeof(*sweep->stopped), by_time);
    for (size_t i = 0; i + (size_t)engine->config->stopped_max < sweep->n_stopped; i++)
        end(sweep, sweep->stopped[i].id, true, counts);
    return 0;
}

int sbx_session_sweep_ended(struct sbx_engine *engine, struct sbx_sweep_counts *counts, struct sbx_err *err)
{
    struct ended_sweep sweep = {.engine = engine, .listed_ms = sbx_wall_ms()};
    int rc = sbx_docker_list(engine->docker, engine->wait, SBX_LABEL_INSTANCE,
                             sbx_store_instance(engine->store), on_container, &sweep, err);
    if (rc == 0 && !sweep.no_memory) {
        if (sweep.n_containers > 0)
            qsort(sweep.containers, sweep.n_containers, sizeof(*sweep.containers), by_name);
        rc = walk(&sweep, counts, err);
    }
    if (rc == 0 && sweep.no_memory)
        rc = sbx_err_set(err, SBX_ERR_INTERNAL, "out of memory for a sweep");
    free(sweep.containers);
    free(sweep.stopped);
    return rc;
}
