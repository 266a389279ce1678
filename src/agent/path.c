/*
 * Paths of file operations. The walk goes component by component and never follows a symlink by itself, so
 * what it reaches is below WORKSPACE even while commands of the user rename things around it. Links that stay
 * inside are followed by hand. (openat2 would do it, but gVisor and older seccomp profiles lack it.)
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/agent.h"

#define MAX_LINKS 40
#define ROOT_LEN  (sizeof(WORKSPACE) - 1)

struct walk {
    int fd;              /* the directory reached */
    char done[PATH_MAX]; /* its path below WORKSPACE, "" or "a/b" */
    char todo[2 * PATH_MAX];
    int links;
    const char *why;
};

static int fail(struct walk *walk, int err, const char *why)
{
    walk->why = why;
    return -err;
}

/* Remove the first component of todo into name; false at its end. */
static bool next_component(struct walk *walk, char name[NAME_MAX + 2])
{
    const char *from = walk->todo + strspn(walk->todo, "/");
    size_t n = strcspn(from, "/");
    if (n == 0)
        return false;
    size_t copied = n <= NAME_MAX ? n : NAME_MAX + 1; /* too long on purpose: openat says so */
    memcpy(name, from, copied);
    name[copied] = '\0';
    memmove(walk->todo, from + n, strlen(from + n) + 1);
    return true;
}

static int reopen(struct walk *walk)
{
    if (walk->fd >= 0)
        close(walk->fd);
    walk->fd = open(WORKSPACE, O_PATH | O_DIRECTORY | O_CLOEXEC);
    return walk->fd < 0 ? fail(walk, errno, NULL) : 0;
}

/* Put a link's target in front of what is still to walk. */
static int follow(struct walk *walk, const char *name)
{
    char target[PATH_MAX], rest[2 * PATH_MAX];
    ssize_t n = readlinkat(walk->fd, name, target, sizeof(target) - 1);

    if (n < 0)
        return fail(walk, errno == EINVAL ? ENOTDIR : errno, NULL);
    target[n] = '\0';
    if (++walk->links > MAX_LINKS)
        return fail(walk, ELOOP, NULL);
    const char *from = target;
    if (target[0] == '/') {
        if (strncmp(target, WORKSPACE, ROOT_LEN) != 0 ||
            (target[ROOT_LEN] != '/' && target[ROOT_LEN] != '\0'))
            return fail(walk, EXDEV, "leaves " WORKSPACE " through a symlink");
        from += ROOT_LEN;
        walk->done[0] = '\0';
        int err = reopen(walk);
        if (err < 0)
            return err;
    }
    memcpy(rest, walk->todo, strlen(walk->todo) + 1);
    if (strlen(from) + strlen(rest) + 2 > sizeof(walk->todo))
        return fail(walk, ENAMETOOLONG, NULL);
    text_join(walk->todo, sizeof(walk->todo), from, "/", rest, NULL);
    return 0;
}

/* One real component down. */
static int enter(struct walk *walk, const char *name)
{
    const int flags = O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
    int fd = openat(walk->fd, name, flags);

    if (fd < 0 && errno == ENOENT) {
        if (mkdirat(walk->fd, name, 0755) < 0 && errno != EEXIST)
            return fail(walk, errno, NULL);
        fd = openat(walk->fd, name, flags);
    }
    if (fd < 0)
        return errno == ENOTDIR || errno == ELOOP ? follow(walk, name) : fail(walk, errno, NULL);
    close(walk->fd);
    walk->fd = fd;
    size_t len = strlen(walk->done);
    if (len + strlen(name) + 2 > sizeof(walk->done))
        return fail(walk, ENAMETOOLONG, NULL);
    text_join(walk->done + len, sizeof(walk->done) - len, len > 0 ? "/" : "", name, NULL);
    return 0;
}

/* `..` in a link's target: back to WORKSPACE and down again by the names passed, so that a directory moved
 * meanwhile does not lead out. */
static int leave(struct walk *walk)
{
    char rest[2 * PATH_MAX];

    if (walk->done[0] == '\0')
        return fail(walk, EXDEV, "leaves " WORKSPACE " through a symlink");
    char *slash = strrchr(walk->done, '/');
    *(slash ? slash : walk->done) = '\0';
    memcpy(rest, walk->todo, strlen(walk->todo) + 1);
    if (strlen(walk->done) + strlen(rest) + 2 > sizeof(walk->todo))
        return fail(walk, ENAMETOOLONG, NULL);
    text_join(walk->todo, sizeof(walk->todo), walk->done, "/", rest, NULL);
    walk->done[0] = '\0';
    return ++walk->links > MAX_LINKS ? fail(walk, ELOOP, NULL) : reopen(walk);
}

static int check(const char *path, const char **why)
{
    size_t len = strlen(path);

    *why = NULL;
    if (len >= PATH_MAX)
        return -ENAMETOOLONG;
    *why = "is not an absolute path";
    if (path[0] != '/')
        return -EINVAL;
    for (const char *p = path; (p = strstr(p, "..")); p += 2) {
        *why = "contains '..'";
        if (p[-1] == '/' && (p[2] == '/' || p[2] == '\0'))
            return -EINVAL;
    }
    *why = "is outside " WORKSPACE;
    if (strncmp(path, WORKSPACE, ROOT_LEN) != 0 || (path[ROOT_LEN] != '/' && path[ROOT_LEN] != '\0'))
        return -EXDEV;
    *why = "is a directory";
    if (path[ROOT_LEN + strspn(path + ROOT_LEN, "/")] == '\0' || path[len - 1] == '/' ||
        strcmp(path + len - 2, "/.") == 0)
        return -EISDIR;
    return 0;
}

int path_open_parent(const char *path, const char **ret_name, const char **why)
{
    static struct walk walk;
    char name[NAME_MAX + 2];
    int err = check(path, why);

    if (err < 0)
        return err;
    const char *slash = strrchr(path, '/');
    walk = (struct walk){.fd = -1};
    memcpy(walk.todo, path + ROOT_LEN,
           (size_t)(slash - path) > ROOT_LEN ? (size_t)(slash - path) - ROOT_LEN : 0);
    err = reopen(&walk);
    while (err == 0 && next_component(&walk, name)) {
        if (strcmp(name, ".") == 0)
            continue;
        err = strcmp(name, "..") == 0 ? leave(&walk) : enter(&walk, name);
    }
    if (err < 0) {
        if (walk.fd >= 0)
            close(walk.fd);
        *why = walk.why;
        return err;
    }
    *ret_name = slash + 1;
    return walk.fd;
}

/* ext4 writes a new file out before it takes the place of another by a rename, which costs a millisecond; it
 * does not for two names that change places. */
int path_replace(int dir, const char *temporary, const char *name)
{
    struct stat st;
    if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0 || S_ISDIR(st.st_mode) ||
        renameat2(dir, temporary, dir, name, RENAME_EXCHANGE) < 0)
        return renameat(dir, temporary, dir, name);
    if (unlinkat(dir, temporary, 0) == 0)
        return 0;
    int err = errno; /* a directory took the name in between */
    (void)renameat2(dir, temporary, dir, name, RENAME_EXCHANGE);
    errno = err;
    return -1;
}
