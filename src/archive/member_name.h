/* Byte-safe treatment of the names in an archive. Private to src/archive. */
#ifndef SRC_ARCHIVE_MEMBER_NAME_H
#define SRC_ARCHIVE_MEMBER_NAME_H

#include <stddef.h>

#include "sandboxd/base/err.h"

/* PATH_MAX is 4096 with the final NUL, and the extractor puts the target directory in front. */
#define SBX_MEMBER_NAME_MAX  4032
#define SBX_MEMBER_COMPONENT 255 /* NAME_MAX */
#define SBX_MEMBER_SHOWN     128

/* A normalised name: components joined by single slashes, none of them "." or "..", none at either end. */
struct sbx_member_name {
    size_t len;   /* 0: the root itself */
    size_t leaf;  /* where the last component begins */
    size_t depth; /* components */
    char path[SBX_MEMBER_NAME_MAX + 1];
};

/* Normalise what the archive says. Any bytes but NUL and slash make a component. INVALID when the name is
 * empty, absolute, has a ".." or is beyond a limit; *ret is then undefined. */
int sbx_member_name_parse(const char *raw, size_t max_depth, struct sbx_member_name *ret,
                          struct sbx_err *err) SBX_MUST_CHECK;

/* A name for messages: valid UTF-8 without control characters, cut with "..." when it is long. */
void sbx_member_name_show(const char *raw, char out[SBX_MEMBER_SHOWN]);

#endif
