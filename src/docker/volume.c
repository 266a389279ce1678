/*
 * Volumes.
 */
#include "docker/internal.h"

int sbx_docker_volume_create(struct sbx_docker *docker, struct sbx_wait *wait, const char *name,
                             const struct sbx_docker_pair *labels, struct sbx_err *err)
{
    struct docker_call call = {.method = "POST", .what = "create volume", .name = name};
    int rc;

    if (sbx_docker_check_name(name, err) != 0)
        return -1;
    call.body = json_object_new_object();
    if (sbx_docker_put_string(call.body, "Name", name) && sbx_docker_put_pairs(call.body, "Labels", labels))
        rc = sbx_docker_call(docker, wait, &call, err, "/volumes/create");
    else
        rc = sbx_err_set(err, SBX_ERR_INTERNAL, "out of memory");
    json_object_put(call.body);
    return rc;
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
