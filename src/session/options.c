/* A session's options as the record keeps them. */
#include "session/internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int add_environment(struct json_object *into, const char *const *environment)
{
    for (; environment && *environment; environment++) {
        const char *eq = strchr(*environment, '=');
        char name[256];
        snprintf(name, sizeof(name), "%.*s", eq ? (int)(eq - *environment) : 0, *environment);
        if (json_object_object_add(into, name, json_object_new_string(eq ? eq + 1 : "")) < 0)
            return -1;
    }
    return 0;
}

char *sbx_options_to_json(const struct sbx_session_options *options, struct sbx_err *err)
{
    struct json_object *obj = json_object_new_object();
    struct json_object *env = json_object_new_object();
    char *text = NULL;
    if (obj && env && add_environment(env, options->environment) == 0) {
        json_object_object_add(obj, "network_enabled", json_object_new_boolean(options->network_enabled));
        json_object_object_add(obj, "memory_bytes", json_object_new_int64(options->memory_bytes));
        json_object_object_add(obj, "disk_bytes", json_object_new_int64(options->disk_bytes));
        json_object_object_add(obj, "cpus", json_object_new_double(options->cpus));
        json_object_object_add(obj, "environment", json_object_get(env));
        const char *printed = json_object_to_json_string_ext(obj, JSON_C_TO_STRING_PLAIN);
        text = printed ? strdup(printed) : NULL;
    }
    json_object_put(env);
    json_object_put(obj);
    if (!text)
        sbx_err_set(err, SBX_ERR_INTERNAL, "out of memory for a session's options");
    return text;
}

static char **read_environment(struct json_object *obj)
{
    size_t n = json_object_is_type(obj, json_type_object) ? (size_t)json_object_object_length(obj) : 0;
    char **list = calloc(n + 1, sizeof(*list));
    if (!list || n == 0)
        return list;
    size_t i = 0;
    json_object_object_foreach(obj, name, value)
    {
        if (asprintf(&list[i], "%s=%s", name, json_object_get_string(value)) < 0) {
            list[i] = NULL;
            sbx_environment_free(list);
            return NULL;
        }
        i++;
    }
    return list;
}

void sbx_environment_free(char **environment)
{
    for (size_t i = 0; environment && environment[i]; i++)
        free(environment[i]);
    free(environment);
}

int sbx_options_from_record(const struct sbx_record *record, struct sbx_session_options *ret,
                            char ***ret_environment, struct sbx_err *err)
{
    const char *text = record->options ? record->options : "{}";
    bool ok = false;
    struct json_object *obj = sbx_json_parse(text, strlen(text), &ok, err);
    if (!obj)
        return sbx_err_set(err, SBX_ERR_INTERNAL, "the options in the record of session %s are unreadable",
                           record->id);
    *ret_environment = read_environment(sbx_json_at(obj, "environment"));
    *ret = (struct sbx_session_options){
        .owner = record->owner,
        .image = record->image,
        .extract_patch = record->extract_patch,
        .ephemeral = record->ephemeral,
        .network_enabled = sbx_json_bool_at(obj, "network_enabled", false),
        .memory_bytes = sbx_json_int_at(obj, "memory_bytes", 0),
        .disk_bytes = sbx_json_int_at(obj, "disk_bytes", 0),
        .environment = (const char *const *)*ret_environment,
    };
    struct json_object *cpus = sbx_json_at(obj, "cpus");
    if (json_object_is_type(cpus, json_type_double) || json_object_is_type(cpus, json_type_int))
        ret->cpus = json_object_get_double(cpus);
    json_object_put(obj);
    return *ret_environment ? 0 : sbx_err_set(err, SBX_ERR_INTERNAL, "out of memory for an environment");
}
