/* The route table. */
#include <stdio.h>
#include <string.h>

#include "api/internal.h"

static const struct sbx_route ROUTES[] = {
    {"GET", "/-/health", sbx_handle_health, true, true},
    {"GET", "/-/version", sbx_handle_version, true, true},
    {"POST", "/session", sbx_handle_create, false, false},
    {"POST", "/session/{id}", sbx_handle_run, false, false},
    {"DELETE", "/session/{id}", sbx_handle_close, false, false},
    {"POST", "/session/{id}/seed", sbx_handle_seed, false, false},
    {"POST", "/session/{id}/files", sbx_handle_files, false, false},
    {"GET", "/session/{id}/patch", sbx_handle_patch, false, false},
};

/* Does path match pattern? A trailing slash is optional. A segment that stands for {id} and is no UUID
 * matches with an empty id: such a session does not exist. */
static bool matches(const char *pattern, const char *path, char id[SBX_UUID_LEN + 1])
{
    id[0] = '\0';
    while (*pattern) {
        if (strncmp(pattern, "{id}", 4) == 0) {
            size_t n = strcspn(path, "/");
            if (n == 0)
                return false;
            if (n == SBX_UUID_LEN) {
                memcpy(id, path, n);
                id[n] = '\0';
                if (!sbx_is_uuid(id))
                    id[0] = '\0';
            }
            pattern += 4;
            path += n;
        } else if (*pattern++ != *path++) {
            return false;
        }
    }
    return path[0] == '\0' || (path[0] == '/' && path[1] == '\0');
}

static const struct sbx_route *find(const char *method, const char *path, char id[SBX_UUID_LEN + 1],
                                    char *allow, size_t allow_size)
{
    for (size_t i = 0; i < SBX_ARRAY_LEN(ROUTES); i++) {
        const struct sbx_route *route = &ROUTES[i];
        if (!matches(route->path, path, id))
            continue;
        if (strcmp(route->method, method) == 0)
            return route;
        size_t used = strlen(allow);
        snprintf(allow + used, allow_size - used, "%s%s", used ? ", " : "", route->method);
    }
    return NULL;
}

const struct sbx_route *sbx_route_find(const char *prefix, const char *method, const char *path,
                                       char id[SBX_UUID_LEN + 1], const char **ret_allow)
{
    static char allow[64];
    allow[0] = '\0';
    size_t n = strlen(prefix);
    const struct sbx_route *route = NULL;
    if (n > 0 && strncmp(path, prefix, n) == 0 && path[n] == '/')
        route = find(method, path + n, id, allow, sizeof(allow));
    if (!route && !allow[0])
        route = find(method, path, id, allow, sizeof(allow));
    *ret_allow = allow[0] ? allow : NULL;
    return route;
}
