/* Health and version: answered without a key, on the control socket too, also while every worker is busy. */
#include "api/internal.h"

#define HEALTH_MS 1800

int sbx_handle_health(struct sbx_call *call, struct sbx_err *err)
{
    if (sbx_is_draining(call->api))
        return sbx_err_set(err, SBX_ERR_UNAVAILABLE, SBX_STOPPING);
    call->wait.deadline_ms = sbx_now_ms() + HEALTH_MS;
    struct sbx_err failure = SBX_ERR_INIT;
    if (sbx_docker_ping(call->engine->docker, call->engine->wait, &failure) < 0) {
        if (failure.kind == SBX_ERR_CANCELLED) {
            *err = failure;
            return -1;
        }
        return sbx_err_set(err, SBX_ERR_UNAVAILABLE, "Docker client is not responding");
    }
    if (sbx_store_ping(call->engine->store, &failure) < 0)
        return sbx_err_set(err, SBX_ERR_UNAVAILABLE, "Session store is not responding");
    struct json_object *obj = json_object_new_object();
    json_object_object_add(obj, "status", json_object_new_string("ok"));
    return sbx_answer_json(call->request, obj, err);
}

int sbx_handle_version(struct sbx_call *call, struct sbx_err *err)
{
    struct json_object *obj = json_object_new_object();
    json_object_object_add(obj, "version", json_object_new_string(SBX_VERSION));
    return sbx_answer_json(call->request, obj, err);
}
