#include "base/faults.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sandboxd/base/util.h"

#define ELLIPSIS   "\xe2\x80\xa6"
#define MAX_INPUT  1024 /* bytes of a value that an answer repeats */
#define MAX_FAULTS 1000 /* a hostile body must not grow into an answer many times its size */

void sbx_faults_init(struct sbx_faults *faults)
{
    faults->list = NULL;
}

void sbx_faults_done(struct sbx_faults *faults)
{
    json_object_put(faults->list);
    faults->list = NULL;
}

bool sbx_faults_any(const struct sbx_faults *faults)
{
    return faults->list != NULL;
}

/* A step of a path: an integer when it is written as one. */
static struct json_object *new_step(const char *step, size_t n)
{
    bool number = n > 0 && n < 10;
    for (size_t i = 0; i < n; i++)
        number = number && isdigit((unsigned char)step[i]);
    return number ? json_object_new_int64(strtoll(step, NULL, 10)) : json_object_new_string_len(step, (int)n);
}

static struct json_object *new_loc(struct sbx_place place)
{
    struct json_object *loc = json_object_new_array();
    json_object_array_add(loc, json_object_new_string("body"));
    for (const char *at = place.path; *at;) {
        size_t n = strcspn(at, "/");
        if (n > 0)
            json_object_array_add(loc, new_step(at, n));
        at += n;
        at += *at == '/';
    }
    if (place.key)
        json_object_array_add(loc, json_object_new_string(place.key));
    if (place.subkey)
        json_object_array_add(loc, json_object_new_string(place.subkey));
    return loc;
}

static int to_buf(void *arg, const char *bytes, size_t len)
{
    return sbx_buf_add(arg, bytes, len, NULL);
}

/* Messages may quote what a client sent, or be cut in the middle of a character. */
static struct json_object *new_clean_string(const char *text)
{
    struct sbx_buf buf;
    sbx_buf_init(&buf, 3 * strlen(text));
    struct json_object *string = NULL;
    if (sbx_utf8_clean(text, strlen(text), to_buf, &buf) == 0)
        string = json_object_new_string_len(buf.data ? buf.data : "", (int)buf.len);
    sbx_buf_done(&buf);
    return string;
}

/* Take what a value and all in it needs from *left; false once that is used up. */
static bool is_short(struct json_object *value, size_t *left)
{
    bool ok = true;
    size_t own = json_object_is_type(value, json_type_string) ? (size_t)json_object_get_string_len(value) : 8;
    if (own > *left)
        return false;
    *left -= own;
    if (json_object_is_type(value, json_type_array)) {
        for (size_t i = 0; ok && i < json_object_array_length(value); i++)
            ok = is_short(json_object_array_get_idx(value, i), left);
    } else if (json_object_is_type(value, json_type_object)) {
        struct json_object_iter it;
        json_object_object_foreachC(value, it)
        {
            size_t key = strlen(it.key);
            ok = ok && key <= *left;
            *left -= ok ? key : 0;
            ok = ok && is_short(it.val, left);
        }
    }
    return ok;
}

static struct json_object *cut_string(struct json_object *value, size_t *left)
{
    const char *text = json_object_get_string(value);
    size_t n = (size_t)json_object_get_string_len(value);
    if (n <= *left) {
        *left -= n;
        return json_object_get(value);
    }
    char *copy = malloc(*left + sizeof(ELLIPSIS));
    if (!copy)
        return NULL;
    memcpy(copy, text, *left);
    n = sbx_utf8_valid(copy, *left);
    memcpy(copy + n, ELLIPSIS, sizeof(ELLIPSIS));
    struct json_object *cut = json_object_new_string_len(copy, (int)(n + strlen(ELLIPSIS)));
    free(copy);
    *left = 0;
    return cut;
}

static struct json_object *cut(struct json_object *value, size_t *left);

static struct json_object *cut_array(struct json_object *value, size_t *left)
{
    struct json_object *copy = json_object_new_array();
    for (size_t i = 0; *left > 0 && i < json_object_array_length(value); i++)
        json_object_array_add(copy, cut(json_object_array_get_idx(value, i), left));
    return copy;
}

static struct json_object *cut_object(struct json_object *value, size_t *left)
{
    struct json_object *copy = json_object_new_object();
    struct json_object_iter it;
    json_object_object_foreachC(value, it)
    {
        size_t key = strlen(it.key);
        if (key >= *left)
            break;
        *left -= key;
        json_object_object_add(copy, it.key, cut(it.val, left));
    }
    return copy;
}

/* The beginning of a long value: its first members, the last of them cut. */
static struct json_object *cut(struct json_object *value, size_t *left)
{
    *left -= *left < 8 ? *left : 8;
    switch (json_object_get_type(value)) {
    case json_type_string:
        return cut_string(value, left);
    case json_type_array:
        return cut_array(value, left);
    case json_type_object:
        return cut_object(value, left);
    default:
        return json_object_get(value);
    }
}

/* What an answer says of a value that was sent: all of it, unless it is long. */
static struct json_object *shown(struct json_object *input)
{
    size_t left = MAX_INPUT;
    if (is_short(input, &left))
        return json_object_get(input);
    left = MAX_INPUT;
    return cut(input, &left);
}

struct json_object *sbx_faults_put(struct sbx_faults *faults, const char *type, struct sbx_place place,
                                   struct json_object *input, const char *msg)
{
    if (!faults->list)
        faults->list = json_object_new_array();
    if (!faults->list)
        abort(); /* no memory; a fault that got lost would let a bad request pass */
    if (json_object_array_length(faults->list) >= MAX_FAULTS)
        return NULL;
    struct json_object *fault = json_object_new_object();
    json_object_object_add(fault, "type", json_object_new_string(type));
    json_object_object_add(fault, "loc", new_loc(place));
    json_object_object_add(fault, "msg", new_clean_string(msg));
    json_object_object_add(fault, "input", shown(input));
    json_object_array_add(faults->list, fault);
    return fault;
}

void sbx_faults_add(struct sbx_faults *faults, const char *type, const char *path, struct json_object *input,
                    const char *fmt, ...)
{
    char msg[512];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(msg, sizeof(msg), fmt, ap);
    va_end(ap);
    sbx_faults_put(faults, type, (struct sbx_place){.path = path}, input, msg);
}
