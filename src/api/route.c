/* The route table. */
#include <stdio.h>
#include <string.h>

#include "api/internal.h"

static const struct sbx_route ROUTES[] = {
    {"GET", "/-/health", sbx_handle_health, true, SBX_CONTROL},
    {"GET", "/-/version", sbx_handle_version, true, SBX_CONTROL},
    {"GET", "/-/metrics", sbx_handle_metrics, true, SBX_PRIVATE},
    {"GET", "/openapi.json", sbx_handle_openapi, true, SBX_CONTROL},
    {"GET", "/docs", sbx_handle_docs, true, SBX_CONTROL},
    {"POST", "/session", sbx_handle_create, false, SBX_WORK},
    {"GET", "/session", sbx_handle_list, false, SBX_WORK},
    {"GET", "/session/{id}", sbx_handle_look, false, SBX_WORK},
    {"PATCH", "/session/{id}", sbx_handle_change, false, SBX_WORK},
    {"POST", "/session/{id}", sbx_handle_run, false, SBX_WORK},
    {"DELETE", "/session/{id}", sbx_handle_close, false, SBX_URGENT},
    {"POST", "/session/{id}/seed", sbx_handle_seed, false, SBX_WORK},
    {"POST", "/session/{id}/files", sbx_handle_files, false, SBX_WORK},
    {"GET", "/session/{id}/patch", sbx_handle_patch, false, SBX_WORK},
    {"GET", "/session/{id}/files/{path}", sbx_handle_file_get, false, SBX_WORK},
    {"HEAD", "/session/{id}/files/{path}", sbx_handle_file_get, false, SBX_WORK},
    {"PUT", "/session/{id}/files/{path}", sbx_handle_file_put, false, SBX_WORK},
    {"POST", "/session/{id}/files/{path}", sbx_handle_file_extract, false, SBX_WORK},
    {"DELETE", "/session/{id}/files/{path}", sbx_handle_file_delete, false, SBX_WORK},
    {"POST", "/session/{id}/fs/ls", sbx_handle_fs_ls, false, SBX_WORK},
    {"POST", "/session/{id}/fs/stat", sbx_handle_fs_stat, false, SBX_WORK},
    {"POST", "/session/{id}/fs/read", sbx_handle_fs_read, false, SBX_WORK},
    {"POST", "/session/{id}/fs/grep", sbx_handle_fs_grep, false, SBX_WORK},
    {"POST", "/session/{id}/fs/glob", sbx_handle_fs_glob, false, SBX_WORK},
    {"POST", "/session/{id}/fs/write", sbx_handle_fs_write, false, SBX_WORK},
    {"POST", "/session/{id}/fs/edit", sbx_handle_fs_edit, false, SBX_WORK},
    {"POST", "/session/{id}/fs/delete", sbx_handle_fs_delete, false, SBX_WORK},
    {"POST", "/session/{id}/fs/mkdir", sbx_handle_fs_mkdir, false, SBX_WORK},
    {"POST", "/session/{id}/fs/move", sbx_handle_fs_move, false, SBX_WORK},
    {"POST", "/session/{id}/exec", sbx_handle_exec_start, false, SBX_WORK},
    {"GET", "/session/{id}/exec", sbx_handle_exec_list, false, SBX_WORK},
    {"GET", "/session/{id}/exec/{exec}", sbx_handle_exec_get, false, SBX_WORK},
    {"DELETE", "/session/{id}/exec/{exec}", sbx_handle_exec_cancel, false, SBX_URGENT},
    {"GET", "/session/{id}/exec/{exec}/stream", sbx_handle_exec_stream, false, SBX_WORK},
    {"POST", "/session/{id}/exec/{exec}/stdin", sbx_handle_exec_stdin, false, SBX_WORK},
    {"POST", "/session/{id}/exec/{exec}/signal", sbx_handle_exec_signal, false, SBX_URGENT},
    {"POST", "/session/{id}/exec/{exec}/resize", sbx_handle_exec_resize, false, SBX_WORK},
};

static void take_id(struct sbx_call *call, const char *segment, size_t n)
{
    if (n != SBX_UUID_LEN)
        return;
    memcpy(call->id, segment, n);
    call->id[n] = '\0';
    if (!sbx_is_uuid(call->id))
        call->id[0] = '\0';
}

static void take_item(struct sbx_call *call, const char *segment, size_t n)
{
    if (n > SBX_ITEM_MAX)
        return;
    memcpy(call->item, segment, n);
    call->item[n] = '\0';
}

static bool has_dot_dot(const char *path)
{
    for (const char *at = path; (at = strstr(at, "/..")); at += 3) {
        if (at[3] == '\0' || at[3] == '/')
            return true;
    }
    return false;
}

bool sbx_route_matches(const char *pattern, const char *path, struct sbx_call *call)
{
    call->id[0] = call->item[0] = '\0';
    call->path = "";
    while (*pattern) {
        if (strcmp(pattern, "/{path}") == 0) {
            if (path[0] != '/' || path[1] == '\0')
                return false;
            call->path = has_dot_dot(path) ? "" : path;
            return true;
        }
        if (*pattern == '{') {
            size_t n = strcspn(path, "/");
            if (n == 0)
                return false;
            if (strncmp(pattern, "{id}", 4) == 0)
                take_id(call, path, n);
            else
                take_item(call, path, n);
            pattern += strcspn(pattern, "}") + 1;
            path += n;
        } else if (*pattern++ != *path++) {
            return false;
        }
    }
    return path[0] == '\0' || (path[0] == '/' && path[1] == '\0');
}

static const struct sbx_route *find(const char *method, const char *path, struct sbx_call *call, char *allow,
                                    size_t allow_size)
{
    for (size_t i = 0; i < SBX_ARRAY_LEN(ROUTES); i++) {
        const struct sbx_route *route = &ROUTES[i];
        if (!sbx_route_matches(route->path, path, call))
            continue;
        if (strcmp(route->method, method) == 0)
            return route;
        size_t used = strlen(allow);
        snprintf(allow + used, allow_size - used, "%s%s", used ? ", " : "", route->method);
    }
    return NULL;
}

const struct sbx_route *sbx_route_find(const char *prefix, const char *method, const char *path,
                                       struct sbx_call *call, const char **ret_allow)
{
    static char allow[64];
    allow[0] = '\0';
    size_t n = strlen(prefix);
    const struct sbx_route *route = NULL;
    if (n > 0 && strncmp(path, prefix, n) == 0 && path[n] == '/')
        route = find(method, path + n, call, allow, sizeof(allow));
    if (!route && !allow[0])
        route = find(method, path, call, allow, sizeof(allow));
    *ret_allow = allow[0] ? allow : NULL;
    return route;
}
