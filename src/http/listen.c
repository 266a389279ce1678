#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "sandboxd/base/util.h"
#include "sandboxd/http.h"

static int make_address(struct sockaddr_un *address, const char *path, struct sbx_err *err)
{
    *address = (struct sockaddr_un){.sun_family = AF_UNIX};
    size_t n = strlen(path);
    if (n == 0 || n >= sizeof(address->sun_path))
        return sbx_err_set(err, SBX_ERR_INVALID, "socket path %s must have 1 to %zu bytes", path,
                           sizeof(address->sun_path) - 1);
    memcpy(address->sun_path, path, n);
    return 0;
}

/* Remove a socket that nobody listens on. Something else than a socket is never removed. */
static int remove_stale(const struct sockaddr_un *address, struct sbx_err *err)
{
    const char *path = address->sun_path;
    struct stat st;
    if (lstat(path, &st) < 0) {
        if (errno == ENOENT)
            return 0;
        return sbx_err_sys(err, SBX_ERR_UNAVAILABLE, errno, "cannot look at socket %s", path);
    }
    if (!S_ISSOCK(st.st_mode))
        return sbx_err_set(err, SBX_ERR_INVALID, "%s exists and is not a socket", path);

    SBX_AUTO_CLOSE int probe = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (probe < 0)
        return sbx_err_sys(err, SBX_ERR_UNAVAILABLE, errno, "cannot make a socket");
    /* A full backlog gives EAGAIN: somebody listens there too. */
    if (connect(probe, (const struct sockaddr *)address, sizeof(*address)) == 0 || errno == EAGAIN)
        return sbx_err_set(err, SBX_ERR_UNAVAILABLE, "another process is listening on %s", path);
    if (errno != ECONNREFUSED && errno != ENOENT)
        return sbx_err_sys(err, SBX_ERR_UNAVAILABLE, errno, "cannot tell whether %s is in use", path);
    if (unlink(path) < 0 && errno != ENOENT)
        return sbx_err_sys(err, SBX_ERR_UNAVAILABLE, errno, "cannot remove stale socket %s", path);
    return 0;
}

int sbx_http_listen(const char *path, int backlog, struct sbx_err *err)
{
    struct sockaddr_un address;
    if (make_address(&address, path, err) < 0 || remove_stale(&address, err) < 0)
        return -1;
    SBX_AUTO_CLOSE int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return sbx_err_sys(err, SBX_ERR_UNAVAILABLE, errno, "cannot make a socket");
    if (bind(fd, (const struct sockaddr *)&address, sizeof(address)) < 0)
        return sbx_err_sys(err, SBX_ERR_UNAVAILABLE, errno, "cannot bind socket %s", path);
    /* Until listen() every connect is refused: the mode is right before anybody can come in. */
    if (chmod(path, 0660) < 0 || listen(fd, backlog) < 0) {
        int errnum = errno;
        unlink(path);
        return sbx_err_sys(err, SBX_ERR_UNAVAILABLE, errnum, "cannot listen on socket %s", path);
    }
    int ret = fd;
    fd = -1;
    return ret;
}
