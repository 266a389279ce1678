/*
 * The text parts of multipart/form-data: the content type and the head of a part.
 */
#ifndef SRC_HTTP_MULTIPART_H
#define SRC_HTTP_MULTIPART_H

#include <stddef.h>

#include "sandboxd/http.h"

#define MULTIPART_BOUNDARY_MAX 70          /* RFC 2046 */
#define MULTIPART_HEAD_MAX     (16 * 1024) /* header bytes of one part */
#define MULTIPART_PARTS_MAX    100

/* The boundary of a multipart/form-data content type. BAD_REQUEST when it is something else or has no sane
 * boundary. */
int sbx_multipart_boundary(const char *content_type, char ret[MULTIPART_BOUNDARY_MAX + 1],
                           struct sbx_err *err) SBX_MUST_CHECK;

/* Parse the header lines of a part, head[0, n), each ended by CRLF. *ret is set in any case but complete only
 * on success. */
int sbx_multipart_head(const char *head, size_t n, struct sbx_part *ret, struct sbx_err *err) SBX_MUST_CHECK;

#endif
