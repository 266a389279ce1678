/*
 * Paths of file operations. They are walked component by component from one of the workspace's directories,
 * and symlinks are followed by hand, so that nothing outside is reached whatever commands do to the tree
 * meanwhile. /workspace/repo and /workspace/skills are other names of /repo and /skills, whether the image
 * has them or not.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "agent/agent.h"
#include "agent/fs.h"

#define MAX_LINKS 40
#define OUTSIDE   "the path leaves /repo, /skills and /workspace"

static struct {
    int fd;              /* the directory reached, -1: above the workspace's */
    char done[PATH_MAX]; /* its path: "", "/repo", "/repo/a" */
    char todo[2 * PATH_MAX];
    int links;
    const char *path; /* as it was asked for */
} walk;

static void leave_fd(void)
{
    if (walk.fd >= 0)
        close(walk.fd);
    walk.fd = -1;
}

/* Remove the first component of todo into name; false at its end. */
static bool next_component(char name[NAME_MAX + 2])
{
    const char *from = walk.todo + strspn(walk.todo, "/");
    size_t n = strcspn(from, "/");
    if (n == 0)
        return false;
    if (n > NAME_MAX)
        fs_fail_errno(ENAMETOOLONG, walk.path);
    memcpy(name, from, n);
    name[n] = '\0';
    memmove(walk.todo, from + n, strlen(from + n) + 1);
    return true;
}

static bool is_last(void)
{
    return walk.todo[strspn(walk.todo, "/")] == '\0';
}

/* Walk `before` first, then what was to do: from the start where it is an absolute path. */
static void prepend(const char *before)
{
    static char rest[sizeof(walk.todo)];
    memcpy(rest, walk.todo, strlen(walk.todo) + 1);
    if (++walk.links > MAX_LINKS)
        fs_fail_errno(ELOOP, walk.path);
    if (strlen(before) + strlen(rest) + 2 > sizeof(walk.todo))
        fs_fail_errno(ENAMETOOLONG, walk.path);
    if (before[0] == '/') {
        leave_fd();
        walk.done[0] = '\0';
    }
    text_join(walk.todo, sizeof(walk.todo), before, "/", rest, NULL);
}

/* Follow the symlink `name`; false when it is none. */
static bool follow(const char *name)
{
    char target[PATH_MAX];
    ssize_t n = readlinkat(walk.fd, name, target, sizeof(target) - 1);
    if (n < 0)
        return false;
    target[n] = '\0';
    prepend(target);
    return true;
}

/* The parent, found by the names passed: a directory that was moved meanwhile leads nowhere else. */
static void go_up(void)
{
    static char up[PATH_MAX];
    char *slash = strrchr(walk.done, '/');
    if (!slash)
        fs_fail(SBX_FS_INVALID_PATH, OUTSIDE);
    else
        *slash = '\0';
    text_join(up, sizeof(up), walk.done[0] ? walk.done : "/", NULL);
    prepend(up);
}

/* One of the directories that everything is below. */
static void enter_top(const char *name)
{
    char inner[NAME_MAX + 2] = "";
    char todo[sizeof(walk.todo)];
    if (strcmp(name, "workspace") == 0) {
        memcpy(todo, walk.todo, strlen(walk.todo) + 1);
        while (next_component(inner) && strcmp(inner, ".") == 0)
            ;
        if (strcmp(inner, "repo") == 0 || strcmp(inner, "skills") == 0)
            name = inner;
        else
            memcpy(walk.todo, todo, strlen(todo) + 1);
    } else if (strcmp(name, "repo") != 0 && strcmp(name, "skills") != 0) {
        fs_fail(SBX_FS_INVALID_PATH, OUTSIDE);
    }
    text_join(walk.done, sizeof(walk.done), "/", name, NULL);
    walk.fd = open(walk.done, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (walk.fd < 0)
        fs_fail_errno(errno, walk.path);
}

static void enter(const char *name, bool make)
{
    const int flags = O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
    int fd = openat(walk.fd, name, flags);
    if (fd < 0 && errno == ENOENT && make) {
        if (mkdirat(walk.fd, name, 0755) < 0 && errno != EEXIST)
            fs_fail_errno(errno, walk.path);
        fd = openat(walk.fd, name, flags);
    }
    if (fd < 0) {
        int err = errno;
        if ((err != ENOTDIR && err != ELOOP) || !follow(name))
            fs_fail_errno(err, walk.path);
        return;
    }
    leave_fd();
    walk.fd = fd;
    size_t len = strlen(walk.done);
    if (len + strlen(name) + 2 > sizeof(walk.done))
        fs_fail_errno(ENAMETOOLONG, walk.path);
    text_join(walk.done + len, sizeof(walk.done) - len, "/", name, NULL);
}

static void check(const char *path)
{
    if (path[0] != '/')
        fs_fail(SBX_FS_INVALID_PATH, "the path is not absolute");
    if (strlen(path) >= PATH_MAX)
        fs_fail_errno(ENAMETOOLONG, NULL);
    for (const char *at = path; (at = strstr(at, "/..")); at += 3)
        if (at[3] == '/' || at[3] == '\0')
            fs_fail(SBX_FS_INVALID_PATH, "the path contains '..'");
}

void fs_resolve(const char *path, unsigned flags, struct fs_place *ret)
{
    char name[NAME_MAX + 2];
    check(path);
    walk.fd = -1;
    walk.done[0] = '\0';
    walk.links = 0;
    walk.path = path;
    text_join(walk.todo, sizeof(walk.todo), path, NULL);
    while (next_component(name)) {
        if (strcmp(name, ".") == 0)
            continue;
        if (strcmp(name, "..") == 0)
            go_up();
        else if (walk.done[0] == '\0')
            enter_top(name);
        else if (!is_last())
            enter(name, flags & FS_PARENTS);
        else if (!(flags & FS_FOLLOW) || !follow(name)) {
            *ret = (struct fs_place){.dir = walk.fd};
            memcpy(ret->name, name, strlen(name) + 1);
            return;
        }
    }
    if (walk.fd < 0)
        fs_fail(SBX_FS_INVALID_PATH, OUTSIDE);
    if (flags & FS_INNER)
        fs_fail(SBX_FS_INVALID_PATH, "the workspace's own directories cannot be changed");
    *ret = (struct fs_place){.dir = walk.fd, .name = "."};
}

const char *fs_spelling(const char *path)
{
    static char out[PATH_MAX];
    size_t len = 0;
    for (const char *at = path; *at && len + 1 < sizeof(out); at++)
        if (*at != '/' || (at[1] != '/' && at[1] != '\0'))
            out[len++] = *at;
    out[len] = '\0';
    return out;
}

int fs_open_file(const char *path, struct fs_place *place, struct stat *ret)
{
    fs_resolve(path, FS_FOLLOW, place);
    int fd = openat(place->dir, place->name, O_RDONLY | O_NONBLOCK | O_NOFOLLOW | O_NOCTTY | O_CLOEXEC);
    if (fd < 0 && errno == ENXIO) /* a socket */
        fs_fail(SBX_FS_INVALID_PATH, "the path is not a regular file");
    if (fd < 0 || fstat(fd, ret) < 0)
        fs_fail_errno(errno, path);
    if (S_ISDIR(ret->st_mode))
        fs_fail_errno(EISDIR, path);
    if (!S_ISREG(ret->st_mode))
        fs_fail(SBX_FS_INVALID_PATH, "the path is not a regular file");
    return fd;
}

int fs_open_directory(const char *path)
{
    struct fs_place place;
    fs_resolve(path, FS_FOLLOW, &place);
    int fd = openat(place.dir, place.name, O_RDONLY | O_DIRECTORY | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        fs_fail_errno(errno, path);
    return fd;
}
