/*
 * One run of an ephemeral session: containers of its own, made from the session's image and removed
 * afterwards.
 *
 * With patches, /repo is a volume. The run sees the session's through an overlay volume of its own, and so
 * does a helper that belongs to the run: nothing is copied, and git finds the files that the run left alone
 * unchanged in its index.
 */
#include "session/internal.h"

#include <string.h>

void sbx_shield_raise(struct sbx_shield *shield, struct sbx_engine *engine)
{
    struct sbx_wait *wait = engine->wait;
    *shield = (struct sbx_shield){-1, -1, 0};
    if (!wait)
        return;
    *shield = (struct sbx_shield){wait->client_fd, wait->stop_fd, wait->deadline_ms};
    wait->client_fd = wait->stop_fd = -1;
    wait->deadline_ms = 0;
}

void sbx_shield_lower(const struct sbx_shield *shield, struct sbx_engine *engine)
{
    struct sbx_wait *wait = engine->wait;
    if (!wait)
        return;
    wait->client_fd = shield->client_fd;
    wait->stop_fd = shield->stop_fd;
    wait->deadline_ms = shield->deadline_ms;
}

struct beginning {
    struct sbx_session *session;
    struct sbx_spec spec;
    char container[SBX_DOCKER_ID_LEN + 1];
};

static int make_volumes(struct sbx_session *session, struct sbx_err *err)
{
    struct sbx_engine *engine = session->engine;
    const char *id = session->record.id;
    char repo[SBX_NAME_SIZE];
    char upper[SBX_NAME_SIZE];
    char work[SBX_NAME_SIZE];
    struct sbx_labels labels;
    sbx_labels_fill(&labels, engine, id, "run");
    sbx_name_of(id, SBX_PART_RUN_REPO, repo);
    sbx_name_of(id, SBX_PART_RUN_UPPER, upper);
    sbx_name_of(id, SBX_PART_RUN_WORK, work);
    return sbx_docker_volume_overlay(engine->docker, engine->wait, repo, session->record.volume, upper, work,
                                     labels.pairs, err);
}

/* Create the container; the first run after a change finds no image and makes it. */
static int create(struct beginning *run, struct sbx_err *err)
{
    struct sbx_engine *engine = run->session->engine;
    struct sbx_err failure = SBX_ERR_INIT;
    if (sbx_docker_create(engine->docker, engine->wait, &run->spec.docker, run->container, &failure) == 0)
        return 0;
    if (failure.kind != SBX_ERR_NOT_FOUND) {
        *err = failure;
        return -1;
    }
    if (sbx_template_make(run->session, err) < 0)
        return sbx_err_wrap(err, "the session's state cannot be kept for its runs");
    return sbx_docker_create(engine->docker, engine->wait, &run->spec.docker, run->container, err);
}

static int start(struct beginning *run, struct sbx_err *err)
{
    struct sbx_engine *engine = run->session->engine;
    if (sbx_agent_start(engine, run->container, run->session->record.image, err) < 0)
        return -1;
    return sbx_spec_verify(&run->spec, engine, run->container, err);
}

/* The run's container and its helper, side by side. */
static int make(struct beginning *run, struct sbx_err *err)
{
    struct sbx_session *session = run->session;
    struct sbx_record *record = &session->record;
    bool patch = record->extract_patch;
    struct sbx_helper_thread thread;
    if ((patch && make_volumes(session, err) < 0) || create(run, err) < 0 ||
        (patch && sbx_helper_begin(&thread, session->engine, record, true, err) < 0))
        return -1;
    int rc = start(run, err);
    if (patch) {
        struct sbx_err failure = SBX_ERR_INIT;
        int helper = sbx_helper_end(&thread, session->engine, rc < 0, record, &failure);
        if (rc == 0 && helper < 0) {
            *err = failure;
            rc = -1;
        }
    }
    if (rc == 0)
        memcpy(record->container, run->container, sizeof(run->container));
    return rc;
}

int sbx_session_begin(struct sbx_session *session, struct sbx_err *err)
{
    struct sbx_engine *engine = session->engine;
    struct sbx_record *record = &session->record;
    if (!record->ephemeral || session->run)
        return 0;
    struct sbx_session_options options;
    char **environment = NULL;
    /* What a worker that died in the middle of a run has left, above all a volume with its changes. */
    if (sbx_run_remove_objects(engine, record->id, record->extract_patch, err) < 0 ||
        sbx_options_from_record(record, &options, &environment, err) < 0)
        return -1;
    struct beginning run = {.session = session};
    sbx_spec_session(&run.spec, engine, record->id, &options, true);
    int rc = make(&run, err);
    sbx_environment_free(environment);
    sbx_link_close(session->link);
    sbx_link_close(session->helper);
    session->link = session->helper = NULL;
    session->run = true;
    /* A close that came before the containers has not removed them. */
    if (rc == 0 && sbx_session_closed(session, NULL))
        rc = sbx_session_gone(err);
    return rc;
}

void sbx_run_end(struct sbx_session *session, bool closed)
{
    struct sbx_engine *engine = session->engine;
    struct sbx_record *record = &session->record;
    struct sbx_err failure = SBX_ERR_INIT;
    struct sbx_shield shield;
    sbx_shield_raise(&shield, engine);
    int rc = closed ? sbx_session_remove_objects(engine, record, &failure)
                    : sbx_run_remove_objects(engine, record->id, record->extract_patch, &failure);
    sbx_shield_lower(&shield, engine);
    if (rc < 0 && engine->notice)
        engine->notice("left for the sweep", record->id, failure.msg);
    session->run = false;
}
