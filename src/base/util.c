#include "sandboxd/base/util.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "sandboxd/base/buf.h"

static int64_t clock_us(clockid_t id)
{
    struct timespec ts;
    clock_gettime(id, &ts);
    return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

int64_t sbx_now_ms(void)
{
    return clock_us(CLOCK_MONOTONIC) / 1000;
}

int64_t sbx_now_us(void)
{
    return clock_us(CLOCK_MONOTONIC);
}

int64_t sbx_wall_ms(void)
{
    return clock_us(CLOCK_REALTIME) / 1000;
}

void sbx_close(int *fd)
{
    if (*fd >= 0) {
        int saved = errno;
        close(*fd);
        errno = saved;
    }
    *fd = -1;
}

void sbx_cleanup_close(int *fd)
{
    sbx_close(fd);
}

void sbx_cleanup_free(void *p)
{
    int saved = errno;
    free(*(void **)p);
    errno = saved;
}

int sbx_write_full(int fd, const void *data, size_t n, struct sbx_err *err)
{
    const char *at = data;
    while (n > 0) {
        ssize_t put = write(fd, at, n);
        if (put < 0) {
            if (errno == EINTR)
                continue;
            bool full = errno == ENOSPC || errno == EDQUOT;
            return sbx_err_sys(err, full ? SBX_ERR_UNAVAILABLE : SBX_ERR_INTERNAL, errno, "cannot write");
        }
        at += put;
        n -= (size_t)put;
    }
    return 0;
}

/* Into buf until the end of the file; TOO_LARGE by the buffer's ceiling. */
static int read_all(int fd, struct sbx_buf *buf, struct sbx_err *err)
{
    for (;;) {
        char chunk[16384];
        ssize_t got = read(fd, chunk, sizeof(chunk));
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return sbx_err_sys(err, SBX_ERR_INTERNAL, errno, "cannot read");
        if (got == 0)
            return 0;
        if (sbx_buf_add(buf, chunk, (size_t)got, err) < 0)
            return -1;
    }
}

int sbx_read_file(const char *path, size_t max, char **ret, size_t *ret_len, struct sbx_err *err)
{
    SBX_AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (fd < 0) {
        bool missing = errno == ENOENT || errno == ENOTDIR;
        return sbx_err_sys(err, missing ? SBX_ERR_NOT_FOUND : SBX_ERR_INTERNAL, errno, "cannot open %s",
                           path);
    }
    struct sbx_buf buf;
    sbx_buf_init(&buf, max);
    if (read_all(fd, &buf, err) < 0 || !sbx_buf_cstr(&buf, err)) {
        sbx_buf_done(&buf);
        return sbx_err_wrap(err, "%s", path);
    }
    *ret = buf.data; /* NUL-terminated by sbx_buf_cstr */
    if (ret_len)
        *ret_len = buf.len;
    return 0;
}

/* Make one directory; one that is there already is left as it is. The mode is set after mkdir: it is meant
 * exactly, whatever the umask. */
static int make_dir(const char *path, mode_t mode, struct sbx_err *err)
{
    if (mkdir(path, mode) == 0) {
        if (chmod(path, mode) < 0)
            return sbx_err_sys(err, SBX_ERR_INTERNAL, errno, "cannot set the mode of directory %s", path);
        return 0;
    }
    int failure = errno;
    struct stat st;
    if (stat(path, &st) == 0) {
        if (S_ISDIR(st.st_mode))
            return 0;
        failure = ENOTDIR;
    }
    bool full = failure == ENOSPC || failure == EDQUOT;
    return sbx_err_sys(err, full ? SBX_ERR_UNAVAILABLE : SBX_ERR_INTERNAL, failure,
                       "cannot make directory %s", path);
}

int sbx_mkdirs(const char *path, mode_t mode, struct sbx_err *err)
{
    SBX_AUTO_FREE char *copy = strdup(path);
    if (!copy)
        return sbx_err_set(err, SBX_ERR_INTERNAL, "out of memory");
    for (char *at = copy; *at;) {
        at += strspn(at, "/");
        at += strcspn(at, "/");
        char kept = *at;
        *at = '\0';
        if (make_dir(copy, mode, err) < 0)
            return -1;
        *at = kept;
        at += strspn(at, "/");
    }
    return 0;
}

int sbx_tmpfile(const char *dir, struct sbx_err *err)
{
    int fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (fd >= 0)
        return fd;
    if (errno == EOPNOTSUPP || errno == EISDIR || errno == EINVAL) { /* no O_TMPFILE on this file system */
        SBX_AUTO_FREE char *path = NULL;
        if (asprintf(&path, "%s/.spool-XXXXXX", dir) < 0) {
            path = NULL;
            return sbx_err_set(err, SBX_ERR_INTERNAL, "out of memory");
        }
        fd = mkostemp(path, O_CLOEXEC);
        if (fd >= 0) {
            unlink(path);
            return fd;
        }
    }
    bool full = errno == ENOSPC || errno == EDQUOT;
    return sbx_err_sys(err, full ? SBX_ERR_UNAVAILABLE : SBX_ERR_INTERNAL, errno,
                       "cannot make a temporary file in %s", dir);
}

int sbx_tmpfile_write(int fd, int64_t off, const void *data, size_t n, const char *dir, struct sbx_err *err)
{
    for (size_t done = 0; done < n;) {
        ssize_t put = pwrite(fd, (const char *)data + done, n - done, (off_t)off + (off_t)done);
        if (put < 0 && errno == EINTR)
            continue;
        if (put < 0) {
            bool full = errno == ENOSPC || errno == EDQUOT || errno == EFBIG;
            return sbx_err_sys(err, full ? SBX_ERR_UNAVAILABLE : SBX_ERR_INTERNAL, errno,
                               "cannot write a temporary file in %s", dir);
        }
        done += (size_t)put;
    }
    return 0;
}

ssize_t sbx_tmpfile_read(int fd, int64_t off, void *out, size_t n, const char *dir, struct sbx_err *err)
{
    for (;;) {
        ssize_t got = pread(fd, out, n, (off_t)off);
        if (got >= 0)
            return got;
        if (errno != EINTR)
            return sbx_err_sys(err, SBX_ERR_INTERNAL, errno, "cannot read a temporary file in %s", dir);
    }
}

void sbx_make_printable(char *text)
{
    for (; *text; text++) {
        if (*text < ' ' || *text > '~')
            *text = '?';
    }
}
