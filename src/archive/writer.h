/*
 * The tar that comes out. GNU format: names go out byte for byte and of any length, where pax would have them
 * converted to UTF-8; Go's archive/tar and GNU tar both read it. Private to src/archive.
 */
#ifndef SRC_ARCHIVE_WRITER_H
#define SRC_ARCHIVE_WRITER_H

#include <archive.h>
#include <archive_entry.h>
#include <stdbool.h>
#include <stdint.h>

#include "sandboxd/base/err.h"

struct sbx_tar_writer {
    struct archive *out;
    struct archive_entry *entry; /* reused */
    int fd;
    int64_t uid, gid;
    int64_t bytes;        /* written to fd */
    struct sbx_err error; /* of a write */
    bool closing;         /* being let go of: nothing is written any more */
};

struct sbx_tar_member {
    const char *name;
    const char *target; /* of a symlink */
    unsigned type;      /* AE_IFREG, AE_IFDIR, AE_IFLNK */
    unsigned mode;
    int64_t mtime;
    int64_t size;
};

/* Call _done in any case. fd is not owned. */
int sbx_tar_writer_open(struct sbx_tar_writer *writer, int fd, int64_t uid, int64_t gid,
                        struct sbx_err *err) SBX_MUST_CHECK;
void sbx_tar_writer_done(struct sbx_tar_writer *writer);

/* UNAVAILABLE when fd takes no more. */
int sbx_tar_writer_member(struct sbx_tar_writer *writer, const struct sbx_tar_member *member,
                          struct sbx_err *err) SBX_MUST_CHECK;
int sbx_tar_writer_data(struct sbx_tar_writer *writer, const void *data, size_t n,
                        struct sbx_err *err) SBX_MUST_CHECK;

/* The end-of-archive marker, and everything flushed to fd. */
int sbx_tar_writer_finish(struct sbx_tar_writer *writer, struct sbx_err *err) SBX_MUST_CHECK;

#endif
