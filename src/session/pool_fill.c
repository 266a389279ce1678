/* The pool's upkeep, by the janitor of any replica: entries are made up to the targets, which the store
 * counts, and such as nobody should get are removed. */
#include "session/pool.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PAGE 256

static void notice(struct sbx_engine *engine, const char *event, const char *subject, const char *detail)
{
    if (engine->notice)
        engine->notice(event, subject, detail);
}

static int begin(struct sbx_engine *engine, const struct sbx_session_options *options,
                 struct sbx_record *record, struct sbx_err *err)
{
    sbx_record_init(record);
    sbx_uuid4(record->id);
    record->state = SBX_SESSION_CREATING;
    record->worker_pid = sbx_proc_self();
    record->extract_patch = options->extract_patch;
    record->created_ms = record->used_ms = sbx_wall_ms();
    snprintf(record->replica, sizeof(record->replica), "%s", engine->config->replica);
    snprintf(record->image, sizeof(record->image), "%s", options->image);
    record->options = sbx_options_to_json(options, err);
    if (!record->options)
        return -1;
    return sbx_pool_name(engine, options->image, options->extract_patch, options->network_enabled,
                         record->pool, err);
}

/* 1 made one, 0 there are enough, -1. */
static int fill_one(struct sbx_engine *engine, const struct sbx_pool_want *want, struct sbx_err *err)
{
    struct sbx_session_options options = {.owner = "",
                                          .image = want->image,
                                          .extract_patch = want->patch,
                                          .network_enabled = want->network,
                                          .disk_bytes = engine->config->disk_bytes};
    struct sbx_record record;
    int rc = begin(engine, &options, &record, err);
    if (rc == 0)
        rc = sbx_store_pool_add(engine->store, &record, want->count, err);
    if (rc == 1 && (sbx_session_make(engine, &options, &record, err) < 0 ||
                    sbx_store_pool_ready(engine->store, &record, err) < 0)) {
        struct sbx_err ignored = SBX_ERR_INIT;
        struct sbx_wait *wait = engine->wait;
        engine->wait = NULL; /* also when this process is to leave */
        (void)!sbx_session_retire(engine, record.id, &ignored);
        engine->wait = wait;
        rc = -1;
    }
    sbx_record_done(&record);
    return rc;
}

int sbx_pool_fill(struct sbx_engine *engine, const struct sbx_pool_plan *plan, struct sbx_err *err)
{
    int ret = 0;
    for (int i = 0; i < plan->count && ret != 1; i++) {
        struct sbx_err failure = SBX_ERR_INIT;
        int rc = fill_one(engine, &plan->wants[i], &failure);
        if (rc < 0) { /* one image that cannot be had does not keep the others away */
            *err = failure;
            (void)!sbx_err_wrap(err, "the pool of '%.200s'", plan->wants[i].image);
        }
        if (rc == 1 || (rc < 0 && ret == 0))
            ret = rc;
        if (failure.kind == SBX_ERR_CANCELLED)
            return -1;
    }
    return ret;
}

/* What should be there: a pool, the image that its entries are made of now ("" not known), and for how many
 * more there is a place. */
struct kept {
    char pool[SBX_RECORD_HASH_SIZE];
    char image_id[80];
    int places;
};

struct entry {
    char id[SBX_UUID_LEN + 1];
    char container[65];
    char helper[65];
    char pool[SBX_RECORD_HASH_SIZE];
    bool ours; /* made by this replica, or so long ago that its maker would have claimed otherwise */
};

struct check {
    struct sbx_engine *engine;
    struct kept kept[SBX_POOL_WANTS];
    int kept_count;
    struct entry entries[PAGE];
    int count;
    char last[SBX_UUID_LEN + 1];
    int seen;
};

static int on_record(void *arg, const struct sbx_record *record)
{
    struct check *check = arg;
    memcpy(check->last, record->id, sizeof(check->last));
    check->seen++;
    if (record->state != SBX_SESSION_POOLED)
        return 0;
    const struct sbx_config *config = check->engine->config;
    struct entry *entry = &check->entries[check->count++];
    *entry = (struct entry){.ours = strcmp(record->replica, config->replica) == 0 ||
                                    sbx_wall_ms() - record->created_ms > config->orphan_grace_ms};
    memcpy(entry->id, record->id, sizeof(entry->id));
    memcpy(entry->container, record->container, sizeof(entry->container));
    memcpy(entry->helper, record->helper, sizeof(entry->helper));
    memcpy(entry->pool, record->pool, sizeof(entry->pool));
    return 0;
}

static struct kept *find_kept(struct check *check, const char *pool)
{
    for (int i = 0; i < check->kept_count; i++) {
        if (strcmp(check->kept[i].pool, pool) == 0)
            return &check->kept[i];
    }
    return NULL;
}

/* 1 with the reason to remove an entry, 0 it is fine, -1 dockerd does not say. */
static int fault_of(struct check *check, const struct entry *entry, const char **why, struct sbx_err *err)
{
    struct sbx_engine *engine = check->engine;
    struct kept *kept = find_kept(check, entry->pool);
    struct sbx_docker_state state = {.running = false};
    *why = "its pool is not kept any more";
    if (!kept)
        return entry->ours;
    *why = "its container is gone";
    struct sbx_err failure = SBX_ERR_INIT;
    int rc = sbx_docker_inspect(engine->docker, engine->wait, entry->container, &state, &failure);
    if (rc == 0 && kept->image_id[0] && strcmp(state.image_id, kept->image_id) != 0) {
        *why = "its image is not the newest";
        return 1;
    }
    if (rc == 0 && state.running && entry->helper[0])
        rc = sbx_docker_inspect(engine->docker, engine->wait, entry->helper, &state, &failure);
    if (rc < 0 && failure.kind != SBX_ERR_NOT_FOUND) {
        *err = failure;
        return -1;
    }
    if (rc < 0 || !state.running)
        return 1;
    *why = "there are more than are to be kept";
    return kept->places-- <= 0 && entry->ours;
}

static int check_entry(struct check *check, const struct entry *entry, struct sbx_err *err)
{
    const char *why;
    int rc = fault_of(check, entry, &why, err);
    if (rc <= 0)
        return rc;
    /* Nobody claims it from here on; who has done so finds out alone. */
    rc = sbx_store_pool_drop(check->engine->store, entry->id, err);
    if (rc <= 0)
        return rc;
    notice(check->engine, "pooled session removed", entry->id, why);
    return sbx_session_close(check->engine, entry->id, err);
}

static void find_wanted(struct check *check, const struct sbx_pool_plan *plan)
{
    struct sbx_engine *engine = check->engine;
    for (int i = 0; i < plan->count; i++) {
        const struct sbx_pool_want *want = &plan->wants[i];
        struct sbx_err ignored = SBX_ERR_INIT;
        struct kept *kept = &check->kept[check->kept_count];
        if (sbx_pool_name(engine, want->image, want->patch, want->network, kept->pool, &ignored) < 0)
            continue;
        struct kept *same = find_kept(check, kept->pool);
        if (same) { /* one image by two names */
            same->places = same->places > want->count ? same->places : want->count;
            continue;
        }
        kept->places = want->count;
        check->kept_count++;
        if (sbx_docker_image(engine->docker, engine->wait, want->image, kept->image_id, &ignored) < 0)
            kept->image_id[0] = '\0';
    }
}

int sbx_pool_check(struct sbx_engine *engine, const struct sbx_pool_plan *plan, struct sbx_err *err)
{
    SBX_AUTO_FREE struct check *check = calloc(1, sizeof(*check));
    if (!check)
        return sbx_err_set(err, SBX_ERR_INTERNAL, "out of memory for a look at the pool");
    check->engine = engine;
    find_wanted(check, plan);
    do {
        check->seen = check->count = 0;
        if (sbx_store_list(engine->store, check->last, PAGE, on_record, check, err) < 0)
            return -1;
        for (int i = 0; i < check->count; i++) {
            struct sbx_err failure = SBX_ERR_INIT;
            if (check_entry(check, &check->entries[i], &failure) == 0)
                continue;
            if (failure.kind == SBX_ERR_CANCELLED) {
                *err = failure;
                return -1;
            }
            notice(engine, "pooled session left", check->entries[i].id, failure.msg);
        }
    } while (check->seen == PAGE);
    return 0;
}
