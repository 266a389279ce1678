/* Directories and trees, in the order of their names. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/fs.h"

#define MAX_DEPTH 1000 /* a descriptor each */

static const char *sorting; /* text of the list that is being sorted */

static int by_name(const void *a, const void *b)
{
    const struct fs_entry *left = a;
    const struct fs_entry *right = b;
    return strcmp(sorting + left->name, sorting + right->name);
}

static bool is_dot(const char *name)
{
    return name[0] == '.' && (name[1] == '\0' || (name[1] == '.' && name[2] == '\0'));
}

static void add(struct fs_list *list, const char *name, unsigned char type)
{
    if (list->count == list->capacity) {
        size_t capacity = list->capacity ? 2 * list->capacity : 64;
        struct fs_entry *grown = realloc(list->entries, capacity * sizeof(*grown));
        if (!grown)
            fs_fail(SBX_FS_TOO_LARGE, "the directory is too large");
        list->entries = grown;
        list->capacity = capacity;
    }
    list->entries[list->count++] = (struct fs_entry){.name = (uint32_t)list->text.len, .type = type};
    fs_data_add(&list->text, name, strlen(name) + 1);
    if (list->text.len > UINT32_MAX / 2)
        fs_fail(SBX_FS_TOO_LARGE, "the directory is too large");
}

void fs_list_read(struct fs_list *list, int fd)
{
    static char entries[64 * 1024];
    ssize_t got;
    *list = (struct fs_list){.count = 0};
    while ((got = getdents64(fd, entries, sizeof(entries))) > 0) {
        for (ssize_t off = 0; off < got;) {
            const struct dirent64 *entry = (const struct dirent64 *)(entries + off);
            off += entry->d_reclen;
            if (!is_dot(entry->d_name))
                add(list, entry->d_name, entry->d_type);
        }
    }
    if (list->count == 0)
        return;
    sorting = list->text.bytes;
    qsort(list->entries, list->count, sizeof(list->entries[0]), by_name);
}

void fs_list_done(struct fs_list *list)
{
    free(list->entries);
    free(list->text.bytes);
    *list = (struct fs_list){.count = 0};
}

const char *fs_list_name(const struct fs_list *list, size_t i)
{
    return list->text.bytes + list->entries[i].name;
}

unsigned char fs_entry_type(const struct fs_list *list, size_t i, int dir)
{
    struct stat st;
    if (list->entries[i].type != DT_UNKNOWN)
        return list->entries[i].type;
    if (fstatat(dir, fs_list_name(list, i), &st, AT_SYMLINK_NOFOLLOW) < 0)
        return DT_UNKNOWN;
    return (unsigned char)IFTODT(st.st_mode);
}

static bool is_pruned(const struct fs_walk *walk, const char *name)
{
    for (char *const *pattern = walk->prune; *pattern; pattern++)
        if (fs_match_entry(*pattern, walk->path, name))
            return true;
    return false;
}

static bool below(struct fs_walk *walk, int fd, size_t len, unsigned depth);

static bool enter(struct fs_walk *walk, int dir, const char *name, size_t len, unsigned depth)
{
    if (depth == MAX_DEPTH)
        return true;
    int fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        return true;
    bool go_on = below(walk, fd, len, depth + 1);
    close(fd);
    return go_on;
}

/* What fd holds, whose path has len bytes. */
static bool below(struct fs_walk *walk, int fd, size_t len, unsigned depth)
{
    struct fs_list list;
    bool go_on = true;
    fs_list_read(&list, fd);
    if (len > 0)
        walk->path[len++] = '/';
    for (size_t i = 0; go_on && i < list.count; i++) {
        const char *name = fs_list_name(&list, i);
        size_t n = strlen(name);
        if (n + 1 > sizeof(walk->path) - 1 - len)
            continue;
        memcpy(walk->path + len, name, n + 1);
        unsigned char type = fs_entry_type(&list, i, fd);
        if (type == DT_DIR && is_pruned(walk, name))
            continue;
        go_on = walk->visit(walk, fd, name, walk->path, type);
        if (go_on && type == DT_DIR)
            go_on = enter(walk, fd, name, len + n, depth);
    }
    fs_list_done(&list);
    return go_on;
}

void fs_walk(struct fs_walk *walk, int fd)
{
    walk->path[0] = '\0';
    (void)below(walk, fd, 0, 0);
}
