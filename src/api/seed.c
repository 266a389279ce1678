/* POST /session/{id}/seed/: archives into a session, once. */
#include <string.h>
#include <strings.h>

#include "api/internal.h"
#include "sandboxd/session.h"

#define NEITHER "At least one of repo_archive and skills_archive is required"

enum { REPO, SKILLS, ARCHIVES };

static const struct {
    const char *field;
    const char *target;
} ARCHIVE[ARCHIVES] = {{"repo_archive", "/repo"}, {"skills_archive", "/skills"}};

static ssize_t read_part(void *arg, void *buf, size_t n, struct sbx_err *err)
{
    return sbx_multipart_read(arg, buf, n, err);
}

static int sanitise(struct sbx_call *call, struct sbx_multipart *multipart, int which,
                    struct sbx_tar tars[ARCHIVES], struct sbx_err *err)
{
    if (tars[which].fd >= 0)
        return sbx_err_set(err, SBX_ERR_INVALID, "%s is given twice", ARCHIVE[which].field);
    return sbx_spool_archive(call, ARCHIVE[which].field, read_part, multipart, &tars[which], err);
}

static int spool(struct sbx_call *call, struct sbx_tar tars[ARCHIVES], struct sbx_err *err)
{
    const char *type = sbx_request_header(call->request, "content-type");
    if (!type || strncasecmp(type, "multipart/form-data", strlen("multipart/form-data")) != 0)
        return sbx_err_set(err, SBX_ERR_INVALID, NEITHER);
    struct sbx_multipart *multipart = sbx_multipart_new(type, sbx_body_read, call->request, err);
    if (!multipart)
        return -1;
    struct sbx_part part;
    int rc;
    while ((rc = sbx_multipart_next(multipart, &part, err)) == 1) {
        int which = 0;
        while (which < ARCHIVES && strcmp(part.name, ARCHIVE[which].field) != 0)
            which++;
        if (which < ARCHIVES && (rc = sanitise(call, multipart, which, tars, err)) < 0)
            break;
    }
    sbx_multipart_free(multipart);
    if (rc == 0 && tars[REPO].fd < 0 && tars[SKILLS].fd < 0)
        return sbx_err_set(err, SBX_ERR_INVALID, NEITHER);
    return rc;
}

static int check_unseeded(const struct sbx_record *record, struct sbx_err *err)
{
    return record->seeded ? sbx_err_set(err, SBX_ERR_CONFLICT, "Session already seeded") : 0;
}

/* Before a long upload: would it be of use at all? No lock is held while the client sends. */
static int look_first(struct sbx_call *call, struct sbx_err *err)
{
    struct sbx_record record;
    sbx_record_init(&record);
    int rc = sbx_session_look(call->engine, call->id, &record, err);
    if (rc == 0)
        rc = check_unseeded(&record, err);
    sbx_record_done(&record);
    return rc;
}

/* A seed that failed half-way (disk full, dockerd restarted) leaves the directories empty, so that it can be
 * tried again. */
static void take_back(struct sbx_session *session, const struct sbx_tar tars[ARCHIVES])
{
    for (int i = 0; i < ARCHIVES; i++) {
        struct sbx_err err = SBX_ERR_INIT;
        if (tars[i].fd >= 0 && sbx_session_clear(session, ARCHIVE[i].target, &err) < 0)
            sbx_log_err(SBX_LOG_WARNING, "a failed seed could not be taken back", &err);
    }
}

static int extract(struct sbx_call *call, const struct sbx_tar tars[ARCHIVES], struct sbx_err *err)
{
    struct sbx_session session;
    if (sbx_session_open(call->engine, call->id, &session, err) < 0)
        return -1;
    int rc = check_unseeded(&session.record, err);
    bool touched = rc == 0;
    for (int i = 0; rc == 0 && i < ARCHIVES; i++) {
        if (tars[i].fd >= 0)
            rc = sbx_session_extract(&session, ARCHIVE[i].target, &tars[i], err);
    }
    if (rc == 0)
        rc = sbx_session_seeded(&session, err);
    if (rc < 0 && touched)
        take_back(&session, tars);
    sbx_session_done(&session, rc < 0 ? err : NULL);
    return rc;
}

int sbx_handle_seed(struct sbx_call *call, struct sbx_err *err)
{
    struct sbx_tar tars[ARCHIVES] = {{.fd = -1}, {.fd = -1}};
    int rc = look_first(call, err);
    if (rc == 0)
        rc = spool(call, tars, err);
    if (rc == 0)
        rc = extract(call, tars, err);
    sbx_request_close_later(call->request, &tars[REPO].fd);
    sbx_request_close_later(call->request, &tars[SKILLS].fd);
    return rc < 0 ? -1 : sbx_answer(call->request, 204, NULL, NULL, 0, err);
}
