/* Bytes of file operations: in memory, from and to files. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "agent/agent.h"
#include "agent/fs.h"

void fs_data_reserve(struct fs_data *data, size_t n)
{
    if (data->capacity - data->len >= n)
        return;
    size_t capacity = data->capacity ? data->capacity : 4096;
    while (capacity - data->len < n)
        capacity *= 2;
    char *grown = realloc(data->bytes, capacity);
    if (!grown)
        fs_fail(SBX_FS_TOO_LARGE, "out of memory for the operation");
    data->bytes = grown;
    data->capacity = capacity;
}

void fs_data_add(struct fs_data *data, const void *bytes, size_t n)
{
    fs_data_reserve(data, n);
    if (n > 0)
        memcpy(data->bytes + data->len, bytes, n);
    data->len += n;
}

size_t fs_read_full(int fd, void *out, size_t n)
{
    size_t have = 0;
    while (have < n) {
        ssize_t got = read(fd, (char *)out + have, n - have);
        if (got == 0)
            break;
        if (got < 0 && errno != EINTR)
            fs_fail_errno(errno, NULL);
        if (got > 0)
            have += (size_t)got;
    }
    return have;
}

void fs_data_read(struct fs_data *data, int fd, size_t max)
{
    for (;;) {
        fs_data_reserve(data, 64 * 1024);
        size_t got = fs_read_full(fd, data->bytes + data->len, data->capacity - data->len);
        data->len += got;
        if (data->len > max)
            fs_fail(SBX_FS_TOO_LARGE, "the file is too large for this operation");
        if (got == 0)
            return;
    }
}

void fs_write_all(int fd, const void *bytes, size_t n)
{
    const char *at = bytes;
    while (n > 0) {
        ssize_t done = write(fd, at, n);
        if (done < 0 && errno != EINTR)
            fs_fail_errno(errno, NULL);
        if (done > 0) {
            at += done;
            n -= (size_t)done;
        }
    }
}

/* Length of the UTF-8 character at p, 0 when there is none. */
static size_t character(const unsigned char *p, size_t n)
{
    size_t len = p[0] < 0xc2 ? 0 : p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : p[0] < 0xf5 ? 4 : 0;
    if (len == 0 || len > n)
        return 0;
    unsigned char low = p[0] == 0xe0 ? 0xa0 : p[0] == 0xf0 ? 0x90 : 0x80;
    unsigned char high = p[0] == 0xed ? 0x9f : p[0] == 0xf4 ? 0x8f : 0xbf;
    if (p[1] < low || p[1] > high)
        return 0;
    for (size_t i = 2; i < len; i++)
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    return len;
}

bool fs_is_text(const char *bytes, size_t n)
{
    const unsigned char *p = (const unsigned char *)bytes;
    for (size_t i = 0; i < n;) {
        uint64_t eight;
        if (n - i >= sizeof(eight)) { /* mostly ASCII: eight at a time, none with its top bit or zero */
            memcpy(&eight, p + i, sizeof(eight));
            if (((eight | (eight - 0x0101010101010101u)) & 0x8080808080808080u) == 0) {
                i += sizeof(eight);
                continue;
            }
        }
        size_t len = p[i] == 0 ? 0 : p[i] < 0x80 ? 1 : character(p + i, n - i);
        if (len == 0)
            return false;
        i += len;
    }
    return true;
}

int fs_create_temporary(int dir, char name[40])
{
    uint64_t random = (uint64_t)now_us();
    char digits[21];
    (void)!getrandom(&random, sizeof(random), 0);
    text_join(name, 40, ".sandboxd-", text_number(digits, random), ".tmp", NULL);
    int fd = openat(dir, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        fs_fail_errno(errno, NULL);
    fs_temporary(dir, name);
    return fd;
}
