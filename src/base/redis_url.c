#include "sandboxd/base/redis_url.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

static int invalid(struct sbx_err *err, const char *what)
{
    return sbx_err_set(err, SBX_ERR_INVALID, "redis URL: %s", what);
}

/* A whole decimal number in [0, max]; -1 otherwise. */
static int number(const char *s, size_t n, int max)
{
    int value = 0;
    if (n == 0 || n > 9)
        return -1;
    for (size_t i = 0; i < n; i++) {
        if (s[i] < '0' || s[i] > '9')
            return -1;
        value = value * 10 + (s[i] - '0');
    }
    return value <= max ? value : -1;
}

static int hex(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* [s, s+n) percent-decoded into out; -1 when it is malformed, holds a NUL or is too long. */
static int decode(const char *s, size_t n, char *out, size_t size)
{
    size_t len = 0;
    for (size_t i = 0; i < n; i++) {
        int c = (unsigned char)s[i];
        if (c == '%') {
            if (i + 2 >= n || hex(s[i + 1]) < 0 || hex(s[i + 2]) < 0)
                return -1;
            c = hex(s[i + 1]) * 16 + hex(s[i + 2]);
            i += 2;
        }
        if (c == 0 || len + 1 >= size)
            return -1;
        out[len++] = (char)c;
    }
    out[len] = '\0';
    return 0;
}

/* "user:password", "user" or ":password". */
static int parse_user(const char *s, size_t n, struct sbx_redis_url *ret, struct sbx_err *err)
{
    const char *colon = memchr(s, ':', n);
    size_t user_len = colon ? (size_t)(colon - s) : n;
    if (decode(s, user_len, ret->user, sizeof(ret->user)) < 0)
        return invalid(err, "bad user name");
    if (colon && decode(colon + 1, n - user_len - 1, ret->password, sizeof(ret->password)) < 0)
        return invalid(err, "bad password");
    if (ret->user[0] && !ret->password[0])
        return invalid(err, "a user without a password");
    return 0;
}

/* Of the query's parameters only db is known: anything else would be ignored silently. */
static int parse_query(const char *query, struct sbx_redis_url *ret, struct sbx_err *err)
{
    if (*query == '\0')
        return 0;
    if (strncmp(query, "db=", 3) != 0 || (ret->db = number(query + 3, strlen(query + 3), 1 << 20)) < 0)
        return invalid(err, "the only parameter is db=<number>");
    return 0;
}

static int parse_unix(const char *path, size_t n, struct sbx_redis_url *ret, struct sbx_err *err)
{
    if (n < 2 || path[0] != '/')
        return invalid(err, "unix:// needs the absolute path of a socket");
    if (n >= sizeof(((struct sockaddr_un *)NULL)->sun_path) ||
        decode(path, n, ret->address, sizeof(ret->address)) < 0)
        return invalid(err, "bad path of the socket (at most 107 bytes)");
    return 0;
}

/* "host", "host:port", "[v6]", "[v6]:port", each perhaps followed by "/db". */
static int parse_tcp(const char *s, size_t n, struct sbx_redis_url *ret, struct sbx_err *err)
{
    const char *slash = memchr(s, '/', n);
    size_t authority = slash ? (size_t)(slash - s) : n;
    if (slash && n - authority > 1 && (ret->db = number(slash + 1, n - authority - 1, 1 << 20)) < 0)
        return invalid(err, "the database must be a number");

    const char *host = s, *after = s;
    size_t host_len;
    if (authority > 0 && *s == '[') {
        const char *bracket = memchr(s, ']', authority);
        if (!bracket)
            return invalid(err, "unclosed [");
        host = s + 1;
        host_len = (size_t)(bracket - host);
        after = bracket + 1;
    } else {
        const char *colon = memchr(s, ':', authority);
        host_len = colon ? (size_t)(colon - s) : authority;
        after = s + host_len;
    }
    size_t rest = authority - (size_t)(after - s);
    if (host_len == 0 || decode(host, host_len, ret->address, sizeof(ret->address)) < 0)
        return invalid(err, "bad host name");
    if (rest > 0 && (*after != ':' || (ret->port = number(after + 1, rest - 1, 65535)) <= 0))
        return invalid(err, "the port must be a number from 1 to 65535");
    return 0;
}

int sbx_redis_url_parse(const char *url, struct sbx_redis_url *ret, struct sbx_err *err)
{
    struct sbx_redis_url parsed = {.port = 6379};
    const char *rest;
    if (strncmp(url, "redis://", 8) == 0)
        rest = url + 8;
    else if (strncmp(url, "unix://", 7) == 0)
        rest = url + 7;
    else if (strncmp(url, "rediss://", 9) == 0)
        return invalid(err, "rediss:// needs TLS, which this build does not have; use redis:// or unix://");
    else
        return invalid(err, "must begin with redis:// or unix://");
    parsed.is_unix = url[0] == 'u';

    size_t n = strcspn(rest, "?");
    const char *query = rest[n] == '?' ? rest + n + 1 : "";
    const char *at = memrchr(rest, '@', n);
    if (at) {
        if (parse_user(rest, (size_t)(at - rest), &parsed, err) < 0)
            return -1;
        n -= (size_t)(at + 1 - rest);
        rest = at + 1;
    }
    int failed = parsed.is_unix ? parse_unix(rest, n, &parsed, err) : parse_tcp(rest, n, &parsed, err);
    if (failed || parse_query(query, &parsed, err) < 0)
        return -1;
    *ret = parsed;
    return 0;
}
