/*
 * Images: is it there, and pulls with their progress stream.
 */
#include <stdio.h>
#include <string.h>

#include "docker/internal.h"
#include "sandboxd/base/json.h"
#include "sandboxd/base/util.h"

#define ANSWER_MAX        (8 * 1024 * 1024)
#define LINE_MAX_LEN      (64 * 1024)
#define PROGRESS_EVERY_MS 1000
#define NAME_SIZE         256
#define TAG_SIZE          160

int sbx_docker_image(struct sbx_docker *docker, struct sbx_wait *wait, const char *image, char ret_id[80],
                     struct sbx_err *err)
{
    struct docker_call call = {.method = "GET", .what = "find image", .name = image};
    char name[NAME_SIZE], tag[TAG_SIZE];
    struct json_object *answer;

    if (sbx_docker_parse_reference(image, name, sizeof(name), tag, sizeof(tag), err) != 0)
        return -1;
    /* As it was given, not taken apart: it may be the id of an image too. */
    answer = sbx_docker_call_json(docker, wait, &call, ANSWER_MAX, err, "/images/%s/json", image);
    if (!answer)
        return -1;
    if (ret_id)
        snprintf(ret_id, 80, "%s", sbx_json_str_at(answer, "Id", ""));
    json_object_put(answer);
    return 0;
}

static bool has_any(const char *text, const char *const *words)
{
    for (; *words; words++)
        if (strcasestr(text, *words))
            return true;
    return false;
}

enum sbx_err_kind sbx_docker_pull_kind(const char *message)
{
    /* Failures on the way to the registry come first: they may quote anything. None can be part of an image's
     * name. */
    static const char *const transport[] = {
        "dial tcp",
        "connection refused",
        "no such host",
        "i/o timeout",
        "tls: ",
        "tls handshake",
        "x509: ",
        "context deadline exceeded",
        "client.timeout",
        "unexpected http status: ",
        "net/http: ",
        "too many requests",
        NULL,
    };
    static const char *const unknown[] = {
        "not found",
        "manifest unknown",
        "name unknown",
        "repository does not exist",
        "no matching manifest",
        "access denied",
        "access to the resource is denied",
        "denied:",
        "unauthorized:",
        "authentication required",
        "no basic auth credentials",
        NULL,
    };
    static const char *const invalid[] = {"invalid reference format", "invalid repository name",
                                          "repository name must be", NULL};

    if (has_any(message, transport))
        return SBX_ERR_UPSTREAM;
    if (has_any(message, unknown))
        return SBX_ERR_NOT_FOUND;
    return has_any(message, invalid) ? SBX_ERR_INVALID : SBX_ERR_UPSTREAM;
}

static int pull_failed(const char *image, const char *message, struct sbx_err *err)
{
    return sbx_err_set(err, sbx_docker_pull_kind(message), "cannot pull image %s: %s", image, message);
}

static void report(struct docker_pull *pull, struct json_object *event)
{
    const char *id = sbx_json_str_at(event, "id", NULL), *status = sbx_json_str_at(event, "status", NULL);
    const char *progress = sbx_json_str_at(event, "progress", "");
    int64_t now = sbx_now_ms();
    char text[256];

    if (!pull->progress || !status || now < pull->next_progress_ms)
        return;
    pull->next_progress_ms = now + PROGRESS_EVERY_MS;
    snprintf(text, sizeof(text), "%s%s%s%s%s", id ? id : "", id ? ": " : "", status, progress[0] ? " " : "",
             progress);
    pull->progress(pull->arg, text);
}

static int take_line(struct docker_pull *pull, struct sbx_err *err)
{
    struct sbx_err why = SBX_ERR_INIT;
    struct json_object *event;
    const char *text = pull->line.data;
    size_t n = pull->line.len;
    const char *error;
    bool ok = false;
    int rc = 0;

    while (n > 0 && strchr(" \t\r", text[n - 1]))
        n--;
    if (n == 0)
        return 0;
    event = sbx_json_parse(text, n, &ok, &why);
    if (!ok)
        return sbx_err_set(err, SBX_ERR_UPSTREAM,
                           "cannot pull image %s: unreadable progress from dockerd: %s", pull->image,
                           why.msg);
    error = sbx_json_str_at(event, "errorDetail/message", sbx_json_str_at(event, "error", NULL));
    if (error)
        rc = pull_failed(pull->image, error, err);
    else
        report(pull, event);
    json_object_put(event);
    return rc;
}

int sbx_docker_pull_feed(struct docker_pull *pull, const char *data, size_t n, struct sbx_err *err)
{
    while (n > 0) {
        const char *end = memchr(data, '\n', n);
        size_t part = end ? (size_t)(end - data) : n;

        if (sbx_buf_add(&pull->line, data, part, err) != 0)
            return sbx_err_set(err, SBX_ERR_UPSTREAM,
                               "cannot pull image %s: a progress message of dockerd is too long",
                               pull->image);
        if (!end)
            return 0;
        if (take_line(pull, err) != 0)
            return -1;
        sbx_buf_clear(&pull->line);
        data = end + 1;
        n -= part + 1;
    }
    return 0;
}

static int feed(void *arg, const char *data, size_t n, struct sbx_err *err)
{
    return sbx_docker_pull_feed(arg, data, n, err);
}

int sbx_docker_pull(struct sbx_docker *docker, struct sbx_wait *wait, const char *image, const char *auth,
                    int64_t timeout_ms, void (*progress)(void *arg, const char *status), void *arg,
                    struct sbx_err *err)
{
    struct docker_pull pull = {.image = image, .progress = progress, .arg = arg};
    struct docker_call call = {
        .method = "POST", .what = "pull image", .name = image, .silence_ms = timeout_ms};
    char name[NAME_SIZE], tag[TAG_SIZE], *header = NULL;
    struct sbx_err why = SBX_ERR_INIT;
    int rc;

    if (sbx_docker_parse_reference(image, name, sizeof(name), tag, sizeof(tag), err) != 0)
        return -1;
    if (auth && asprintf(&header, "X-Registry-Auth: %s", auth) < 0)
        return sbx_err_set(err, SBX_ERR_INTERNAL, "out of memory");
    call.header = header;
    call.sink = feed;
    call.arg = &pull;
    sbx_buf_init(&pull.line, LINE_MAX_LEN);
    /* A tag always: without one dockerd pulls them all. A digest goes in its place. */
    rc = sbx_docker_call(docker, wait, &call, &why, "/images/create?fromImage=%s&tag=%s", name, tag);
    if (rc == 0 && pull.line.len > 0)
        rc = take_line(&pull, &why);
    else if (rc != 0 && call.status > 400 && call.status != 404)
        rc = pull_failed(image, call.message, &why);
    sbx_buf_done(&pull.line);
    sbx_cleanup_free(&header);
    if (rc != 0 && err)
        *err = why;
    return rc;
}
