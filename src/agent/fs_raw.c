/* get and put: files as they are, in flat memory. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/agent.h"
#include "agent/fs.h"

#define CHUNK (256 * 1024)

static char chunk[CHUNK];

/* The bytes [*first, *first + returned) that a range means. */
static uint64_t range(const char *from, const char *to, uint64_t size, uint64_t *first)
{
    *first = 0;
    if (!from[0] && !to[0])
        return size;
    if (!from[0]) {
        uint64_t n = (uint64_t)fs_number(to);
        n = n < size ? n : size;
        *first = size - n;
        return n;
    }
    *first = (uint64_t)fs_number(from);
    uint64_t last = to[0] ? (uint64_t)fs_number(to) : size;
    if (*first >= size || last < *first)
        return 0;
    return (last < size ? last + 1 : size) - *first;
}

static void put_bytes(int fd, uint64_t first, uint64_t count)
{
    if (lseek(fd, (off_t)first, SEEK_SET) < 0)
        fs_fail_errno(errno, NULL);
    while (count > 0) {
        size_t n = fs_read_full(fd, chunk, count < CHUNK ? (size_t)count : CHUNK);
        if (n == 0)
            fs_fail(SBX_FS_EXEC_FAILED, "the file became shorter while it was read");
        fs_put(SBX_TAG_FS_TEXT, chunk, n);
        count -= n;
    }
}

void fs_op_get(char **argv)
{
    struct fs_place place;
    struct stat st;
    fs_resolve(argv[1], FS_FOLLOW, &place);
    int fd = -1;
    if (fstatat(place.dir, place.name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        fs_fail_errno(errno, argv[1]);
    if (!S_ISDIR(st.st_mode))
        fd = fs_open_file(argv[1], &place, &st);
    fs_put_text(SBX_TAG_FS_KIND, fd < 0 ? "dir" : "file");
    fs_put_u64(SBX_TAG_SIZE, (uint64_t)st.st_size);
    fs_put_u64(SBX_TAG_MODE, st.st_mode & 07777);
    fs_put_mtime(&st);
    fs_put_u64(SBX_TAG_FS_INODE, st.st_ino);
    if (fd < 0 || strcmp(argv[2], "-") == 0)
        return;
    uint64_t first;
    uint64_t count = range(argv[2], argv[3], (uint64_t)st.st_size, &first);
    fs_put_u64(SBX_TAG_FS_FIRST, first);
    fs_put_u64(SBX_TAG_FS_COUNT, count);
    put_bytes(fd, first, count);
}

void fs_op_put(char **argv)
{
    struct fs_place place;
    struct stat st;
    char temporary[40];
    size_t n;
    fs_resolve(argv[1], FS_PARENTS | FS_INNER, &place);
    bool there = fstatat(place.dir, place.name, &st, AT_SYMLINK_NOFOLLOW) == 0;
    if (there && S_ISDIR(st.st_mode))
        fs_fail_errno(EISDIR, argv[1]);
    mode_t mode = argv[2][0] ? (mode_t)fs_number(argv[2]) : there && S_ISREG(st.st_mode) ? st.st_mode : 0644;
    int fd = fs_create_temporary(place.dir, temporary);
    while ((n = fs_read_full(STDIN_FILENO, chunk, CHUNK)) > 0)
        fs_write_all(fd, chunk, n);
    if (fchmod(fd, mode & 07777) < 0 || close(fd) < 0 || path_replace(place.dir, temporary, place.name) < 0)
        fs_fail_errno(errno, argv[1]);
    fs_put_u64(SBX_TAG_FS_COUNT, !there);
}
