/* Make a session. */
#include "session/internal.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* One session being made. */
struct making {
    struct sbx_engine *engine;
    const struct sbx_session_options *options;
    struct sbx_record record;
};

/* Create a container that runs the agent, pulling its image when it is missing. */
static int create_container(struct making *making, const struct sbx_docker_spec *spec, char *ret_id,
                            struct sbx_err *err)
{
    struct sbx_engine *engine = making->engine;
    struct sbx_err failure = SBX_ERR_INIT;
    if (sbx_docker_create(engine->docker, engine->wait, spec, ret_id, &failure) == 0)
        return 0;
    if (failure.kind == SBX_ERR_INVALID && strstr(failure.msg, "reference format"))
        return sbx_err_set(err, SBX_ERR_INVALID, "'%.200s' is not a valid image reference", spec->image);
    if (failure.kind != SBX_ERR_NOT_FOUND) {
        *err = failure;
        if (strstr(failure.msg, "nknown runtime"))
            err->kind = SBX_ERR_UPSTREAM; /* the operator's choice, not the client's */
        return -1;
    }
    if (sbx_image_pull_once(engine, spec->image, err) < 0)
        return -1;
    return sbx_docker_create(engine->docker, engine->wait, spec, ret_id, err);
}

static int make_session_container(struct making *making, struct sbx_err *err)
{
    struct sbx_engine *engine = making->engine;
    struct sbx_record *record = &making->record;
    struct sbx_spec spec;
    sbx_spec_session(&spec, engine, record->id, making->options, false);
    if (create_container(making, &spec.docker, record->container, err) < 0)
        return -1;
    if (sbx_agent_start(engine, record->container, spec.image, err) < 0)
        return -1;
    return sbx_spec_verify(&spec, engine, record->container, err);
}

/* A started container proves little; an agent that answers does. */
int sbx_session_greet(struct sbx_engine *engine, const char *container, struct sbx_err *err)
{
    struct sbx_link *link = sbx_link_open(engine, container, 0, err);
    int rc = link ? sbx_link_greet(link, err) : -1;
    sbx_link_close(link);
    return rc;
}

/* Both containers of a session with patches, side by side. */
static int make_pair(struct making *making, struct sbx_err *err)
{
    struct sbx_engine *engine = making->engine;
    struct sbx_record *record = &making->record;
    struct sbx_helper_thread thread;
    if (sbx_patch_volumes(engine, record, err) < 0 ||
        sbx_helper_begin(&thread, engine, record, false, err) < 0)
        return -1;
    int rc = make_session_container(making, err);
    struct sbx_err failure = SBX_ERR_INIT;
    int helper = sbx_helper_end(&thread, engine, rc < 0, record, &failure);
    if (rc < 0)
        return -1;
    if (helper < 0) {
        *err = failure;
        return -1;
    }
    return sbx_session_greet(engine, record->helper, err);
}

/* The session is there: say so. The store may have lost its record meanwhile, or have it back from the note.
 */
static int file(struct making *making, struct sbx_err *err)
{
    struct sbx_engine *engine = making->engine;
    struct sbx_err failure = SBX_ERR_INIT;
    struct sbx_record *record = &making->record;
    /* Limits count from here: it may have waited for an image. */
    record->used_ms = sbx_wall_ms();
    if (making->options->ttl_ms > 0)
        record->expires_ms = record->used_ms + making->options->ttl_ms;
    if (sbx_note_write(engine, &making->record, err) < 0)
        return -1;
    if (sbx_store_set_ready(engine->store, &making->record, &failure) == 0)
        return 0;
    if (failure.kind == SBX_ERR_NOT_FOUND) {
        failure = (struct sbx_err)SBX_ERR_INIT;
        if (sbx_session_restore(engine, making->record.id, &failure) == 0)
            return 0;
    }
    *err = failure;
    if (failure.kind == SBX_ERR_NOT_FOUND)
        return sbx_err_set(err, SBX_ERR_UNAVAILABLE, "the session was taken for abandoned while it was made");
    return -1;
}

static int make(struct making *making, struct sbx_err *err)
{
    int rc = making->record.extract_patch ? make_pair(making, err) : make_session_container(making, err);
    if (rc < 0 && making->options->disk_bytes > 0)
        return sbx_disk_explain(making->engine, making->options, err);
    return rc < 0 ? -1 : sbx_session_greet(making->engine, making->record.container, err);
}

int sbx_session_make(struct sbx_engine *engine, const struct sbx_session_options *options,
                     struct sbx_record *record, struct sbx_err *err)
{
    struct making making = {.engine = engine, .options = options, .record = *record};
    int rc = make(&making, err);
    *record = making.record; /* its heap parts stayed the caller's */
    return rc;
}

static int fill_record(struct making *making, struct sbx_err *err)
{
    const struct sbx_session_options *options = making->options;
    struct sbx_record *record = &making->record;
    sbx_uuid4(record->id);
    record->state = SBX_SESSION_CREATING;
    snprintf(record->owner, sizeof(record->owner), "%s", options->owner);
    snprintf(record->replica, sizeof(record->replica), "%s", making->engine->config->replica);
    snprintf(record->image, sizeof(record->image), "%s", options->image);
    record->worker_pid = sbx_proc_self();
    record->extract_patch = options->extract_patch;
    record->ephemeral = options->ephemeral;
    record->created_ms = record->used_ms = sbx_wall_ms();
    record->idle_ms = options->idle_ms;
    record->expires_ms = options->ttl_ms > 0 ? record->created_ms + options->ttl_ms : 0;
    snprintf(record->key, sizeof(record->key), "%s", options->key ? options->key : "");
    snprintf(record->body, sizeof(record->body), "%s", options->key ? options->body : "");
    if (options->labels && !(record->labels = strdup(options->labels)))
        return sbx_err_set(err, SBX_ERR_INTERNAL, "out of memory for a session's labels");
    record->options = sbx_options_to_json(options, err);
    return record->options ? 0 : -1;
}

/* Remove what was made, also when the client has gone. */
static void take_back(struct making *making, const struct sbx_err *why)
{
    struct sbx_engine *engine = making->engine;
    const char *id = making->record.id;
    struct sbx_err ignored = SBX_ERR_INIT;
    struct sbx_wait *request_wait = engine->wait;
    engine->wait = NULL;
    /* A dockerd that did not answer in time may still be at it: then the sweep has the last look. */
    bool late = why->kind == SBX_ERR_UNAVAILABLE || why->kind == SBX_ERR_TIMEOUT;
    if ((late ? sbx_session_retire(engine, id, &ignored) : sbx_session_close(engine, id, &ignored)) < 0 &&
        engine->notice)
        engine->notice("left for the sweep", id, ignored.msg);
    engine->wait = request_wait;
}

/* May the owner have so many sessions open? */
static int check_room(struct sbx_engine *engine, const struct sbx_session_options *options, int64_t most,
                      struct sbx_err *err)
{
    int64_t open;
    if (options->most == 0)
        return 0;
    if (sbx_store_count(engine->store, options->owner, &open, err) < 0)
        return -1;
    if (open <= most)
        return 0;
    return sbx_err_set(err, SBX_ERR_LIMITED, "%s may have %lld sessions open; close one", options->owner,
                       (long long)options->most);
}

/* The same before anything is made or taken. A create whose key has a session is answered with that. */
static int check_first(struct sbx_engine *engine, const struct sbx_session_options *options,
                       struct sbx_err *err)
{
    struct sbx_err failure = SBX_ERR_INIT;
    struct sbx_err ignored = SBX_ERR_INIT;
    if (check_room(engine, options, options->most - 1, &failure) == 0)
        return 0;
    if (failure.kind == SBX_ERR_LIMITED && options->key) {
        struct sbx_record record;
        sbx_record_init(&record);
        bool known = sbx_store_find_key(engine->store, options->key, &record, &ignored) == 0;
        sbx_record_done(&record);
        if (known)
            return 0;
    }
    *err = failure;
    return -1;
}

int sbx_session_create(struct sbx_engine *engine, const struct sbx_session_options *options,
                       char ret_id[SBX_UUID_LEN + 1], struct sbx_err *err)
{
    char name[512];
    char tag[256];
    if (sbx_docker_parse_reference(options->image, name, sizeof(name), tag, sizeof(tag), err) < 0)
        return -1;
    if (sbx_disk_check(options, err) < 0 || check_first(engine, options, err) < 0)
        return -1;
    struct making making = {.engine = engine, .options = options};
    sbx_record_init(&making.record);
    int rc = fill_record(&making, err);
    /* The record comes first: from here on a sweep finds whatever exists, should this process die at the next
     * line. */
    int claimed = rc == 0 ? sbx_pool_claim(engine, options, &making.record, err) : -1;
    rc = claimed != 0 ? claimed : sbx_session_insert_once(engine, &making.record, ret_id, err);
    if (rc == 1) {
        memcpy(ret_id, making.record.id, SBX_UUID_LEN + 1);
        /* Now that it is counted itself. Of several that race for the last place all may be turned away. */
        rc = check_room(engine, options, options->most, err);
        if (rc == 0 && claimed == 0)
            rc = make(&making, err);
        if (rc == 0)
            rc = file(&making, err);
        if (rc < 0)
            take_back(&making, err);
        else
            sbx_pool_learn(engine, options, ret_id);
    }
    sbx_record_done(&making.record);
    return rc;
}
