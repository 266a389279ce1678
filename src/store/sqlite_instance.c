#include "sqlite.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* 1 and the id, 0 when there is none (or not a usable one), -1. */
static int read_instance(const char *path, char out[SBX_UUID_LEN + 1], struct sbx_err *err)
{
    if (access(path, F_OK) < 0 && errno == ENOENT)
        return 0;
    SBX_AUTO_FREE char *text = NULL;
    if (sbx_read_file(path, 256, &text, NULL, err) < 0)
        return -1;
    text[strcspn(text, "\n")] = '\0';
    if (!sbx_is_uuid(text))
        return 0;
    strlcpy(out, text, SBX_UUID_LEN + 1);
    return 1;
}

static int write_new(const char *path, struct sbx_err *err)
{
    char line[SBX_UUID_LEN + 2];
    sbx_uuid4(line);
    strlcat(line, "\n", sizeof(line));
    SBX_AUTO_CLOSE int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return sbx_err_sys(err, SBX_ERR_UNAVAILABLE, errno, "cannot make %s", path);
    return sbx_write_full(fd, line, strlen(line), err);
}

int sbx_sqlite_instance(const char *dir, char out[SBX_UUID_LEN + 1], struct sbx_err *err)
{
    char path[PATH_MAX], draft[PATH_MAX];
    snprintf(path, sizeof(path), "%s/instance", dir);
    int got = read_instance(path, out, err);
    if (got != 0)
        return got < 0 ? -1 : 0;

    /* Written aside and linked: the name appears with its content, and only the first of several makers gets
     * it. */
    snprintf(draft, sizeof(draft), "%s/instance.%ld", dir, (long)getpid());
    (void)unlink(draft);
    if (write_new(draft, err) < 0)
        return -1;
    int linked = link(draft, path);
    if (linked < 0 && errno == EEXIST && read_instance(path, out, NULL) == 0)
        linked = rename(draft, path); /* what is there is not an id */
    int errnum = linked < 0 && errno != EEXIST ? errno : 0;
    (void)unlink(draft);
    if (errnum != 0)
        return sbx_err_sys(err, SBX_ERR_UNAVAILABLE, errnum, "cannot make %s", path);
    got = read_instance(path, out, err);
    if (got == 0)
        return sbx_err_set(err, SBX_ERR_UNAVAILABLE, "%s holds no id", path);
    return got < 0 ? -1 : 0;
}
