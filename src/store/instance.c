/* <dir>/instance: the id of this deployment, in a file of its own to outlive a store that was lost. */
#include "internal.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int sbx_instance_find(const char *dir, char out[SBX_UUID_LEN + 1], struct sbx_err *err)
{
    char path[PATH_MAX];
    snprintf(path, sizeof(path), "%s/instance", dir);
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

static int write_new(const char *path, const char *id, struct sbx_err *err)
{
    char line[SBX_UUID_LEN + 2];
    snprintf(line, sizeof(line), "%s\n", id);
    (void)unlink(path);
    SBX_AUTO_CLOSE int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return sbx_err_sys(err, SBX_ERR_UNAVAILABLE, errno, "cannot make %s", path);
    return sbx_write_full(fd, line, strlen(line), err);
}

/* Written aside: the name appears with its content. */
static int write_draft(const char *dir, const char *id, char draft[PATH_MAX], struct sbx_err *err)
{
    snprintf(draft, PATH_MAX, "%s/instance.%ld", dir, (long)getpid());
    return write_new(draft, id, err);
}

int sbx_instance_make(const char *dir, char out[SBX_UUID_LEN + 1], struct sbx_err *err)
{
    char path[PATH_MAX], draft[PATH_MAX], id[SBX_UUID_LEN + 1];
    snprintf(path, sizeof(path), "%s/instance", dir);
    int got = sbx_instance_find(dir, out, err);
    if (got != 0)
        return got < 0 ? -1 : 0;
    sbx_uuid4(id);
    if (write_draft(dir, id, draft, err) < 0)
        return -1;
    int linked = link(draft, path); /* only the first of several makers gets the name */
    if (linked < 0 && errno == EEXIST && sbx_instance_find(dir, out, NULL) == 0)
        linked = rename(draft, path); /* what is there is not an id */
    int errnum = linked < 0 && errno != EEXIST ? errno : 0;
    (void)unlink(draft);
    if (errnum != 0)
        return sbx_err_sys(err, SBX_ERR_UNAVAILABLE, errnum, "cannot make %s", path);
    got = sbx_instance_find(dir, out, err);
    if (got == 0)
        return sbx_err_set(err, SBX_ERR_UNAVAILABLE, "%s holds no id", path);
    return got < 0 ? -1 : 0;
}

int sbx_instance_keep(const char *dir, const char *id, struct sbx_err *err)
{
    char path[PATH_MAX], draft[PATH_MAX], kept[SBX_UUID_LEN + 1];
    if (sbx_instance_find(dir, kept, NULL) == 1 && strcmp(kept, id) == 0)
        return 0;
    snprintf(path, sizeof(path), "%s/instance", dir);
    if (write_draft(dir, id, draft, err) < 0)
        return -1;
    if (rename(draft, path) == 0)
        return 0;
    sbx_err_sys(err, SBX_ERR_UNAVAILABLE, errno, "cannot make %s", path);
    (void)unlink(draft);
    return -1;
}
