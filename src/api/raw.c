/*
 * /session/{id}/files/{path}: files as they are. The session is held only while a file is on its way between
 * the agent and a spool: how fast the client is does not matter to others.
 */
#include "api/raw.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sandboxd/archive.h"
#include "sandboxd/wire.h"

#define SPOOL_MEMORY (1024 * 1024)

/* A file on its way to the client. */
struct download {
    struct sbx_raw_want want;
    struct sbx_raw_have have;
    struct sbx_spool spool;
    struct sbx_packer *packer; /* NULL: as it comes */
    uint64_t skipped;          /* of a directory */
};

int sbx_raw_fail(const struct sbx_fs_result *result, struct sbx_err *err)
{
    enum sbx_err_kind kind = SBX_ERR_UPSTREAM;
    switch (result->code) {
    case SBX_FS_NOT_FOUND:
    case SBX_FS_NOT_A_DIRECTORY:
        kind = SBX_ERR_NOT_FOUND;
        break;
    case SBX_FS_PERMISSION_DENIED:
        kind = SBX_ERR_FORBIDDEN;
        break;
    case SBX_FS_IS_A_DIRECTORY:
    case SBX_FS_ALREADY_EXISTS:
        kind = SBX_ERR_CONFLICT;
        break;
    case SBX_FS_INVALID_PATH:
        kind = SBX_ERR_INVALID;
        break;
    case SBX_FS_TOO_LARGE:
        kind = SBX_ERR_TOO_LARGE;
        break;
    default:
        break;
    }
    return sbx_err_set(err, kind, "%s", result->message);
}

static int spool_bytes(void *arg, const void *data, size_t n, struct sbx_err *err)
{
    return sbx_spool_add(arg, data, n, err);
}

static int take_text(struct download *download, const struct sbx_field *field, struct sbx_err *err)
{
    if (download->packer)
        return sbx_packer_add(download->packer, field->data, field->len, err);
    return sbx_spool_add(&download->spool, field->data, field->len, err);
}

static int on_field(void *arg, const struct sbx_field *field, struct sbx_err *err)
{
    struct download *download = arg;
    struct sbx_raw_have *have = &download->have;
    uint64_t value = 0;
    (void)sbx_field_u64(field, &value);
    switch (field->tag) {
    case SBX_TAG_FS_TEXT:
        return take_text(download, field, err);
    case SBX_TAG_FS_KIND:
        have->directory = field->len == 3 && memcmp(field->data, "dir", 3) == 0;
        break;
    case SBX_TAG_SIZE:
        have->size = value;
        break;
    case SBX_TAG_MODE:
        have->mode = value;
        break;
    case SBX_TAG_FS_MTIME_NS:
        have->mtime_ns = (int64_t)value;
        break;
    case SBX_TAG_FS_INODE:
        have->inode = value;
        break;
    case SBX_TAG_FS_FIRST:
        have->first = value;
        break;
    case SBX_TAG_FS_COUNT:
        have->count = value;
        break;
    default:
        break;
    }
    return 0;
}

static int operate(struct sbx_session *session, const char *const *args, struct download *download,
                   struct sbx_err *err)
{
    struct sbx_fs_result result;
    struct sbx_fs fs = {.args = args};
    if (sbx_session_fs(session, &fs, on_field, download, &result, err) < 0)
        return -1;
    return result.code == SBX_FS_OK ? 0 : sbx_raw_fail(&result, err);
}

/* The file, or what there is to know about it when its bytes are not asked for or may not be needed. */
static int fetch_file(struct sbx_session *session, const char *path, struct download *download,
                      struct sbx_err *err)
{
    struct sbx_raw_want *want = &download->want;
    char etag[SBX_ETAG_SIZE];
    bool look = want->head || want->none_match || (want->ranged && want->if_range);
    const char *args[] = {"get", path, look ? "-" : want->first, look ? "-" : want->last, NULL};
    if (operate(session, args, download, err) < 0)
        return -1;
    if (!look || want->head || download->have.directory)
        return 0;
    sbx_raw_etag(&download->have, etag);
    if (want->none_match && sbx_raw_tag_in(want->none_match, etag))
        return 0;
    want->none_match = NULL;
    if (want->ranged && want->if_range && strcmp(want->if_range, etag) != 0) {
        want->ranged = false;
        want->first[0] = want->last[0] = '\0';
    }
    args[2] = want->first;
    args[3] = want->last;
    return operate(session, args, download, err);
}

static int fetch_directory(struct sbx_session *session, const char *path, struct download *download,
                           struct sbx_err *err)
{
    const char *const args[] = {"tar", path, NULL};
    if (download->want.filter &&
        !(download->packer = sbx_packer_new(download->want.filter, spool_bytes, &download->spool, err)))
        return -1;
    int rc = operate(session, args, download, err);
    download->skipped = download->have.count;
    if (rc == 0 && download->packer)
        rc = sbx_packer_end(download->packer, err);
    sbx_packer_free(download->packer);
    download->packer = NULL;
    return rc;
}

static int fetch(struct sbx_call *call, struct download *download, struct sbx_err *err)
{
    struct sbx_session session;
    if (sbx_session_open(call->engine, call->id, &session, err) < 0)
        return -1;
    int rc = fetch_file(&session, call->path, download, err);
    if (rc == 0 && download->have.directory && !download->want.head)
        rc = fetch_directory(&session, call->path, download, err);
    sbx_session_done(&session, rc < 0 ? err : NULL);
    return rc;
}

static int answer_directory(struct sbx_request *request, const struct download *download, struct sbx_err *err)
{
    char skipped[24];
    const char *filter = download->want.filter;
    const char *type = !filter                       ? "application/x-tar"
                       : strcmp(filter, "zstd") == 0 ? "application/zstd"
                                                     : "application/gzip";
    if (download->want.head)
        return sbx_answer_head(request, 200, type, -1, err);
    snprintf(skipped, sizeof(skipped), "%" PRIu64, download->skipped);
    sbx_answer_header(request, "X-Skipped-Entries", skipped);
    return sbx_answer_spool(request, 200, type, &download->spool, err);
}

static int answer_file(struct sbx_request *request, const struct download *download, struct sbx_err *err)
{
    static const char TYPE[] = "application/octet-stream";
    const struct sbx_raw_have *have = &download->have;
    char range[96];
    sbx_raw_headers(request, have);
    if (download->want.none_match && !download->want.head)
        return sbx_answer(request, 304, NULL, NULL, 0, err);
    if (download->want.head)
        return sbx_answer_head(request, 200, TYPE, (int64_t)have->size, err);
    if (!download->want.ranged)
        return sbx_answer_spool(request, 200, TYPE, &download->spool, err);
    if (have->count == 0) {
        snprintf(range, sizeof(range), "bytes */%" PRIu64, have->size);
        sbx_answer_header(request, "Content-Range", range);
        sbx_answer_detail(request, 416, "The range is outside of the file");
        return 0;
    }
    snprintf(range, sizeof(range), "bytes %" PRIu64 "-%" PRIu64 "/%" PRIu64, have->first,
             have->first + have->count - 1, have->size);
    sbx_answer_header(request, "Content-Range", range);
    return sbx_answer_spool(request, 206, TYPE, &download->spool, err);
}

int sbx_raw_check_path(const struct sbx_call *call, struct sbx_err *err)
{
    return call->path[0] ? 0 : sbx_err_set(err, SBX_ERR_INVALID, "the path contains '..'");
}

int sbx_handle_file_get(struct sbx_call *call, struct sbx_err *err)
{
    struct download download = {.packer = NULL};
    if (sbx_raw_check_path(call, err) < 0 || sbx_raw_want(&download.want, call->request, err) < 0)
        return -1;
    sbx_spool_init(&download.spool, call->api->spool_dir, SPOOL_MEMORY, call->engine->config->max_file_bytes);
    int rc = fetch(call, &download, err);
    if (rc == 0)
        rc = download.have.directory ? answer_directory(call->request, &download, err)
                                     : answer_file(call->request, &download, err);
    sbx_request_close_later(call->request, &download.spool.fd);
    sbx_spool_done(&download.spool);
    return rc;
}

/* The body into an unlinked file. */
static int take_body(struct sbx_call *call, struct sbx_spool *spool, struct sbx_err *err)
{
    char chunk[16384];
    ssize_t n;
    while ((n = sbx_request_read(call->request, chunk, sizeof(chunk), err)) > 0) {
        if (sbx_spool_add(spool, chunk, (size_t)n, err) < 0)
            return -1;
    }
    return (int)n;
}

static int nothing(void *arg, const struct sbx_field *field, struct sbx_err *err)
{
    uint64_t *count = arg;
    return field->tag == SBX_TAG_FS_COUNT && !sbx_field_u64(field, count)
               ? sbx_err_set(err, SBX_ERR_UPSTREAM, "the agent's answer is malformed")
               : 0;
}

int sbx_raw_change(struct sbx_call *call, const struct sbx_fs *fs, uint64_t *ret_count, struct sbx_err *err)
{
    struct sbx_session session;
    struct sbx_fs_result result;
    if (sbx_session_open(call->engine, call->id, &session, err) < 0)
        return -1;
    int rc = sbx_session_fs(&session, fs, nothing, ret_count, &result, err);
    if (rc == 0 && result.code != SBX_FS_OK)
        rc = sbx_raw_fail(&result, err);
    sbx_session_done(&session, rc < 0 ? err : NULL);
    return rc;
}

/* The mode that is asked for by ?mode= or X-File-Mode, in octal; "" when none is. */
static int read_mode(struct sbx_call *call, char out[24], struct sbx_err *err)
{
    char text[16] = "";
    const char *header = sbx_request_header(call->request, "x-file-mode");
    out[0] = '\0';
    if (!sbx_request_param(call->request, "mode", text, sizeof(text)) && !header)
        return 0;
    if (!text[0])
        snprintf(text, sizeof(text), "%s", header ? header : "");
    if (!text[0] || strspn(text, "01234567") != strlen(text) || strtoul(text, NULL, 8) > 07777)
        return sbx_err_set(err, SBX_ERR_INVALID, "mode must be octal, from 0 to 7777");
    snprintf(out, 24, "%lu", strtoul(text, NULL, 8));
    return 0;
}

static int put(struct sbx_call *call, const struct sbx_spool *spool, const char *mode, uint64_t *ret_made,
               struct sbx_err *err)
{
    const char *const args[] = {"put", call->path, mode, NULL};
    const struct sbx_fs fs = {.args = args, .spool = spool, .changes = true};
    return sbx_raw_change(call, &fs, ret_made, err);
}

int sbx_handle_file_put(struct sbx_call *call, struct sbx_err *err)
{
    char mode[24];
    struct sbx_spool spool;
    uint64_t made = 0;
    if (sbx_raw_check_path(call, err) < 0 || read_mode(call, mode, err) < 0)
        return -1;
    if (call->path[strlen(call->path) - 1] == '/')
        return sbx_err_set(err, SBX_ERR_INVALID, "the path names a directory");
    sbx_spool_init(&spool, call->api->spool_dir, SPOOL_MEMORY, call->engine->config->max_file_bytes);
    int rc = take_body(call, &spool, err);
    if (rc < 0 && err->kind == SBX_ERR_TOO_LARGE)
        sbx_err_set(err, SBX_ERR_TOO_LARGE, "Request body is too large");
    if (rc == 0)
        rc = put(call, &spool, mode, &made, err);
    sbx_request_close_later(call->request, &spool.fd);
    sbx_spool_done(&spool);
    return rc < 0 ? -1 : sbx_answer(call->request, made ? 201 : 204, NULL, NULL, 0, err);
}

int sbx_handle_file_delete(struct sbx_call *call, struct sbx_err *err)
{
    char recursive[8] = "";
    uint64_t count = 0;
    if (sbx_raw_check_path(call, err) < 0)
        return -1;
    bool all = sbx_request_param(call->request, "recursive", recursive, sizeof(recursive)) &&
               strcmp(recursive, "true") == 0;
    const char *const args[] = {"delete", call->path, all ? "1" : "0", NULL};
    const struct sbx_fs fs = {.args = args, .changes = true, .partial = all};
    if (sbx_raw_change(call, &fs, &count, err) < 0)
        return -1;
    return sbx_answer(call->request, 204, NULL, NULL, 0, err);
}
