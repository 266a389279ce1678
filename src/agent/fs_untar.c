/*
 * untar: a tar from the worker's sanitiser, extracted as the user. It holds directories, files and, at its
 * end, symlinks, in GNU's format; what is there already gives way, but for directories. Every member's path
 * is walked like any other, so what commands do to the tree meanwhile leads nowhere else.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "agent/agent.h"
#include "agent/fs.h"

#define BLOCK 512
#define CHUNK (64 * 1024)

/* Where things stand in a header. */
enum { MODE = 100, SIZE = 124, MTIME = 136, TYPE = 156, LINK = 157, NAME_LEN = 100 };

struct member {
    char name[PATH_MAX]; /* "": none yet */
    char link[PATH_MAX];
    mode_t mode;
    int64_t size;
    time_t mtime;
    char type;
};

static _Noreturn void broken(void)
{
    fs_fail(SBX_FS_EXEC_FAILED, "the archive is broken");
}

/* Octal digits, or GNU's binary form of large numbers. */
static int64_t number(const unsigned char *at, size_t n)
{
    int64_t value = 0;
    if (at[0] & 0x80) {
        for (size_t i = n - 8; i < n; i++)
            value = (int64_t)((uint64_t)value << 8 | at[i]);
        return value;
    }
    for (size_t i = 0; i < n && at[i] >= '0' && at[i] <= '7'; i++)
        value = value * 8 + (at[i] - '0');
    return value;
}

static void read_exactly(void *out, size_t n)
{
    if (fs_read_full(STDIN_FILENO, out, n) != n)
        broken();
}

static void skip_padding(int64_t size)
{
    char rest[BLOCK];
    if (size % BLOCK != 0)
        read_exactly(rest, (size_t)(BLOCK - size % BLOCK));
}

/* The content of a member that says what the next one's name is. */
static void read_long(char out[PATH_MAX], int64_t size)
{
    if (size < 1 || size >= PATH_MAX)
        broken();
    memset(out, 0, PATH_MAX);
    read_exactly(out, (size_t)size);
    skip_padding(size);
}

static void copy_short(char out[PATH_MAX], const unsigned char *at)
{
    if (out[0])
        return;
    memcpy(out, at, NAME_LEN);
    out[NAME_LEN] = '\0';
}

/* The next member; false at the end. */
static bool read_member(struct member *member)
{
    static const unsigned char zeros[BLOCK];
    unsigned char header[BLOCK];
    member->name[0] = member->link[0] = '\0';
    for (;;) {
        read_exactly(header, BLOCK);
        if (memcmp(header, zeros, BLOCK) == 0)
            return false;
        member->type = (char)header[TYPE];
        member->size = number(header + SIZE, 12);
        if (member->type == 'L')
            read_long(member->name, member->size);
        else if (member->type == 'K')
            read_long(member->link, member->size);
        else
            break;
    }
    member->mode = (mode_t)number(header + MODE, 8) & 0777;
    member->mtime = (time_t)number(header + MTIME, 12);
    copy_short(member->name, header);
    copy_short(member->link, header + LINK);
    return member->size >= 0;
}

/* Make way for something that is no directory. */
static void clear(const struct fs_place *place, const char *path)
{
    if (unlinkat(place->dir, place->name, 0) < 0 && errno != ENOENT)
        fs_fail_errno(errno, path);
}

static void put_content(int fd, int64_t size)
{
    static char chunk[CHUNK];
    for (int64_t left = size; left > 0;) {
        size_t n = left < CHUNK ? (size_t)left : CHUNK;
        read_exactly(chunk, n);
        fs_write_all(fd, chunk, n);
        left -= (int64_t)n;
    }
    skip_padding(size);
}

static void put_file(const struct fs_place *place, const struct member *member, const char *path)
{
    const struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, {.tv_sec = member->mtime}};
    clear(place, path);
    int fd = openat(place->dir, place->name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        fs_fail_errno(errno, path);
    put_content(fd, member->size);
    if (fchmod(fd, member->mode) < 0 || futimens(fd, times) < 0 || close(fd) < 0)
        fs_fail_errno(errno, path);
}

static void put_directory(const struct fs_place *place, const struct member *member, const char *path)
{
    struct stat st;
    if (mkdirat(place->dir, place->name, member->mode) == 0)
        return;
    if (errno != EEXIST || fstatat(place->dir, place->name, &st, 0) < 0)
        fs_fail_errno(errno, path);
    if (!S_ISDIR(st.st_mode))
        fs_fail_errno(ENOTDIR, path);
}

static void put_link(const struct fs_place *place, const struct member *member, const char *path)
{
    clear(place, path);
    if (symlinkat(member->link, place->dir, place->name) < 0)
        fs_fail_errno(errno, path);
}

static void put_member(const struct member *member, const char *path)
{
    struct fs_place place;
    fs_resolve(path, FS_PARENTS | (member->type == '5' ? 0 : FS_INNER), &place);
    if (member->type == '5')
        put_directory(&place, member, path);
    else if (member->type == '2')
        put_link(&place, member, path);
    else if (member->type == '0' || member->type == '\0')
        put_file(&place, member, path);
    else
        broken();
    close(place.dir);
}

void fs_op_untar(char **argv)
{
    static struct member member;
    static char path[2 * PATH_MAX];
    struct fs_place place;
    uint64_t count = 0;
    member = (struct member){.mode = 0755, .type = '5'};
    fs_resolve(argv[1], FS_FOLLOW | FS_PARENTS, &place);
    put_directory(&place, &member, argv[1]);
    close(place.dir);
    for (; read_member(&member); count++) {
        text_join(path, sizeof(path), argv[1], "/", member.name, NULL);
        put_member(&member, path);
    }
    fs_put_u64(SBX_TAG_FS_COUNT, count);
}
