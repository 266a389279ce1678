/* What the containers of a session are made of, and whether they came out that way. */
#include "session/internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define HELPER_SHM (512 << 20) /* git's index is there: 100 bytes a file, twice while it is replaced */

/* What the agent needs as PID 1: become the sandbox user, own its directories, end its processes. Commands
 * get none. */
static const char *const AGENT_CAPS[] = {"SETUID", "SETGID", "SETPCAP", "KILL", "CHOWN", NULL};

/* The sandbox of gVisor runs two threads of the host for each of a session's, a third when that waits for the
 * host, and some of its own: a limit on them would be met by gVisor, which dies of it. Sessions get the limit
 * that was asked for from gVisor's own kernel, which counts per user and sandbox; the cgroup's is behind it.
 */
#define GVISOR_THREADS_EACH 3
#define GVISOR_THREADS_OWN  256

/* Its processes start and end ten times as slowly: so do those that a command's last output goes through. */
#define GVISOR_DRAIN_MS "250"

bool sbx_spec_is_gvisor(const struct sbx_config *config)
{
    return config->runtime && strncmp(config->runtime, "runsc", strlen("runsc")) == 0;
}

static void limit_processes(struct sbx_docker_spec *spec, const struct sbx_config *config)
{
    spec->pids_limit = config->pids_limit;
    if (!sbx_spec_is_gvisor(config))
        return;
    spec->user_processes = config->pids_limit;
    spec->pids_limit = GVISOR_THREADS_EACH * config->pids_limit + GVISOR_THREADS_OWN;
}

static void add_option(const char *cmd[SBX_SPEC_ARGS], size_t *n, const char *name, const char *value)
{
    cmd[(*n)++] = name;
    cmd[(*n)++] = value;
}

static void add_mount(struct sbx_spec *spec, const char *volume, const char *target, bool read_only)
{
    size_t i = 0;
    while (spec->mounts[i].volume)
        i++;
    spec->mounts[i] = (struct sbx_docker_mount){volume, target, read_only, true};
}

/* What all of them have in common. dir: what the agent makes instead of its usual directories, or NULL. */
static void fill(struct sbx_spec *spec, struct sbx_engine *engine, const char *id, const char *role,
                 const char *dir)
{
    const struct sbx_config *config = engine->config;
    sbx_labels_fill(&spec->labels, engine, id, role);
    snprintf(spec->uid, sizeof(spec->uid), "%" PRId64, config->run_uid);
    snprintf(spec->gid, sizeof(spec->gid), "%" PRId64, config->run_gid);
    size_t n = 0;
    add_option(spec->cmd, &n, "--uid", spec->uid);
    add_option(spec->cmd, &n, "--gid", spec->gid);
    if (dir)
        add_option(spec->cmd, &n, "--dir", dir);
    if (sbx_spec_is_gvisor(config))
        add_option(spec->cmd, &n, "--drain", GVISOR_DRAIN_MS);
    spec->entrypoint[0] = SBX_AGENT_PATH;
    add_mount(spec, engine->agent->volume, SBX_AGENT_DIR, true);
    spec->docker = (struct sbx_docker_spec){
        .name = spec->name,
        .image = spec->image,
        .entrypoint = spec->entrypoint,
        .cmd = spec->cmd,
        .user = "0:0",
        .working_dir = "/",
        .network_mode = "none",
        .runtime = config->runtime,
        .mounts = spec->mounts,
        .labels = spec->labels.pairs,
        .cap_add = AGENT_CAPS,
        .open_stdin = true,
        .no_new_privileges = true,
    };
    limit_processes(&spec->docker, config);
}

void sbx_spec_session(struct sbx_spec *spec, struct sbx_engine *engine, const char *id,
                      const struct sbx_session_options *options, bool run)
{
    *spec = (struct sbx_spec){.docker = {.name = NULL}};
    fill(spec, engine, id, run ? "run" : "session", NULL);
    sbx_name_of(id, run ? SBX_PART_RUN : SBX_PART_SESSION, spec->name);
    if (run)
        sbx_name_image(id, spec->image, sizeof(spec->image));
    else
        snprintf(spec->image, sizeof(spec->image), "%s", options->image);
    if (options->extract_patch) {
        sbx_name_of(id, run ? SBX_PART_RUN_REPO : SBX_PART_REPO, spec->repo);
        add_mount(spec, spec->repo, "/repo", false);
    }
    spec->docker.env = options->environment;
    spec->docker.network_mode = options->network_enabled ? "bridge" : "none";
    spec->docker.memory_bytes = options->memory_bytes;
    spec->docker.disk_bytes = options->disk_bytes;
    spec->docker.nano_cpus = (int64_t)(options->cpus * 1e9 + 0.5);
}

void sbx_spec_helper(struct sbx_spec *spec, struct sbx_engine *engine, const struct sbx_record *record,
                     bool run)
{
    *spec = (struct sbx_spec){.docker = {.name = NULL}};
    fill(spec, engine, record->id, run ? "run-patch" : "patch", run ? SBX_SCRATCH_DIR : SBX_META_DIR);
    sbx_name_of(record->id, run ? SBX_PART_RUN_PATCH : SBX_PART_PATCH, spec->name);
    snprintf(spec->image, sizeof(spec->image), "%s", engine->config->git_image);
    sbx_name_of(record->id, run ? SBX_PART_RUN_REPO : SBX_PART_REPO, spec->repo);
    add_mount(spec, spec->repo, "/repo", true);
    spec->docker.shm_bytes = HELPER_SHM;
    spec->docker.disk_bytes = sbx_disk_of(record);
    if (record->ephemeral) {
        sbx_name_of(record->id, SBX_PART_META, spec->meta);
        add_mount(spec, spec->meta, SBX_META_DIR, run);
    }
}

/* dockerd ignores fields it does not know, so that a limit was asked for proves nothing. */
int sbx_spec_verify(const struct sbx_spec *spec, struct sbx_engine *engine, const char *container,
                    struct sbx_err *err)
{
    const struct sbx_docker_spec *wanted = &spec->docker;
    struct sbx_docker_state state;
    if (sbx_docker_inspect(engine->docker, engine->wait, container, &state, err) < 0)
        return -1;
    const char *wrong = NULL;
    if (!state.running)
        wrong = "it is not running";
    else if (wanted->memory_bytes > 0 &&
             (state.memory_bytes != wanted->memory_bytes || state.memory_swap_bytes != wanted->memory_bytes))
        wrong = "its memory limit is not in force";
    else if (wanted->nano_cpus > 0 && state.nano_cpus != wanted->nano_cpus)
        wrong = "its cpu limit is not in force";
    else if (wanted->pids_limit > 0 && state.pids_limit != wanted->pids_limit)
        wrong = "its limit of processes is not in force";
    else if (strcmp(state.network_mode, wanted->network_mode) != 0)
        wrong = "it is not in the network that was asked for";
    else if (wanted->runtime && strcmp(state.runtime, wanted->runtime) != 0)
        wrong = "it does not run under the runtime that was asked for";
    else if (!sbx_disk_kept(wanted, &state))
        wrong = SBX_DISK_NOT_KEPT;
    if (!wrong)
        return 0;
    return sbx_err_set(err, SBX_ERR_UPSTREAM, "the container was created, but %s", wrong);
}
