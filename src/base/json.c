/*
 * Strict parsing. json-c alone takes NaN, 1e999, duplicate keys, lone surrogates and more, so the text is
 * checked in full first; json-c then only builds the tree.
 */
#include "sandboxd/base/json.h"

#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"

#define MAX_DEPTH  32
#define MAX_NUMBER 512     /* characters of one number */
#define MAX_VALUES 1000000 /* a short text such as [],[],… takes a hundred times its size in memory */

struct scan {
    const char *data;
    size_t n;
    size_t at;
    size_t keys; /* of all objects */
    size_t values;
    struct sbx_err *err;
};

static int scan_value(struct scan *scan, int depth);

static int fail(const struct scan *scan, size_t at, const char *what)
{
    return sbx_err_set(scan->err, SBX_ERR_INVALID, "Invalid JSON at byte %zu: %s", at, what);
}

/* The next byte, -1 at the end. */
static int peek(const struct scan *scan)
{
    return scan->at < scan->n ? (unsigned char)scan->data[scan->at] : -1;
}

static void skip_space(struct scan *scan)
{
    while (scan->at < scan->n && memchr(" \t\r\n", scan->data[scan->at], 4))
        scan->at++;
}

/* Four hex digits at scan->at; their value or -1. */
static int hex4(struct scan *scan)
{
    int value = 0;
    if (scan->n - scan->at < 4)
        return -1;
    for (int i = 0; i < 4; i++) {
        char c = scan->data[scan->at + (size_t)i];
        int digit = c >= '0' && c <= '9'   ? c - '0'
                    : c >= 'a' && c <= 'f' ? c - 'a' + 10
                    : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                           : -1;
        if (digit < 0)
            return -1;
        value = value * 16 + digit;
    }
    scan->at += 4;
    return value;
}

/* Behind a backslash. */
static int scan_escape(struct scan *scan, bool is_key)
{
    size_t start = scan->at - 1;
    int c = peek(scan);
    if (c < 0)
        return fail(scan, start, "the string does not end");
    scan->at++;
    if (c != 'u')
        return strchr("\"\\/bfnrt", c) && c != 0 ? 0 : fail(scan, start, "unknown escape in a string");
    int unit = hex4(scan);
    if (unit < 0)
        return fail(scan, start, "\\u without four hex digits");
    if (unit == 0 && is_key)
        return fail(scan, start, "NUL in a key");
    if (unit >= 0xDC00 && unit <= 0xDFFF)
        return fail(scan, start, "lone surrogate");
    if (unit >= 0xD800 && unit <= 0xDBFF) {
        if (scan->n - scan->at < 2 || memcmp(scan->data + scan->at, "\\u", 2) != 0)
            return fail(scan, start, "lone surrogate");
        scan->at += 2;
        int low = hex4(scan);
        if (low < 0xDC00 || low > 0xDFFF)
            return fail(scan, start, "lone surrogate");
    }
    return 0;
}

static int scan_string(struct scan *scan, bool is_key)
{
    size_t start = scan->at++;
    for (;;) {
        int c = peek(scan);
        if (c < 0)
            return fail(scan, start, "the string does not end");
        if (c == '"') {
            scan->at++;
            return 0;
        }
        if (c == '\\') {
            scan->at++;
            if (scan_escape(scan, is_key) < 0)
                return -1;
        } else if (c < 0x20) {
            return fail(scan, scan->at, "control character in a string");
        } else {
            int step = c < 0x80 ? 1 : sbx_utf8_step(scan->data + scan->at, scan->n - scan->at);
            if (step < 0)
                return fail(scan, scan->at, "invalid UTF-8");
            scan->at += (size_t)step;
        }
    }
}

static size_t scan_digits(struct scan *scan)
{
    size_t start = scan->at;
    while (scan->at < scan->n && scan->data[scan->at] >= '0' && scan->data[scan->at] <= '9')
        scan->at++;
    return scan->at - start;
}

/* The grammar is checked; is the value one that json-c will not clamp or turn into infinity? */
static int check_range(const struct scan *scan, size_t start, bool integral)
{
    char text[MAX_NUMBER + 1];
    size_t len = scan->at - start;
    if (len > MAX_NUMBER)
        return fail(scan, start, "the number is too long");
    memcpy(text, scan->data + start, len);
    text[len] = '\0';
    errno = 0;
    if (!integral)
        return isfinite(strtod(text, NULL)) ? 0 : fail(scan, start, "the number is out of range");
    if (text[0] == '-')
        (void)strtoll(text, NULL, 10);
    else
        (void)strtoull(text, NULL, 10);
    return errno == 0 ? 0 : fail(scan, start, "the number is out of range");
}

static int scan_number(struct scan *scan)
{
    size_t start = scan->at;
    bool integral = true;
    if (peek(scan) == '-')
        scan->at++;
    bool zero = peek(scan) == '0';
    size_t digits = scan_digits(scan);
    if (digits == 0)
        return fail(scan, start, "a value was expected");
    if (zero && digits > 1)
        return fail(scan, start, "a number with a leading zero");
    if (peek(scan) == '.') {
        integral = false;
        scan->at++;
        if (scan_digits(scan) == 0)
            return fail(scan, start, "a number without digits behind the point");
    }
    if (peek(scan) == 'e' || peek(scan) == 'E') {
        integral = false;
        scan->at++;
        if (peek(scan) == '+' || peek(scan) == '-')
            scan->at++;
        if (scan_digits(scan) == 0)
            return fail(scan, start, "a number without digits in its exponent");
    }
    return check_range(scan, start, integral);
}

static int scan_array(struct scan *scan, int depth)
{
    scan->at++;
    skip_space(scan);
    if (peek(scan) == ']') {
        scan->at++;
        return 0;
    }
    for (;;) {
        if (scan_value(scan, depth) < 0)
            return -1;
        skip_space(scan);
        int c = peek(scan);
        if (c != ',' && c != ']')
            return fail(scan, scan->at, "',' or ']' was expected");
        scan->at++;
        if (c == ']')
            return 0;
    }
}

static int scan_object(struct scan *scan, int depth)
{
    scan->at++;
    skip_space(scan);
    if (peek(scan) == '}') {
        scan->at++;
        return 0;
    }
    for (;;) {
        skip_space(scan);
        if (peek(scan) != '"')
            return fail(scan, scan->at, "a key in double quotes was expected");
        if (scan_string(scan, true) < 0)
            return -1;
        scan->keys++;
        skip_space(scan);
        if (peek(scan) != ':')
            return fail(scan, scan->at, "':' was expected");
        scan->at++;
        if (scan_value(scan, depth) < 0)
            return -1;
        skip_space(scan);
        int c = peek(scan);
        if (c != ',' && c != '}')
            return fail(scan, scan->at, "',' or '}' was expected");
        scan->at++;
        if (c == '}')
            return 0;
    }
}

/* depth: of the arrays and objects around the value. */
static int scan_value(struct scan *scan, int depth)
{
    static const char *const words[] = {"true", "false", "null"};
    skip_space(scan);
    if (++scan->values > MAX_VALUES)
        return fail(scan, scan->at, "too many values");
    int c = peek(scan);
    if (c == '"')
        return scan_string(scan, false);
    if (c == '[' || c == '{') {
        if (depth >= MAX_DEPTH)
            return fail(scan, scan->at, "nested too deeply");
        return c == '[' ? scan_array(scan, depth + 1) : scan_object(scan, depth + 1);
    }
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        size_t len = strlen(words[i]);
        if (scan->n - scan->at >= len && memcmp(scan->data + scan->at, words[i], len) == 0) {
            scan->at += len;
            return 0;
        }
    }
    return scan_number(scan);
}

/* Keys of all objects in the tree: fewer than in the text when one replaced another of the same name. */
static size_t count_keys(struct json_object *obj)
{
    size_t count = 0;
    if (json_object_is_type(obj, json_type_array)) {
        for (size_t i = 0; i < json_object_array_length(obj); i++)
            count += count_keys(json_object_array_get_idx(obj, i));
    } else if (json_object_is_type(obj, json_type_object)) {
        struct json_object_iter it;
        json_object_object_foreachC(obj, it) count += 1 + count_keys(it.val);
    }
    return count;
}

/* Build the tree of a text that has passed the scan. */
static int build(const char *data, size_t n, struct json_object **ret, struct sbx_err *err)
{
    struct json_tokener *tok = json_tokener_new_ex(MAX_DEPTH + 2);
    if (!tok)
        return sbx_err_set(err, SBX_ERR_INTERNAL, "out of memory for JSON");
    json_tokener_set_flags(tok, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
    struct json_object *obj = json_tokener_parse_ex(tok, data, (int)n);
    enum json_tokener_error state = json_tokener_get_error(tok);
    if (state == json_tokener_continue) { /* a number or word at the very end could still go on */
        obj = json_tokener_parse_ex(tok, "\n", 1);
        state = json_tokener_get_error(tok);
    }
    json_tokener_free(tok);
    if (state != json_tokener_success) {
        json_object_put(obj);
        return sbx_err_set(err, SBX_ERR_INVALID, "Invalid JSON: %s", json_tokener_error_desc(state));
    }
    *ret = obj;
    return 0;
}

struct json_object *sbx_json_parse(const char *data, size_t n, bool *ok, struct sbx_err *err)
{
    struct scan scan = {.data = data, .n = n, .err = err};
    struct json_object *obj = NULL;
    *ok = false;
    if (n >= INT_MAX) {
        sbx_err_set(err, SBX_ERR_INVALID, "Invalid JSON: longer than %d bytes", INT_MAX - 1);
        return NULL;
    }
    if (scan_value(&scan, 0) < 0)
        return NULL;
    skip_space(&scan);
    if (scan.at != n) {
        fail(&scan, scan.at, "something follows the value");
        return NULL;
    }
    if (build(data, n, &obj, err) < 0)
        return NULL;
    if (count_keys(obj) != scan.keys) {
        json_object_put(obj);
        sbx_err_set(err, SBX_ERR_INVALID, "Invalid JSON: an object has the same key twice");
        return NULL;
    }
    *ok = true;
    return obj;
}
