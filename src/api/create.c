/* POST /session/ and DELETE /session/{id}/. */
#include <stdlib.h>
#include <string.h>

#include "api/internal.h"

#define MEMORY_FLOOR (6LL * 1024 * 1024) /* dockerd's */
#define DISK_FLOOR   (1024 * 1024)
#define IMAGE_MAX    500
#define KEY_MAX      255

struct fields {
    struct sbx_session_options options;
    char **environment; /* owned */
    char *labels;       /* owned */
    char key[SBX_SHA256_HEX + 1];
    char body[SBX_SHA256_HEX + 1];
};

/* The key of a create that may be repeated: it is the client's own, and bound to the body. */
static int read_key(struct sbx_call *call, struct json_object *body, struct fields *fields,
                    struct sbx_err *err)
{
    const char *key = sbx_request_header(call->request, "idempotency-key");
    if (!key)
        return 0;
    size_t len = strlen(key);
    for (size_t i = 0; i < len; i++) {
        if (key[i] < ' ' || key[i] > '~' || len > KEY_MAX)
            return sbx_err_set(err, SBX_ERR_INVALID,
                               "Idempotency-Key must be 1 to %d printable ASCII characters", KEY_MAX);
    }
    struct sbx_buf text;
    sbx_buf_init(&text, (size_t)call->engine->config->max_body_bytes + KEY_MAX + 256);
    int rc = sbx_buf_printf(&text, err, "%s\n%s", call->client->name, key);
    if (rc == 0)
        sbx_sha256_hex(text.data, text.len, fields->key);
    text.len = 0;
    if (rc == 0 && (rc = sbx_json_print(body, &text, err)) == 0)
        sbx_sha256_hex(text.data, text.len, fields->body);
    sbx_buf_done(&text);
    fields->options.key = fields->key;
    fields->options.body = fields->body;
    return rc;
}

static int read_fields(struct sbx_call *call, struct sbx_faults *faults, struct json_object *body,
                       struct fields *fields, struct sbx_err *err)
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
    options->disk_bytes = call->engine->config->disk_bytes;
    (void)sbx_json_int(faults, body, "", "disk_bytes", SBX_JSON_NULLABLE, DISK_FLOOR,
                       options->disk_bytes > 0 ? options->disk_bytes : INT64_MAX, &options->disk_bytes);
    (void)sbx_json_double(faults, body, "", "cpus", SBX_JSON_NULLABLE, 0, &options->cpus);
    if (sbx_read_env(faults, body, "environment", &fields->environment, err) < 0)
        return -1;
    options->environment = (const char *const *)fields->environment;
    const struct sbx_config *config = call->engine->config;
    options->idle_ms = config->session_idle_ms;
    options->ttl_ms = config->session_max_ms;
    sbx_read_seconds(faults, body, "idle_seconds", config->session_idle_ms, &options->idle_ms);
    sbx_read_seconds(faults, body, "ttl_seconds", config->session_max_ms, &options->ttl_ms);
    if (sbx_read_labels(faults, body, &fields->labels, err) < 0)
        return -1;
    options->labels = fields->labels;
    return read_key(call, body, fields, err);
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
    if (options->key) /* asked for again with it */
        return -1;
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
    struct fields fields = {.options = {.owner = call->client->name, .most = call->client->sessions}};
    struct sbx_faults faults;
    sbx_faults_init(&faults);
    rc = read_fields(call, &faults, body, &fields, err);
    if (rc == 0 && sbx_faults_any(&faults))
        rc = sbx_answer_faults(call->request, &faults);
    else if (rc == 0)
        rc = create(call, &fields.options, err);
    sbx_env_free(fields.environment);
    free(fields.labels);
    sbx_faults_done(&faults);
    json_object_put(body);
    return rc;
}

int sbx_handle_close(struct sbx_call *call, struct sbx_err *err)
{
    char force[8] = "";
    (void)sbx_request_param(call->request, "force", force, sizeof(force));
    bool forced = strcmp(force, "true") == 0 || strcmp(force, "1") == 0;
    int (*end)(struct sbx_engine *, const char *, struct sbx_err *) =
        forced ? sbx_session_close : sbx_session_leave;
    if (call->id[0] && end(call->engine, call->id, err) < 0)
        return -1;
    return sbx_answer(call->request, 204, NULL, NULL, 0, err);
}
