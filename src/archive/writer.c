#include "archive/writer.h"

#include <errno.h>

#include "sandboxd/base/util.h"

#define BLOCK (128 << 10) /* bytes of one write */

static la_ssize_t write_block(struct archive *out, void *arg, const void *data, size_t n)
{
    struct sbx_tar_writer *writer = arg;
    if (writer->closing)
        return (la_ssize_t)n;
    if (sbx_write_full(writer->fd, data, n, &writer->error) < 0) {
        writer->error.kind = SBX_ERR_UNAVAILABLE;
        archive_set_error(out, EIO, "the output failed");
        return -1;
    }
    writer->bytes += (int64_t)n;
    return (la_ssize_t)n;
}

static int writer_failed(struct sbx_tar_writer *writer, struct sbx_err *err)
{
    if (writer->error.kind != SBX_ERR_NONE) {
        *err = writer->error;
        return sbx_err_wrap(err, "sanitised archive");
    }
    const char *why = archive_error_string(writer->out);
    return sbx_err_set(err, SBX_ERR_INTERNAL, "cannot make the sanitised archive: %s",
                       why ? why : "no memory");
}

int sbx_tar_writer_open(struct sbx_tar_writer *writer, int fd, int64_t uid, int64_t gid, struct sbx_err *err)
{
    *writer = (struct sbx_tar_writer){.fd = fd, .uid = uid, .gid = gid};
    writer->out = archive_write_new();
    writer->entry = archive_entry_new();
    if (!writer->out || !writer->entry)
        return sbx_err_set(err, SBX_ERR_INTERNAL, "out of memory for an archive");
    if (archive_write_set_format_gnutar(writer->out) != ARCHIVE_OK ||
        archive_write_set_bytes_per_block(writer->out, BLOCK) != ARCHIVE_OK ||
        archive_write_set_bytes_in_last_block(writer->out, 1) != ARCHIVE_OK ||
        archive_write_open(writer->out, writer, NULL, write_block, NULL) != ARCHIVE_OK)
        return writer_failed(writer, err);
    return 0;
}

void sbx_tar_writer_done(struct sbx_tar_writer *writer)
{
    /* libarchive lets go of its buffer in a close only, which writes. After a failure that must not reach fd,
     * and marked as failed it does not fill up an unfinished member first. */
    writer->closing = true;
    if (writer->out) {
        archive_write_fail(writer->out);
        archive_write_close(writer->out);
    }
    archive_write_free(writer->out);
    archive_entry_free(writer->entry);
    writer->out = NULL;
    writer->entry = NULL;
}

int sbx_tar_writer_member(struct sbx_tar_writer *writer, const struct sbx_tar_member *member,
                          struct sbx_err *err)
{
    struct archive_entry *entry = archive_entry_clear(writer->entry);
    archive_entry_copy_pathname(entry, member->name);
    if (member->target)
        archive_entry_copy_symlink(entry, member->target);
    archive_entry_set_filetype(entry, member->type);
    archive_entry_set_perm(entry, (mode_t)member->mode);
    archive_entry_set_uid(entry, writer->uid);
    archive_entry_set_gid(entry, writer->gid);
    archive_entry_set_mtime(entry, (time_t)member->mtime, 0);
    archive_entry_set_size(entry, member->size);
    return archive_write_header(writer->out, entry) == ARCHIVE_OK ? 0 : writer_failed(writer, err);
}

int sbx_tar_writer_data(struct sbx_tar_writer *writer, const void *data, size_t n, struct sbx_err *err)
{
    return archive_write_data(writer->out, data, n) == (la_ssize_t)n ? 0 : writer_failed(writer, err);
}

int sbx_tar_writer_finish(struct sbx_tar_writer *writer, struct sbx_err *err)
{
    if (archive_write_close(writer->out) != ARCHIVE_OK)
        return writer_failed(writer, err);
    archive_write_free(writer->out);
    writer->out = NULL;
    return 0;
}
