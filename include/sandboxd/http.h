/*
 * HTTP over FastCGI: accept loop, request with streaming body, answers that are whole or visibly broken,
 * multipart.
 */
#ifndef SANDBOXD_HTTP_H
#define SANDBOXD_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "sandboxd/base/buf.h"
#include "sandboxd/base/err.h"
#include "sandboxd/base/spool.h"
#include "sandboxd/base/wait.h"

/* Listening Unix socket for FastCGI: made in the master, 0660, non-blocking, CLOEXEC. A stale socket file is
 * replaced; a live one (somebody answers) is UNAVAILABLE. Returns the fd or -1. */
int sbx_http_listen(const char *path, int backlog, struct sbx_err *err) SBX_MUST_CHECK;

struct sbx_server;  /* libfcgi state of one process */
struct sbx_request; /* the request being served; one a process */

/* One for each socket. After fork, before the process's own signal handlers (FCGX_Init touches them).
 * listen_fd stays the caller's. */
struct sbx_server *sbx_server_new(int listen_fd, struct sbx_err *err) SBX_MUST_CHECK;
void sbx_server_free(struct sbx_server *server);

/* Accept the next request. The caller has polled listen_fd; returns NULL with kind NONE when another worker
 * was faster or the connection brought no request (poll again), NULL with an error when the socket is broken.
 * A connection on which nothing is said keeps this process for 2 s. The request belongs to the server; end it
 * with sbx_request_finish. Socket timeouts are set on the connection, so signal handlers interrupt its reads
 * and writes in spite of SA_RESTART, and libfcgi gives an interrupted stream up: block signals while a
 * request is served. */
struct sbx_request *sbx_server_accept(struct sbx_server *server, struct sbx_err *err) SBX_MUST_CHECK;

/* Take *fd over (it becomes -1) and close it when the answer is out: to let go of a large unlinked file takes
 * longer than a small request. */
void sbx_request_close_later(struct sbx_request *request, int *fd);

/* Close the connection, after at most 1 s for taking in the rest of an unread body. An unanswered request
 * becomes a 500. */
void sbx_request_finish(struct sbx_request *request);

const char *sbx_request_method(const struct sbx_request *request);
/* Decoded path without the query: at least "/". "" when it is invalid: escapes of "/" or NUL, malformed
 * escapes, 4 KiB or more. */
const char *sbx_request_path(const struct sbx_request *request);
const char *sbx_request_query(const struct sbx_request *request); /* raw, "" when none */
/* A request header by its lower-case name ("x-api-key"), NULL when absent or empty. */
const char *sbx_request_header(const struct sbx_request *request, const char *name);
/* A decoded query parameter into out: false when absent or too long. */
bool sbx_request_param(const struct sbx_request *request, const char *name, char *out, size_t size);
/* The nth (from 0) of those with that name: 1, 0 when there are fewer, -1 when it is malformed or too long.
 */
int sbx_request_param_nth(const struct sbx_request *request, const char *name, int nth, char *out,
                          size_t size);
/* From X-Request-Id if it is sane ([A-Za-z0-9._-]{1,64}), else nginx's REQUEST_ID, else random. */
const char *sbx_request_id(const struct sbx_request *request);
const char *sbx_request_remote(const struct sbx_request *request); /* client address */
/* The connection to the web server, for sbx_wait.client_fd. Only until the answer: the web server hangs up
 * after it. */
int sbx_request_fd(const struct sbx_request *request);

/* Next bytes of the body: > 0, 0 at its true end, -1: CANCELLED when the client went away or nginx cut it
 * off. */
ssize_t sbx_request_read(struct sbx_request *request, void *buf, size_t n,
                         struct sbx_err *err) SBX_MUST_CHECK;

/* The whole body into an initialised buffer; TOO_LARGE over its ceiling (then the rest is not read). */
int sbx_request_body(struct sbx_request *request, struct sbx_buf *body, struct sbx_err *err) SBX_MUST_CHECK;

/* Add a header to the answer, before it is sent. Values with CR or LF, and more than 4 KiB in all, are
 * refused by assertion. */
void sbx_answer_header(struct sbx_request *request, const char *name, const char *value);

/* Whole answers with Content-Length and X-Request-Id; they are on their way when the call returns. body may
 * be NULL (204). -1: CANCELLED, the client did not take it. A second answer is INTERNAL. */
int sbx_answer(struct sbx_request *request, int status, const char *type, const void *body, size_t n,
               struct sbx_err *err) SBX_MUST_CHECK;
int sbx_answer_spool(struct sbx_request *request, int status, const char *type, const struct sbx_spool *spool,
                     struct sbx_err *err) SBX_MUST_CHECK;

/* The answer to a HEAD: what stands in front of a body of that length, -1: not known before it is made. */
int sbx_answer_head(struct sbx_request *request, int status, const char *type, int64_t length,
                    struct sbx_err *err) SBX_MUST_CHECK;
/* An answer of unknown length that is passed on to the client as it is written: no web server's buffer in
 * between. What breaks off is told from what is complete by its contents only. Every wait for the client goes
 * through `wait`, at most 60 s without any progress. A failure (CANCELLED, or the wait's own) is for good:
 * the connection will be cut. */
int sbx_answer_stream(struct sbx_request *request, const char *type, struct sbx_err *err) SBX_MUST_CHECK;
int sbx_answer_write(struct sbx_request *request, struct sbx_wait *wait, const void *data, size_t n,
                     struct sbx_err *err) SBX_MUST_CHECK;
int sbx_answer_end(struct sbx_request *request, struct sbx_err *err) SBX_MUST_CHECK;

/* Status and body bytes of the answer that was sent, 0 before. */
int sbx_answer_status(const struct sbx_request *request);
int64_t sbx_answer_bytes(const struct sbx_request *request);

/*
 * Streaming multipart/form-data, pull style, flat memory. Over any source of bytes, so that it can be fuzzed:
 *
 *   sbx_multipart_new(content_type, read, arg) → while (sbx_multipart_next(…) == 1) while
 * (sbx_multipart_read(…) > 0) …
 */
struct sbx_multipart;

struct sbx_part {
    char name[128];     /* form field, "" when there is none */
    char filename[256]; /* "" when there is none */
    char type[128];
};

/* BAD_REQUEST when content_type is not multipart/form-data with a sane boundary. */
struct sbx_multipart *sbx_multipart_new(const char *content_type,
                                        ssize_t (*read)(void *arg, void *buf, size_t n, struct sbx_err *err),
                                        void *arg, struct sbx_err *err) SBX_MUST_CHECK;
void sbx_multipart_free(struct sbx_multipart *multipart);

/* Go to the next part, skipping what is unread of this one: 1, 0 after the closing boundary and the true end
 * of the source, -1 (BAD_REQUEST: broken or cut off, at most 16 KiB of headers a part, 100 parts; or the
 * source's error). A failure stays. */
int sbx_multipart_next(struct sbx_multipart *multipart, struct sbx_part *ret,
                       struct sbx_err *err) SBX_MUST_CHECK;

/* Bytes of the current part: > 0, 0 at its end, -1. */
ssize_t sbx_multipart_read(struct sbx_multipart *multipart, void *buf, size_t n,
                           struct sbx_err *err) SBX_MUST_CHECK;

#endif
