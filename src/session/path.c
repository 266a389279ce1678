/* Paths that clients name, checked as bytes. What needs the file system (symlinks, directories) is checked by
 * the agent. */
#include <stdio.h>
#include <string.h>

#include "sandboxd/base/util.h"
#include "sandboxd/session.h"

#define ROOT     "/repo"
#define PATH_MAX 4095

static int refuse(char *reason, size_t size, const char *text)
{
    snprintf(reason, size, "%s", text);
    return -1;
}

static bool has_dot_dot(const char *path)
{
    for (const char *at = path; (at = strstr(at, "..")); at += 2) {
        bool starts = at == path || at[-1] == '/';
        bool ends = at[2] == '\0' || at[2] == '/';
        if (starts && ends)
            return true;
    }
    return false;
}

const char *sbx_path_real(const char *path)
{
    static const char *const PREFIXES[] = {"/workspace/repo", "/workspace/skills"};
    for (size_t i = 0; i < SBX_ARRAY_LEN(PREFIXES); i++) {
        size_t n = strlen(PREFIXES[i]);
        if (strncmp(path, PREFIXES[i], n) == 0 && (path[n] == '/' || path[n] == '\0'))
            return path + strlen("/workspace");
    }
    return path;
}

int sbx_path_check(const char *path, size_t len, char *reason, size_t reason_size)
{
    if (strlen(path) != len || strpbrk(path, "\r\n"))
        return refuse(reason, reason_size, "path contains NUL, CR or LF");
    if (path[0] != '/')
        return refuse(reason, reason_size, "path must be absolute");
    if (len > PATH_MAX)
        return refuse(reason, reason_size, "path is too long");
    if (has_dot_dot(path))
        return refuse(reason, reason_size, "path must not contain '..'");
    size_t root = strlen(ROOT);
    if (strncmp(path, ROOT, root) != 0 || (path[root] != '/' && path[root] != '\0'))
        return refuse(reason, reason_size, "path must be under /repo");
    if (strspn(path + root, "/") == len - root)
        return refuse(reason, reason_size, "path must name a file under /repo, not /repo itself");
    if (path[len - 1] == '/')
        return refuse(reason, reason_size, "path is a directory");
    return 0;
}
