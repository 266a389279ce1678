/* Private to src/api: raw files. raw.c serves them, raw_head.c reads and writes what HTTP says about them. */
#ifndef SBX_API_RAW_H
#define SBX_API_RAW_H

#include "api/internal.h"
#include "sandboxd/session.h"

#define SBX_ETAG_SIZE 64

/* What a client asks for. */
struct sbx_raw_want {
    bool head;
    bool ranged;
    char first[24], last[24]; /* decimal, "" where they are left out */
    const char *none_match;   /* If-None-Match, NULL: none */
    const char *if_range;     /* NULL: none */
    const char *filter;       /* of a directory's archive: "gzip", "zstd"; NULL: none */
};

/* 0, or -1 INVALID: an archive format that there is not. */
int sbx_raw_want(struct sbx_raw_want *want, struct sbx_request *request, struct sbx_err *err) SBX_MUST_CHECK;

/* What there is. */
struct sbx_raw_have {
    bool directory;
    uint64_t size, mode, inode;
    int64_t mtime_ns;      /* since 1970 */
    uint64_t first, count; /* of the bytes that were sent */
};

void sbx_raw_etag(const struct sbx_raw_have *have, char out[SBX_ETAG_SIZE]);
/* Does a list of entity tags have this one? */
bool sbx_raw_tag_in(const char *list, const char *etag);
/* Headers that every answer with or about a file has. */
void sbx_raw_headers(struct sbx_request *request, const struct sbx_raw_have *have);

/* The error that stands for an operation's failure. Returns -1. */
int sbx_raw_fail(const struct sbx_fs_result *result, struct sbx_err *err);

int sbx_raw_check_path(const struct sbx_call *call, struct sbx_err *err) SBX_MUST_CHECK;

/* One operation that changes something; *ret_count is what it says of that. */
int sbx_raw_change(struct sbx_call *call, const struct sbx_fs *fs, uint64_t *ret_count,
                   struct sbx_err *err) SBX_MUST_CHECK;

#endif
