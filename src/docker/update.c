/*
 * Limits of a container that runs already.
 */
#include "docker/internal.h"

int sbx_docker_update(struct sbx_docker *docker, struct sbx_wait *wait, const char *id, int64_t memory_bytes,
                      int64_t nano_cpus, struct sbx_err *err)
{
    struct docker_call call = {.method = "POST", .what = "update container", .name = id};
    int rc = -1;

    if (sbx_docker_check_name(id, err) != 0)
        return -1;
    call.body = json_object_new_object();
    /* Memory alone would leave as much swap again. */
    if (call.body &&
        (memory_bytes == 0 ||
         (sbx_docker_put(call.body, "Memory", json_object_new_int64(memory_bytes)) &&
          sbx_docker_put(call.body, "MemorySwap", json_object_new_int64(memory_bytes)))) &&
        (nano_cpus == 0 || sbx_docker_put(call.body, "NanoCpus", json_object_new_int64(nano_cpus))))
        rc = sbx_docker_call(docker, wait, &call, err, "/containers/%s/update", id);
    else
        (void)sbx_err_set(err, SBX_ERR_INTERNAL, "out of memory");
    json_object_put(call.body);
    return rc;
}
