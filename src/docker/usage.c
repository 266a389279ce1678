/* What a container uses now. */
#include "docker/internal.h"
#include "sandboxd/base/json.h"

#define ANSWER_MAX (1024 * 1024)

int sbx_docker_usage(struct sbx_docker *docker, struct sbx_wait *wait, const char *id,
                     struct sbx_docker_usage *ret, struct sbx_err *err)
{
    struct docker_call call = {.method = "GET", .what = "read the usage of container", .name = id};

    if (sbx_docker_check_name(id, err) != 0)
        return -1;
    struct json_object *answer = sbx_docker_call_json(docker, wait, &call, ANSWER_MAX, err,
                                                      "/containers/%s/stats?stream=false&one-shot=true", id);
    if (!answer)
        return -1;
    int64_t memory = sbx_json_int_at(answer, "memory_stats/usage", -1);
    /* The page cache that can be dropped: the first name is cgroup v1's, the second v2's. */
    int64_t cache = sbx_json_int_at(answer, "memory_stats/stats/total_inactive_file", 0);
    if (cache == 0)
        cache = sbx_json_int_at(answer, "memory_stats/stats/inactive_file", 0);
    ret->memory_bytes = memory > cache ? memory - cache : memory;
    ret->cpu_us = sbx_json_int_at(answer, "cpu_stats/cpu_usage/total_usage", 0) / 1000;
    ret->processes = sbx_json_int_at(answer, "pids_stats/current", 0);
    json_object_put(answer);
    if (memory >= 0)
        return 0;
    return sbx_err_set(err, SBX_ERR_CONFLICT, "container %s is not running", id);
}
