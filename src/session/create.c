/* Make a session. */
#include "session/internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const char *const SBX_AGENT_CAPS[] = {"SETUID", "SETGID", "SETPCAP", "KILL", "CHOWN", NULL};

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
    if (failure.kind != SBX_ERR_NOT_FOUND) {
        *err = failure;
        return -1;
    }
    if (sbx_image_pull_once(engine, spec->image, err) < 0)
        return -1;
    return sbx_docker_create(engine->docker, engine->wait, spec, ret_id, err);
}

/* dockerd ignores fields it does not know, so that a limit was asked for proves nothing. */
static int check_limits(const struct sbx_docker_state *state, const struct sbx_docker_spec *spec,
                        struct sbx_err *err)
{
    const char *wrong = NULL;
    if (!state->running)
        wrong = "it is not running";
    else if (spec->memory_bytes > 0 &&
             (state->memory_bytes != spec->memory_bytes || state->memory_swap_bytes != spec->memory_bytes))
        wrong = "its memory limit is not in force";
    else if (spec->nano_cpus > 0 && state->nano_cpus != spec->nano_cpus)
        wrong = "its cpu limit is not in force";
    else if (spec->pids_limit > 0 && state->pids_limit != spec->pids_limit)
        wrong = "its limit of processes is not in force";
    else if (strcmp(state->network_mode, spec->network_mode) != 0)
        wrong = "it is not in the network that was asked for";
    else if (spec->runtime && strcmp(state->runtime, spec->runtime) != 0)
        wrong = "it does not run under the runtime that was asked for";
    if (!wrong)
        return 0;
    return sbx_err_set(err, SBX_ERR_UPSTREAM, "the container was created, but %s", wrong);
}

static int make_session_container(struct making *making, struct sbx_err *err)
{
    struct sbx_engine *engine = making->engine;
    const struct sbx_config *config = engine->config;
    const struct sbx_session_options *options = making->options;
    struct sbx_record *record = &making->record;
    char name[SBX_NAME_SIZE];
    char uid[24];
    char gid[24];
    struct sbx_labels labels;
    sbx_name_container(record->id, name);
    sbx_labels_fill(&labels, engine, record->id, "session");
    snprintf(uid, sizeof(uid), "%" PRId64, config->run_uid);
    snprintf(gid, sizeof(gid), "%" PRId64, config->run_gid);
    const char *const entrypoint[] = {SBX_AGENT_PATH, NULL};
    const char *const cmd[] = {"--uid", uid, "--gid", gid, NULL};
    struct sbx_docker_mount mounts[3] = {{engine->agent->volume, SBX_AGENT_DIR, true, true}};
    if (record->volume[0])
        mounts[1] = (struct sbx_docker_mount){record->volume, "/repo", false, true};
    struct sbx_docker_spec spec = {
        .name = name,
        .image = options->image,
        .entrypoint = entrypoint,
        .cmd = cmd,
        .env = options->environment,
        .user = "0:0",
        .working_dir = "/",
        .network_mode = options->network_enabled ? "bridge" : "none",
        .runtime = config->runtime,
        .mounts = mounts,
        .labels = labels.pairs,
        .cap_add = SBX_AGENT_CAPS,
        .memory_bytes = options->memory_bytes,
        .nano_cpus = (int64_t)(options->cpus * 1e9 + 0.5),
        .pids_limit = config->pids_limit,
        .open_stdin = true,
        .no_new_privileges = true,
    };
    if (create_container(making, &spec, record->container, err) < 0)
        return -1;
    if (sbx_agent_start(engine, record->container, options->image, err) < 0)
        return -1;
    struct sbx_docker_state state;
    if (sbx_docker_inspect(engine->docker, engine->wait, record->container, &state, err) < 0)
        return -1;
    return check_limits(&state, &spec, err);
}

/* A started container proves little; an agent that answers does. */
static int greet(struct making *making, const char *container, struct sbx_err *err)
{
    struct sbx_link *link = sbx_link_open(making->engine, container, 0, err);
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
    if (sbx_patch_volume(engine, record, err) < 0 || sbx_helper_begin(&thread, engine, record, err) < 0)
        return -1;
    int rc = make_session_container(making, err);
    struct sbx_err failure = SBX_ERR_INIT;
    int helper = sbx_helper_end(&thread, rc < 0, record, &failure);
    if (rc < 0)
        return -1;
    if (helper < 0 && failure.kind == SBX_ERR_NOT_FOUND) {
        if (sbx_image_pull_once(engine, engine->config->git_image, err) < 0)
            return -1;
        helper = sbx_patch_start(engine, record, &failure);
    }
    if (helper < 0) {
        *err = failure;
        return sbx_err_wrap(err, "the patch helper (DAIV_SANDBOX_GIT_IMAGE)");
    }
    return greet(making, record->helper, err);
}

static int make(struct making *making, struct sbx_err *err)
{
    int rc = making->record.extract_patch ? make_pair(making, err) : make_session_container(making, err);
    if (rc < 0 || greet(making, making->record.container, err) < 0)
        return -1;
    return sbx_store_set_ready(making->engine->store, &making->record, err);
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
    record->worker_pid = getpid();
    record->extract_patch = options->extract_patch;
    record->ephemeral = options->ephemeral;
    record->created_ms = record->used_ms = sbx_wall_ms();
    record->options = sbx_options_to_json(options, err);
    return record->options ? 0 : -1;
}

int sbx_session_create(struct sbx_engine *engine, const struct sbx_session_options *options,
                       char ret_id[SBX_UUID_LEN + 1], struct sbx_err *err)
{
    char name[512];
    char tag[256];
    if (sbx_docker_parse_reference(options->image, name, sizeof(name), tag, sizeof(tag), err) < 0)
        return -1;
    struct making making = {.engine = engine, .options = options};
    sbx_record_init(&making.record);
    int rc = fill_record(&making, err);
    /* The record comes first: from here on a sweep finds whatever exists, should this process die at the next
     * line. */
    if (rc == 0)
        rc = sbx_store_insert(engine->store, &making.record, err);
    if (rc == 0) {
        rc = make(&making, err);
        if (rc < 0) {
            struct sbx_err ignored = SBX_ERR_INIT;
            struct sbx_wait *request_wait = engine->wait;
            engine->wait = NULL; /* clean up also when the client has gone */
            if (sbx_session_close(engine, making.record.id, &ignored) < 0 && engine->notice)
                engine->notice("left for the sweep", making.record.id, ignored.msg);
            engine->wait = request_wait;
        }
    }
    if (rc == 0)
        memcpy(ret_id, making.record.id, SBX_UUID_LEN + 1);
    sbx_record_done(&making.record);
    return rc;
}
