/* POST /session/{id}/files/{path}: an archive into a directory of a session, whenever. */
#include <stdlib.h>

#include "api/raw.h"

static int extract(struct sbx_call *call, const struct sbx_tar *tar, uint64_t *ret_count, struct sbx_err *err)
{
    const char *const args[] = {"untar", call->path, NULL};
    const struct sbx_spool spool = sbx_spool_of(tar->fd, tar->size);
    const struct sbx_fs fs = {.args = args, .spool = &spool, .changes = true, .partial = true};
    return sbx_raw_change(call, &fs, ret_count, err);
}

int sbx_handle_file_extract(struct sbx_call *call, struct sbx_err *err)
{
    struct sbx_tar tar = {.fd = -1};
    uint64_t count = 0;
    if (sbx_raw_check_path(call, err) < 0 ||
        sbx_spool_archive(call, "archive", sbx_body_read, call->request, &tar, err) < 0)
        return -1;
    int rc = extract(call, &tar, &count, err);
    sbx_request_close_later(call->request, &tar.fd);
    if (rc < 0)
        return -1;
    struct json_object *obj = json_object_new_object();
    json_object_object_add(obj, "entries", json_object_new_int64((int64_t)count));
    return sbx_answer_json(call->request, obj, err);
}
