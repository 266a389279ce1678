/* Answers: JSON, and the one place where an error becomes an HTTP status. */
#include <stdio.h>
#include <string.h>

#include "api/internal.h"

#define JSON_TYPE     "application/json"
#define ANSWER_MAX    (16 * 1024 * 1024)
#define RETRY_SECONDS "1"

int sbx_status_of(const struct sbx_err *err)
{
    switch (err->kind) {
    case SBX_ERR_BAD_REQUEST:
        return 400;
    case SBX_ERR_FORBIDDEN:
        return 403;
    case SBX_ERR_NOT_FOUND:
        return 404;
    case SBX_ERR_CONFLICT:
        return 409;
    case SBX_ERR_TOO_LARGE:
        return 413;
    case SBX_ERR_INVALID:
        return 422;
    case SBX_ERR_LIMITED:
        return 429;
    case SBX_ERR_UPSTREAM:
        return 502;
    case SBX_ERR_UNAVAILABLE:
        return 503;
    case SBX_ERR_TIMEOUT:
        return 504;
    case SBX_ERR_CANCELLED:
        return 499; /* nobody reads it; for the log */
    case SBX_ERR_NONE:
    case SBX_ERR_INTERNAL:
        break;
    }
    return 500;
}

static int send_object(struct sbx_request *request, int status, struct json_object *obj, struct sbx_err *err)
{
    struct sbx_buf body;
    sbx_buf_init(&body, ANSWER_MAX);
    int rc = obj ? sbx_json_print(obj, &body, err)
                 : sbx_err_set(err, SBX_ERR_INTERNAL, "out of memory for an answer");
    json_object_put(obj);
    if (rc == 0)
        rc = sbx_answer(request, status, JSON_TYPE, body.data, body.len, err);
    sbx_buf_done(&body);
    return rc;
}

int sbx_answer_json(struct sbx_request *request, struct json_object *obj, struct sbx_err *err)
{
    return send_object(request, 200, obj, err);
}

int sbx_answer_created(struct sbx_request *request, struct json_object *obj, struct sbx_err *err)
{
    return send_object(request, 201, obj, err);
}

/* Messages carry bytes of others (file names, dockerd's words): only valid UTF-8 goes into JSON. */
static int append(void *arg, const char *bytes, size_t n)
{
    struct sbx_err ignored = SBX_ERR_INIT;
    return sbx_buf_add(arg, bytes, n, &ignored);
}

void sbx_answer_detail(struct sbx_request *request, int status, const char *detail)
{
    struct sbx_err ignored = SBX_ERR_INIT;
    struct sbx_buf clean;
    sbx_buf_init(&clean, 4096);
    (void)sbx_utf8_clean(detail, strlen(detail), append, &clean);
    struct json_object *obj = json_object_new_object();
    json_object_object_add(obj, "detail",
                           json_object_new_string_len(clean.len ? clean.data : "", (int)clean.len));
    (void)!send_object(request, status, obj, &ignored);
    sbx_buf_done(&clean);
}

void sbx_answer_error(struct sbx_request *request, const struct sbx_err *err)
{
    int status = sbx_status_of(err);
    if (err->kind == SBX_ERR_CANCELLED)
        return;
    if (status == 429 || status == 502 || status == 503)
        sbx_answer_header(request, "Retry-After", RETRY_SECONDS);
    /* What went wrong inside is for the log, not for the client. */
    sbx_answer_detail(request, status, status == 500 ? "Internal Server Error" : err->msg);
}

int sbx_answer_faults(struct sbx_request *request, struct sbx_faults *faults)
{
    struct sbx_err ignored = SBX_ERR_INIT;
    struct json_object *obj = json_object_new_object();
    json_object_object_add(obj, "detail", json_object_get(faults->list));
    (void)!send_object(request, 422, obj, &ignored);
    return 0;
}
