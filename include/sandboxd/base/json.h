/*
 * JSON on top of json-c, strict where json-c is lenient, with path-carrying faults for 422 answers in
 * FastAPI's form.
 */
#ifndef SANDBOXD_BASE_JSON_H
#define SANDBOXD_BASE_JSON_H

#include <json.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "sandboxd/base/buf.h"
#include "sandboxd/base/err.h"

/* Parse exactly one JSON value: valid UTF-8, no NaN/Infinity, no number beyond a double, no integer beyond 64
 * bits, no duplicate or NUL-bearing keys, no lone surrogates, depth <= 32, at most a million values, nothing
 * after it. Returns a reference the caller puts (json_object_put), or NULL with INVALID and a message such as
 * "Invalid JSON at byte 17: …". Note: the JSON text `null` also yields NULL; *ok tells. */
struct json_object *sbx_json_parse(const char *data, size_t n, bool *ok, struct sbx_err *err) SBX_MUST_CHECK;

/* Collected validation faults; `list` is the array that becomes "detail". */
struct sbx_faults {
    struct json_object *list; /* owned; NULL while there are none */
};

void sbx_faults_init(struct sbx_faults *faults);
void sbx_faults_done(struct sbx_faults *faults);
bool sbx_faults_any(const struct sbx_faults *faults);

/* Add {"type", "loc": ["body", …path], "msg", "input"}. path is a slash-separated list below "body", numbers
 * become integers ("commands/3" → ["body","commands",3]); "" is the body itself. input is the value that was
 * sent, borrowed; of one longer than a kilobyte the answer has the beginning. Faults beyond the first
 * thousand are dropped. */
void sbx_faults_add(struct sbx_faults *faults, const char *type, const char *path, struct json_object *input,
                    const char *fmt, ...) SBX_PRINTF(5, 6);

/*
 * Readers of one field of an object. Each returns true when the field is present, not null and good (then
 * *ret is set) and false otherwise (then *ret is untouched, so set the default before). A bad value or a
 * missing required field adds a fault. Types and messages are FastAPI's (pydantic 2): missing "Field
 * required", string_type "Input should be a valid string", string_too_short, bool_type/bool_parsing,
 * int_type/int_parsing, greater_than_equal, less_than_equal, list_type, dict_type …. What pydantic's lax
 * mode takes is taken: booleans as "true", "on", 1, 0.0; numbers as "5", " 5.0 ", true; integers from
 * integral floats. `prefix` is the path of obj ("" for the body); `flags` says whether missing and null are
 * allowed.
 */
enum sbx_json_flags {
    SBX_JSON_OPTIONAL = 0, /* may be missing; null is a fault */
    SBX_JSON_REQUIRED = 1,
    SBX_JSON_NULLABLE = 2, /* null is the same as missing (for REQUIRED: allowed, returns false) */
};

bool sbx_json_string(struct sbx_faults *faults, struct json_object *obj, const char *prefix, const char *key,
                     int flags, size_t min_len, size_t max_len, const char **ret, size_t *ret_len);
bool sbx_json_bool(struct sbx_faults *faults, struct json_object *obj, const char *prefix, const char *key,
                   int flags, bool *ret);
bool sbx_json_int(struct sbx_faults *faults, struct json_object *obj, const char *prefix, const char *key,
                  int flags, int64_t min, int64_t max, int64_t *ret);
/* min_exclusive: pydantic's gt; the value is finite. */
bool sbx_json_double(struct sbx_faults *faults, struct json_object *obj, const char *prefix, const char *key,
                     int flags, double min_exclusive, double *ret);
/* An array with min..max elements; elements are not checked. Borrowed. */
bool sbx_json_array(struct sbx_faults *faults, struct json_object *obj, const char *prefix, const char *key,
                    int flags, size_t min, size_t max, struct json_object **ret);
/* An object; with string_values every value must be a string. Borrowed. */
bool sbx_json_object(struct sbx_faults *faults, struct json_object *obj, const char *prefix, const char *key,
                     int flags, bool string_values, struct json_object **ret);

/* Quiet look-ups for answers of dockerd: follow "State/ExitCode"; the default when a step is missing or of
 * another type. */
struct json_object *sbx_json_at(struct json_object *obj, const char *path);
const char *sbx_json_str_at(struct json_object *obj, const char *path, const char *otherwise);
int64_t sbx_json_int_at(struct json_object *obj, const char *path, int64_t otherwise);
bool sbx_json_bool_at(struct json_object *obj, const char *path, bool otherwise);

/* Write the JSON string escape (without quotes) of bytes, invalid UTF-8 replaced by U+FFFD, through emit;
 * stops at its first non-zero result and returns it. What sbx_spool_add or sbx_buf_add take as a callback is
 * wrapped by the caller. */
int sbx_json_escape(const char *data, size_t n, int (*emit)(void *arg, const char *bytes, size_t len),
                    void *arg);

/* Serialise without spaces, slashes unescaped, into buf. Strings must be valid UTF-8. */
int sbx_json_print(struct json_object *obj, struct sbx_buf *buf, struct sbx_err *err) SBX_MUST_CHECK;

#endif
