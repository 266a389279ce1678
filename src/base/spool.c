#include "sandboxd/base/spool.h"

#include <string.h>
#include <unistd.h>

#include "sandboxd/base/util.h"

void sbx_spool_init(struct sbx_spool *spool, const char *dir, size_t memory, int64_t max)
{
    *spool = (struct sbx_spool){.dir = dir, .fd = -1, .max = max};
    sbx_buf_init(&spool->mem, memory);
}

void sbx_spool_done(struct sbx_spool *spool)
{
    sbx_buf_done(&spool->mem);
    sbx_close(&spool->fd);
    spool->file_len = 0;
}

int64_t sbx_spool_len(const struct sbx_spool *spool)
{
    return spool->file_len + (int64_t)spool->mem.len;
}

/* Put bytes at the end of the file. file_len grows only when all are there, so a failed write leaves the
 * spool as it was. */
static int append(struct sbx_spool *spool, const char *data, size_t n, struct sbx_err *err)
{
    if (sbx_tmpfile_write(spool->fd, spool->file_len, data, n, spool->dir, err) < 0)
        return -1;
    spool->file_len += (int64_t)n;
    return 0;
}

int sbx_spool_add(struct sbx_spool *spool, const void *data, size_t n, struct sbx_err *err)
{
    if (n > INT64_MAX || (int64_t)n > spool->max - sbx_spool_len(spool))
        return sbx_err_set(err, SBX_ERR_TOO_LARGE, "more than %lld bytes", (long long)spool->max);
    if (n <= spool->mem.max - spool->mem.len)
        return sbx_buf_add(&spool->mem, data, n, err);
    if (spool->fd < 0) {
        spool->fd = sbx_tmpfile(spool->dir, err);
        if (spool->fd < 0)
            return -1;
    }
    if (append(spool, spool->mem.data, spool->mem.len, err) < 0)
        return -1;
    sbx_buf_clear(&spool->mem);
    if (n <= spool->mem.max / 2)
        return sbx_buf_add(&spool->mem, data, n, err);
    return append(spool, data, n, err);
}

ssize_t sbx_spool_read(const struct sbx_spool *spool, int64_t off, void *out, size_t n, struct sbx_err *err)
{
    if (off < 0)
        return sbx_err_set(err, SBX_ERR_INTERNAL, "negative offset in a spool");
    if (off >= spool->file_len) {
        if (off - spool->file_len >= (int64_t)spool->mem.len)
            return 0;
        size_t start = (size_t)(off - spool->file_len);
        size_t left = spool->mem.len - start;
        if (n > left)
            n = left;
        memcpy(out, spool->mem.data + start, n);
        return (ssize_t)n;
    }
    if ((int64_t)n > spool->file_len - off) /* what lies beyond may be the rest of a failed write */
        n = (size_t)(spool->file_len - off);
    return sbx_tmpfile_read(spool->fd, off, out, n, spool->dir, err);
}

struct sbx_spool sbx_spool_of(int fd, int64_t len)
{
    return (struct sbx_spool){.dir = "the spool directory", .fd = fd, .file_len = len, .max = len};
}
