/* Where the Redis of several replicas is. */
#ifndef SANDBOXD_BASE_REDIS_URL_H
#define SANDBOXD_BASE_REDIS_URL_H

#include <stdbool.h>

#include "sandboxd/base/err.h"

struct sbx_redis_url {
    bool is_unix;
    char address[256]; /* host or path of the socket */
    int port;
    int db;
    char user[128];     /* "" none */
    char password[512]; /* "" none */
};

/*
 * redis://[user:password@]host[:port][/db], unix://[user:password@]/path[?db=N]. User and password are
 * percent-decoded; a host may be an IPv6 address in brackets. INVALID otherwise, and for rediss://; the
 * message never holds the URL, which may carry a password. Pure.
 */
int sbx_redis_url_parse(const char *url, struct sbx_redis_url *ret, struct sbx_err *err) SBX_MUST_CHECK;

#endif
