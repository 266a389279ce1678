/*
 * Volumes.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "docker/internal.h"
#include "sandboxd/base/json.h"

#define ANSWER_MAX (8 * 1024 * 1024) /* labels come back */
#define PATH_SIZE  1024

/* The Mountpoint of dockerd's answer about a volume. */
static int take_path(struct json_object *answer, const char *name, char ret_path[PATH_SIZE],
                     struct sbx_err *err)
{
    const char *path = sbx_json_str_at(answer, "Mountpoint", "");

    /* The last four have a meaning in a list of mount options. */
    if (path[0] == '/' && strlen(path) < PATH_SIZE && !strpbrk(path, ",:\\\"")) {
        snprintf(ret_path, PATH_SIZE, "%s", path);
        return 0;
    }
    return sbx_err_set(err, SBX_ERR_UPSTREAM,
                       "the path of volume %s cannot stand in a mount option: '%.200s'", name, path);
}

/* Make one, and say where dockerd keeps its content unless that is not asked for. */
static int make(struct sbx_docker *docker, struct sbx_wait *wait, const char *name,
                const struct sbx_docker_pair *labels, const struct sbx_docker_pair *options,
                char ret_path[PATH_SIZE], struct sbx_err *err)
{
    struct docker_call call = {.method = "POST", .what = "create volume", .name = name};
    struct json_object *answer = NULL;
    int rc = -1;

    if (sbx_docker_check_name(name, err) != 0)
        return -1;
    call.body = json_object_new_object();
    if (sbx_docker_put_string(call.body, "Name", name) && sbx_docker_put_pairs(call.body, "Labels", labels) &&
        sbx_docker_put_pairs(call.body, "DriverOpts", options))
        answer = sbx_docker_call_json(docker, wait, &call, ANSWER_MAX, err, "/volumes/create");
    else
        (void)sbx_err_set(err, SBX_ERR_INTERNAL, "out of memory");
    if (answer)
        rc = ret_path ? take_path(answer, name, ret_path, err) : 0;
    json_object_put(answer);
    json_object_put(call.body);
    return rc;
}

int sbx_docker_volume_create(struct sbx_docker *docker, struct sbx_wait *wait, const char *name,
                             const struct sbx_docker_pair *labels, int64_t max_bytes, struct sbx_err *err)
{
    char size[24];
    const struct sbx_docker_pair options[] = {{"size", size}, {NULL, NULL}};

    snprintf(size, sizeof(size), "%" PRId64, max_bytes);
    return make(docker, wait, name, labels, max_bytes > 0 ? options : NULL, NULL, err);
}

static int find(struct sbx_docker *docker, struct sbx_wait *wait, const char *name, char ret_path[PATH_SIZE],
                struct sbx_err *err)
{
    struct docker_call call = {.method = "GET", .what = "find volume", .name = name};
    struct json_object *answer;
    int rc;

    if (sbx_docker_check_name(name, err) != 0)
        return -1;
    answer = sbx_docker_call_json(docker, wait, &call, ANSWER_MAX, err, "/volumes/%s", name);
    if (!answer)
        return -1;
    rc = take_path(answer, name, ret_path, err);
    json_object_put(answer);
    return rc;
}

int sbx_docker_volume_labels(struct sbx_docker *docker, struct sbx_wait *wait, const char *name,
                             struct json_object **ret, struct sbx_err *err)
{
    struct docker_call call = {.method = "GET", .what = "find volume", .name = name};
    struct json_object *answer;

    if (sbx_docker_check_name(name, err) != 0)
        return -1;
    answer = sbx_docker_call_json(docker, wait, &call, ANSWER_MAX, err, "/volumes/%s", name);
    if (!answer)
        return -1;
    *ret = json_object_get(sbx_json_at(answer, "Labels"));
    json_object_put(answer);
    return 0;
}

int sbx_docker_volume_overlay(struct sbx_docker *docker, struct sbx_wait *wait, const char *name,
                              const char *lower, const char *upper, const char *work,
                              const struct sbx_docker_pair *labels, struct sbx_err *err)
{
    char path[3][PATH_SIZE], layers[3 * PATH_SIZE + 64];
    const struct sbx_docker_pair options[] = {
        {"type", "overlay"}, {"device", "overlay"}, {"o", layers}, {NULL, NULL}};

    if (find(docker, wait, lower, path[0], err) != 0 ||
        make(docker, wait, upper, labels, NULL, path[1], err) != 0 ||
        make(docker, wait, work, labels, NULL, path[2], err) != 0)
        return -1;
    snprintf(layers, sizeof(layers), "lowerdir=%s,upperdir=%s,workdir=%s", path[0], path[1], path[2]);
    return make(docker, wait, name, labels, options, NULL, err);
}

int sbx_docker_volume_remove(struct sbx_docker *docker, struct sbx_wait *wait, const char *name,
                             struct sbx_err *err)
{
    struct docker_call call = {.method = "DELETE", .what = "remove volume", .name = name};
    struct sbx_err why = SBX_ERR_INIT;

    if (sbx_docker_check_name(name, err) != 0)
        return -1;
    if (sbx_docker_call(docker, wait, &call, &why, "/volumes/%s", name) == 0 || call.status == 404)
        return 0;
    if (err)
        *err = why;
    return -1;
}
