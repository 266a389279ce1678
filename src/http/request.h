/*
 * The request as the files of this module see it.
 */
#ifndef SRC_HTTP_REQUEST_H
#define SRC_HTTP_REQUEST_H

#include <fcgiapp.h>

#include "sandboxd/http.h"

#define REQUEST_PATH_MAX  4096
#define REQUEST_ID_MAX    64
#define REQUEST_EXTRA_MAX 4096
#define REQUEST_LATER     4

struct sbx_request {
    FCGX_Request fcgi;
    bool active;
    bool body_ended;  /* the end marker of the body was read: nothing more will come */
    bool body_failed; /* the body broke off */
    bool answered;
    bool broken; /* the answer was not taken, or not finished: the connection must be cut */
    int status;
    int64_t content_length; /* -1: not announced */
    int64_t received;
    int64_t sent; /* body bytes */
    /* Point into the parameters of libfcgi: valid until FCGX_Finish_r. */
    const char *method;
    const char *query;
    const char *remote;
    char path[REQUEST_PATH_MAX];
    char id[REQUEST_ID_MAX + 1];
    int later[REQUEST_LATER]; /* to be closed at the end */
    size_t later_count;
    size_t extra_len;
    char extra[REQUEST_EXTRA_MAX]; /* header lines of the answer */
};

/* Fill in everything from the parameters of a request that was just accepted. */
void sbx_request_start(struct sbx_request *request);

#endif
