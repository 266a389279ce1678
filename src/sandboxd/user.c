/* The user that workers and janitor run as, where the master is root. */
#include "sandboxd/user.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "sandboxd/base/confine.h"
#include "sandboxd/process.h"

#define UNIX_PREFIX "unix://"
#define DEPTH_MAX   4

static int give_directory(int dir, uid_t uid, gid_t gid, int depth);

/* Names are resolved without following links: the directory may be the user's already. */
static int give(int dir, const char *name, uid_t uid, gid_t gid, int depth)
{
    struct stat st;
    SBX_AUTO_CLOSE int fd = openat(dir, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) < 0)
        return errno == ENOENT ? 0 : -1;
    bool directory = S_ISDIR(st.st_mode);
    if (!directory && (!S_ISREG(st.st_mode) || st.st_nlink > 1))
        return 0;
    if (st.st_uid != uid && fchownat(fd, "", uid, gid, AT_EMPTY_PATH) < 0)
        return -1;
    if (!directory || depth == 0)
        return 0;
    SBX_AUTO_CLOSE int inside = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    return inside < 0 ? -1 : give_directory(inside, uid, gid, depth - 1);
}

static int give_directory(int dir, uid_t uid, gid_t gid, int depth)
{
    int copy = dup(dir);
    DIR *entries = copy < 0 ? NULL : fdopendir(copy);
    const struct dirent *entry;
    int rc = entries ? 0 : -1;
    while (rc == 0 && (entry = readdir(entries))) {
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            rc = give(dir, entry->d_name, uid, gid, depth);
    }
    if (entries)
        closedir(entries);
    return rc;
}

/* A user that is not root reaches dockerd through the group of its socket. */
static int docker_group(const struct sbx_config *config, unsigned *ret, struct sbx_err *err)
{
    const char *path = config->docker_host;
    struct stat st;
    if (strncmp(path, UNIX_PREFIX, strlen(UNIX_PREFIX)) != 0)
        return 0;
    path += strlen(UNIX_PREFIX);
    if (stat(path, &st) < 0) /* dockerd may come later */
        return 0;
    if ((st.st_mode & 0060) != 0060)
        return sbx_err_set(err, SBX_ERR_INVALID,
                           "DAIV_SANDBOX_USER=%s: the group of %s may not use it; start dockerd with --group",
                           config->user, path);
    *ret = st.st_gid;
    return 1;
}

int sbx_user_prepare(const struct sbx_config *config, struct sbx_err *err)
{
    char path[512];
    unsigned group;
    if (geteuid() != 0)
        return 0;
    sbx_home_path(config, "state", path, sizeof(path));
    /* It may be another user's from before, and then closed to a root without capabilities. */
    if (!config->user) {
        (void)!give(AT_FDCWD, path, 0, 0, DEPTH_MAX);
        return 0;
    }
    const struct passwd *user = getpwnam(config->user);
    if (!user)
        return sbx_err_set(err, SBX_ERR_INVALID, "DAIV_SANDBOX_USER=%s: there is no such user", config->user);
    if (docker_group(config, &group, err) < 0)
        return -1;
    if (give(AT_FDCWD, path, user->pw_uid, user->pw_gid, DEPTH_MAX) < 0)
        return sbx_err_sys(err, SBX_ERR_INTERNAL, errno, "cannot give %s to %s", path, config->user);
    return 0;
}

int sbx_user_become(const struct sbx_config *config, struct sbx_err *err)
{
    unsigned group = 0;
    if (!config->user || geteuid() != 0)
        return 0;
    int n = docker_group(config, &group, err);
    return n < 0 ? -1 : sbx_become(config->user, &group, (size_t)n, err);
}
