/*
 * Calls of the Engine API: the target's encoding, what an answer's status means, and small JSON helpers.
 */
#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "docker/internal.h"
#include "sandboxd/base/json.h"
#include "sandboxd/base/util.h"

#define TARGET_MAX (16 * 1024)

static int add_escaped(struct sbx_buf *out, const char *s, struct sbx_err *err)
{
    static const char hex[] = "0123456789ABCDEF";

    for (; *s; s++) {
        unsigned char c = (unsigned char)*s;
        char code[3] = {'%', hex[c >> 4], hex[c & 15]};
        bool plain = isalnum(c) || strchr("-._~/:@", c);

        if (sbx_buf_add(out, plain ? s : code, plain ? 1 : sizeof(code), err) != 0)
            return -1;
    }
    return 0;
}

static int add_target(struct sbx_buf *out, struct sbx_err *err, const char *target, va_list ap)
{
    for (;;) {
        size_t n = strcspn(target, "%");

        if (sbx_buf_add(out, target, n, err) != 0)
            return -1;
        if (!target[n])
            return 0;
        if (add_escaped(out, va_arg(ap, const char *), err) != 0)
            return -1;
        target += n + 2;
    }
}

/* *ret_list stays the caller's to free, also on failure. */
static int make_headers(const struct docker_call *call, struct curl_slist **ret_list, struct sbx_err *err)
{
    const char *lines[3] = {"Expect:", NULL, call->header};

    if (call->source)
        lines[1] = "Content-Type: application/x-tar";
    else if (call->body || strcmp(call->method, "POST") == 0)
        lines[1] = "Content-Type: application/json";
    for (size_t i = 0; i < SBX_ARRAY_LEN(lines); i++) {
        struct curl_slist *longer = lines[i] ? curl_slist_append(*ret_list, lines[i]) : *ret_list;

        if (lines[i] && !longer)
            return sbx_err_set(err, SBX_ERR_INTERNAL, "out of memory");
        *ret_list = longer;
    }
    return 0;
}

/* One try of "/v1.xx" + target, on a negotiated version; 0 when an answer came. */
static int try_call(struct sbx_docker *docker, struct sbx_wait *wait, struct docker_call *call,
                    struct curl_slist *headers, const char *target, struct sbx_err *err)
{
    struct sbx_buf url;
    const char *text;
    int rc = -1;

    if (sbx_docker_negotiate(docker, wait, err) != 0)
        return -1;
    sbx_buf_init(&url, TARGET_MAX + sizeof(docker->authority) + 32);
    if (sbx_buf_printf(&url, err, "http://%s/v1.%d", docker->authority, docker->api_minor) == 0 &&
        sbx_buf_addstr(&url, target, err) == 0 && (text = sbx_buf_cstr(&url, err)))
        rc = sbx_docker_transfer(docker, wait, call, text, headers, err);
    sbx_buf_done(&url);
    return rc;
}

static int call_target(struct sbx_docker *docker, struct sbx_wait *wait, struct docker_call *call,
                       const char *target, struct sbx_err *err)
{
    struct curl_slist *headers = NULL;
    int rc = make_headers(call, &headers, err);

    /* Twice at most: a daemon that was upgraded meanwhile may have dropped the version agreed on. */
    for (int tries = 0; rc == 0; tries++) {
        struct sbx_err why = SBX_ERR_INIT;

        rc = try_call(docker, wait, call, headers, target, err);
        if (rc != 0 || (call->status >= 200 && call->status < 300) || call->status == 304)
            break;
        (void)sbx_docker_refused(docker, call->status, call->message, call->what, call->name, &why);
        if (docker->api_minor != 0 || tries > 0) {
            rc = -1;
            if (err)
                *err = why;
        } else if (call->source) {
            call->source->off = 0;
        }
    }
    curl_slist_free_all(headers);
    return rc;
}

static int vcall(struct sbx_docker *docker, struct sbx_wait *wait, struct docker_call *call,
                 struct sbx_err *err, const char *template, va_list ap)
{
    struct sbx_buf target;
    const char *text;
    int rc = -1;

    sbx_buf_init(&target, TARGET_MAX);
    if (add_target(&target, err, template, ap) == 0 && (text = sbx_buf_cstr(&target, err)))
        rc = call_target(docker, wait, call, text, err);
    sbx_buf_done(&target);
    return rc;
}

int sbx_docker_call(struct sbx_docker *docker, struct sbx_wait *wait, struct docker_call *call,
                    struct sbx_err *err, const char *target, ...)
{
    va_list ap;
    int rc;

    va_start(ap, target);
    rc = vcall(docker, wait, call, err, target, ap);
    va_end(ap);
    return rc;
}

struct json_object *sbx_docker_call_json(struct sbx_docker *docker, struct sbx_wait *wait,
                                         struct docker_call *call, size_t max, struct sbx_err *err,
                                         const char *target, ...)
{
    struct json_object *answer = NULL;
    struct sbx_buf text;
    va_list ap;
    bool ok = false;
    int rc;

    sbx_buf_init(&text, max);
    call->into = &text;
    va_start(ap, target);
    rc = vcall(docker, wait, call, err, target, ap);
    va_end(ap);
    if (rc == 0) {
        struct sbx_err why = SBX_ERR_INIT;

        answer = sbx_json_parse(text.data ? text.data : "", text.len, &ok, &why);
        if (!answer)
            (void)sbx_err_set(err, SBX_ERR_UPSTREAM, "cannot %s: dockerd's answer is unreadable: %s",
                              call->what, ok ? "null" : why.msg);
    }
    call->into = NULL;
    sbx_buf_done(&text);
    return answer;
}

void sbx_docker_message(const char *body, size_t n, char *out, size_t size)
{
    struct sbx_err ignored = SBX_ERR_INIT;
    bool ok = false;
    struct json_object *json = sbx_json_parse(body, n, &ok, &ignored);
    const char *text = sbx_json_str_at(json, "message", NULL);
    size_t len = text ? strlen(text) : n;

    if (!text)
        text = body;
    if (len >= size)
        len = size - 1;
    len = sbx_utf8_valid(text, len);
    for (size_t i = 0; i < len; i++)
        out[i] = iscntrl((unsigned char)text[i]) ? ' ' : text[i];
    while (len > 0 && out[len - 1] == ' ')
        len--;
    out[len] = '\0';
    json_object_put(json);
}

int sbx_docker_refused(struct sbx_docker *docker, long status, const char *message, const char *what,
                       const char *name, struct sbx_err *err)
{
    enum sbx_err_kind kind = SBX_ERR_UPSTREAM;

    if (status == 404)
        kind = SBX_ERR_NOT_FOUND;
    else if (status == 409)
        kind = SBX_ERR_CONFLICT;
    else if (status == 400)
        kind = SBX_ERR_INVALID;
    if (status == 400 && strstr(message, "client version ") && strstr(message, " API version is "))
        docker->api_minor = 0;
    if (!message[0])
        return sbx_err_set(err, kind, "cannot %s%s%s: dockerd answered %ld", what, name ? " " : "",
                           name ? name : "", status);
    return sbx_err_set(err, kind, "cannot %s%s%s: %s", what, name ? " " : "", name ? name : "", message);
}

int sbx_docker_check_name(const char *name, struct sbx_err *err)
{
    if (name && isalnum((unsigned char)name[0])) {
        const char *s = name;

        while (isalnum((unsigned char)*s) || *s == '_' || *s == '.' || *s == '-')
            s++;
        if (!*s)
            return 0;
    }
    return sbx_err_set(err, SBX_ERR_INTERNAL, "\"%s\" is not the name of a container or volume",
                       name ? name : "");
}

bool sbx_docker_put(struct json_object *obj, const char *key, struct json_object *value)
{
    if (obj && value && json_object_object_add(obj, key, value) == 0)
        return true;
    json_object_put(value);
    return false;
}

bool sbx_docker_put_string(struct json_object *obj, const char *key, const char *value)
{
    return !value || sbx_docker_put(obj, key, json_object_new_string(value));
}

bool sbx_docker_put_strings(struct json_object *obj, const char *key, const char *const *values)
{
    if (!values)
        return true;
    struct json_object *array = json_object_new_array();
    bool ok = array;

    for (; ok && *values; values++) {
        struct json_object *value = json_object_new_string(*values);

        ok = value && json_object_array_add(array, value) == 0;
        if (!ok)
            json_object_put(value);
    }
    if (ok)
        return sbx_docker_put(obj, key, array);
    json_object_put(array);
    return false;
}

bool sbx_docker_put_pairs(struct json_object *obj, const char *key, const struct sbx_docker_pair *pairs)
{
    if (!pairs)
        return true;
    struct json_object *map = json_object_new_object();
    bool ok = map;

    for (; ok && pairs->key; pairs++)
        ok = sbx_docker_put_string(map, pairs->key, pairs->value ? pairs->value : "");
    if (ok)
        return sbx_docker_put(obj, key, map);
    json_object_put(map);
    return false;
}

int sbx_docker_label_filter(const char *label, const char *value, struct sbx_buf *out, struct sbx_err *err)
{
    struct sbx_buf text;
    struct json_object *filter = json_object_new_object();
    const char *list[2] = {NULL, NULL};
    int rc = -1;

    sbx_buf_init(&text, TARGET_MAX / 4);
    if (sbx_buf_printf(&text, err, "%s%s%s", label, value ? "=" : "", value ? value : "") == 0 &&
        (list[0] = sbx_buf_cstr(&text, err))) {
        if (sbx_docker_put_strings(filter, "label", list))
            rc = sbx_json_print(filter, out, err);
        else
            (void)sbx_err_set(err, SBX_ERR_INTERNAL, "out of memory");
    }
    json_object_put(filter);
    sbx_buf_done(&text);
    return rc;
}
