/*
 * Images made from containers.
 */
#include <stdio.h>
#include <string.h>

#include "docker/internal.h"
#include "sandboxd/base/json.h"

#define ANSWER_MAX  (64 * 1024)
#define CHANGES_MAX (8 * 1024)

/* A value as the instruction LABEL takes it: in quotes, with what has a meaning there escaped. */
static int add_quoted(struct sbx_buf *out, const char *value, struct sbx_err *err)
{
    if (sbx_buf_addstr(out, "\"", err) != 0)
        return -1;
    for (; *value; value++) {
        if ((unsigned char)*value < ' ')
            return sbx_err_set(err, SBX_ERR_INTERNAL, "a label's value has a control character");
        if ((strchr("\"\\$", *value) && sbx_buf_addstr(out, "\\", err) != 0) ||
            sbx_buf_add(out, value, 1, err) != 0)
            return -1;
    }
    return sbx_buf_addstr(out, "\"", err);
}

static int add_labels(struct sbx_buf *out, const struct sbx_docker_pair *labels, struct sbx_err *err)
{
    if (sbx_buf_addstr(out, "LABEL", err) != 0)
        return -1;
    for (; labels->key; labels++)
        if (sbx_buf_printf(out, err, " %s=", labels->key) != 0 || add_quoted(out, labels->value, err) != 0)
            return -1;
    return 0;
}

int sbx_docker_commit(struct sbx_docker *docker, struct sbx_wait *wait, const char *container,
                      const struct sbx_docker_pair *labels, int64_t timeout_ms, char ret_id[80],
                      struct sbx_err *err)
{
    struct docker_call call = {
        .method = "POST", .what = "commit container", .name = container, .silence_ms = timeout_ms};
    struct json_object *answer = NULL;
    struct sbx_buf changes;
    const char *text;
    int rc = -1;

    if (sbx_docker_check_name(container, err) != 0)
        return -1;
    sbx_buf_init(&changes, CHANGES_MAX);
    if (add_labels(&changes, labels, err) == 0 && (text = sbx_buf_cstr(&changes, err)))
        answer = sbx_docker_call_json(docker, wait, &call, ANSWER_MAX, err,
                                      "/commit?container=%s&pause=0&changes=%s", container, text);
    sbx_buf_done(&changes);
    if (answer) {
        const char *id = sbx_json_str_at(answer, "Id", "");

        if (*id && strlen(id) < 80) {
            snprintf(ret_id, 80, "%s", id);
            rc = 0;
        } else {
            rc = sbx_err_set(err, SBX_ERR_UPSTREAM, "cannot commit container %s: dockerd's answer has no id",
                             container);
        }
    }
    json_object_put(answer);
    return rc;
}

int sbx_docker_tag(struct sbx_docker *docker, struct sbx_wait *wait, const char *image, const char *name,
                   const char *tag, struct sbx_err *err)
{
    struct docker_call call = {.method = "POST", .what = "tag image", .name = image};

    return sbx_docker_call(docker, wait, &call, err, "/images/%s/tag?repo=%s&tag=%s", image, name, tag);
}

int sbx_docker_image_remove(struct sbx_docker *docker, struct sbx_wait *wait, const char *image,
                            struct sbx_err *err)
{
    struct docker_call call = {.method = "DELETE", .what = "remove image", .name = image};
    struct sbx_err why = SBX_ERR_INIT;

    /* noprune: what it was made from may have lost its last name, and must stay all the same. */
    if (sbx_docker_call(docker, wait, &call, &why, "/images/%s?force=1&noprune=1", image) == 0 ||
        call.status == 404 || strstr(call.message, "unrecognized image ID")) /* somebody else is at it */
        return 0;
    if (err)
        *err = why;
    return -1;
}
