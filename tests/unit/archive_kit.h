/*
 * Tars made by hand, byte for byte, and what the sanitiser made of them.
 */
#ifndef TESTS_UNIT_ARCHIVE_KIT_H
#define TESTS_UNIT_ARCHIVE_KIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "sandboxd/archive.h"
#include "sandboxd/base/buf.h"

/* A tar under construction. */
struct kit_tar {
    struct sbx_buf bytes;
    struct sbx_buf records; /* pax records of the next member */
};

void kit_tar_init(struct kit_tar *tar);
void kit_tar_done(struct kit_tar *tar);

/* A ustar header and its content, padded. type is the typeflag ('0' file, '1' hardlink, '2' symlink, '3'
 * device, '5' directory, '6' FIFO, …); name and target are cut at 100 bytes. Owner root:root (0:0, by name
 * too), mtime KIT_MTIME. */
#define KIT_MTIME 1000000000
void kit_put(struct kit_tar *tar, char type, const char *name, const char *target, unsigned mode,
             const void *data, size_t n);
void kit_file(struct kit_tar *tar, const char *name, const char *content);
void kit_dir(struct kit_tar *tar, const char *name);
void kit_link(struct kit_tar *tar, const char *name, const char *target);

/* One more record in the pax header of the next member. */
void kit_pax(struct kit_tar *tar, const char *key, const void *value, size_t n);

/* Set n bytes of the last header put (which had no content) and make its checksum right again. */
void kit_patch(struct kit_tar *tar, size_t offset, const void *bytes, size_t n);

void kit_end(struct kit_tar *tar);

/* What came out. */
struct kit_member {
    char *name; /* without the slash of a directory */
    char *target;
    char *content;
    size_t size;
    unsigned type; /* S_IFREG, … */
    unsigned mode;
    int64_t uid, gid, mtime;
    bool extra; /* has a user or group name, an xattr, an ACL or a flag */
};

struct kit_result {
    int ret;
    struct sbx_err err;
    struct sbx_archive_stats stats;
    int fd; /* the output; -1 after a failure */
    struct kit_member *members;
    size_t count;
};

/* uid 1000, gid 1001, generous limits. */
extern const struct sbx_archive_options kit_options;

/* Sanitise n bytes and read the output back. Checks what holds for any output: parents before their members,
 * nothing below a symlink, no directory that becomes anything else, no name that leaves. options may be NULL.
 */
void kit_sanitise(const void *data, size_t n, const struct sbx_archive_options *options,
                  struct kit_result *ret);
void kit_result_done(struct kit_result *result);

/* End the tar, sanitise it, let go of it. */
void kit_run(struct kit_tar *tar, const struct sbx_archive_options *options, struct kit_result *ret);

/* The last member of that name, NULL when there is none. */
const struct kit_member *kit_find(const struct kit_result *result, const char *name);

/* That the archive was refused as INVALID with these words in the message. Ends the result. */
void kit_assert_refused(struct kit_result *result, const char *words);

/* That it went well, with so many members skipped. */
void kit_assert_good(const struct kit_result *result, int64_t skipped);

/* A directory of one's own, and its removal with everything in it. */
void kit_tmpdir(char path[64]);
void kit_remove(const char *path);

/* Run a program to its end; its exit code. Output goes to /dev/null. in: stdin, -1 for /dev/null. */
int kit_spawn(const char *const argv[], int in);

#endif
