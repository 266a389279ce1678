#include "sandboxd/base/dsn.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DIGITS "0123456789"
#define ALNUM  "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz" DIGITS

static int wrong(struct sbx_err *err, const char *what)
{
    return sbx_err_set(err, SBX_ERR_INVALID, "the Sentry DSN %s", what);
}

static bool only(const char *text, size_t n, const char *allowed)
{
    return n > 0 && strspn(text, allowed) >= n;
}

/* host, host:port, [v6] or [v6]:port */
static bool is_authority(const char *text, size_t n)
{
    size_t host = strcspn(text, ":/");
    if (text[0] == '[') {
        host = strspn(text + 1, DIGITS "abcdefABCDEF:.") + 2;
        if (host < 3 || host > n || text[host - 1] != ']')
            return false;
    } else if (!only(text, host, ALNUM ".-_")) {
        return false;
    }
    if (host == n)
        return true;
    const char *port = text + host + 1;
    size_t digits = n - host - 1;
    return text[host] == ':' && digits <= 5 && only(port, digits, DIGITS) && strtol(port, NULL, 10) >= 1 &&
           strtol(port, NULL, 10) <= 65535;
}

int sbx_dsn_parse(const char *text, struct sbx_dsn *ret, struct sbx_err *err)
{
    size_t scheme = strncmp(text, "https://", 8) == 0 ? 8 : strncmp(text, "http://", 7) == 0 ? 7 : 0;
    if (scheme == 0)
        return wrong(err, "does not start with http:// or https://");
    const char *key = text + scheme;
    const char *at = strchr(key, '@');
    size_t key_len = strcspn(key, ":@/");
    if (!at || key_len >= sizeof(ret->key) || !only(key, key_len, ALNUM "_-"))
        return wrong(err, "has no key before the @");
    const char *host = at + 1;
    size_t host_len = strcspn(host, "/");
    if (strcspn(key, "/") < (size_t)(at - key) || !is_authority(host, host_len))
        return wrong(err, "has no host[:port] after the @");
    const char *slash = strrchr(host, '/');
    if (!slash || !only(slash + 1, strlen(slash + 1), DIGITS))
        return wrong(err, "does not end in /<project number>");
    size_t path_len = (size_t)(slash - host) - host_len;
    if (path_len > 0 && !only(host + host_len, path_len, ALNUM "/_.-~"))
        return wrong(err, "has a bad path");
    struct sbx_dsn dsn;
    int n = snprintf(dsn.url, sizeof(dsn.url), "%.*s%.*s/api/%s/envelope/", (int)scheme, text,
                     (int)(slash - host), host, slash + 1);
    if (n < 0 || (size_t)n >= sizeof(dsn.url))
        return wrong(err, "is too long");
    memcpy(dsn.key, key, key_len);
    dsn.key[key_len] = '\0';
    *ret = dsn;
    return 0;
}
