/* ls, stat and glob. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "agent/agent.h"
#include "agent/fs.h"

static const char *kind_of(mode_t mode)
{
    return S_ISREG(mode) ? "file" : S_ISDIR(mode) ? "dir" : S_ISLNK(mode) ? "symlink" : "other";
}

/* A symlink counts as what it leads to. */
static void put_entry(const char *path, int dir, const char *name, unsigned char type)
{
    struct stat st;
    mode_t mode = DTTOIF(type);
    if ((type == DT_LNK || type == DT_UNKNOWN) && fstatat(dir, name, &st, 0) == 0)
        mode = st.st_mode;
    fs_put_text(SBX_TAG_PATH, path);
    fs_put_text(SBX_TAG_FS_KIND, kind_of(mode));
}

void fs_op_ls(char **argv)
{
    struct fs_list list;
    char path[PATH_MAX + NAME_MAX + 2];
    int fd = fs_open_directory(argv[1]);
    const char *base = fs_spelling(argv[1]);
    fs_list_read(&list, fd);
    for (size_t i = 0; i < list.count; i++) {
        const char *name = fs_list_name(&list, i);
        text_join(path, sizeof(path), base, "/", name, NULL);
        put_entry(path, fd, name, list.entries[i].type);
    }
}

void fs_op_stat(char **argv)
{
    struct fs_place place;
    struct stat st;
    char target[PATH_MAX];
    fs_resolve(argv[1], 0, &place);
    if (fstatat(place.dir, place.name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        fs_fail_errno(errno, argv[1]);
    fs_put_text(SBX_TAG_FS_KIND, kind_of(st.st_mode));
    fs_put_u64(SBX_TAG_SIZE, (uint64_t)st.st_size);
    fs_put_u64(SBX_TAG_MODE, st.st_mode & 07777);
    fs_put_mtime(&st);
    fs_put_u64(SBX_TAG_FS_UID, st.st_uid);
    fs_put_u64(SBX_TAG_FS_GID, st.st_gid);
    ssize_t n = S_ISLNK(st.st_mode) ? readlinkat(place.dir, place.name, target, sizeof(target)) : -1;
    if (n >= 0)
        fs_put(SBX_TAG_FS_TARGET, target, (size_t)n);
}

struct glob {
    const char *pattern;
    const char *base;
};

static bool visit(struct fs_walk *walk, int dir, const char *name, const char *path, unsigned char type)
{
    const struct glob *glob = walk->arg;
    char whole[2 * PATH_MAX];
    if (fs_match(glob->pattern, path)) {
        text_join(whole, sizeof(whole), glob->base, "/", path, NULL);
        put_entry(whole, dir, name, type);
    }
    return true;
}

void fs_op_glob(char **argv)
{
    static struct fs_walk walk;
    struct glob glob = {.pattern = argv[1] + strspn(argv[1], "/")};
    int fd = fs_open_directory(argv[2]);
    glob.base = fs_spelling(argv[2]);
    walk = (struct fs_walk){.prune = argv + 3, .visit = visit, .arg = &glob};
    fs_walk(&walk, fd);
}
