/* One connection to Sentry's endpoint for envelopes. */
#ifndef SBX_REPORT_POST_H
#define SBX_REPORT_POST_H

#include <curl/curl.h>

#include "sandboxd/base.h"

struct sbx_post {
    CURL *easy;
    struct curl_slist *headers;
    char why[CURL_ERROR_SIZE];
    long status;      /* of the last answer, 0: none came */
    int64_t retry_ms; /* how long Sentry asked us to be quiet, 0: it did not */
};

enum sbx_posted {
    SBX_POSTED_TAKEN,
    SBX_POSTED_REFUSED, /* sending the same again is of no use */
    SBX_POSTED_LATER,   /* not reached, overloaded, or we are too many: again later */
};

int sbx_post_open(struct sbx_post *post, const struct sbx_dsn *dsn, struct sbx_err *err) SBX_MUST_CHECK;
void sbx_post_close(struct sbx_post *post);

/* Two seconds at most. */
enum sbx_posted sbx_post_envelope(struct sbx_post *post, const struct sbx_buf *envelope);

#endif
