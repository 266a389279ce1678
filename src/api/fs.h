/* Private to src/api: the JSON file operations. fs.c reads requests, fs_answer.c writes answers. */
#ifndef SBX_API_FS_H
#define SBX_API_FS_H

#include "api/internal.h"
#include "sandboxd/wire.h"

/* The word of an error: "not_found". */
const char *sbx_fs_word(int code);

/* What an operation's answer looks like. */
enum sbx_fs_shape {
    SBX_FS_ENTRIES,
    SBX_FS_MATCHES,
    SBX_FS_LINES, /* matches with line and text */
    SBX_FS_CONTENT,
    SBX_FS_STATUS,
    SBX_FS_DONE,        /* ok */
    SBX_FS_REMOVED,     /* ok, removed */
    SBX_FS_CREATED,     /* ok, created */
    SBX_FS_OCCURRENCES, /* occurrences */
};

/* An answer that is being written; what is met before its place is kept. */
struct sbx_fs_answer {
    enum sbx_fs_shape shape;
    struct sbx_spool spool;
    bool begun; /* an item, or the content */
    bool base64;
    char kind[16];
    struct sbx_buf target;
    uint64_t size, mode, uid, gid, count, end, truncated;
    int64_t mtime_ns; /* since 1970 */
};

void sbx_fs_answer_init(struct sbx_fs_answer *answer, enum sbx_fs_shape shape, const char *spool_dir);
void sbx_fs_answer_done(struct sbx_fs_answer *answer);
int sbx_fs_answer_begin(struct sbx_fs_answer *answer, struct sbx_err *err) SBX_MUST_CHECK;
/* Callback for sbx_session_fs; arg is the answer. */
int sbx_fs_answer_field(void *answer, const struct sbx_field *field, struct sbx_err *err) SBX_MUST_CHECK;
int sbx_fs_answer_end(struct sbx_fs_answer *answer, const struct sbx_fs_result *result,
                      struct sbx_err *err) SBX_MUST_CHECK;

#endif
