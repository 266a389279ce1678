/*
 * File operations: what the agent does with files for clients, in a process of its own that has the user's
 * identity for good, so a slow disk, a hostile pattern or a full memory end that process and nothing else.
 * The process answers on its standard output in fields (see SBX_TAG_FS_* in wire.h) and ends; the first
 * failure ends it. Its paths stay inside the workspace, and nothing it opens makes it wait for anybody.
 *
 * Private to src/agent.
 */
#ifndef SBX_AGENT_FS_H
#define SBX_AGENT_FS_H

#include <limits.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>

#include "sandboxd/wire.h"

#define FS_LITERAL_MAX 255

/* fs.c: run the operation argv[0] with its arguments (wire.h) and end the process. */
_Noreturn void fs_run(char **argv);
/* The number that text is; INVALID when it is none. */
int64_t fs_number(const char *text);

/* fs_out.c: the answer. Fields are buffered; whoever reads them may be slow. */
void fs_put(uint8_t tag, const void *data, size_t n);
void fs_put_text(uint8_t tag, const char *text);
void fs_put_u64(uint8_t tag, uint64_t value);
void fs_put_mtime(const struct stat *st);
void fs_flush(void);
/* The last fields, and the end of the process. */
_Noreturn void fs_done(void);
_Noreturn void fs_fail(enum sbx_fs_code code, const char *message);
/* The failure that an errno stands for; about: a path or NULL. */
_Noreturn void fs_fail_errno(int err, const char *about);
/* Removed when the process ends in failure. dir -1: none. */
void fs_temporary(int dir, const char *name);

/* fs_path.c */
enum fs_follow {
    FS_FOLLOW = 1,  /* a symlink at the end is followed too */
    FS_PARENTS = 2, /* missing directories are made */
    FS_INNER = 4,   /* not the workspace's own directories: they are not for changing */
};
struct fs_place {
    int dir;                 /* where the last component is, O_PATH */
    char name[NAME_MAX + 2]; /* "." for a directory of the workspace itself */
};
/* Find the place that an absolute path below /repo, /skills or /workspace stands for. Symlinks are followed
 * inside of these. Fails by itself. */
void fs_resolve(const char *path, unsigned flags, struct fs_place *ret);
/* The path as it was asked for, without doubled and trailing slashes, for what stands in answers. */
const char *fs_spelling(const char *path);
/* A regular file for reading. Fails by itself; FIFOs and devices are refused without waiting for them. */
int fs_open_file(const char *path, struct fs_place *place, struct stat *ret);
/* A directory for reading. */
int fs_open_directory(const char *path);

/* fs_data.c: growing memory, files in one piece. */
struct fs_data {
    char *bytes;
    size_t len, capacity;
};
void fs_data_reserve(struct fs_data *data, size_t n);
void fs_data_add(struct fs_data *data, const void *bytes, size_t n);
/* Everything fd has from where it is, at most max bytes: TOO_LARGE beyond. */
void fs_data_read(struct fs_data *data, int fd, size_t max);
void fs_write_all(int fd, const void *bytes, size_t n);
/* As many bytes as there are up to n; fails by itself. */
size_t fs_read_full(int fd, void *out, size_t n);
bool fs_is_text(const char *bytes, size_t n);
/* A new file beside its place, registered with fs_temporary; and its name there. */
int fs_create_temporary(int dir, char name[40]);

/* fs_match.c: * ? [abc] [!a-z] \x and, over whole components, **. */
bool fs_match(const char *pattern, const char *path);
/* For patterns without a slash: by name; else by the path below the start. */
bool fs_match_entry(const char *pattern, const char *path, const char *name);

/* fs_literal.c: text that whatever an extended regular expression matches has in it, so that regexec need not
 * look at the rest. "" when there is none; *whole: it is all of the expression. */
void fs_literal(const char *expression, char out[FS_LITERAL_MAX + 1], bool *whole);

/* fs_scan.c: false for an expression that is left to regexec alone, or that matches everywhere. */
bool fs_scan_compile(const char *expression);
/* A byte within the first line of [from, end) that may match what was compiled; NULL: none does. from begins
 * a line. */
const char *fs_scan(const char *from, const char *end);

/* fs_walk.c: directory entries in the order of their names. */
struct fs_entry {
    uint32_t name; /* in the list's text */
    unsigned char type;
};
struct fs_list {
    struct fs_data text;
    struct fs_entry *entries;
    size_t count, capacity;
};
/* All of fd but . and .., sorted. Reads it to the end; the descriptor stays. */
void fs_list_read(struct fs_list *list, int fd);
void fs_list_done(struct fs_list *list);
const char *fs_list_name(const struct fs_list *list, size_t i);
/* DT_*, looked up where the file system does not say. */
unsigned char fs_entry_type(const struct fs_list *list, size_t i, int dir);

struct fs_walk {
    char *const *prune; /* directories that are left out: patterns, NULL-terminated */
    /* path: below the start. false: enough. */
    bool (*visit)(struct fs_walk *walk, int dir, const char *name, const char *path, unsigned char type);
    void *arg;
    char path[PATH_MAX];
};
/* Visit what is below the directory fd, directories before what they hold. Symlinks are not followed, and
 * what may not be read is passed over. */
void fs_walk(struct fs_walk *walk, int fd);

/* fs_member.c: a tar of src/archive from stdin. Fails by itself when that is broken. */
struct fs_member {
    char name[PATH_MAX];
    char link[PATH_MAX];
    mode_t mode;
    int64_t size;
    time_t mtime;
    char type; /* of a tar's header */
};
/* The next member; false at the end. */
bool fs_member_next(struct fs_member *member);
/* The content of the member that came last, once, into a file. */
void fs_member_content(const struct fs_member *member, int fd);
_Noreturn void fs_member_broken(void);

/* One operation each; argv[0] is its name. */
typedef void fs_operation(char **argv);
fs_operation fs_op_ls, fs_op_stat, fs_op_read, fs_op_grep, fs_op_glob, fs_op_write, fs_op_edit, fs_op_delete,
    fs_op_mkdir, fs_op_move, fs_op_get, fs_op_put, fs_op_tar, fs_op_untar;

#endif
