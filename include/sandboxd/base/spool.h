/*
 * A byte sequence that lives in memory while it is small and in an unlinked temporary file when it is not:
 * flat memory for answers and uploads of any size.
 */
#ifndef SANDBOXD_BASE_SPOOL_H
#define SANDBOXD_BASE_SPOOL_H

#include <stdint.h>
#include <sys/types.h>

#include "sandboxd/base/buf.h"

struct sbx_spool {
    struct sbx_buf mem; /* what has not been written to the file yet */
    const char *dir;    /* not owned; where the temporary file is made */
    int fd;             /* -1 while everything is in memory */
    int64_t file_len;
    int64_t max; /* most bytes in all */
};

/* memory: bytes kept in memory before the file is made. max: TOO_LARGE beyond it. */
void sbx_spool_init(struct sbx_spool *spool, const char *dir, size_t memory, int64_t max);
void sbx_spool_done(struct sbx_spool *spool);

/* Append. TOO_LARGE over max; UNAVAILABLE when the disk is full. */
int sbx_spool_add(struct sbx_spool *spool, const void *data, size_t n, struct sbx_err *err) SBX_MUST_CHECK;

int64_t sbx_spool_len(const struct sbx_spool *spool);

/* Read at an offset, pread semantics: bytes read, 0 at the end, -1. */
ssize_t sbx_spool_read(const struct sbx_spool *spool, int64_t off, void *out, size_t n,
                       struct sbx_err *err) SBX_MUST_CHECK;

/* A file that is there already, as a spool to read from: bytes [0, len) of fd, which stays the caller's. It
 * needs no sbx_spool_done. */
struct sbx_spool sbx_spool_of(int fd, int64_t len);

#endif
