/*
 * Private to src/docker: the client's handle, one HTTP exchange with dockerd, and the pure parsers that tests
 * reach.
 */
#ifndef SBX_DOCKER_INTERNAL_H
#define SBX_DOCKER_INTERNAL_H

#include <curl/curl.h>
#include <json.h>
#include <poll.h>
#include <sys/socket.h>

#include "sandboxd/base/buf.h"
#include "sandboxd/docker.h"

#define DOCKER_API_MINOR_MIN 24 /* 1.24 */
#define DOCKER_API_MINOR_MAX 44 /* 1.44 */

#define DOCKER_NOT_RESPONDING "Docker client is not responding"

/* Sockets that libcurl may have open at once: one transfer, two while it races IPv6 and IPv4, one for its
 * resolver. */
#define DOCKER_SOCKETS 8

struct sbx_docker {
    char *unix_path; /* NULL: TCP */
    char *tcp_host;  /* NULL: Unix socket; without the brackets of an IPv6 address */
    char tcp_port[8];
    char authority[300]; /* for URLs and Host headers */
    int64_t timeout_ms;
    int api_minor; /* 0: not negotiated yet */

    struct sockaddr_storage addr; /* where attach connects to; addr_len 0: to be resolved */
    socklen_t addr_len;

    CURLM *multi;
    CURL *easy;
    bool fresh; /* the last transfer failed: do not reuse a connection */
    struct pollfd socks[DOCKER_SOCKETS];
    nfds_t nsocks;
    int64_t timer_ms; /* monotonic moment at which libcurl wants to be called, -1: never */
    char curl_error[CURL_ERROR_SIZE];
};

/* A request body that is read while it is sent: bytes [0, size) of fd, or of mem when that is not NULL. */
struct docker_source {
    int fd;
    const char *mem;
    int64_t size;
    int64_t off;
    int read_errno; /* why reading failed; 0: it did not, or the file is shorter than size */
};

/* One exchange. Zero-initialise, set what is needed, call sbx_docker_call. */
struct docker_call {
    const char *method;
    const char *what; /* for messages: "cannot <what>: …" */
    const char *name; /* of the object concerned, may be NULL */
    struct json_object *body;
    struct docker_source *source;
    const char *header;   /* one more header line, NULL: none */
    int64_t silence_ms;   /* longest time without a byte either way; 0: the client's timeout */
    struct sbx_buf *into; /* collects the body of a successful answer; NULL: it is dropped, or goes to sink */
    int (*sink)(void *arg, const char *data, size_t n,
                struct sbx_err *err); /* takes it as it arrives; -1 stops */
    void *arg;

    long status;        /* out: of the answer, 0 when there was none */
    int api_minor;      /* out: N of the answer's "Api-Version: 1.N", 0 when there was none */
    char message[1024]; /* out: what dockerd said when status >= 400 */
};

/* Perform call on "/v1.xx" + target, negotiating the version first. target is a template that knows %s alone;
 * each argument is percent-encoded (slashes are kept). Returns 0 for a 2xx or 304 answer; else -1 with *err
 * set and call->status telling. */
int sbx_docker_call(struct sbx_docker *docker, struct sbx_wait *wait, struct docker_call *call,
                    struct sbx_err *err, const char *target, ...) SBX_MUST_CHECK SBX_PRINTF(5, 6);

/* The same, parsing the answer as one JSON object; the caller puts it. */
struct json_object *sbx_docker_call_json(struct sbx_docker *docker, struct sbx_wait *wait,
                                         struct docker_call *call, size_t max, struct sbx_err *err,
                                         const char *target, ...) SBX_MUST_CHECK SBX_PRINTF(6, 7);

/* One transfer to url, without negotiation: 0 when an answer of any status came. headers are borrowed. */
int sbx_docker_transfer(struct sbx_docker *docker, struct sbx_wait *wait, struct docker_call *call,
                        const char *url, struct curl_slist *headers, struct sbx_err *err) SBX_MUST_CHECK;

/* Agree on docker->api_minor unless that is done. */
int sbx_docker_negotiate(struct sbx_docker *docker, struct sbx_wait *wait,
                         struct sbx_err *err) SBX_MUST_CHECK;

/* Fill *err for an answer with an error status; returns -1. A complaint about the version makes the next call
 * negotiate anew. */
int sbx_docker_refused(struct sbx_docker *docker, long status, const char *message, const char *what,
                       const char *name, struct sbx_err *err);

/* dockerd's words out of an error body: its {"message"}, else the text itself, made printable and cut. */
void sbx_docker_message(const char *body, size_t n, char *out, size_t size);

/* "1.41" → 41; -1 for anything that is not 1.N. */
int sbx_docker_parse_version(const char *s, size_t n);

/* Container and volume names and ids, as dockerd defines them. INTERNAL for anything else, as they are all
 * ours. */
int sbx_docker_check_name(const char *name, struct sbx_err *err) SBX_MUST_CHECK;

/* Add a member, taking the reference of value. False when anything, value included, is missing: chain with
 * &&. */
bool sbx_docker_put(struct json_object *obj, const char *key, struct json_object *value);
bool sbx_docker_put_string(struct json_object *obj, const char *key,
                           const char *value); /* NULL: nothing to add */
bool sbx_docker_put_strings(struct json_object *obj, const char *key, const char *const *values);
bool sbx_docker_put_pairs(struct json_object *obj, const char *key, const struct sbx_docker_pair *pairs);

/* {"label": ["k=v"]} as text, for a query. label alone when value is NULL. */
int sbx_docker_label_filter(const char *label, const char *value, struct sbx_buf *out,
                            struct sbx_err *err) SBX_MUST_CHECK;

/* What the body of POST /containers/create is for spec; NULL without memory. */
struct json_object *sbx_docker_spec_json(const struct sbx_docker_spec *spec);

/* Length of the registry (host[:port]) that an image reference begins with; 0: none is named, which means
 * Docker Hub. */
size_t sbx_docker_registry_of(const char *image);

/* Why a pull failed, from dockerd's words: NOT_FOUND, INVALID or UPSTREAM. */
enum sbx_err_kind sbx_docker_pull_kind(const char *message);

/* Progress stream of a pull: one JSON object a line. */
struct docker_pull {
    const char *image;
    struct sbx_buf line;
    void (*progress)(void *arg, const char *status);
    void *arg;
    int64_t next_progress_ms;
};

/* Feed the stream as it arrives; -1 with the pull's error once it carries one. */
int sbx_docker_pull_feed(struct docker_pull *pull, const char *data, size_t n,
                         struct sbx_err *err) SBX_MUST_CHECK;

/* Head of the answer to an upgrade request: its length with *ret_status set, 0 while it is incomplete, -1
 * when it is not an HTTP answer or is longer than 8 KiB. */
ssize_t sbx_docker_parse_head(const char *data, size_t n, int *ret_status);

#endif
