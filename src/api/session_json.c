/* A session as its client sees it. */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "api/internal.h"

/* RFC 3339 in UTC with milliseconds; null for 0. */
static struct json_object *time_json(int64_t ms)
{
    char date[32], text[48];
    struct tm tm;
    time_t seconds = (time_t)(ms / 1000);
    if (ms <= 0)
        return NULL;
    gmtime_r(&seconds, &tm);
    strftime(date, sizeof(date), "%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(text, sizeof(text), "%s.%03dZ", date, (int)(ms % 1000));
    return json_object_new_string(text);
}

static struct json_object *positive_json(int64_t value)
{
    return value > 0 ? json_object_new_int64(value) : NULL;
}

static struct json_object *usage_json(const struct sbx_docker_usage *usage)
{
    if (!usage)
        return NULL;
    struct json_object *obj = json_object_new_object();
    json_object_object_add(obj, "cpu_ms", json_object_new_int64(usage->cpu_us / 1000));
    json_object_object_add(obj, "memory_bytes", json_object_new_int64(usage->memory_bytes));
    json_object_object_add(obj, "processes", json_object_new_int64(usage->processes));
    return obj;
}

static struct json_object *parse(const char *text, struct sbx_err *err)
{
    bool ok = false;
    return sbx_json_parse(text ? text : "{}", text ? strlen(text) : 2, &ok, err);
}

/* Options that are the client's own choice; the environment may hold secrets and is not shown. */
static void add_options(struct json_object *obj, struct json_object *options)
{
    struct json_object *cpus = sbx_json_at(options, "cpus");
    bool limited = cpus && json_object_get_double(cpus) > 0;
    json_object_object_add(obj, "network_enabled",
                           json_object_new_boolean(sbx_json_bool_at(options, "network_enabled", false)));
    json_object_object_add(obj, "memory_bytes", positive_json(sbx_json_int_at(options, "memory_bytes", 0)));
    json_object_object_add(obj, "disk_bytes", positive_json(sbx_json_int_at(options, "disk_bytes", 0)));
    json_object_object_add(obj, "cpus", limited ? json_object_get(cpus) : NULL);
}

struct json_object *sbx_session_json(const struct sbx_config *config, const struct sbx_record *record,
                                     const struct sbx_docker_usage *usage, struct sbx_err *err)
{
    struct json_object *options = parse(record->options, err);
    struct json_object *labels = options ? parse(record->labels, err) : NULL;
    struct json_object *obj = labels ? json_object_new_object() : NULL;
    if (!obj) {
        json_object_put(options);
        json_object_put(labels);
        return NULL;
    }
    bool stopped = record->state == SBX_SESSION_STOPPED;
    json_object_object_add(obj, "session_id", json_object_new_string(record->id));
    json_object_object_add(obj, "state", json_object_new_string(stopped ? "stopped" : "ready"));
    json_object_object_add(obj, "owner", json_object_new_string(record->owner));
    json_object_object_add(obj, "base_image", json_object_new_string(record->image));
    json_object_object_add(obj, "created_at", time_json(record->created_ms));
    json_object_object_add(obj, "last_used_at", time_json(record->used_ms));
    json_object_object_add(obj, "expires_at", time_json(sbx_session_ends_ms(config, record, NULL)));
    json_object_object_add(obj, "idle_seconds", positive_json(record->idle_ms / 1000));
    json_object_object_add(obj, "seeded", json_object_new_boolean(record->seeded));
    json_object_object_add(obj, "extract_patch", json_object_new_boolean(record->extract_patch));
    json_object_object_add(obj, "ephemeral", json_object_new_boolean(record->ephemeral));
    add_options(obj, options);
    json_object_object_add(obj, "labels", labels);
    json_object_object_add(obj, "usage", usage_json(usage));
    json_object_put(options);
    return obj;
}
