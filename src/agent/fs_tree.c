/* delete, mkdir and move. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "agent/agent.h"
#include "agent/fs.h"

static void delete_tree(const struct fs_place *place, const char *path)
{
    int fd = openat(place->dir, place->name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        fs_fail_errno(errno, path);
    if (builtin_empty(fd) > 0)
        fs_fail(SBX_FS_PERMISSION_DENIED, "not everything in the directory could be removed");
    if (unlinkat(place->dir, place->name, AT_REMOVEDIR) < 0)
        fs_fail_errno(errno, path);
}

void fs_op_delete(char **argv)
{
    struct fs_place place;
    bool recursive = fs_number(argv[2]) == 1;
    fs_resolve(argv[1], FS_INNER, &place);
    if (unlinkat(place.dir, place.name, 0) < 0) {
        if (errno != EISDIR || !recursive)
            fs_fail_errno(errno, argv[1]);
        delete_tree(&place, argv[1]);
    }
    fs_put_u64(SBX_TAG_FS_COUNT, 1);
}

void fs_op_mkdir(char **argv)
{
    struct fs_place place;
    struct stat st;
    mode_t mode = (mode_t)fs_number(argv[2]) & 07777;
    fs_resolve(argv[1], FS_FOLLOW | (fs_number(argv[3]) == 1 ? FS_PARENTS : 0), &place);
    bool made = strcmp(place.name, ".") != 0 && mkdirat(place.dir, place.name, mode) == 0;
    if (!made && strcmp(place.name, ".") != 0 &&
        (errno != EEXIST || fstatat(place.dir, place.name, &st, 0) < 0 || !S_ISDIR(st.st_mode)))
        fs_fail_errno(errno, argv[1]);
    fs_put_u64(SBX_TAG_FS_COUNT, made);
}

/* renameat2, also where the file system does not know its flags. */
static int rename_place(const struct fs_place *from, const struct fs_place *to, bool overwrite)
{
    struct stat st;
    if (overwrite)
        return renameat(from->dir, from->name, to->dir, to->name);
    if (renameat2(from->dir, from->name, to->dir, to->name, RENAME_NOREPLACE) == 0)
        return 0;
    if (errno != EINVAL && errno != ENOSYS)
        return -1;
    if (fstatat(to->dir, to->name, &st, AT_SYMLINK_NOFOLLOW) == 0) {
        errno = EEXIST;
        return -1;
    }
    return renameat(from->dir, from->name, to->dir, to->name);
}

/* A file on its way to another file system. */
static void carry(const struct fs_place *from, const struct fs_place *to, bool overwrite)
{
    struct stat st;
    struct fs_place temporary = {.dir = to->dir};
    char chunk[65536];
    size_t n;
    int in = openat(from->dir, from->name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (in < 0 || fstat(in, &st) < 0 || !S_ISREG(st.st_mode))
        fs_fail(SBX_FS_EXEC_FAILED, "only files can be moved to another file system");
    int out = fs_create_temporary(to->dir, temporary.name);
    while ((n = fs_read_full(in, chunk, sizeof(chunk))) > 0)
        fs_write_all(out, chunk, n);
    const struct timespec times[2] = {st.st_atim, st.st_mtim};
    if (fchmod(out, st.st_mode & 07777) < 0 || futimens(out, times) < 0 || close(out) < 0 ||
        rename_place(&temporary, to, overwrite) < 0)
        fs_fail_errno(errno, NULL);
    fs_temporary(-1, "");
    if (unlinkat(from->dir, from->name, 0) < 0)
        fs_fail_errno(errno, NULL);
}

void fs_op_move(char **argv)
{
    struct fs_place from, to;
    bool overwrite = fs_number(argv[3]) == 1;
    struct stat st;
    fs_resolve(argv[1], FS_INNER, &from);
    if (fstatat(from.dir, from.name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        fs_fail_errno(errno, argv[1]);
    fs_resolve(argv[2], FS_PARENTS | FS_INNER, &to);
    if (rename_place(&from, &to, overwrite) == 0)
        return;
    if (errno != EXDEV)
        fs_fail_errno(errno, argv[2]);
    carry(&from, &to, overwrite);
}
