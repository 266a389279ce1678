/* Names and labels of a session's Docker objects. */
#include "session/internal.h"

#include <inttypes.h>
#include <stdio.h>

void sbx_name_of(const char *id, enum sbx_part part, char out[SBX_NAME_SIZE])
{
    static const char *const suffix[] = {
        [SBX_PART_SESSION] = "",           [SBX_PART_PATCH] = "-patch",
        [SBX_PART_RUN] = "-run",           [SBX_PART_RUN_PATCH] = "-run-patch",
        [SBX_PART_REPO] = "-repo",         [SBX_PART_META] = "-meta",
        [SBX_PART_RUN_REPO] = "-run-repo", [SBX_PART_RUN_UPPER] = "-run-upper",
        [SBX_PART_RUN_WORK] = "-run-work", [SBX_PART_NOTE] = "-note",
        [SBX_PART_SEEDED] = "-seeded",
    };
    snprintf(out, SBX_NAME_SIZE, "sandboxd-%s%s", id, suffix[part]);
}

void sbx_name_image(const char *id, char *out, size_t size)
{
    snprintf(out, size, SBX_IMAGE_NAME ":%s", id);
}

void sbx_labels_fill(struct sbx_labels *labels, struct sbx_engine *engine, const char *id, const char *role)
{
    snprintf(labels->created, sizeof(labels->created), "%" PRId64, sbx_wall_ms());
    struct sbx_docker_pair *pair = labels->pairs;
    *pair++ = (struct sbx_docker_pair){SBX_LABEL_INSTANCE, sbx_store_instance(engine->store)};
    *pair++ = (struct sbx_docker_pair){SBX_LABEL_SESSION, id};
    *pair++ = (struct sbx_docker_pair){SBX_LABEL_ROLE, role};
    *pair++ = (struct sbx_docker_pair){SBX_LABEL_REPLICA, engine->config->replica};
    *pair++ = (struct sbx_docker_pair){SBX_LABEL_CREATED, labels->created};
    *pair = (struct sbx_docker_pair){NULL, NULL};
}
