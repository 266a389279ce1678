/* How the agent gets into containers: a named volume, filled once per dockerd, mounted read-only into every
 * session. */
#include "session/internal.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "sandboxd/archive.h"

#define AGENT_MAX      (16 * 1024 * 1024)
#define START_ATTEMPTS 3
#define CLEARED_MS     10000 /* how long dockerd may take to clear a failed start away */
#define CLEARED_PAUSE  50

static int read_agent(const char *path, char **ret, size_t *ret_len, struct sbx_err *err)
{
    if (path)
        return sbx_read_file(path, AGENT_MAX, ret, ret_len, err);
    char self[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
    if (n < 0)
        return sbx_err_set(err, SBX_ERR_INTERNAL, "cannot find the running binary");
    self[n] = '\0';
    char *slash = strrchr(self, '/');
    *slash = '\0';
    char at[PATH_MAX + 64];
    snprintf(at, sizeof(at), "%s/sandboxd-agent", self);
    struct sbx_err ignored = SBX_ERR_INIT;
    if (sbx_read_file(at, AGENT_MAX, ret, ret_len, &ignored) == 0)
        return 0;
    snprintf(at, sizeof(at), "%s/../libexec/sandboxd/sandboxd-agent", self);
    return sbx_read_file(at, AGENT_MAX, ret, ret_len, err);
}

int sbx_agent_image_load(struct sbx_agent_image *image, const char *path, struct sbx_err *err)
{
    SBX_AUTO_FREE char *binary = NULL;
    size_t len = 0;
    if (read_agent(path, &binary, &len, err) < 0)
        return sbx_err_wrap(err, "the agent binary cannot be read (DAIV_SANDBOX_AGENT)");
    char hash[SBX_SHA256_HEX + 1];
    sbx_sha256_hex(binary, len, hash);
    snprintf(image->volume, sizeof(image->volume), "sandboxd-agent-%.16s", hash);
    return sbx_archive_one_file("agent", binary, len, 0755, &image->tar, &image->tar_len, err);
}

void sbx_agent_image_done(struct sbx_agent_image *image)
{
    free(image->tar);
    *image = (struct sbx_agent_image){.tar = NULL};
}

/* Put the agent into its volume. NOT_FOUND: somebody took away the container that this takes. */
static int install(struct sbx_engine *engine, const char *image, struct sbx_err *err)
{
    const struct sbx_agent_image *agent = engine->agent;
    struct sbx_labels labels;
    char carrier[SBX_NAME_SIZE];
    char id[SBX_DOCKER_ID_LEN + 1];
    char uuid[SBX_UUID_LEN + 1];
    sbx_uuid4(uuid);
    snprintf(carrier, sizeof(carrier), "sandboxd-install-%s", uuid);
    /* No instance label: deployments that run the same agent share its volume, so none may sweep it. */
    const struct sbx_docker_pair volume_labels[] = {{SBX_LABEL_ROLE, "agent"}, {NULL, NULL}};
    if (sbx_docker_volume_create(engine->docker, engine->wait, agent->volume, volume_labels, 0, err) < 0)
        return -1;
    sbx_labels_fill(&labels, engine, uuid, "install");
    const struct sbx_docker_mount mounts[] = {{agent->volume, SBX_AGENT_DIR, false, true},
                                              {NULL, NULL, false, false}};
    const char *const entrypoint[] = {SBX_AGENT_PATH, NULL};
    struct sbx_docker_spec spec = {
        .name = carrier,
        .image = image,
        .entrypoint = entrypoint,
        .network_mode = "none",
        .mounts = mounts,
        .labels = labels.pairs,
    };
    /* Never started. Its archive endpoint writes through the mount; the tar makes the program's name appear
     * only when the program is whole, so two installers or a death half-way do no harm. */
    if (sbx_docker_create(engine->docker, engine->wait, &spec, id, err) < 0)
        return -1;
    int rc = sbx_docker_put_archive_mem(engine->docker, engine->wait, id, SBX_AGENT_DIR, agent->tar,
                                        agent->tar_len, err);
    struct sbx_err ignored = SBX_ERR_INIT;
    int removed = sbx_docker_remove(engine->docker, NULL, id, rc < 0 ? &ignored : err);
    return rc < 0 ? rc : removed;
}

/* dockerd's way to say that the entrypoint does not exist: the volume is empty, because this dockerd is new
 * to us or somebody pruned its volumes. */
static bool agent_is_missing(const struct sbx_err *err)
{
    return strstr(err->msg, SBX_AGENT_PATH) &&
           (strstr(err->msg, "no such file") || strstr(err->msg, "not found"));
}

/* gVisor misses the entrypoint only when its sandbox runs. dockerd answers before that has ended, and until
 * then takes the container's id for taken. */
static bool is_being_cleared(const struct sbx_err *err)
{
    return strstr(err->msg, "id already in use") != NULL;
}

static int start(struct sbx_engine *engine, const char *container, struct sbx_err *err)
{
    int64_t give_up = sbx_now_ms() + CLEARED_MS;
    for (;;) {
        struct sbx_err failure = SBX_ERR_INIT;
        if (sbx_docker_start(engine->docker, engine->wait, container, &failure) == 0)
            return 0;
        if (!is_being_cleared(&failure) || sbx_now_ms() >= give_up) {
            *err = failure;
            return -1;
        }
        if (sbx_wait_poll(engine->wait, NULL, 0, CLEARED_PAUSE, err) < 0)
            return -1;
    }
}

int sbx_agent_start(struct sbx_engine *engine, const char *container, const char *image, struct sbx_err *err)
{
    for (int attempt = 1;; attempt++) {
        struct sbx_err failure = SBX_ERR_INIT;
        if (start(engine, container, &failure) == 0)
            return 0;
        if (!agent_is_missing(&failure) || attempt == START_ATTEMPTS) {
            *err = failure;
            return -1;
        }
        failure = (struct sbx_err)SBX_ERR_INIT;
        if (install(engine, image, &failure) == 0) {
            if (engine->notice)
                engine->notice("agent installed", engine->agent->volume, "");
        } else if (failure.kind != SBX_ERR_NOT_FOUND) {
            *err = failure;
            return sbx_err_wrap(err, "cannot install the agent");
        }
    }
}
