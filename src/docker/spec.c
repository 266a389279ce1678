/*
 * The body of POST /containers/create.
 */
#include <inttypes.h>
#include <stdio.h>

#include "docker/internal.h"

static bool put_int(struct json_object *obj, const char *key, int64_t value)
{
    return sbx_docker_put(obj, key, json_object_new_int64(value));
}

static bool put_bool(struct json_object *obj, const char *key, bool value)
{
    return sbx_docker_put(obj, key, json_object_new_boolean(value));
}

/* A member that is an object with one string in it. */
static bool put_nested(struct json_object *obj, const char *key, const char *inner, const char *value)
{
    struct json_object *object = json_object_new_object();

    if (sbx_docker_put_string(object, inner, value))
        return sbx_docker_put(obj, key, object);
    json_object_put(object);
    return false;
}

static bool put_mount(struct json_object *array, const struct sbx_docker_mount *mount)
{
    struct json_object *entry = json_object_new_object();
    struct json_object *options = json_object_new_object();

    if (!put_bool(options, "NoCopy", mount->no_copy)) {
        json_object_put(options);
        options = NULL;
    }
    if (sbx_docker_put(entry, "VolumeOptions", options) && sbx_docker_put_string(entry, "Type", "volume") &&
        sbx_docker_put_string(entry, "Source", mount->volume) &&
        sbx_docker_put_string(entry, "Target", mount->target) &&
        put_bool(entry, "ReadOnly", mount->read_only) && json_object_array_add(array, entry) == 0)
        return true;
    json_object_put(entry);
    return false;
}

static bool put_mounts(struct json_object *host, const struct sbx_docker_mount *mounts)
{
    if (!mounts)
        return true;
    struct json_object *array = json_object_new_array();
    bool ok = array;

    for (; ok && mounts->volume; mounts++)
        ok = put_mount(array, mounts);
    if (ok)
        return sbx_docker_put(host, "Mounts", array);
    json_object_put(array);
    return false;
}

static bool put_limits(struct json_object *host, const struct sbx_docker_spec *spec)
{
    /* Memory alone would allow as much swap again. */
    return (spec->memory_bytes == 0 || (put_int(host, "Memory", spec->memory_bytes) &&
                                        put_int(host, "MemorySwap", spec->memory_bytes))) &&
           (spec->nano_cpus == 0 || put_int(host, "NanoCpus", spec->nano_cpus)) &&
           (spec->pids_limit == 0 || put_int(host, "PidsLimit", spec->pids_limit)) &&
           (spec->shm_bytes == 0 || put_int(host, "ShmSize", spec->shm_bytes));
}

static bool put_disk(struct json_object *host, const struct sbx_docker_spec *spec)
{
    char size[24];

    snprintf(size, sizeof(size), "%" PRId64, spec->disk_bytes);
    return spec->disk_bytes == 0 || put_nested(host, "StorageOpt", "size", size);
}

static bool put_rlimits(struct json_object *host, const struct sbx_docker_spec *spec)
{
    if (spec->user_processes == 0)
        return true;
    struct json_object *array = json_object_new_array();
    struct json_object *entry = json_object_new_object();

    if (!sbx_docker_put_string(entry, "Name", "nproc") || !put_int(entry, "Soft", spec->user_processes) ||
        !put_int(entry, "Hard", spec->user_processes) || json_object_array_add(array, entry) != 0) {
        json_object_put(entry);
        json_object_put(array);
        return false;
    }
    return sbx_docker_put(host, "Ulimits", array);
}

static struct json_object *host_config(const struct sbx_docker_spec *spec)
{
    static const char *const all[] = {"ALL", NULL};
    static const char *const no_new_privileges[] = {"no-new-privileges", NULL};
    struct json_object *host = json_object_new_object();

    if (put_nested(host, "LogConfig", "Type", "none") && put_nested(host, "RestartPolicy", "Name", "no") &&
        put_bool(host, "AutoRemove", false) && put_bool(host, "Init", false) &&
        sbx_docker_put_strings(host, "CapDrop", all) &&
        sbx_docker_put_strings(host, "CapAdd", spec->cap_add) &&
        (!spec->no_new_privileges || sbx_docker_put_strings(host, "SecurityOpt", no_new_privileges)) &&
        sbx_docker_put_string(host, "NetworkMode", spec->network_mode) &&
        sbx_docker_put_string(host, "Runtime", spec->runtime) && put_limits(host, spec) &&
        put_disk(host, spec) && put_rlimits(host, spec) && put_mounts(host, spec->mounts))
        return host;
    json_object_put(host);
    return NULL;
}

static bool put_health_check(struct json_object *obj)
{
    static const char *const none[] = {"NONE", NULL};
    struct json_object *check = json_object_new_object();

    if (sbx_docker_put_strings(check, "Test", none))
        return sbx_docker_put(obj, "Healthcheck", check);
    json_object_put(check);
    return false;
}

struct json_object *sbx_docker_spec_json(const struct sbx_docker_spec *spec)
{
    struct json_object *obj = json_object_new_object();

    /* StdinOnce stays false: the stream must outlive each of the many attaches. */
    if (sbx_docker_put_string(obj, "Image", spec->image) &&
        sbx_docker_put_strings(obj, "Entrypoint", spec->entrypoint) &&
        sbx_docker_put_strings(obj, "Cmd", spec->cmd) && sbx_docker_put_strings(obj, "Env", spec->env) &&
        sbx_docker_put_string(obj, "User", spec->user) &&
        sbx_docker_put_string(obj, "WorkingDir", spec->working_dir) &&
        sbx_docker_put_pairs(obj, "Labels", spec->labels) && put_bool(obj, "OpenStdin", spec->open_stdin) &&
        put_bool(obj, "StdinOnce", false) && put_bool(obj, "Tty", false) &&
        put_bool(obj, "AttachStdin", spec->open_stdin) && put_bool(obj, "AttachStdout", true) &&
        put_bool(obj, "AttachStderr", true) && put_health_check(obj) &&
        sbx_docker_put(obj, "HostConfig", host_config(spec)))
        return obj;
    json_object_put(obj);
    return NULL;
}
