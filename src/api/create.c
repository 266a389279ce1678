/* POST /session/ and DELETE /session/{id}/. */
#include <string.h>

#include "api/internal.h"

#define MEMORY_FLOOR (6LL * 1024 * 1024) /* dockerd's */
#define IMAGE_MAX    500

struct fields {
    struct sbx_session_options options;
    char **environment; /* owned */
};

static int read_fields(struct sbx_faults *faults, struct json_object *body, struct fields *fields,
                       struct sbx_err *err)
{
    struct sbx_session_options *options = &fields->options;
    size_t image_len = 0;
    if (sbx_json_string(faults, body, "", "base_image", SBX_JSON_REQUIRED, 1, IMAGE_MAX, &options->image,
                        &image_len) &&
        strlen(options->image) != image_len)
        sbx_faults_add(faults, "value_error", "base_image", json_object_object_get(body, "base_image"),
                       "An image reference must not contain NUL");
    (void)sbx_json_bool(faults, body, "", "extract_patch", SBX_JSON_OPTIONAL, &options->extract_patch);
    (void)sbx_json_bool(faults, body, "", "network_enabled", SBX_JSON_OPTIONAL, &options->network_enabled);
    (void)sbx_json_bool(faults, body, "", "ephemeral", SBX_JSON_OPTIONAL, &options->ephemeral);
    (void)sbx_json_int(faults, body, "", "memory_bytes", SBX_JSON_NULLABLE, MEMORY_FLOOR, INT64_MAX,
                       &options->memory_bytes);
    (void)sbx_json_double(faults, body, "", "cpus", SBX_JSON_NULLABLE, 0, &options->cpus);
    if (sbx_read_env(faults, body, "environment", &fields->environment, err) < 0)
        return -1;
    options->environment = (const char *const *)fields->environment;
    return 0;
}

static int create(struct sbx_call *call, const struct sbx_session_options *options, struct sbx_err *err)
{
    char id[SBX_UUID_LEN + 1];
    if (sbx_session_create(call->engine, options, id, err) < 0)
        return -1;
    sbx_log_set_session(id);
    sbx_log(SBX_LOG_INFO, "session created", "image", options->image, NULL);
    struct json_object *obj = json_object_new_object();
    json_object_object_add(obj, "session_id", json_object_new_string(id));
    if (sbx_answer_json(call->request, obj, err) == 0)
        return 0;
    /* The client never learnt the id: nobody could close it. */
    struct sbx_err ignored = SBX_ERR_INIT;
    call->engine->wait = NULL;
    if (sbx_session_close(call->engine, id, &ignored) < 0)
        sbx_log_err(SBX_LOG_WARNING, "unclaimed session left for the sweep", &ignored);
    return -1;
}

int sbx_handle_create(struct sbx_call *call, struct sbx_err *err)
{
    struct json_object *body = NULL;
    int rc = sbx_read_json(call, &body, err);
    if (rc <= 0)
        return rc;
    struct fields fields = {.options = {.owner = call->client}};
    struct sbx_faults faults;
    sbx_faults_init(&faults);
    rc = read_fields(&faults, body, &fields, err);
    if (rc == 0 && sbx_faults_any(&faults))
        rc = sbx_answer_faults(call->request, &faults);
    else if (rc == 0)
        rc = create(call, &fields.options, err);
    sbx_env_free(fields.environment);
    sbx_faults_done(&faults);
    json_object_put(body);
    return rc;
}

int sbx_handle_close(struct sbx_call *call, struct sbx_err *err)
{
    if (call->id[0] && sbx_session_close(call->engine, call->id, err) < 0)
        return -1;
    return sbx_answer(call->request, 204, NULL, NULL, 0, err);
}
