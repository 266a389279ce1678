/*
 * Containers: create, start, kill, remove, inspect, and files put into them.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "docker/internal.h"
#include "sandboxd/base/json.h"

#define ANSWER_MAX (8 * 1024 * 1024) /* an inspect carries the whole environment */

int sbx_docker_create(struct sbx_docker *docker, struct sbx_wait *wait, const struct sbx_docker_spec *spec,
                      char ret_id[SBX_DOCKER_ID_LEN + 1], struct sbx_err *err)
{
    struct docker_call call = {.method = "POST", .what = "create container", .name = spec->name};
    struct json_object *answer;
    int rc = 0;

    if (sbx_docker_check_name(spec->name, err) != 0)
        return -1;
    call.body = sbx_docker_spec_json(spec);
    if (!call.body)
        return sbx_err_set(err, SBX_ERR_INTERNAL, "out of memory");
    answer =
        sbx_docker_call_json(docker, NULL, &call, ANSWER_MAX, err, "/containers/create?name=%s", spec->name);
    json_object_put(call.body);
    if (!answer)
        return -1;

    const char *id = sbx_json_str_at(answer, "Id", "");
    if (strlen(id) == SBX_DOCKER_ID_LEN && strspn(id, "0123456789abcdef") == SBX_DOCKER_ID_LEN)
        memcpy(ret_id, id, SBX_DOCKER_ID_LEN + 1);
    else
        rc = sbx_err_set(err, SBX_ERR_UPSTREAM, "cannot create container %s: dockerd answered without an id",
                         spec->name);
    json_object_put(answer);
    return rc == 0 && wait ? sbx_wait_tick(wait, err) : rc;
}

int sbx_docker_start(struct sbx_docker *docker, struct sbx_wait *wait, const char *id, struct sbx_err *err)
{
    struct docker_call call = {.method = "POST", .what = "start container", .name = id};

    if (sbx_docker_check_name(id, err) != 0)
        return -1;
    return sbx_docker_call(docker, wait, &call, err, "/containers/%s/start", id);
}

/* The verdict on a call of which some refusals are as good as success. */
static int settle(int rc, const struct docker_call *call, const char *fine_409, const struct sbx_err *why,
                  struct sbx_err *err)
{
    if (rc == 0 || call->status == 404 || (call->status == 409 && strstr(call->message, fine_409)))
        return 0;
    if (err)
        *err = *why;
    return -1;
}

int sbx_docker_kill(struct sbx_docker *docker, struct sbx_wait *wait, const char *id, struct sbx_err *err)
{
    struct docker_call call = {.method = "POST", .what = "kill container", .name = id};
    struct sbx_err why = SBX_ERR_INIT;
    int rc;

    if (sbx_docker_check_name(id, err) != 0)
        return -1;
    rc = sbx_docker_call(docker, wait, &call, &why, "/containers/%s/kill?signal=KILL", id);
    return settle(rc, &call, "is not running", &why, err);
}

int sbx_docker_remove(struct sbx_docker *docker, struct sbx_wait *wait, const char *id, struct sbx_err *err)
{
    struct docker_call call = {.method = "DELETE", .what = "remove container", .name = id};
    struct sbx_err why = SBX_ERR_INIT;
    int rc;

    if (sbx_docker_check_name(id, err) != 0)
        return -1;
    rc = sbx_docker_call(docker, wait, &call, &why, "/containers/%s?force=1&v=1", id);
    return settle(rc, &call, "already in progress", &why, err);
}

static void copy(char *out, size_t size, struct json_object *obj, const char *path)
{
    snprintf(out, size, "%s", sbx_json_str_at(obj, path, ""));
}

int sbx_docker_inspect(struct sbx_docker *docker, struct sbx_wait *wait, const char *id,
                       struct sbx_docker_state *ret, struct sbx_err *err)
{
    struct docker_call call = {.method = "GET", .what = "inspect container", .name = id};
    struct json_object *answer;

    if (sbx_docker_check_name(id, err) != 0)
        return -1;
    answer = sbx_docker_call_json(docker, wait, &call, ANSWER_MAX, err, "/containers/%s/json", id);
    if (!answer)
        return -1;
    memset(ret, 0, sizeof(*ret));
    copy(ret->id, sizeof(ret->id), answer, "Id");
    copy(ret->image_id, sizeof(ret->image_id), answer, "Image");
    ret->running = sbx_json_bool_at(answer, "State/Running", false);
    ret->removing = strcmp(sbx_json_str_at(answer, "State/Status", ""), "removing") == 0;
    ret->oom_killed = sbx_json_bool_at(answer, "State/OOMKilled", false);
    ret->exit_code = (int)sbx_json_int_at(answer, "State/ExitCode", 0);
    ret->memory_bytes = sbx_json_int_at(answer, "HostConfig/Memory", 0);
    ret->memory_swap_bytes = sbx_json_int_at(answer, "HostConfig/MemorySwap", 0);
    ret->nano_cpus = sbx_json_int_at(answer, "HostConfig/NanoCpus", 0);
    ret->pids_limit = sbx_json_int_at(answer, "HostConfig/PidsLimit", 0);
    ret->disk_bytes = strtoll(sbx_json_str_at(answer, "HostConfig/StorageOpt/size", "0"), NULL, 10);
    copy(ret->storage_driver, sizeof(ret->storage_driver), answer, "GraphDriver/Name");
    copy(ret->network_mode, sizeof(ret->network_mode), answer, "HostConfig/NetworkMode");
    copy(ret->runtime, sizeof(ret->runtime), answer, "HostConfig/Runtime");
    json_object_put(answer);
    return 0;
}

static int put_archive(struct sbx_docker *docker, struct sbx_wait *wait, const char *id, const char *path,
                       struct docker_source *source, struct sbx_err *err)
{
    struct docker_call call = {
        .method = "PUT", .what = "put an archive into container", .name = id, .source = source};

    if (sbx_docker_check_name(id, err) != 0)
        return -1;
    return sbx_docker_call(docker, wait, &call, err, "/containers/%s/archive?path=%s", id, path);
}

int sbx_docker_put_archive(struct sbx_docker *docker, struct sbx_wait *wait, const char *id, const char *path,
                           int fd, int64_t size, struct sbx_err *err)
{
    struct docker_source source = {.fd = fd, .size = size};

    return put_archive(docker, wait, id, path, &source, err);
}

int sbx_docker_put_archive_mem(struct sbx_docker *docker, struct sbx_wait *wait, const char *id,
                               const char *path, const void *tar, size_t size, struct sbx_err *err)
{
    struct docker_source source = {.fd = -1, .mem = tar, .size = (int64_t)size};

    return put_archive(docker, wait, id, path, &source, err);
}
