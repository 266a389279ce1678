/*
 * The image of an ephemeral session. The session's own container is seeded and gets files like any other's,
 * but commands never run in it: each run starts from an image of it. The image is one layer on top of the
 * session's, made when a run first needs it; changes of the container drop it. It appears under its name in a
 * second step, so that a commit which outlives its worker (dockerd finishes it) is never taken for the
 * present state.
 */
#include "session/internal.h"

#include <stdio.h>

int sbx_template_make(struct sbx_session *session, struct sbx_err *err)
{
    struct sbx_engine *engine = session->engine;
    const struct sbx_record *record = &session->record;
    struct sbx_labels labels;
    char image[80];
    /* Also in a session that was never seeded: the helpers of its runs read the meta repository and cannot
     * make it. */
    if (record->extract_patch && sbx_patch_baseline(session, false, err) < 0)
        return -1;
    sbx_labels_fill(&labels, engine, record->id, "image");
    /* Finished for the next run when this one's client is too impatient for it. */
    struct sbx_shield shield;
    sbx_shield_raise(&shield, engine);
    int rc = sbx_docker_commit(engine->docker, engine->wait, record->container, labels.pairs,
                               engine->config->pull_timeout_ms, image, err);
    if (rc == 0)
        rc = sbx_docker_tag(engine->docker, engine->wait, image, SBX_IMAGE_NAME, record->id, err);
    sbx_shield_lower(&shield, engine);
    return rc;
}

int sbx_template_drop(struct sbx_session *session, struct sbx_err *err)
{
    if (!session->record.ephemeral || session->run)
        return 0;
    char image[SBX_NAME_SIZE];
    sbx_name_image(session->record.id, image, sizeof(image));
    return sbx_docker_image_remove(session->engine->docker, session->engine->wait, image, err);
}
