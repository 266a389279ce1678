/* JSON bodies. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/internal.h"

/* FastAPI's form: the place is part of the path, what is wrong there is in the context. */
static void add_json_invalid(struct sbx_faults *faults, const char *message)
{
    char place[24] = "0";
    const char *at = strstr(message, "byte ");
    if (at)
        snprintf(place, sizeof(place), "%.*s", (int)strspn(at + 5, "0123456789"), at + 5);
    struct json_object *input = json_object_new_object();
    sbx_faults_add(faults, "json_invalid", place, input, "JSON decode error");
    json_object_put(input);
    struct json_object *fault = json_object_array_get_idx(faults->list, 0);
    struct json_object *context = json_object_new_object();
    json_object_object_add(context, "error", json_object_new_string(message));
    json_object_object_add(fault, "ctx", context);
}

int sbx_read_json(struct sbx_call *call, struct json_object **ret, struct sbx_err *err)
{
    struct sbx_buf body;
    struct sbx_err invalid = SBX_ERR_INIT;
    bool ok = false;
    struct json_object *value = NULL;
    sbx_buf_init(&body, (size_t)call->engine->config->max_body_bytes);
    if (sbx_request_body(call->request, &body, err) < 0) {
        sbx_buf_done(&body);
        if (err->kind == SBX_ERR_TOO_LARGE)
            sbx_err_set(err, SBX_ERR_TOO_LARGE, "Request body is too large");
        return -1;
    }
    if (body.len > 0)
        value = sbx_json_parse(body.data, body.len, &ok, &invalid);
    struct sbx_faults faults;
    sbx_faults_init(&faults);
    if (body.len == 0)
        sbx_faults_add(&faults, "missing", "", NULL, "Field required");
    else if (!ok)
        add_json_invalid(&faults, invalid.msg);
    else if (!json_object_is_type(value, json_type_object))
        sbx_faults_add(&faults, "model_attributes_type", "", value,
                       "Input should be a valid dictionary or object to extract fields from");
    sbx_buf_done(&body);
    int rc = 1;
    if (sbx_faults_any(&faults)) {
        rc = sbx_answer_faults(call->request, &faults);
        json_object_put(value);
    } else {
        *ret = value;
    }
    sbx_faults_done(&faults);
    return rc;
}

void sbx_env_free(char **env)
{
    for (size_t i = 0; env && env[i]; i++)
        free(env[i]);
    free(env);
}

/* Bytes of a name, of one NAME=value (Linux hands no longer string to a program) and of all: those of a
 * session are in its record and its note, which sweeps read with all others. */
#define ENV_NAME_MAX  255
#define ENV_ENTRY_MAX (128 * 1024 - 1)
#define ENV_MAX       (256 * 1024)

/* One variable, its length in *ret_len. False: it is a fault. */
static bool check_env(struct sbx_faults *faults, const char *key, const char *name, struct json_object *value,
                      size_t *ret_len)
{
    char path[320];
    size_t len = (size_t)json_object_get_string_len(value);
    *ret_len = strlen(name) + 1 + len;
    snprintf(path, sizeof(path), "%s/%.255s", key, name);
    if (!name[0] || strlen(name) > ENV_NAME_MAX || strchr(name, '='))
        sbx_faults_add(faults, "value_error", path, value,
                       "Names must have 1 to %d bytes, and no '=' in them", ENV_NAME_MAX);
    else if (strlen(json_object_get_string(value)) != len)
        sbx_faults_add(faults, "value_error", path, value, "Values must not contain NUL");
    else if (*ret_len > ENV_ENTRY_MAX)
        sbx_faults_add(faults, "value_error", path, value, "NAME=value must have at most %d bytes",
                       ENV_ENTRY_MAX);
    else
        return true;
    return false;
}

int sbx_read_env(struct sbx_faults *faults, struct json_object *body, const char *key, char ***ret,
                 struct sbx_err *err)
{
    struct json_object *obj = NULL;
    *ret = NULL;
    if (!sbx_json_object(faults, body, "", key, SBX_JSON_NULLABLE, true, &obj))
        return 0;
    char **env = calloc((size_t)json_object_object_length(obj) + 1, sizeof(*env));
    if (!env)
        return sbx_err_set(err, SBX_ERR_INTERNAL, "out of memory for an environment");
    size_t n = 0, len, all = 0;
    *ret = env;
    json_object_object_foreach(obj, name, value)
    {
        if (!check_env(faults, key, name, value, &len))
            continue;
        all += len;
        if (asprintf(&env[n], "%s=%s", name, json_object_get_string(value)) < 0) {
            env[n] = NULL;
            return sbx_err_set(err, SBX_ERR_INTERNAL, "out of memory for an environment");
        }
        n++;
    }
    if (all > ENV_MAX)
        sbx_faults_add(faults, "too_long", key, obj, "All variables must have at most %d bytes together",
                       ENV_MAX);
    return 0;
}
