/*
 * Containers, volumes and images by label, for sweeps.
 */
#include "docker/internal.h"
#include "sandboxd/base/json.h"

#define LIST_MAX   (64 * 1024 * 1024)
#define FILTER_MAX (8 * 1024)

enum kind { CONTAINERS, VOLUMES, IMAGES };

/* The caller puts the answer. */
static struct json_object *fetch(struct sbx_docker *docker, struct sbx_wait *wait, enum kind kind,
                                 const char *label, const char *value, struct sbx_err *err)
{
    static const char *const what[] = {"list containers", "list volumes", "list images"};
    struct docker_call call = {.method = "GET", .what = what[kind]};
    struct json_object *answer = NULL;
    struct sbx_buf filter;
    const char *text;

    sbx_buf_init(&filter, FILTER_MAX);
    if (sbx_docker_label_filter(label, value, &filter, err) == 0 && (text = sbx_buf_cstr(&filter, err))) {
        if (kind == VOLUMES)
            answer = sbx_docker_call_json(docker, wait, &call, LIST_MAX, err, "/volumes?filters=%s", text);
        else if (kind == IMAGES)
            answer =
                sbx_docker_call_json(docker, wait, &call, LIST_MAX, err, "/images/json?filters=%s", text);
        else
            answer = sbx_docker_call_json(docker, wait, &call, LIST_MAX, err,
                                          "/containers/json?all=1&filters=%s", text);
    }
    sbx_buf_done(&filter);
    return answer;
}

static size_t length(struct json_object *array)
{
    return json_object_is_type(array, json_type_array) ? json_object_array_length(array) : 0;
}

int sbx_docker_list(struct sbx_docker *docker, struct sbx_wait *wait, const char *label, const char *value,
                    int (*fn)(void *arg, const char *id, const char *name, struct json_object *labels),
                    void *arg, struct sbx_err *err)
{
    struct json_object *answer = fetch(docker, wait, CONTAINERS, label, value, err);

    if (!answer)
        return -1;
    for (size_t i = 0; i < length(answer); i++) {
        struct json_object *item = json_object_array_get_idx(answer, i);
        struct json_object *names = sbx_json_at(item, "Names");
        const char *name = length(names) ? json_object_get_string(json_object_array_get_idx(names, 0)) : NULL;
        const char *id = sbx_json_str_at(item, "Id", NULL);

        if (id && fn(arg, id,
                     !name            ? ""
                     : name[0] == '/' ? name + 1
                                      : name,
                     sbx_json_at(item, "Labels")) != 0)
            break;
    }
    json_object_put(answer);
    return 0;
}

int sbx_docker_list_volumes(struct sbx_docker *docker, struct sbx_wait *wait, const char *label,
                            const char *value,
                            int (*fn)(void *arg, const char *name, struct json_object *labels), void *arg,
                            struct sbx_err *err)
{
    struct json_object *answer = fetch(docker, wait, VOLUMES, label, value, err);
    struct json_object *list = sbx_json_at(answer, "Volumes");

    if (!answer)
        return -1;
    for (size_t i = 0; i < length(list); i++) {
        struct json_object *item = json_object_array_get_idx(list, i);
        const char *name = sbx_json_str_at(item, "Name", NULL);

        if (name && fn(arg, name, sbx_json_at(item, "Labels")) != 0)
            break;
    }
    json_object_put(answer);
    return 0;
}

int sbx_docker_list_images(struct sbx_docker *docker, struct sbx_wait *wait, const char *label,
                           const char *value,
                           int (*fn)(void *arg, const char *id, struct json_object *labels), void *arg,
                           struct sbx_err *err)
{
    struct json_object *answer = fetch(docker, wait, IMAGES, label, value, err);

    if (!answer)
        return -1;
    for (size_t i = 0; i < length(answer); i++) {
        struct json_object *item = json_object_array_get_idx(answer, i);
        const char *id = sbx_json_str_at(item, "Id", NULL);

        if (id && fn(arg, id, sbx_json_at(item, "Labels")) != 0)
            break;
    }
    json_object_put(answer);
    return 0;
}
