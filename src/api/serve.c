/* One request: route, key, handler, answer, access line. */
#include <stdio.h>
#include <string.h>

#include "api/access.h"
#include "sandboxd/report.h"

/* nginx has refused most of these already; it compares keys without case, so the exact check is here. */
static int authenticate(struct sbx_call *call, struct sbx_err *err)
{
    const char *key = sbx_request_header(call->request, "x-api-key");
    if (!key)
        return sbx_err_set(err, SBX_ERR_FORBIDDEN, "API Key header is missing");
    const struct sbx_client *client = sbx_clients_find(&call->engine->config->clients, key);
    if (!client)
        return sbx_err_set(err, SBX_ERR_FORBIDDEN, "Invalid API Key");
    call->client = client;
    call->engine->client = client->name;
    sbx_log_set_client(client->name);
    return 0;
}

bool sbx_is_draining(const struct sbx_api *api)
{
    return api->draining && __atomic_load_n(api->draining, __ATOMIC_RELAXED);
}

/* Over a limit of the client: 429 with the time to wait. */
static bool limited(struct sbx_call *call)
{
    const struct sbx_api *api = call->api;
    char seconds[24];
    int64_t ms = api->on_client ? api->on_client(api->on_client_arg, call->client) : 0;
    if (ms == 0)
        return false;
    snprintf(seconds, sizeof(seconds), "%lld", (long long)((ms + 999) / 1000));
    sbx_answer_header(call->request, "Retry-After", seconds);
    sbx_answer_detail(call->request, 429, "Too many requests of this client; try again later");
    return true;
}

/* 0 answered, or -1. */
static int dispatch(struct sbx_call *call, struct sbx_access *access, struct sbx_err *err)
{
    const char *allow = NULL;
    const struct sbx_route *route =
        sbx_route_find(call->engine->config->api_v1_str, sbx_request_method(call->request),
                       sbx_request_path(call->request), call, &allow);
    bool open = route && route->open;
    access->route = route;
    if (route)
        sbx_report_route(route->path, call->id);
    if (!open && authenticate(call, err) < 0)
        return -1;
    if (!route && allow) {
        sbx_answer_header(call->request, "Allow", allow);
        sbx_answer_detail(call->request, 405, "Method Not Allowed");
        return 0;
    }
    bool work = route && (route->socket == SBX_WORK || route->socket == SBX_URGENT);
    if (!route || (call->api->control ? work : route->socket == SBX_PRIVATE))
        return sbx_err_set(err, SBX_ERR_NOT_FOUND, "Not Found");
    if (work && sbx_is_draining(call->api))
        return sbx_err_set(err, SBX_ERR_UNAVAILABLE, SBX_STOPPING);
    if (route->socket == SBX_WORK && limited(call))
        return 0;
    if (call->id[0]) {
        sbx_log_set_session(call->id);
        if (call->api->on_session)
            call->api->on_session(call->api->on_session_arg, call->id);
    }
    return route->handler(call, err);
}

static void report(const struct sbx_call *call, const struct sbx_access *access, int status,
                   const struct sbx_err *err)
{
    struct sbx_report_end end = {
        .method = sbx_request_method(call->request),
        .status = status,
        .remote = sbx_request_remote(call->request),
        .client = call->client ? call->client->name : "",
        .err = err,
        .trace = &access->trace,
        .expected = err->kind == SBX_ERR_UNAVAILABLE && sbx_is_draining(call->api),
    };
    sbx_report_end(&end);
}

void sbx_api_serve(struct sbx_api *api, struct sbx_request *request)
{
    struct sbx_call call = {.api = api, .engine = api->engine, .request = request};
    struct sbx_err err = SBX_ERR_INIT;
    struct sbx_access access;
    sbx_access_begin(&access);
    sbx_wait_init(&call.wait);
    call.wait.client_fd = sbx_request_fd(request);
    call.wait.stop_fd = api->stop_fd;
    api->engine->wait = &call.wait;
    api->engine->request = sbx_request_id(request);
    sbx_log_set_request(sbx_request_id(request));
    sbx_report_begin(sbx_request_id(request));
    if (dispatch(&call, &access, &err) < 0 && sbx_answer_status(request) == 0)
        sbx_answer_error(request, &err);
    int status = sbx_answer_status(request) ?: sbx_status_of(&err);
    sbx_access_end(&access, &call, status, &err);
    report(&call, &access, status, &err);
    api->engine->wait = NULL;
    api->engine->request = NULL;
    api->engine->client = NULL;
    sbx_log_set_request(NULL);
    sbx_log_set_session(NULL);
    sbx_log_set_client(NULL);
}
