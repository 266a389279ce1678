/* What the agent does for a command's process itself instead of executing a program: images may have none. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/agent.h"
#include "agent/fs.h"

#define MAX_DEPTH 4096

static void complain(const char *what, const char *name)
{
    char line[512];
    text_join(line, sizeof(line), what, " '", name, "': ", text_errno(errno), "\n", NULL);
    (void)!write(STDERR_FILENO, line, strlen(line));
}

static bool is_dot(const char *name)
{
    return name[0] == '.' && (name[1] == '\0' || (name[1] == '.' && name[2] == '\0'));
}

static unsigned empty(int fd, unsigned depth)
{
    unsigned left = 0;
    /* a user may have taken the right to change it from himself */
    (void)!fchmod(fd, 0700);
    DIR *dir = fdopendir(fd);
    if (!dir) {
        close(fd);
        return 1;
    }
    struct dirent *entry;
    while ((entry = readdir(dir))) {
        if (is_dot(entry->d_name) || unlinkat(dirfd(dir), entry->d_name, 0) == 0)
            continue;
        if (errno == EISDIR && depth < MAX_DEPTH) {
            (void)!fchmodat(dirfd(dir), entry->d_name, 0700, 0);
            int sub = openat(dirfd(dir), entry->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
            left += sub < 0 ? 1 : empty(sub, depth + 1);
            if (unlinkat(dirfd(dir), entry->d_name, AT_REMOVEDIR) == 0)
                continue;
        }
        if (errno != ENOENT) {
            complain("cannot remove", entry->d_name);
            left++;
        }
    }
    closedir(dir);
    return left;
}

unsigned builtin_empty(int fd)
{
    return empty(fd, 0);
}

/* clear DIR…: leave the directories empty. */
static int clear(char **dirs)
{
    unsigned left = 0;
    for (; *dirs; dirs++) {
        int fd = open(*dirs, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0) {
            complain("cannot open", *dirs);
            left++;
        } else {
            left += builtin_empty(fd);
        }
    }
    return left > 0;
}

bool builtin_known(const char *name)
{
    return strcmp(name, "clear") == 0 || strcmp(name, "fs") == 0;
}

/* A program would have lost these by its exec. */
static void close_descriptors(void)
{
    if (close_range(STDERR_FILENO + 1, ~0u, 0) == 0)
        return;
    for (int fd = STDERR_FILENO + 1; fd < MAX_WATCHED * 2; fd++)
        close(fd);
}

int builtin_run(const char *name, char **argv)
{
    close_descriptors();
    if (strcmp(name, "fs") == 0)
        fs_run(argv);
    return strcmp(name, "clear") == 0 ? clear(argv) : 127;
}
