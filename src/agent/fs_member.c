/* Members of a tar from the worker's sanitiser, on their way from stdin: GNU's format. */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "agent/agent.h"
#include "agent/fs.h"

#define BLOCK  512
#define BUFFER (256 * 1024)

/* Where things stand in a header. */
enum { MODE = 100, SIZE = 124, MTIME = 136, TYPE = 156, LINK = 157, NAME_LEN = 100 };

static char buffer[BUFFER];
static size_t from, to;

_Noreturn void fs_member_broken(void)
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

/* What is there, waiting for some. */
static size_t available(void)
{
    while (from == to) {
        ssize_t n = read(STDIN_FILENO, buffer, BUFFER);
        if (n < 0 && errno != EINTR)
            fs_fail_errno(errno, NULL);
        if (n == 0)
            fs_member_broken();
        if (n > 0) {
            from = 0;
            to = (size_t)n;
        }
    }
    return to - from;
}

static void read_exactly(void *out, size_t n)
{
    for (char *at = out; n > 0;) {
        size_t part = available() < n ? to - from : n;
        memcpy(at, buffer + from, part);
        from += part;
        at += part;
        n -= part;
    }
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
        fs_member_broken();
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

bool fs_member_next(struct fs_member *member)
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
    for (size_t n = strlen(member->name); n > 1 && member->name[n - 1] == '/'; n--)
        member->name[n - 1] = '\0'; /* of a directory */
    if (member->size < 0)
        fs_member_broken();
    return true;
}

void fs_member_content(const struct fs_member *member, int fd)
{
    for (int64_t left = member->size; left > 0;) {
        size_t n = available();
        n = left < (int64_t)n ? (size_t)left : n;
        fs_write_all(fd, buffer + from, n);
        from += n;
        left -= (int64_t)n;
    }
    skip_padding(member->size);
}
