/*
 * Session locks of the embedded store: flock(2) on <dir>/<id>.lock. The lock belongs to the open file
 * description: it is gone when the last descriptor of it is, so a killed holder frees it at once. O_CLOEXEC
 * keeps it out of programs that the holder executes; a child forked without exec would share it, which is why
 * release unlocks instead of only closing.
 *
 * The file holds the newest fence, 8 bytes in host order, never synced: after a crash of the machine the
 * clock is ahead of it.
 */
#include "internal.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define AGAIN 2 /* the file was unlinked between open and lock */

static int lock_path(const char *dir, const char *id, char *out, size_t size)
{
    int n = snprintf(out, size, "%s/%s.lock", dir, id);
    return n > 0 && (size_t)n < size ? 0 : -1;
}

/* Does path still name the file behind fd? A holder that unlocks a deleted session unlinks it. */
static int still_named(int fd, const char *path)
{
    struct stat mine, named;
    if (fstat(fd, &mine) < 0)
        return -1;
    if (lstat(path, &named) < 0)
        return errno == ENOENT ? 0 : -1;
    return mine.st_ino == named.st_ino && mine.st_dev == named.st_dev;
}

/* Microseconds, so that fences grow even where the file was unlinked in between: no two acquisitions share
 * one. */
static int advance_fence(int fd, uint64_t *ret)
{
    uint64_t last = 0;
    ssize_t n = pread(fd, &last, sizeof(last), 0);
    if (n < 0)
        return -1;
    if (n != (ssize_t)sizeof(last))
        last = 0;
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    uint64_t fence = (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
    if (fence <= last)
        fence = last + 1;
    n = pwrite(fd, &fence, sizeof(fence), 0);
    if (n != (ssize_t)sizeof(fence)) {
        if (n >= 0)
            errno = ENOSPC;
        return -1;
    }
    *ret = fence;
    return 0;
}

/* With the kernel's lock on fd: 1 it is the session's lock, AGAIN the file was unlinked before we had it, -1.
 */
static int confirm(int fd, const char *path, struct sbx_lock *lock, struct sbx_err *err)
{
    int named = still_named(fd, path);
    if (named == 0)
        return AGAIN;
    if (named < 0)
        return sbx_err_sys(err, SBX_ERR_UNAVAILABLE, errno, "cannot check session lock %s", path);
    if (advance_fence(fd, &lock->fence) < 0)
        return sbx_err_sys(err, SBX_ERR_UNAVAILABLE, errno, "cannot write session lock %s", path);
    return 1;
}

/* 1 got it, 0 busy, AGAIN, -1. */
static int try_once(const char *path, struct sbx_lock *lock, struct sbx_err *err)
{
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return sbx_err_sys(err, SBX_ERR_UNAVAILABLE, errno, "cannot open session lock %s", path);
    int got;
    if (flock(fd, LOCK_EX | LOCK_NB) == 0)
        got = confirm(fd, path, lock, err);
    else if (errno == EWOULDBLOCK)
        got = 0;
    else
        got = sbx_err_sys(err, SBX_ERR_UNAVAILABLE, errno, "cannot take session lock %s", path);
    if (got == 1)
        lock->fd = fd;
    else
        sbx_close(&fd);
    return got;
}

int sbx_filelock_try(const char *dir, struct sbx_lock *lock, struct sbx_err *err)
{
    char path[PATH_MAX];
    if (lock_path(dir, lock->id, path, sizeof(path)) < 0)
        return sbx_err_set(err, SBX_ERR_UNAVAILABLE, "path of the session lock is too long");
    int got;
    do
        got = try_once(path, lock, err);
    while (got == AGAIN);
    return got;
}

void sbx_filelock_release(const char *dir, struct sbx_lock *lock, bool gone)
{
    char path[PATH_MAX];
    /* While it is held: afterwards the name could be another holder's. */
    if (gone && lock_path(dir, lock->id, path, sizeof(path)) == 0)
        (void)unlink(path);
    (void)flock(lock->fd, LOCK_UN);
    sbx_close(&lock->fd);
}
