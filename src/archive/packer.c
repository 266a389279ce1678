/* gzip and zstd of a stream, through libarchive's filters. */
#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "sandboxd/archive.h"

struct sbx_packer {
    struct archive *archive;
    int (*write)(void *arg, const void *data, size_t n, struct sbx_err *err);
    void *arg;
    struct sbx_err failure; /* of write, which libarchive cannot pass on */
};

static la_ssize_t on_write(struct archive *archive, void *arg, const void *data, size_t n)
{
    struct sbx_packer *packer = arg;
    if (packer->write(packer->arg, data, n, &packer->failure) == 0)
        return (la_ssize_t)n;
    archive_set_error(archive, EIO, "not taken");
    return -1;
}

static int failed(struct sbx_packer *packer, struct sbx_err *err)
{
    if (packer->failure.kind != SBX_ERR_NONE) {
        *err = packer->failure;
        return -1;
    }
    const char *words = archive_error_string(packer->archive);
    return sbx_err_set(err, SBX_ERR_INTERNAL, "cannot pack: %s", words ? words : "out of memory");
}

/* One entry without a frame: what goes in is what is packed. */
static int start(struct sbx_packer *packer, const char *filter, struct sbx_err *err)
{
    struct archive *archive = packer->archive;
    bool zstd = strcmp(filter, "zstd") == 0;
    if (archive_write_set_format_raw(archive) != ARCHIVE_OK ||
        (zstd ? archive_write_add_filter_zstd(archive) : archive_write_add_filter_gzip(archive)) !=
            ARCHIVE_OK ||
        archive_write_set_filter_option(archive, NULL, "compression-level", "1") != ARCHIVE_OK ||
        archive_write_set_bytes_in_last_block(archive, 1) != ARCHIVE_OK ||
        archive_write_open(archive, packer, NULL, on_write, NULL) != ARCHIVE_OK)
        return failed(packer, err);
    struct archive_entry *entry = archive_entry_new();
    if (!entry)
        return sbx_err_set(err, SBX_ERR_INTERNAL, "out of memory for packing");
    archive_entry_set_filetype(entry, AE_IFREG);
    int rc = archive_write_header(archive, entry);
    archive_entry_free(entry);
    return rc == ARCHIVE_OK ? 0 : failed(packer, err);
}

struct sbx_packer *sbx_packer_new(const char *filter,
                                  int (*write)(void *, const void *, size_t, struct sbx_err *), void *arg,
                                  struct sbx_err *err)
{
    struct sbx_packer *packer = calloc(1, sizeof(*packer));
    if (!packer || !(packer->archive = archive_write_new())) {
        free(packer);
        sbx_err_set(err, SBX_ERR_INTERNAL, "out of memory for packing");
        return NULL;
    }
    packer->write = write;
    packer->arg = arg;
    if (start(packer, filter, err) == 0)
        return packer;
    sbx_packer_free(packer);
    return NULL;
}

int sbx_packer_add(struct sbx_packer *packer, const void *data, size_t n, struct sbx_err *err)
{
    la_ssize_t done = archive_write_data(packer->archive, data, n);
    return done == (la_ssize_t)n ? 0 : failed(packer, err);
}

int sbx_packer_end(struct sbx_packer *packer, struct sbx_err *err)
{
    return archive_write_close(packer->archive) == ARCHIVE_OK ? 0 : failed(packer, err);
}

void sbx_packer_free(struct sbx_packer *packer)
{
    if (!packer)
        return;
    archive_write_free(packer->archive);
    free(packer);
}
