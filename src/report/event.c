/* Payloads of events and transactions: https://develop.sentry.dev/sdk/data-model/event-payloads/ */
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "report/envelope.h"

static void add(struct json_object *obj, const char *key, struct json_object *value)
{
    json_object_object_add(obj, key, value);
}

static void add_word(struct json_object *obj, const char *key, const char *word)
{
    add(obj, key, json_object_new_string(word));
}

/* "POST /session/{id}": what Sentry groups by. */
static void route_name(const struct sbx_item *item, char *out, size_t size)
{
    snprintf(out, size, "%s %s", item->method, item->route[0] ? item->route : "(no route)");
}

static struct json_object *tags(const struct sbx_envelope *envelope, const struct sbx_item *item)
{
    struct json_object *obj = json_object_new_object();
    char status[16] = "";
    if (item->status)
        snprintf(status, sizeof(status), "%d", item->status);
    sbx_payload_text(envelope, obj, "role", item->role);
    sbx_payload_text(envelope, obj, "request_id", item->request);
    sbx_payload_text(envelope, obj, "session_id", item->session);
    sbx_payload_text(envelope, obj, "route", item->route);
    sbx_payload_text(envelope, obj, "http.status_code", status);
    return obj;
}

static struct json_object *common(const struct sbx_envelope *envelope, const struct sbx_item *item,
                                  const char *event_id)
{
    struct json_object *obj = json_object_new_object();
    add_word(obj, "event_id", event_id);
    sbx_payload_time(obj, "timestamp", item->wall_us);
    add_word(obj, "platform", "other"); /* "native" would have Sentry look for our debug files */
    add_word(obj, "release", "sandboxd@" SBX_VERSION);
    add_word(obj, "environment", envelope->environment);
    sbx_payload_text(envelope, obj, "server_name", envelope->server);
    add(obj, "tags", tags(envelope, item));
    if (item->method[0]) {
        char name[80];
        struct json_object *request = json_object_new_object();
        route_name(item, name, sizeof(name));
        sbx_payload_text(envelope, obj, "transaction", name);
        sbx_payload_text(envelope, request, "method", item->method);
        add(obj, "request", request);
    }
    if (item->remote[0] || item->client[0]) {
        struct json_object *user = json_object_new_object();
        sbx_payload_text(envelope, user, "ip_address", item->remote);
        sbx_payload_text(envelope, user, "username", item->client);
        add(obj, "user", user);
    }
    struct json_object *extra = json_object_new_object();
    add(extra, "pid", json_object_new_int(item->pid));
    add(obj, "extra", extra);
    return obj;
}

/* https://develop.sentry.dev/sdk/data-model/event-payloads/contexts/#trace-context */
static const char *span_status(int status)
{
    static const struct {
        int status;
        const char *word;
    } WORDS[] = {{400, "invalid_argument"},   {403, "permission_denied"},   {404, "not_found"},
                 {409, "already_exists"},     {413, "failed_precondition"}, {422, "invalid_argument"},
                 {429, "resource_exhausted"}, {499, "cancelled"},           {503, "unavailable"},
                 {504, "deadline_exceeded"}};
    for (size_t i = 0; i < SBX_ARRAY_LEN(WORDS); i++) {
        if (WORDS[i].status == status)
            return WORDS[i].word;
    }
    if (status >= 500)
        return "internal_error";
    return status >= 400 ? "invalid_argument" : "ok";
}

static struct json_object *contexts(const struct sbx_item *item)
{
    struct json_object *obj = json_object_new_object();
    struct json_object *trace = json_object_new_object();
    uint8_t root[8] = {0};
    /* A crash is reported by the master: it belongs to no span. */
    memcpy(root, item->span_id, sizeof(root));
    if (item->kind == SBX_ITEM_CRASH)
        sbx_random(root, sizeof(root));
    sbx_payload_id(trace, "trace_id", item->trace_id, sizeof(item->trace_id));
    sbx_payload_id(trace, "span_id", root, sizeof(root));
    if (item->method[0]) {
        add_word(trace, "op", "http.server");
        add_word(trace, "status", span_status(item->status));
    }
    add(obj, "trace", trace);
    return obj;
}

/* How many of the innermost frames only set the error. */
static size_t own_frames(const struct sbx_envelope *envelope, const struct sbx_item *item)
{
    size_t skip = 0;
    for (size_t i = 0; i < item->u.error.frame_count && i < 5; i++) {
        struct sbx_frame_name name;
        sbx_symbols_name(&envelope->symbols, item->u.error.frames[i], &name);
        if (strncmp(name.function, "sbx_err_", 8) == 0 || strncmp(name.function, "sbx_stack_", 10) == 0)
            skip = i + 1;
    }
    return skip;
}

static struct json_object *stacktrace(const struct sbx_envelope *envelope, const struct sbx_item *item)
{
    struct json_object *frames = json_object_new_array();
    size_t skip = own_frames(envelope, item);
    for (size_t i = item->u.error.frame_count; i > skip; i--) { /* Sentry wants the outermost first */
        struct json_object *frame = json_object_new_object();
        struct sbx_frame_name name;
        char address[32];
        sbx_symbols_name(&envelope->symbols, item->u.error.frames[i - 1], &name);
        snprintf(address, sizeof(address), "0x%zx", name.offset);
        sbx_payload_text(envelope, frame, "function", name.function[0] ? name.function : address);
        sbx_payload_text(envelope, frame, "module", name.module);
        add_word(frame, "instruction_addr", address);
        add(frame, "in_app", json_object_new_boolean(name.in_app));
        json_object_array_add(frames, frame);
    }
    struct json_object *obj = json_object_new_object();
    add(obj, "frames", frames);
    return obj;
}

static void add_exception(struct json_object *event, struct json_object *exception, const char *mechanism,
                          bool handled)
{
    struct json_object *list = json_object_new_array();
    struct json_object *values = json_object_new_object();
    struct json_object *how = json_object_new_object();
    add_word(how, "type", mechanism);
    add(how, "handled", json_object_new_boolean(handled));
    add(exception, "mechanism", how);
    json_object_array_add(list, exception);
    add(values, "values", list);
    add(event, "exception", values);
}

static void add_error(const struct sbx_envelope *envelope, const struct sbx_item *item,
                      struct json_object *event)
{
    struct json_object *exception = json_object_new_object();
    add_word(event, "level", "error");
    sbx_payload_text(envelope, exception, "type", item->u.error.kind);
    sbx_payload_text(envelope, exception, "value", item->u.error.text);
    if (item->u.error.frame_count > 0)
        add(exception, "stacktrace", stacktrace(envelope, item));
    add_exception(event, exception, "generic", true);
}

static void add_crash(const struct sbx_envelope *envelope, const struct sbx_item *item,
                      struct json_object *event)
{
    struct json_object *exception = json_object_new_object();
    char text[96];
    int signo = item->u.crash.signo;
    if (signo)
        snprintf(text, sizeof(text), "%s died of signal %d (SIG%s)", item->role, signo,
                 sigabbrev_np(signo) ?: "?");
    else
        snprintf(text, sizeof(text), "%s died with exit code %d", item->role, item->u.crash.code);
    add_word(event, "level", "fatal");
    add_word(exception, "type", "process died");
    sbx_payload_text(envelope, exception, "value", text);
    add_exception(event, exception, "waitpid", false);
}

struct json_object *sbx_event_json(const struct sbx_envelope *envelope, const struct sbx_item *item,
                                   const char *event_id)
{
    struct json_object *event = common(envelope, item, event_id);
    if (item->kind == SBX_ITEM_CRASH)
        add_crash(envelope, item, event);
    else
        add_error(envelope, item, event);
    add(event, "contexts", contexts(item));
    return event;
}

static void span_id_of(const struct sbx_item *item, int32_t index, uint8_t out[8])
{
    memcpy(out, item->span_id, 8);
    if (index >= 0) { /* the request's own id, varied: no two spans of a trace share one */
        out[0] ^= (uint8_t)(index + 1);
        out[1] ^= 0x80;
    }
}

static struct json_object *spans(const struct sbx_item *item, int64_t begun_us)
{
    struct json_object *list = json_object_new_array();
    for (uint32_t i = 0; i < item->u.transaction.span_count; i++) {
        const struct sbx_item_span *span = &item->u.transaction.spans[i];
        struct json_object *obj = json_object_new_object();
        uint8_t id[8];
        span_id_of(item, (int32_t)i, id);
        sbx_payload_id(obj, "span_id", id, sizeof(id));
        span_id_of(item, span->parent, id);
        sbx_payload_id(obj, "parent_span_id", id, sizeof(id));
        sbx_payload_id(obj, "trace_id", item->trace_id, sizeof(item->trace_id));
        add_word(obj, "op", span->op);
        add_word(obj, "description", span->what);
        sbx_payload_time(obj, "start_timestamp", begun_us + span->begun_us);
        sbx_payload_time(obj, "timestamp", begun_us + span->begun_us + span->took_us);
        json_object_array_add(list, obj);
    }
    return list;
}

static void add_measurement(struct json_object *obj, const char *name, double value, const char *unit)
{
    struct json_object *measurement = json_object_new_object();
    add(measurement, "value", json_object_new_double(value));
    add_word(measurement, "unit", unit);
    add(obj, name, measurement);
}

struct json_object *sbx_transaction_json(const struct sbx_envelope *envelope, const struct sbx_item *item,
                                         const char *event_id)
{
    struct json_object *event = common(envelope, item, event_id);
    struct json_object *info = json_object_new_object();
    int64_t begun_us = item->wall_us - item->u.transaction.took_us;
    add_word(event, "type", "transaction");
    add_word(info, "source", "route");
    add(event, "transaction_info", info);
    sbx_payload_time(event, "start_timestamp", begun_us);
    add(event, "spans", spans(item, begun_us));
    add(event, "contexts", contexts(item));
    if (item->u.transaction.user_us >= 0) {
        struct json_object *measurements = json_object_new_object();
        add_measurement(measurements, "cpu_user", (double)item->u.transaction.user_us / 1000, "millisecond");
        add_measurement(measurements, "cpu_system", (double)item->u.transaction.system_us / 1000,
                        "millisecond");
        add_measurement(measurements, "max_rss", (double)item->u.transaction.max_rss_bytes, "byte");
        add(event, "measurements", measurements);
    }
    return event;
}
