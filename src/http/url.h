/*
 * Percent-encoding.
 */
#ifndef SRC_HTTP_URL_H
#define SRC_HTTP_URL_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* Decode s[0, n) into out, NUL-terminated. Returns the length, or -1 for a malformed escape, an escaped NUL,
 * or when it does not fit. In a query "+" is a space; in a path an escaped "/" is refused, since it would
 * change the path's shape. */
ssize_t sbx_url_decode(const char *s, size_t n, bool query, char *out, size_t size);

#endif
