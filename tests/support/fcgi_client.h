/*
 * A minimal FastCGI client that plays the web server over a Unix socket, so that tests of the HTTP module
 * need no nginx. Any failure of the client itself ends the test (cmocka's fail_msg); what the server does
 * wrong is left to the test.
 */
#ifndef TESTS_SUPPORT_FCGI_CLIENT_H
#define TESTS_SUPPORT_FCGI_CLIENT_H

#include <stdbool.h>
#include <stddef.h>

#include "sandboxd/base/buf.h"

struct fcgi_client {
    int fd;
    struct sbx_buf params;
};

struct fcgi_answer {
    bool complete; /* the end record came; without it the answer is broken off */
    int status;    /* of the Status header, 0 when there is none */
    size_t body;   /* where the body begins in data */
    struct sbx_buf data;
};

/* Connect; nothing is sent yet. */
void fcgi_open(struct fcgi_client *client, const char *path);
void fcgi_close(struct fcgi_client *client);

/* Collect parameters, then send them with the begin record. */
void fcgi_param(struct fcgi_client *client, const char *name, const char *value);
void fcgi_begin(struct fcgi_client *client);

/* A piece of the body; false when the server has gone. Then its end, or an abort. */
bool fcgi_body(struct fcgi_client *client, const void *data, size_t n);
bool fcgi_body_end(struct fcgi_client *client);
bool fcgi_abort(struct fcgi_client *client);

/* Read until the end record or the end of the connection. */
void fcgi_answer_read(struct fcgi_client *client, struct fcgi_answer *ret);
void fcgi_answer_done(struct fcgi_answer *answer);

/* Value of a header of the answer, copied to out; false when it is absent. */
bool fcgi_answer_header(const struct fcgi_answer *answer, const char *name, char *out, size_t size);

/* Everything at once: the usual parameters of a request, extra ones as name, value, …, NULL; whole body
 * (NULL: none). */
void fcgi_call(const char *path, const char *method, const char *uri, const char *const *extra,
               const void *body, size_t n, struct fcgi_answer *ret);

#endif
