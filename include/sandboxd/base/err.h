/*
 * Errors: one fixed-size object on the caller's stack, filled by whoever fails first.
 *
 * Contract of every fallible function here: it returns 0 (or a non-negative result) on success and leaves
 * *err alone; it returns -1 (or NULL) on failure and has filled *err. The kind maps to one HTTP status in one
 * place (api/answer.c).
 */
#ifndef SANDBOXD_BASE_ERR_H
#define SANDBOXD_BASE_ERR_H

#define SBX_MUST_CHECK      __attribute__((warn_unused_result))
#define SBX_PRINTF(fmt, va) __attribute__((format(printf, fmt, va)))

enum sbx_err_kind {
    SBX_ERR_NONE = 0,
    SBX_ERR_INTERNAL,    /* 500: a fault of ours */
    SBX_ERR_BAD_REQUEST, /* 400: the request cannot be read at all */
    SBX_ERR_FORBIDDEN,   /* 403 */
    SBX_ERR_NOT_FOUND,   /* 404 */
    SBX_ERR_CONFLICT,    /* 409: busy, already seeded */
    SBX_ERR_TOO_LARGE,   /* 413 */
    SBX_ERR_INVALID,     /* 422: understood, but not acceptable */
    SBX_ERR_LIMITED,     /* 429 */
    SBX_ERR_UPSTREAM,    /* 502: dockerd or a registry answered with a failure of its own */
    SBX_ERR_UNAVAILABLE, /* 503: dockerd, store or this process cannot serve now; retryable */
    SBX_ERR_TIMEOUT,     /* 504: a deadline of ours passed */
    SBX_ERR_CANCELLED,   /* the client went away; nobody reads an answer */
};

struct sbx_err {
    enum sbx_err_kind kind;
    int os_errno;   /* errno behind the failure, 0 when there is none */
    unsigned stack; /* where it was set, for sbx_stack_get; 0: not recorded (that takes a setting, and a fault
                       that may be ours) */
    char msg[488];
};

#define SBX_ERR_INIT                                                                                         \
    {                                                                                                        \
        SBX_ERR_NONE, 0, 0, ""                                                                               \
    }

/* Fill *err (which may be NULL) and return -1, so that a failure reads `return sbx_err_set(err, …)`. */
int sbx_err_set(struct sbx_err *err, enum sbx_err_kind kind, const char *fmt, ...) SBX_PRINTF(3, 4);

/* The same, with ": <strerror(errnum)>" appended and errnum kept. */
int sbx_err_sys(struct sbx_err *err, enum sbx_err_kind kind, int errnum, const char *fmt, ...)
    SBX_PRINTF(4, 5);

/* Put "<context>: " before the message of an error that is already set. Returns -1. Once per layer. */
int sbx_err_wrap(struct sbx_err *err, const char *fmt, ...) SBX_PRINTF(2, 3);

/* A short stable word for a kind ("conflict", "unavailable"), for logs. */
const char *sbx_err_kind_name(enum sbx_err_kind kind);

#endif
