/* write and edit: files in one piece, put in place by a rename. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/agent.h"
#include "agent/fs.h"

#define EDIT_MAX  (32UL * 1024 * 1024) /* of a file and of what it becomes */
#define INPUT_MAX (512UL * 1024 * 1024)

/* Give a finished file its name, unless something has it. File systems without that flag have hard links. */
static int rename_new(int from_dir, const char *from, int to_dir, const char *to)
{
    if (renameat2(from_dir, from, to_dir, to, RENAME_NOREPLACE) == 0)
        return 0;
    if (errno != EINVAL && errno != ENOSYS)
        return -1;
    return linkat(from_dir, from, to_dir, to, 0) < 0 ? -1 : unlinkat(from_dir, from, 0);
}

void fs_op_write(char **argv)
{
    struct fs_place place;
    struct stat st;
    char temporary[40];
    char chunk[16384];
    size_t n;
    mode_t mode = (mode_t)fs_number(argv[2]);
    fs_resolve(argv[1], FS_PARENTS | FS_INNER, &place);
    if (fstatat(place.dir, place.name, &st, AT_SYMLINK_NOFOLLOW) == 0)
        fs_fail_errno(EEXIST, argv[1]);
    int fd = fs_create_temporary(place.dir, temporary);
    while ((n = fs_read_full(STDIN_FILENO, chunk, sizeof(chunk))) > 0)
        fs_write_all(fd, chunk, n);
    if (fchmod(fd, mode & 07777) < 0 || close(fd) < 0 ||
        rename_new(place.dir, temporary, place.dir, place.name) < 0)
        fs_fail_errno(errno, argv[1]);
}

struct edit {
    struct fs_data file, input, result;
    const char *old, *new;
    size_t old_len, new_len;
    bool all;
};

/* How often the old text is there; the result is made on the way. */
static uint64_t replace(struct edit *edit)
{
    uint64_t count = 0;
    const char *at = edit->file.bytes;
    const char *end = at + edit->file.len;
    const char *hit;
    while ((hit = memmem(at, (size_t)(end - at), edit->old, edit->old_len))) {
        count++;
        fs_data_add(&edit->result, at, (size_t)(hit - at));
        fs_data_add(&edit->result, edit->new, edit->new_len);
        at = hit + edit->old_len;
        if (edit->result.len > EDIT_MAX)
            fs_fail(SBX_FS_TOO_LARGE, "the file becomes too large");
    }
    fs_data_add(&edit->result, at, (size_t)(end - at));
    return count;
}

static void read_input(struct edit *edit, size_t old_len)
{
    fs_data_read(&edit->input, STDIN_FILENO, INPUT_MAX);
    if (old_len > edit->input.len)
        fs_fail(SBX_FS_EXEC_FAILED, "the input is shorter than was said");
    edit->old = edit->input.bytes;
    edit->old_len = old_len;
    edit->new = edit->input.bytes + old_len;
    edit->new_len = edit->input.len - old_len;
}

static void check_count(uint64_t count, bool all)
{
    char message[96];
    if (count == 0)
        fs_fail(SBX_FS_STRING_NOT_FOUND, "the text to replace is not in the file");
    if (count == 1 || all)
        return;
    snprintf(message, sizeof(message), "the text to replace is in the file %llu times",
             (unsigned long long)count);
    fs_fail(SBX_FS_MULTIPLE_OCCURRENCES, message);
}

void fs_op_edit(char **argv)
{
    static struct edit edit;
    struct fs_place place;
    struct stat st;
    char temporary[40];
    edit.all = fs_number(argv[2]) == 1;
    read_input(&edit, (size_t)fs_number(argv[3]));
    int fd = fs_open_file(argv[1], &place, &st);
    fs_data_read(&edit.file, fd, EDIT_MAX);
    if (!fs_is_text(edit.file.bytes, edit.file.len))
        fs_fail(SBX_FS_NOT_A_TEXT_FILE, "the file is not UTF-8 text");
    if (edit.old_len == 0)
        fs_fail(SBX_FS_STRING_NOT_FOUND, "the text to replace is empty");
    uint64_t count = replace(&edit);
    check_count(count, edit.all);
    if (faccessat(place.dir, place.name, W_OK, 0) < 0)
        fs_fail_errno(errno, argv[1]);
    int out = fs_create_temporary(place.dir, temporary);
    fs_write_all(out, edit.result.bytes, edit.result.len);
    if (fchmod(out, st.st_mode & 07777) < 0 || close(out) < 0 ||
        path_replace(place.dir, temporary, place.name) < 0)
        fs_fail_errno(errno, argv[1]);
    fs_put_u64(SBX_TAG_FS_COUNT, count);
}
