/*
 * untar: a tar from the worker's sanitiser, extracted as the user. It holds directories, files and, at its
 * end, symlinks; what is there already gives way, but for directories. A directory is found by a walk like
 * any other path, so what commands do to the tree meanwhile leads nowhere else; members that follow each
 * other in one directory share the walk.
 *
 * With ALL, as a seed is extracted, the tree becomes what the archive says whatever is there: directories too
 * give way to what is none, and get their members' modes and times.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/agent.h"
#include "agent/fs.h"

#define PIPE_SIZE (1024 * 1024)

static bool all;

/* The directory of the last member, when it is below the one that is extracted into. */
static struct {
    int dir; /* -1: none */
    size_t len;
    char path[2 * PATH_MAX]; /* [0, len): its path */
} last = {.dir = -1};

/* Directories get their times in the end: what is put into them changes those. */
static struct fs_data late; /* time_t, path and its NUL, one after the other */

static void forget_last(void)
{
    if (last.dir >= 0)
        close(last.dir);
    last.dir = -1;
}

static bool is_name(const char *text)
{
    return strlen(text) <= NAME_MAX && strcmp(text, ".") != 0 && strcmp(text, "..") != 0;
}

/* The place of a member; from: where its own name begins in path. The directory is last's. */
static void find(const char *path, size_t from, bool directory, struct fs_place *ret)
{
    const char *slash = strrchr(path + from, '/');
    size_t len = slash ? (size_t)(slash - path) : 0;
    if (slash && last.dir >= 0 && len == last.len && memcmp(path, last.path, len) == 0 &&
        is_name(slash + 1)) {
        ret->dir = last.dir;
        memcpy(ret->name, slash + 1, strlen(slash + 1) + 1);
        return;
    }
    forget_last();
    fs_resolve(path, FS_PARENTS | (directory ? 0 : FS_INNER), ret);
    memcpy(last.path, path, len);
    last.len = slash ? len : SIZE_MAX; /* beside the workspace's own directories a name may stand for one */
    last.dir = ret->dir;
}

/* Make way for something that is no directory. */
static void clear(const struct fs_place *place, const char *path)
{
    if (unlinkat(place->dir, place->name, 0) == 0 || errno == ENOENT)
        return;
    if (errno != EISDIR || !all)
        fs_fail_errno(errno, path);
    int fd = openat(place->dir, place->name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        fs_fail_errno(errno, path);
    (void)builtin_empty(fd);
    if (unlinkat(place->dir, place->name, AT_REMOVEDIR) < 0)
        fs_fail_errno(errno, path);
}

static void put_file(const struct fs_place *place, const struct fs_member *member, const char *path)
{
    const int flags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;
    const struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, {.tv_sec = member->mtime}};
    int fd = openat(place->dir, place->name, flags, member->mode);
    if (fd < 0 && errno == EEXIST) {
        clear(place, path);
        fd = openat(place->dir, place->name, flags, member->mode);
    }
    if (fd < 0)
        fs_fail_errno(errno, path);
    fs_member_content(member, fd);
    if (futimens(fd, times) < 0 || close(fd) < 0)
        fs_fail_errno(errno, path);
}

/* It is the user's own, as one that was made here would be, and gets the mode it would have. */
static void adopt(const struct fs_place *place, const struct fs_member *member, const char *path)
{
    struct stat st;
    int fd = openat(place->dir, place->name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) < 0)
        fs_fail_errno(errno, path);
    if (st.st_uid != geteuid() || st.st_gid != getegid())
        fs_fail_errno(EPERM, path);
    if ((st.st_mode & 07777) != member->mode && fchmod(fd, member->mode) < 0)
        fs_fail_errno(errno, path);
    close(fd);
}

/* false: it is not for this archive to say what it looks like. */
static bool put_directory(const struct fs_place *place, const struct fs_member *member, const char *path)
{
    struct stat st;
    if (mkdirat(place->dir, place->name, member->mode) == 0)
        return true;
    if (errno != EEXIST || fstatat(place->dir, place->name, &st, all ? AT_SYMLINK_NOFOLLOW : 0) < 0)
        fs_fail_errno(errno, path);
    if (S_ISDIR(st.st_mode)) {
        if (all)
            adopt(place, member, path);
        return all;
    }
    if (!all)
        fs_fail_errno(ENOTDIR, path);
    clear(place, path);
    if (mkdirat(place->dir, place->name, member->mode) < 0)
        fs_fail_errno(errno, path);
    return true;
}

static void put_link(const struct fs_place *place, const struct fs_member *member, const char *path)
{
    const struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, {.tv_sec = member->mtime}};
    clear(place, path);
    if (symlinkat(member->link, place->dir, place->name) < 0 ||
        utimensat(place->dir, place->name, times, AT_SYMLINK_NOFOLLOW) < 0)
        fs_fail_errno(errno, path);
}

static void put_member(const struct fs_member *member, const char *path, size_t from)
{
    struct fs_place place;
    find(path, from, member->type == '5', &place);
    if (member->type == '5') {
        if (put_directory(&place, member, path)) {
            fs_data_add(&late, &member->mtime, sizeof(member->mtime));
            fs_data_add(&late, path, strlen(path) + 1);
        }
    } else if (member->type == '2') {
        put_link(&place, member, path);
    } else if (member->type == '0' || member->type == '\0') {
        put_file(&place, member, path);
    } else {
        fs_member_broken();
    }
}

static void set_times(size_t from)
{
    struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}};
    struct fs_place place;
    for (const char *at = late.bytes; at < late.bytes + late.len; at += strlen(at) + 1) {
        memcpy(&times[1].tv_sec, at, sizeof(times[1].tv_sec));
        at += sizeof(times[1].tv_sec);
        find(at, from, true, &place);
        if (utimensat(place.dir, place.name, times, AT_SYMLINK_NOFOLLOW) < 0 && errno != ENOENT)
            fs_fail_errno(errno, at);
    }
}

/* The directory itself is none of its members: it is made where it is missing and stays as it is. */
static void make_base(const char *path)
{
    struct stat st;
    struct fs_place place;
    fs_resolve(path, FS_FOLLOW | FS_PARENTS, &place);
    (void)!mkdirat(place.dir, place.name, 0755);
    if (fstatat(place.dir, place.name, &st, 0) < 0)
        fs_fail_errno(errno, path);
    if (!S_ISDIR(st.st_mode))
        fs_fail_errno(ENOTDIR, path);
    close(place.dir);
}

void fs_op_untar(char **argv)
{
    static struct fs_member member;
    static char path[2 * PATH_MAX];
    size_t from = strlen(argv[1]) + 1;
    uint64_t count = 0;
    all = argv[2] && strcmp(argv[2], "1") == 0;
    (void)fcntl(STDIN_FILENO, F_SETPIPE_SZ, PIPE_SIZE); /* fewer turns of the agent; a limit may forbid it */
    make_base(argv[1]);
    for (; fs_member_next(&member); count++) {
        text_join(path, sizeof(path), argv[1], "/", member.name, NULL);
        put_member(&member, path, from);
    }
    set_times(from);
    fs_put_u64(SBX_TAG_FS_COUNT, count);
}
