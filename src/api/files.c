/* POST /session/{id}/files/: a batch of file writes. GET /session/{id}/patch/: all changes so far. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/internal.h"

#define MUTATIONS_MAX 64

struct batch {
    struct sbx_write files[MUTATIONS_MAX];
    struct json_object *paths[MUTATIONS_MAX]; /* as the client wrote them; borrowed from the body */
    size_t count;
};

static void read_mutation(struct sbx_faults *faults, struct json_object *item, size_t i, struct batch *batch)
{
    char prefix[32];
    char path[48];
    snprintf(prefix, sizeof(prefix), "mutations/%zu", i);
    if (!json_object_is_type(item, json_type_object)) {
        sbx_faults_add(faults, "model_attributes_type", prefix, item,
                       "Input should be a valid dictionary or object to extract fields from");
        return;
    }
    struct sbx_write *file = &batch->files[i];
    const char *content = NULL;
    size_t path_len = 0;
    size_t content_len = 0;
    int64_t mode = 0644;
    if (sbx_json_string(faults, item, prefix, "path", SBX_JSON_REQUIRED, 0, SIZE_MAX, &file->path,
                        &path_len)) {
        batch->paths[i] = json_object_object_get(item, "path");
        const char *real = sbx_path_real(file->path);
        path_len -= (size_t)(real - file->path);
        file->path = real;
        (void)sbx_path_check(file->path, path_len, file->reason, sizeof(file->reason));
    }
    (void)sbx_json_int(faults, item, prefix, "mode", SBX_JSON_OPTIONAL, 0, 07777, &mode);
    file->mode = (unsigned)mode;
    if (!sbx_json_string(faults, item, prefix, "content", SBX_JSON_REQUIRED, 0, SIZE_MAX, &content,
                         &content_len))
        return;
    file->data = sbx_base64_bytes(content, content_len, &file->len);
    if (!file->data) {
        snprintf(path, sizeof(path), "%s/content", prefix);
        sbx_faults_add(faults, "base64_decode", path, json_object_object_get(item, "content"),
                       "Base64 decoding error: the content must be padded standard base64");
    }
}

static void read_batch(struct sbx_faults *faults, struct json_object *body, struct batch *batch)
{
    struct json_object *list = NULL;
    if (!sbx_json_array(faults, body, "", "mutations", SBX_JSON_REQUIRED, 1, MUTATIONS_MAX, &list))
        return;
    batch->count = json_object_array_length(list);
    for (size_t i = 0; i < batch->count; i++)
        read_mutation(faults, json_object_array_get_idx(list, i), i, batch);
}

static void batch_done(struct batch *batch)
{
    for (size_t i = 0; i < batch->count; i++)
        free((void *)batch->files[i].data);
}

/* Send the files whose paths are good; the others have their reason already. */
static int write_good(struct sbx_session *session, struct batch *batch, bool *ret_any, struct sbx_err *err)
{
    struct sbx_write good[MUTATIONS_MAX];
    size_t from[MUTATIONS_MAX];
    size_t n = 0;
    for (size_t i = 0; i < batch->count; i++) {
        if (batch->files[i].reason[0])
            continue;
        from[n] = i;
        good[n++] = batch->files[i];
    }
    *ret_any = false;
    if (n > 0 && sbx_session_write(session, good, n, err) < 0)
        return -1;
    for (size_t i = 0; i < n; i++) {
        batch->files[from[i]] = good[i];
        *ret_any |= good[i].status == 0;
    }
    return 0;
}

static struct json_object *results(const struct batch *batch)
{
    struct json_object *list = json_object_new_array_ext((int)batch->count);
    for (size_t i = 0; i < batch->count; i++) {
        const char *reason = batch->files[i].reason;
        struct json_object *item = json_object_new_object();
        json_object_object_add(item, "path", json_object_get(batch->paths[i]));
        json_object_object_add(item, "ok", json_object_new_boolean(!reason[0]));
        json_object_object_add(item, "error", reason[0] ? json_object_new_string(reason) : NULL);
        json_object_array_add(list, item);
    }
    struct json_object *obj = json_object_new_object();
    json_object_object_add(obj, "results", list);
    return obj;
}

static int apply(struct sbx_call *call, struct batch *batch, struct sbx_err *err)
{
    struct sbx_session session;
    if (sbx_session_open(call->engine, call->id, &session, err) < 0)
        return -1;
    bool any = false;
    int rc = write_good(&session, batch, &any, err);
    if (rc == 0)
        rc = sbx_session_written(&session, any, err);
    sbx_session_done(&session, rc < 0 ? err : NULL);
    return rc < 0 ? -1 : sbx_answer_json(call->request, results(batch), err);
}

int sbx_handle_files(struct sbx_call *call, struct sbx_err *err)
{
    struct json_object *body = NULL;
    int rc = sbx_read_json(call, &body, err);
    if (rc <= 0)
        return rc;
    struct batch *batch = calloc(1, sizeof(*batch));
    struct sbx_faults faults;
    sbx_faults_init(&faults);
    if (!batch) {
        rc = sbx_err_set(err, SBX_ERR_INTERNAL, "out of memory for a batch of files");
    } else {
        read_batch(&faults, body, batch);
        rc = sbx_faults_any(&faults) ? sbx_answer_faults(call->request, &faults) : apply(call, batch, err);
        batch_done(batch);
    }
    free(batch);
    sbx_faults_done(&faults);
    json_object_put(body);
    return rc;
}
