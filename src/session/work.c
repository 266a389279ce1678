/* What is done in an opened session: commands, files, archives. */
#include "session/internal.h"

#include <signal.h>
#include <string.h>

#define NOTICED_MS 2000 /* how long dockerd may take to notice that a container has ended */
#define LOOK_MS    20
#define CLEAR_MS   600000 /* for millions of files on a slow disk; nothing else ends it */

/* An agent that broke its word is not trusted further: its container is ended, and the next request starts it
 * again. */
static void end_container(struct sbx_session *session)
{
    struct sbx_err ignored = SBX_ERR_INIT;
    (void)!sbx_docker_kill(session->engine->docker, NULL, session->record.container, &ignored);
}

static void drop_link(struct sbx_session *session)
{
    sbx_link_close(session->link);
    session->link = NULL;
}

/* Did the work fail because the container did not run? Then it does now, and nothing of the work was done. */
static bool revived(struct sbx_session *session, struct sbx_err *err)
{
    if (err->kind != SBX_ERR_CONFLICT)
        return false;
    drop_link(session);
    return sbx_session_revive(session, session->record.container, session->record.image, err) == 0;
}

static int exec_once(struct sbx_session *session, const struct sbx_exec_spec *spec,
                     int (*on_output)(void *, int, const void *, size_t, struct sbx_err *), void *arg,
                     struct sbx_exec_result *ret, struct sbx_err *err)
{
    struct sbx_link *link = sbx_session_link(session, err);
    return link ? sbx_link_exec(link, spec, on_output, arg, ret, err) : -1;
}

/* Did the memory limit end the container while the command ran? The kernel of the host sees gVisor's
 * processes only, so it ends the sandbox where it would end the command. Elsewhere the agent outlives that.
 */
static bool ended_by_memory(struct sbx_session *session)
{
    struct sbx_engine *engine = session->engine;
    struct sbx_err ignored = SBX_ERR_INIT;
    struct sbx_docker_state state;
    if (!sbx_spec_is_gvisor(engine->config))
        return false;
    for (int64_t until = sbx_now_ms() + NOTICED_MS;;) {
        if (sbx_docker_inspect(engine->docker, engine->wait, session->record.container, &state, &ignored) < 0)
            return false;
        if (!state.running)
            return state.oom_killed;
        if (sbx_now_ms() >= until || sbx_wait_poll(engine->wait, NULL, 0, LOOK_MS, &ignored) < 0)
            return false;
    }
}

int sbx_session_exec(struct sbx_session *session, const struct sbx_exec_spec *spec,
                     int (*on_output)(void *, int, const void *, size_t, struct sbx_err *), void *arg,
                     struct sbx_exec_result *ret, struct sbx_err *err)
{
    struct sbx_err failure = SBX_ERR_INIT;
    struct sbx_pool_exec exec;
    int64_t begun = sbx_now_ms();
    int rc = sbx_pool_environment(session, spec, &exec, &failure);
    if (rc == 0)
        rc = exec_once(session, &exec.spec, on_output, arg, ret, &failure);
    if (rc < 0 && revived(session, &failure))
        rc = exec_once(session, &exec.spec, on_output, arg, ret, &failure);
    sbx_pool_exec_done(&exec);
    if (rc == 0)
        return 0;
    bool late = sbx_link_late(session->link);
    drop_link(session);
    if (failure.kind == SBX_ERR_UNAVAILABLE && ended_by_memory(session)) {
        *ret = (struct sbx_exec_result){.code = 128 + SIGKILL,
                                        .signal = SIGKILL,
                                        .reason = SBX_EXIT_OOM,
                                        .duration_us = 1000 * (sbx_now_ms() - begun)};
        return 0;
    }
    *err = failure;
    /* Whatever else ends the work, a client that leaves or a stop of the service: what is held goes on. */
    if (late)
        end_container(session);
    return -1;
}

static int write_once(struct sbx_session *session, struct sbx_write *files, size_t count, struct sbx_err *err)
{
    struct sbx_link *link = sbx_session_link(session, err);
    return link ? sbx_link_write(link, files, count, err) : -1;
}

int sbx_session_write(struct sbx_session *session, struct sbx_write *files, size_t count, struct sbx_err *err)
{
    struct sbx_err failure = SBX_ERR_INIT;
    /* With patches /repo is a volume, which is no part of the image. */
    if (!session->record.extract_patch && sbx_template_drop(session, err) < 0)
        return -1;
    int rc = write_once(session, files, count, &failure);
    if (rc < 0 && revived(session, &failure))
        rc = write_once(session, files, count, &failure);
    if (rc < 0) {
        *err = failure;
        drop_link(session);
    }
    return rc;
}

struct words {
    char text[200];
    size_t len;
};

static int on_words(void *arg, int channel, const void *data, size_t n, struct sbx_err *err)
{
    struct words *words = arg;
    size_t room = sizeof(words->text) - 1 - words->len;
    n = n < room ? n : room;
    memcpy(words->text + words->len, data, n);
    words->len += n;
    return 0;
}

int sbx_session_clear(struct sbx_session *session, const char *target, struct sbx_err *err)
{
    const char *const argv[] = {target, NULL};
    struct sbx_exec_spec spec = {.builtin = "clear", .argv = argv, .cwd = "/", .timeout_ms = CLEAR_MS};
    struct sbx_exec_result result;
    struct words words = {.len = 0};
    struct sbx_shield shield;
    sbx_shield_raise(&shield, session->engine);
    int rc = sbx_session_exec(session, &spec, on_words, &words, &result, err);
    sbx_shield_lower(&shield, session->engine);
    if (rc < 0 || result.code == 0)
        return rc;
    return sbx_err_set(err, SBX_ERR_UPSTREAM, "%s cannot be emptied: %s%s", target, words.text,
                       result.message);
}

int sbx_session_seeded(struct sbx_session *session, struct sbx_err *err)
{
    struct sbx_engine *engine = session->engine;
    const char *id = session->record.id;
    if ((session->record.extract_patch && sbx_patch_baseline(session, true, err) < 0) ||
        sbx_note_seeded(engine, id, true, err) < 0)
        return -1;
    struct sbx_err failure = SBX_ERR_INIT;
    if (sbx_store_set_seeded(engine->store, id, &failure) == 0)
        return 0;
    if (failure.kind == SBX_ERR_NOT_FOUND) { /* lost by the store: what is rebuilt is seeded */
        failure = (struct sbx_err)SBX_ERR_INIT;
        if (sbx_session_restore(engine, id, &failure) == 0)
            return 0;
    }
    struct sbx_err ignored = SBX_ERR_INIT;
    (void)!sbx_note_seeded(engine, id, false, &ignored);
    *err = failure;
    return -1;
}

int sbx_session_written(struct sbx_session *session, bool any, struct sbx_err *err)
{
    if (!any || !session->record.extract_patch)
        return 0;
    return sbx_patch_baseline(session, false, err);
}
