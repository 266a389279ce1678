/* Names and labels of a session's Docker objects, and its options as the record keeps them. */
#include "session/internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

void sbx_name_container(const char *id, char out[SBX_NAME_SIZE])
{
    snprintf(out, SBX_NAME_SIZE, "sandboxd-%s", id);
}

void sbx_name_helper(const char *id, char out[SBX_NAME_SIZE])
{
    snprintf(out, SBX_NAME_SIZE, "sandboxd-%s-patch", id);
}

void sbx_name_volume(const char *id, char out[SBX_NAME_SIZE])
{
    snprintf(out, SBX_NAME_SIZE, "sandboxd-%s-repo", id);
}

void sbx_labels_fill(struct sbx_labels *labels, struct sbx_engine *engine, const char *id, const char *role)
{
    snprintf(labels->created, sizeof(labels->created), "%" PRId64, sbx_wall_ms());
    struct sbx_docker_pair *pair = labels->pairs;
    *pair++ = (struct sbx_docker_pair){SBX_LABEL_INSTANCE, sbx_store_instance(engine->store)};
    *pair++ = (struct sbx_docker_pair){SBX_LABEL_SESSION, id};
    *pair++ = (struct sbx_docker_pair){SBX_LABEL_ROLE, role};
    *pair++ = (struct sbx_docker_pair){SBX_LABEL_REPLICA, engine->config->replica};
    *pair++ = (struct sbx_docker_pair){SBX_LABEL_CREATED, labels->created};
    *pair = (struct sbx_docker_pair){NULL, NULL};
}

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
