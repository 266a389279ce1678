/* Private to src/api: one call, its route, the helpers that handlers share. */
#ifndef SBX_API_INTERNAL_H
#define SBX_API_INTERNAL_H

#include "sandboxd/api.h"
#include "sandboxd/base.h"

#define SBX_ITEM_MAX 64

/* One request on its way through the API. */
struct sbx_call {
    struct sbx_api *api;
    struct sbx_engine *engine;
    struct sbx_request *request;
    struct sbx_wait wait;
    char id[SBX_UUID_LEN + 1]; /* session id of the path; "" when it is no UUID: no such session exists */
    char
        item[SBX_ITEM_MAX + 1]; /* the path's further parameter; "" when it is longer: no such thing exists */
    const char *path;           /* the route's tail: "/repo/a b"; "" when it has a `..`; borrowed */
    bool again;                 /* the request has asked for its session before, see sbx_exec_open */
    const struct sbx_client *client; /* whose key it was; NULL before that is known */
};

/* A handler answers and returns 0, or returns -1 with *err for sbx_answer_error. */
typedef int sbx_handler(struct sbx_call *call, struct sbx_err *err);

struct sbx_route {
    const char *method;
    /* Without the API prefix and the trailing slash. {id} stands for a session, any other {name} for a
     * segment (one a route), {path} at the end for all that follows. What comes first in the table wins. */
    const char *path;
    sbx_handler *handler;
    bool open; /* needs no key */
    enum sbx_socket {
        SBX_WORK,    /* served on the work socket */
        SBX_URGENT,  /* likewise, but sent to the urgent one, and never limited: it ends something */
        SBX_CONTROL, /* on the control socket as well */
        SBX_PRIVATE, /* on the control socket only */
    } socket;
};

/* The route of a method and path; NULL with *ret_allow set when the path exists with other methods ("GET,
 * POST", in a static buffer), NULL otherwise. The path's parameters go into call->id, item and path, which
 * points into `path` (decoded already: no NUL, and no "/" that was escaped). */
const struct sbx_route *sbx_route_find(const char *prefix, const char *method, const char *path,
                                       struct sbx_call *call, const char **ret_allow);

/* Does path match pattern? Then the parameters are in call. */
bool sbx_route_matches(const char *pattern, const char *path, struct sbx_call *call);

sbx_handler sbx_handle_health;
sbx_handler sbx_handle_version;
sbx_handler sbx_handle_openapi;
sbx_handler sbx_handle_docs;
sbx_handler sbx_handle_metrics;
sbx_handler sbx_handle_create;
sbx_handler sbx_handle_list;
sbx_handler sbx_handle_look;
sbx_handler sbx_handle_change;
sbx_handler sbx_handle_run;
sbx_handler sbx_handle_seed;
sbx_handler sbx_handle_files;
sbx_handler sbx_handle_patch;
sbx_handler sbx_handle_fs_ls, sbx_handle_fs_stat, sbx_handle_fs_read, sbx_handle_fs_grep, sbx_handle_fs_glob,
    sbx_handle_fs_write, sbx_handle_fs_edit, sbx_handle_fs_delete, sbx_handle_fs_mkdir, sbx_handle_fs_move;
sbx_handler sbx_handle_file_get, sbx_handle_file_put, sbx_handle_file_delete, sbx_handle_file_extract;
sbx_handler sbx_handle_close;
sbx_handler sbx_handle_exec_start;
sbx_handler sbx_handle_exec_list;
sbx_handler sbx_handle_exec_get;
sbx_handler sbx_handle_exec_cancel;
sbx_handler sbx_handle_exec_stream;
sbx_handler sbx_handle_exec_stdin;
sbx_handler sbx_handle_exec_signal;
sbx_handler sbx_handle_exec_resize;

/* The service is stopping: whoever balances over replicas should go elsewhere. */
#define SBX_STOPPING "The service is stopping; try again"
bool sbx_is_draining(const struct sbx_api *api);

/* The HTTP status of an error: the one place that knows. */
int sbx_status_of(const struct sbx_err *err);

/* {"detail": "…"} with the status of the error; retryable ones carry Retry-After. Failures to send are
 * ignored. */
void sbx_answer_error(struct sbx_request *request, const struct sbx_err *err);
void sbx_answer_detail(struct sbx_request *request, int status, const char *detail);

/* 422 with the collected faults. Always returns 0: the call is answered. */
int sbx_answer_faults(struct sbx_request *request, struct sbx_faults *faults);

/* 200 with a JSON object; takes the reference. */
int sbx_answer_json(struct sbx_request *request, struct json_object *obj, struct sbx_err *err) SBX_MUST_CHECK;
int sbx_answer_created(struct sbx_request *request, struct json_object *obj,
                       struct sbx_err *err) SBX_MUST_CHECK;

/* Read and parse a JSON body that has to be an object. 1: *ret is the caller's to put; 0: it was not, and has
 * been answered with 422; -1: an error. */
int sbx_read_json(struct sbx_call *call, struct json_object **ret, struct sbx_err *err) SBX_MUST_CHECK;

/* A field that is an object of strings, as a NULL-terminated list of NAME=value: caller frees with
 * sbx_env_free. *ret is NULL when the field is missing or null. Bad names and values, and more than 256 KiB
 * of them, become faults; -1 only when there is no memory. */
int sbx_read_env(struct sbx_faults *faults, struct json_object *body, const char *key, char ***ret,
                 struct sbx_err *err) SBX_MUST_CHECK;
void sbx_env_free(char **env);

/* A session's lifetime in a body: `idle_seconds` and `ttl_seconds`, each from 1 to its maximum in ms (0:
 * none). Untouched when missing or null. */
void sbx_read_seconds(struct sbx_faults *faults, struct json_object *body, const char *key, int64_t max_ms,
                      int64_t *ret_ms);

/* `labels`, an object of few short strings, printed: the caller frees *ret. 1 when it is there and good, 0,
 * or -1 without memory. */
int sbx_read_labels(struct sbx_faults *faults, struct json_object *body, char **ret,
                    struct sbx_err *err) SBX_MUST_CHECK;

/* What a client is told of its session, the caller's to put; usage NULL: not to be had. NULL without memory.
 */
struct json_object *sbx_session_json(const struct sbx_config *config, const struct sbx_record *record,
                                     const struct sbx_docker_usage *usage, struct sbx_err *err);

/* sbx_request_read where a function of an argument is wanted, which is the request. */
ssize_t sbx_body_read(void *request, void *buf, size_t n, struct sbx_err *err);

/* Sanitise the archive that read gives into an unlinked file, the caller's to close, and log what it was. A
 * bad one is INVALID "<field> is invalid: …". */
int sbx_spool_archive(struct sbx_call *call, const char *field,
                      ssize_t (*read)(void *arg, void *buf, size_t n, struct sbx_err *err), void *arg,
                      struct sbx_tar *ret, struct sbx_err *err) SBX_MUST_CHECK;

/* base64 being decoded as it is read, so that there is no copy of it. Borrowed text; the rest starts as 0. */
struct sbx_base64_text {
    const char *text;
    size_t len;
    size_t at;
    char rest[3]; /* of four characters, when less was asked for */
    size_t rest_at;
    size_t rest_len;
};

/* Bytes, 0 at the end, -1 INVALID. */
ssize_t sbx_base64_read(void *text, void *buf, size_t n, struct sbx_err *err) SBX_MUST_CHECK;

/* Could all of it be decoded? */
bool sbx_base64_good(const char *text, size_t len);

/* base64 as many tools write it, in lines: a copy without blanks and line breaks, the caller's to free. NULL
 * when there are none, or no memory. */
char *sbx_base64_unwrap(const char *text, size_t len, size_t *ret_len);

/* Decode all of it, line breaks allowed: heap, the caller's to free. NULL when it is not base64, or without
 * memory. */
char *sbx_base64_bytes(const char *text, size_t len, size_t *ret_len);

/* A JSON string being written into a spool from pieces of bytes that may cut characters. */
struct sbx_text {
    struct sbx_spool *spool;
    struct sbx_err *err;
    char carry[4]; /* start of a character whose rest may be in the next piece */
    size_t carry_len;
};

/* Callback for sbx_capture_emit: 0, or -1 with *text->err. */
int sbx_text_add(void *text, const char *bytes, size_t n);
int sbx_text_end(struct sbx_text *text);

/* An answer in JSON being written into a spool. */
int sbx_put(struct sbx_spool *spool, const char *text, struct sbx_err *err) SBX_MUST_CHECK;
int sbx_put_string(struct sbx_spool *spool, const char *bytes, size_t n, struct sbx_err *err) SBX_MUST_CHECK;
/* How many bytes at the end of data start a character that data does not finish: at most 3. */
size_t sbx_text_unfinished(const char *data, size_t n);

#endif
