#include <archive.h>
#include <archive_entry.h>
#include <stdlib.h>
#include <string.h>

#include "sandboxd/archive.h"

#define PART ".part"
/* More than enough beside the content and the names: headers, padding, end marker. */
#define HEADERS (16u << 10)

static int add(struct archive *out, const char *name, const char *link_to, const void *data, size_t n,
               unsigned mode)
{
    struct archive_entry *entry = archive_entry_new();
    if (!entry)
        return -1;
    archive_entry_copy_pathname(entry, name);
    archive_entry_set_filetype(entry, AE_IFREG);
    archive_entry_set_perm(entry, (mode_t)mode);
    archive_entry_set_size(entry, (la_int64_t)n);
    archive_entry_set_mtime(entry, 0, 0);
    if (link_to)
        archive_entry_copy_hardlink(entry, link_to);
    int ret = archive_write_header(out, entry) == ARCHIVE_OK &&
                      (n == 0 || archive_write_data(out, data, n) == (la_ssize_t)n)
                  ? 0
                  : -1;
    archive_entry_free(entry);
    return ret;
}

/* The whole tar into `tar`, which has room for it. */
static int make(const char *name, const void *data, size_t n, unsigned mode, void *tar, size_t room,
                size_t *ret_len)
{
    char *part = malloc(strlen(name) + sizeof(PART));
    struct archive *out = archive_write_new();
    int ret = -1;
    if (part && out) {
        memcpy(stpcpy(part, name), PART, sizeof(PART));
        if (archive_write_set_format_gnutar(out) == ARCHIVE_OK &&
            archive_write_open_memory(out, tar, room, ret_len) == ARCHIVE_OK &&
            add(out, part, NULL, data, n, mode) == 0 && add(out, name, part, NULL, 0, mode) == 0)
            ret = archive_write_close(out) == ARCHIVE_OK ? 0 : -1;
    }
    archive_write_free(out);
    free(part);
    return ret;
}

int sbx_archive_one_file(const char *name, const void *data, size_t n, unsigned mode, void **ret,
                         size_t *ret_len, struct sbx_err *err)
{
    size_t room = n + HEADERS + 4 * strlen(name);
    size_t used = 0;
    void *tar = malloc(room);
    if (!tar || make(name, data, n, mode, tar, room, &used) < 0) {
        free(tar);
        return sbx_err_set(err, SBX_ERR_INTERNAL, "cannot make an archive of '%s': out of memory", name);
    }
    *ret = tar;
    *ret_len = used;
    return 0;
}
