/* Commands that outlive the request that starts them. */
#include "session/internal.h"

#include <errno.h>
#include <string.h>

static void drop_link(struct sbx_session *session)
{
    sbx_link_close(session->link);
    session->link = NULL;
}

static int ask_once(struct sbx_session *session, const struct sbx_exec_spec *spec, struct sbx_held_call *call,
                    int *ret_status, char message[256], struct sbx_err *err)
{
    struct sbx_link *link = sbx_session_link(session, err);
    int rc = link ? sbx_link_held(link, spec, call, ret_status, message, err) : -1;
    if (rc < 0)
        drop_link(session);
    return rc;
}

/* A container that does not run is started again: what it held is gone, but others can be held. */
static int ask(struct sbx_session *session, const struct sbx_exec_spec *spec, struct sbx_held_call *call,
               int *ret_status, char message[256], struct sbx_err *err)
{
    struct sbx_err failure = SBX_ERR_INIT;
    int rc = ask_once(session, spec, call, ret_status, message, &failure);
    if (rc < 0 && failure.kind == SBX_ERR_CONFLICT &&
        sbx_session_revive(session, session->record.container, session->record.image, &failure) == 0)
        rc = ask_once(session, spec, call, ret_status, message, &failure);
    if (rc < 0)
        *err = failure;
    return rc;
}

int sbx_session_hold(struct sbx_session *session, const struct sbx_exec_spec *spec, struct sbx_held *ret,
                     struct sbx_err *err)
{
    struct sbx_held_call call = {.id = spec->held->id};
    char message[256];
    int status;
    if (session->record.ephemeral)
        return sbx_err_set(err, SBX_ERR_CONFLICT, "The session is ephemeral: nothing outlives a run in it");
    struct sbx_pool_exec exec;
    int rc = sbx_pool_environment(session, spec, &exec, err);
    if (rc == 0)
        rc = ask(session, &exec.spec, &call, &status, message, err);
    sbx_pool_exec_done(&exec);
    if (rc < 0)
        return -1;
    *ret = call.held;
    switch (status) {
    case 0:
        return 0;
    case EAGAIN:
        return sbx_err_set(err, SBX_ERR_LIMITED, "%s", message);
    case EINVAL:
    case E2BIG:
    case ENOENT:
        return sbx_err_set(err, SBX_ERR_INVALID, "%s", message);
    default:
        return sbx_err_set(err, SBX_ERR_UNAVAILABLE, "%s", message);
    }
}

int sbx_session_held(struct sbx_session *session, struct sbx_held_call *call, struct sbx_err *err)
{
    char message[256];
    int status;
    if (ask(session, NULL, call, &status, message, err) < 0)
        return -1;
    switch (status) {
    case 0:
        return 0;
    case ENOENT:
        return sbx_err_set(err, SBX_ERR_NOT_FOUND, SBX_EXEC_GONE);
    case ESRCH:
        return sbx_err_set(err, SBX_ERR_CONFLICT, "The command has ended");
    case EPIPE:
        return sbx_err_set(err, SBX_ERR_CONFLICT, "The command's stdin is closed");
    case ENOTTY:
        return sbx_err_set(err, SBX_ERR_CONFLICT, "The command has no terminal");
    case EINVAL:
        return sbx_err_set(err, SBX_ERR_INVALID, "%s", message);
    default:
        return sbx_err_set(err, SBX_ERR_UNAVAILABLE, "the agent refused: %s", message);
    }
}
