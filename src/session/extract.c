/* Sanitised tars into a session: seeds, and archives that come with a run. */
#include "session/internal.h"

/*
 * Who extracts. dockerd starts a process for each archive and takes longer for each member, but what goes to
 * the agent passes through dockerd's attach stream, which is slower than a PUT. So many bytes make up for the
 * one, and so many for each member (docs/architecture.md has the figures).
 */
#define AGENT_BYTES        (32 * 1024 * 1024)
#define AGENT_MEMBER_BYTES (64 * 1024)

static int pass_over(void *arg, const struct sbx_field *field, struct sbx_err *err)
{
    return 0;
}

/* By the agent: 1 when it is done, 0 when the agent could not. */
static int extract_inside(struct sbx_session *session, const char *target, const struct sbx_tar *tar,
                          struct sbx_err *err)
{
    const char *const args[] = {"untar", target, "1", NULL};
    const struct sbx_spool spool = sbx_spool_of(tar->fd, tar->size);
    const struct sbx_fs fs = {.args = args, .spool = &spool};
    struct sbx_fs_result result;
    if (sbx_session_fs(session, &fs, pass_over, NULL, &result, err) < 0)
        return -1;
    return result.code == SBX_FS_OK;
}

/* A PUT that is broken off goes on with what dockerd has of it already. Not beyond the end of this: dockerd
 * looks at a container only when nothing is being extracted into it. */
static void wait_for_dockerd(struct sbx_session *session)
{
    struct sbx_err ignored = SBX_ERR_INIT;
    struct sbx_docker_state state;
    struct sbx_shield shield;
    sbx_shield_raise(&shield, session->engine);
    (void)!sbx_docker_inspect(session->engine->docker, session->engine->wait, session->record.container,
                              &state, &ignored);
    sbx_shield_lower(&shield, session->engine);
}

/* An operation of the agent that fails is dockerd's: it is no user whom a directory of the image's may not
 * belong to, has none of the session's limits, and says best what is wrong with a disk. */
int sbx_session_extract(struct sbx_session *session, const char *target, const struct sbx_tar *tar,
                        struct sbx_err *err)
{
    if (sbx_template_drop(session, err) < 0)
        return -1;
    bool inside = (tar->size - AGENT_BYTES) / AGENT_MEMBER_BYTES < tar->members;
    int done = inside ? extract_inside(session, target, tar, err) : 0;
    if (done != 0)
        return done < 0 ? -1 : 0;
    if (sbx_docker_put_archive(session->engine->docker, session->engine->wait, session->record.container,
                               target, tar->fd, tar->size, err) == 0)
        return 0;
    wait_for_dockerd(session);
    return -1;
}

int sbx_session_replace(struct sbx_session *session, const struct sbx_tar *tar, struct sbx_err *err)
{
    if (sbx_session_clear(session, "/repo", err) < 0 || sbx_session_extract(session, "/repo", tar, err) < 0)
        return -1;
    return session->record.extract_patch ? sbx_patch_baseline(session, true, err) : 0;
}
