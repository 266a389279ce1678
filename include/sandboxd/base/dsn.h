/*
 * The address of a Sentry project: http(s)://key[:secret]@host[:port]/[path/]project.
 */
#ifndef SANDBOXD_BASE_DSN_H
#define SANDBOXD_BASE_DSN_H

#include "sandboxd/base/err.h"

struct sbx_dsn {
    char url[1024]; /* where envelopes are posted to: http(s)://host[:port]/[path/]api/<project>/envelope/ */
    char key[129];  /* the public key */
};

/* INVALID says what is wrong with it, without repeating it: a DSN is a secret. The secret part of old DSNs is
 * dropped. */
int sbx_dsn_parse(const char *text, struct sbx_dsn *ret, struct sbx_err *err) SBX_MUST_CHECK;

#endif
