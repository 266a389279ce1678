/*
 * Who may call: the single key of DAIV_SANDBOX_API_KEY, whose client is named "default", and a file of
 *
 *     name:hash[:limits]
 *
 * lines. hash is the SHA-256 of the key in 64 hexadecimal digits; limits are NAME=NUMBER, separated by
 * commas: `rate` (requests a second), `concurrent` (requests at a time), `sessions` (open at a time). A
 * client may have several lines, each with a key of its own, while keys are being exchanged; the limits of
 * its first line count. Blank lines and lines that begin with # are skipped.
 */
#ifndef SANDBOXD_BASE_CLIENTS_H
#define SANDBOXD_BASE_CLIENTS_H

#include <stddef.h>
#include <stdint.h>

#include "sandboxd/base/err.h"
#include "sandboxd/base/util.h"

#define SBX_CLIENT_NAME_MAX 63
#define SBX_CLIENT_DEFAULT  "default" /* of the single key */

struct sbx_client {
    char name[SBX_CLIENT_NAME_MAX + 1];
    char hash[SBX_SHA256_HEX + 1]; /* of the key, lower case */
    double rate;                   /* requests a second; 0: no limit of its own, as with the others */
    int64_t concurrent;            /* requests at a time */
    int64_t sessions;              /* open at a time */
};

struct sbx_clients {
    struct sbx_client *list; /* owned */
    size_t count;
};

/* key: the single one, NULL for none; path: the file, NULL for none. INVALID with file, line and reason,
 * never with a hash. *clients is filled on success only. */
int sbx_clients_load(struct sbx_clients *clients, const char *key, const char *path,
                     struct sbx_err *err) SBX_MUST_CHECK;
void sbx_clients_done(struct sbx_clients *clients);

/* Whose key is it? NULL: nobody's. Takes as long for any key: all are compared, to the end. */
const struct sbx_client *sbx_clients_find(const struct sbx_clients *clients, const char *key);

#endif
