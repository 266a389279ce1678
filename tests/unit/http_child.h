/*
 * A child process that serves requests with the HTTP module. The header x-do says what it does with a
 * request; what it met is reported to the test through a pipe, one record a request.
 */
#ifndef TESTS_UNIT_HTTP_CHILD_H
#define TESTS_UNIT_HTTP_CHILD_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "sandboxd/base/err.h"
#include "support/fcgi_client.h"

#define HTTP_CHILD_SIZE 3000000

struct http_child {
    pid_t pid;
    int reports;
    char dir[64];
    char path[96]; /* of the socket */
};

struct http_report {
    enum sbx_err_kind body;   /* how reading the body ended */
    enum sbx_err_kind answer; /* how sending the answer ended */
    int status;
    int64_t sent;
    int64_t received;
    int fd; /* of the connection */
    bool cloexec;
};

void http_child_start(struct http_child *child);

/* Ask it to end and check that it does, without a complaint of a sanitizer. */
void http_child_stop(struct http_child *child);

/* A whole request with this x-do; body may be NULL. What big and spool send has HTTP_CHILD_SIZE bytes. */
void http_child_call(const struct http_child *child, const char *action, const char *body, size_t n,
                     struct fcgi_answer *ret);

/* The same up to the body, which is announced with this length ("": not announced). */
void http_child_open(const struct http_child *child, struct fcgi_client *client, const char *action,
                     const char *length);

/* The report of the next request. */
struct http_report http_child_report(const struct http_child *child);

/* Resident memory in bytes. */
int64_t http_child_rss(const struct http_child *child);

#endif
