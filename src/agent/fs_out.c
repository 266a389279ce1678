/* The answer of a file operation. */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "agent/agent.h"
#include "agent/fs.h"

#define CAPACITY (64 * 1024)

static uint8_t buf[CAPACITY];
static size_t len;
static int temporary_dir = -1;
static char temporary[64];

static void write_out(const void *bytes, size_t n)
{
    const char *at = bytes;
    while (n > 0) {
        ssize_t done = write(STDOUT_FILENO, at, n);
        if (done < 0 && errno == EINTR)
            continue;
        if (done < 0)
            _exit(1); /* nobody listens */
        at += done;
        n -= (size_t)done;
    }
}

void fs_flush(void)
{
    write_out(buf, len);
    len = 0;
}

void fs_put(uint8_t tag, const void *data, size_t n)
{
    if (sbx_field_size(n) > CAPACITY - len)
        fs_flush();
    if (sbx_field_size(n) <= CAPACITY) {
        len = sbx_field_put(buf, CAPACITY, len, tag, data, n);
        return;
    }
    buf[0] = tag;
    for (int i = 0; i < 4; i++)
        buf[1 + i] = (uint8_t)(n >> 8 * i);
    len = sbx_field_size(0);
    fs_flush();
    write_out(data, n);
}

void fs_put_text(uint8_t tag, const char *text)
{
    fs_put(tag, text, strlen(text));
}

void fs_put_u64(uint8_t tag, uint64_t value)
{
    if (sbx_field_size(sizeof(value)) > CAPACITY - len)
        fs_flush();
    len = sbx_field_put_u64(buf, CAPACITY, len, tag, value);
}

/* A time that does not fit, before 1678 or after 2261, is the nearest that does. */
void fs_put_mtime(const struct stat *st)
{
    const int64_t most = INT64_MAX / SBX_NS_PER_S - 1;
    int64_t seconds = st->st_mtim.tv_sec;
    if (seconds > most)
        seconds = most;
    else if (seconds < -most)
        seconds = -most;
    fs_put_u64(SBX_TAG_FS_MTIME_NS, (uint64_t)(seconds * SBX_NS_PER_S + st->st_mtim.tv_nsec));
}

void fs_temporary(int dir, const char *name)
{
    temporary_dir = dir;
    text_join(temporary, sizeof(temporary), name, NULL);
}

static _Noreturn void end(enum sbx_fs_code code, const char *message)
{
    uint8_t value[4] = {(uint8_t)code, 0, 0, 0};
    if (message)
        fs_put_text(SBX_TAG_MESSAGE, message);
    fs_put(SBX_TAG_FS_CODE, value, sizeof(value));
    fs_flush();
    _exit(0);
}

_Noreturn void fs_done(void)
{
    end(SBX_FS_OK, NULL);
}

_Noreturn void fs_fail(enum sbx_fs_code code, const char *message)
{
    if (temporary_dir >= 0)
        (void)!unlinkat(temporary_dir, temporary, 0);
    end(code, message);
}

static enum sbx_fs_code code_of(int err)
{
    switch (err) {
    case ENOENT:
        return SBX_FS_NOT_FOUND;
    case ENOTDIR:
        return SBX_FS_NOT_A_DIRECTORY;
    case EISDIR:
        return SBX_FS_IS_A_DIRECTORY;
    case EEXIST:
    case ENOTEMPTY:
        return SBX_FS_ALREADY_EXISTS;
    case EACCES:
    case EPERM:
    case EROFS:
        return SBX_FS_PERMISSION_DENIED;
    case ENAMETOOLONG:
    case ELOOP:
    case EINVAL:
        return SBX_FS_INVALID_PATH;
    case EFBIG:
        return SBX_FS_TOO_LARGE;
    default:
        return SBX_FS_EXEC_FAILED;
    }
}

_Noreturn void fs_fail_errno(int err, const char *about)
{
    char message[PATH_MAX + 128];
    text_join(message, sizeof(message), text_errno(err), about ? ": " : "", about ? about : "", NULL);
    fs_fail(code_of(err), message);
}
