/*
 * The unpacked bytes of the input: which filter it takes is decided by magic and that one is forced, so there
 * is no stacking of filters; integrity, memory and the amount are watched here. Private to src/archive.
 */
#ifndef SRC_ARCHIVE_SOURCE_H
#define SRC_ARCHIVE_SOURCE_H

#include <archive.h>
#include <stdint.h>
#include <sys/types.h>

#include "archive/gzip_check.h"
#include "sandboxd/base/err.h"

typedef ssize_t sbx_source_read(void *arg, void *buf, size_t n, struct sbx_err *err);

struct sbx_source {
    sbx_source_read *read; /* of the caller */
    void *arg;
    double max_ratio;
    int64_t packed;   /* bytes read */
    int64_t unpacked; /* bytes given out */
    /* Most that `unpacked` may become, and what is wrong then. The owner moves it as it goes. */
    int64_t ceiling;
    const char *ceiling_says;

    const struct sbx_filter *filter;
    struct archive *unpacker; /* NULL: the input is not packed */
    struct sbx_gzip_check gzip;
    struct sbx_err error; /* of read or of a check, where libarchive stands between it and us */
    uint8_t *memory;      /* owned: history, then the chunk read last */
    size_t history;       /* bytes kept from before the chunk */
    size_t chunk_len;
    bool chunk_fresh; /* read while looking for the magic, not used yet */
    bool ended;
};

/* Reads far enough to know the filter. INVALID when there is no input at all. Call _done in any case. */
int sbx_source_open(struct sbx_source *source, sbx_source_read *read, void *arg, double max_ratio,
                    struct sbx_err *err) SBX_MUST_CHECK;
void sbx_source_done(struct sbx_source *source);

/* The next block, valid until the next call: its length, 0 at the end (checksums were right), -1: INVALID
 * when the input is damaged or beyond a limit, or read's own error. */
ssize_t sbx_source_next(struct sbx_source *source, const void **block, struct sbx_err *err) SBX_MUST_CHECK;

/* Is `unpacked` out of proportion to what has been read? 0 or -1 with INVALID. */
int sbx_source_check_ratio(const struct sbx_source *source, int64_t unpacked,
                           struct sbx_err *err) SBX_MUST_CHECK;

#endif
