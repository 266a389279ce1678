/* What texts of settings must look like. */
#include "base/config_table.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#include "sandboxd/base/dsn.h"
#include "sandboxd/base/pool_list.h"
#include "sandboxd/base/redis_url.h"

static bool only(const char *value, const char *allowed)
{
    return value[strspn(value, allowed)] == '\0';
}

#define DIGITS   "0123456789"
#define LOWER    "abcdefghijklmnopqrstuvwxyz"
#define UPPER    "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
#define ALNUM    LOWER UPPER DIGITS
#define MAX_NAME 63

static void strip_slashes(char *value)
{
    size_t n = strlen(value);
    while (n > 0 && value[n - 1] == '/')
        value[--n] = '\0';
}

bool sbx_check_api_key(char *value)
{
    size_t n = strlen(value);
    for (size_t i = 0; i < n; i++) {
        if (value[i] < ' ' || value[i] > '~')
            return false;
    }
    return n >= 1 && n <= 512 && value[0] != ' ' && value[n - 1] != ' ';
}

/* Nothing that a web server would normalise away: "//", "/./", "/../". */
bool sbx_check_base_path(char *value)
{
    if (value[0] != '/' || !only(value, ALNUM "/_.-"))
        return false;
    strip_slashes(value);
    for (const char *at = value; *at; at += strcspn(at, "/")) {
        size_t n = strcspn(++at, "/");
        if (n == 0 || (n == 1 && at[0] == '.') || (n == 2 && at[0] == '.' && at[1] == '.'))
            return false;
    }
    return true;
}

bool sbx_check_dsn(char *value)
{
    struct sbx_dsn dsn;
    struct sbx_err ignored = SBX_ERR_INIT;
    return sbx_dsn_parse(value, &dsn, &ignored) == 0;
}

bool sbx_check_runtime(char *value)
{
    return only(value, LOWER DIGITS "._-") && strlen(value) <= MAX_NAME;
}

bool sbx_check_replica(char *value)
{
    return only(value, ALNUM "._-") && strlen(value) <= MAX_NAME;
}

bool sbx_check_redis_url(char *value)
{
    struct sbx_redis_url url;
    struct sbx_err ignored = SBX_ERR_INIT;
    int rc = sbx_redis_url_parse(value, &url, &ignored);
    explicit_bzero(&url, sizeof(url));
    return rc == 0;
}

bool sbx_check_image(char *value)
{
    return only(value, ALNUM "._-/:@") && isalnum((unsigned char)value[0]) && strlen(value) < 512;
}

bool sbx_check_pool(char *value)
{
    struct sbx_pool_want wants[SBX_POOL_WANTS];
    int automatic;
    return sbx_pool_list_parse(value, wants, &automatic) >= 0;
}

/* Host names as in RFC 1123. The last label is not all digits: that would be a mistyped address. */
static bool is_host_name(const char *value)
{
    const char *at = value;
    size_t n = 0;
    if (strlen(value) > 253)
        return false;
    for (;; at++) {
        n = strspn(at, ALNUM "-");
        if (n == 0 || n > MAX_NAME || at[0] == '-' || at[n - 1] == '-')
            return false;
        if (at[n] == '\0')
            return strspn(at, DIGITS) < n;
        if (at[n] != '.')
            return false;
        at += n;
    }
}

bool sbx_check_host(char *value)
{
    struct in6_addr address;
    return inet_pton(AF_INET, value, &address) == 1 || inet_pton(AF_INET6, value, &address) == 1 ||
           is_host_name(value);
}

bool sbx_check_docker_host(char *value)
{
    if (strncmp(value, "unix:///", 8) == 0)
        return value[8] && strlen(value + 7) < sizeof(((struct sockaddr_un *)0)->sun_path);
    if (strncmp(value, "tcp://", 6) != 0)
        return false;
    const char *host = value + 6;
    const char *colon = strrchr(host, ':');
    return colon && colon > host && only(host, ALNUM ".:[]-") && colon[1] && strlen(colon + 1) <= 5 &&
           only(colon + 1, DIGITS);
}

/* host:port, an IPv6 address in brackets. */
bool sbx_check_listen(char *value)
{
    char host[256];
    struct in6_addr address;
    char *colon = strrchr(value, ':');
    size_t n = colon ? (size_t)(colon - value) : 0;
    if (n == 0 || n >= sizeof(host) || !only(colon + 1, DIGITS) || strlen(colon + 1) > 5)
        return false;
    long port = strtol(colon + 1, NULL, 10);
    if (port < 1 || port > 65535)
        return false;
    memcpy(host, value, n);
    host[n] = '\0';
    if (host[0] != '[')
        return !strchr(host, ':') && sbx_check_host(host);
    if (host[n - 1] != ']')
        return false;
    host[n - 1] = '\0';
    return inet_pton(AF_INET6, host + 1, &address) == 1;
}

bool sbx_check_path(char *value)
{
    if (value[0] != '/')
        return false;
    strip_slashes(value);
    return value[0] == '/';
}

/* Patterns of names: what has a slash would never match. */
bool sbx_check_names(char *value)
{
    return !strpbrk(value, "/\r\n") && strlen(value) < 4096;
}
