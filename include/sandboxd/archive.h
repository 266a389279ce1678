/*
 * Tar sanitiser: an untrusted archive in (plain, gzip, bzip2, xz or zstd, by magic), a tar that is safe to
 * extract out, streaming in flat memory.
 */
#ifndef SANDBOXD_ARCHIVE_H
#define SANDBOXD_ARCHIVE_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "sandboxd/base/err.h"

struct sbx_archive_options {
    int64_t uid, gid;  /* owner of everything */
    int64_t max_bytes; /* most bytes of file content, sparse files expanded */
    int64_t max_entries;
    int max_depth;    /* components of a name; 0: 100 */
    double max_ratio; /* unpacked / packed beyond the first 64 MiB; 0: 1000 */
};

struct sbx_archive_stats {
    int64_t entries; /* written */
    int64_t bytes;   /* of content written */
    int64_t skipped; /* devices, FIFOs, sockets, hardlinks, symlinks that lead out, members below a symlink */
    char first_skipped[128]; /* name of the first of them, for the log */
    int64_t out_bytes;       /* size of the tar written */
};

/*
 * read: more input into buf, > 0 bytes, 0 at the end, -1 with *err (passed on as it is). It is read to its
 * end, also past the end of the archive: a packed stream keeps its checksum there. The sanitised tar is
 * written to out_fd. Rules: docs/security.md. Names are relative to the target directory; "./", a leading
 * "./" and a trailing slash are normalised, and otherwise every byte of a name stays as it is, whatever
 * locale the process has. An empty archive (or one with the root entry only) is valid and gives a tar without
 * entries.
 *
 * The output has every directory before what is below it and all symlinks at the end; the last member of a
 * name wins, but a directory that has members stays one (src/archive/members.h). Memory: a few hundred kB
 * plus what the packing needs, 48 bytes and the name for each directory and symlink, and at most about 150
 * MB.
 *
 * Errors: INVALID with what is wrong and where ("member 'a/../b': path leaves the archive"); TOO_LARGE is not
 * used: limits are INVALID as well; UNAVAILABLE when out_fd cannot be written. The caller drops what was
 * written so far on an error.
 */
int sbx_archive_sanitise(ssize_t (*read)(void *arg, void *buf, size_t n, struct sbx_err *err), void *arg,
                         int out_fd, const struct sbx_archive_options *options,
                         struct sbx_archive_stats *ret_stats, struct sbx_err *err) SBX_MUST_CHECK;

/* The same in a process of its own that can do nothing else (sbx_confine_parser): what an archive could make
 * of a fault in its parsing ends there. INTERNAL: that process died. */
int sbx_archive_sanitise_confined(ssize_t (*read)(void *arg, void *buf, size_t n, struct sbx_err *err),
                                  void *arg, int out_fd, const struct sbx_archive_options *options,
                                  struct sbx_archive_stats *ret_stats, struct sbx_err *err) SBX_MUST_CHECK;

/* The rule for one symlink, pure: does a link at `name` with this target stay inside the tree, whatever other
 * links there are? (The sanitiser also keeps "dir/.." where dir turns out to be a directory:
 * src/archive/symlink.h.) */
int sbx_archive_link_inside(const char *name, const char *target);

/* A one-file tar in memory (the agent's volume): the file is written as "<name>.part" and then hard-linked to
 * name, so that name exists only when it is whole. Heap memory, the caller frees. */
int sbx_archive_one_file(const char *name, const void *data, size_t n, unsigned mode, void **ret,
                         size_t *ret_len, struct sbx_err *err) SBX_MUST_CHECK;

/* Packing a stream of bytes: "gzip" or "zstd". write takes what comes out, -1 with *err. */
struct sbx_packer;
struct sbx_packer *sbx_packer_new(const char *filter,
                                  int (*write)(void *arg, const void *data, size_t n, struct sbx_err *err),
                                  void *arg, struct sbx_err *err) SBX_MUST_CHECK;
int sbx_packer_add(struct sbx_packer *packer, const void *data, size_t n, struct sbx_err *err) SBX_MUST_CHECK;
/* The end of the stream; nothing is whole without it. */
int sbx_packer_end(struct sbx_packer *packer, struct sbx_err *err) SBX_MUST_CHECK;
void sbx_packer_free(struct sbx_packer *packer);

#endif
