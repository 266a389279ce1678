#include "archive/source.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "archive/xz_check.h"

#define CHUNK      (128u << 10)
#define HISTORY    SBX_XZ_HEADER_MAX
#define MAGIC_MAX  10
#define RATIO_FREE ((int64_t)64 << 20)

struct sbx_filter {
    const char *name;
    size_t magic_len;
    int code; /* libarchive's */
    uint8_t magic[MAGIC_MAX];
};

/* Long enough that no plain tar is taken for one of them: a tar begins with the name of its first member. */
static const struct sbx_filter filters[] = {
    {"gzip", 3, ARCHIVE_FILTER_GZIP, {0x1f, 0x8b, 0x08}},
    {"bzip2", 10, ARCHIVE_FILTER_BZIP2, {'B', 'Z', 'h', '0', 0x31, 0x41, 0x59, 0x26, 0x53, 0x59}},
    {"bzip2", 10, ARCHIVE_FILTER_BZIP2, {'B', 'Z', 'h', '0', 0x17, 0x72, 0x45, 0x38, 0x50, 0x90}},
    {"xz", 6, ARCHIVE_FILTER_XZ, {0xfd, '7', 'z', 'X', 'Z', 0x00}},
    {"zstd", 4, ARCHIVE_FILTER_ZSTD, {0x28, 0xb5, 0x2f, 0xfd}},
};

static const struct sbx_filter *filter_of(const uint8_t *head, size_t n)
{
    uint8_t seen[MAGIC_MAX] = {0};
    memcpy(seen, head, n < MAGIC_MAX ? n : MAGIC_MAX);
    if (memcmp(seen, "BZh", 3) == 0 && seen[3] >= '1' && seen[3] <= '9')
        seen[3] = '0'; /* the level */
    for (size_t i = 0; i < sizeof(filters) / sizeof(filters[0]); i++) {
        if (n >= filters[i].magic_len && memcmp(seen, filters[i].magic, filters[i].magic_len) == 0)
            return &filters[i];
    }
    return NULL;
}

static uint8_t *chunk_of(struct sbx_source *source)
{
    return source->memory + HISTORY;
}

/* Read once more, behind what the chunk already has. */
static int read_some(struct sbx_source *source, struct sbx_err *err)
{
    ssize_t got =
        source->read(source->arg, chunk_of(source) + source->chunk_len, CHUNK - source->chunk_len, err);
    if (got < 0)
        return -1;
    source->ended = got == 0;
    source->chunk_len += (size_t)got;
    source->packed += got;
    return 0;
}

/* Let the chunk become history and fetch the next one; its length, 0 at the end. */
static ssize_t next_chunk(struct sbx_source *source, struct sbx_err *err)
{
    if (source->chunk_fresh) {
        source->chunk_fresh = false;
        return (ssize_t)source->chunk_len;
    }
    size_t all = source->history + source->chunk_len;
    size_t keep = all < HISTORY ? all : HISTORY;
    memmove(chunk_of(source) - keep, chunk_of(source) + source->chunk_len - keep, keep);
    source->history = keep;
    source->chunk_len = 0;
    if (!source->ended && read_some(source, err) < 0)
        return -1;
    return (ssize_t)source->chunk_len;
}

static int watch_packed(struct sbx_source *source, struct sbx_err *err)
{
    const uint8_t *chunk = chunk_of(source);
    size_t n = source->chunk_len;
    if (source->filter->code == ARCHIVE_FILTER_GZIP)
        sbx_gzip_check_packed(&source->gzip, chunk, n, source->history);
    if (source->filter->code == ARCHIVE_FILTER_XZ &&
        sbx_xz_check_hungry(chunk, n, source->history, (uint64_t)source->packed - n))
        return sbx_err_set(err, SBX_ERR_INVALID, "xz data with a dictionary larger than %llu MiB",
                           (unsigned long long)(SBX_XZ_DICT_MAX >> 20));
    return 0;
}

static la_ssize_t feed_unpacker(struct archive *unpacker, void *arg, const void **block)
{
    struct sbx_source *source = arg;
    ssize_t n = next_chunk(source, &source->error);
    if (n < 0 || (n > 0 && watch_packed(source, &source->error) < 0)) {
        archive_set_error(unpacker, EIO, "the input failed");
        return -1;
    }
    *block = chunk_of(source);
    return n;
}

/* why: what libarchive says, or NULL. */
static int unpacker_failed(struct sbx_source *source, const char *why, struct sbx_err *err)
{
    if (source->error.kind != SBX_ERR_NONE) {
        *err = source->error;
        return -1;
    }
    return sbx_err_set(err, SBX_ERR_INVALID, "damaged or truncated %s data%s%s%s", source->filter->name,
                       why ? " (" : "", why ? why : "", why ? ")" : "");
}

static int open_unpacker(struct sbx_source *source, struct sbx_err *err)
{
    struct archive_entry *entry;
    source->unpacker = archive_read_new();
    if (!source->unpacker)
        return sbx_err_set(err, SBX_ERR_INTERNAL, "out of memory for unpacking");
    if (archive_read_support_format_raw(source->unpacker) != ARCHIVE_OK ||
        archive_read_append_filter(source->unpacker, source->filter->code) != ARCHIVE_OK)
        return sbx_err_set(err, SBX_ERR_INTERNAL, "this libarchive cannot unpack %s", source->filter->name);
    if (archive_read_open(source->unpacker, source, NULL, feed_unpacker, NULL) != ARCHIVE_OK ||
        archive_read_next_header(source->unpacker, &entry) != ARCHIVE_OK)
        return unpacker_failed(source, "or there is nothing in it", err);
    return 0;
}

int sbx_source_open(struct sbx_source *source, sbx_source_read *read, void *arg, double max_ratio,
                    struct sbx_err *err)
{
    *source = (struct sbx_source){.read = read,
                                  .arg = arg,
                                  .max_ratio = max_ratio,
                                  .ceiling = INT64_MAX,
                                  .ceiling_says = "",
                                  .chunk_fresh = true};
    source->memory = malloc(HISTORY + CHUNK);
    if (!source->memory)
        return sbx_err_set(err, SBX_ERR_INTERNAL, "out of memory for unpacking");
    while (source->chunk_len < MAGIC_MAX && !source->ended) {
        if (read_some(source, err) < 0)
            return -1;
    }
    if (source->chunk_len == 0)
        return sbx_err_set(err, SBX_ERR_INVALID, "the archive is empty (0 bytes)");
    source->filter = filter_of(chunk_of(source), source->chunk_len);
    return source->filter ? open_unpacker(source, err) : 0;
}

void sbx_source_done(struct sbx_source *source)
{
    archive_read_free(source->unpacker);
    free(source->memory);
    source->unpacker = NULL;
    source->memory = NULL;
}

/* libarchive has taken the input up to the end of the last trailer and may have looked a little further. */
static int check_gzip_end(struct sbx_source *source, struct sbx_err *err)
{
    int64_t end = archive_filter_bytes(source->unpacker, -1);
    int64_t have_from = source->packed - (int64_t)(source->chunk_len + source->history);
    if (end < have_from + SBX_GZIP_TRAILER || end > source->packed)
        return 0;
    const uint8_t *trailer = chunk_of(source) + source->chunk_len - (source->packed - end) - SBX_GZIP_TRAILER;
    if (!sbx_gzip_check_end(&source->gzip, trailer))
        return sbx_err_set(err, SBX_ERR_INVALID, "damaged gzip data (wrong checksum)");
    return 0;
}

/* What the filter has left behind the end of its data, as gzip and bzip2 allow. */
static int drop_rest(struct sbx_source *source, struct sbx_err *err)
{
    ssize_t n;
    do
        n = next_chunk(source, err);
    while (n > 0);
    return n < 0 ? -1 : 0;
}

static ssize_t next_unpacked(struct sbx_source *source, const void **block, struct sbx_err *err)
{
    size_t n = 0;
    la_int64_t offset;
    int got = archive_read_data_block(source->unpacker, block, &n, &offset);
    bool gzip = source->filter->code == ARCHIVE_FILTER_GZIP;
    if (got == ARCHIVE_EOF)
        return gzip && check_gzip_end(source, err) < 0 ? -1 : drop_rest(source, err);
    if (got != ARCHIVE_OK)
        return unpacker_failed(source, archive_error_string(source->unpacker), err);
    if (gzip)
        sbx_gzip_check_unpacked(&source->gzip, *block, n);
    return (ssize_t)n;
}

int sbx_source_check_ratio(const struct sbx_source *source, int64_t unpacked, struct sbx_err *err)
{
    if (unpacked <= RATIO_FREE || (double)unpacked <= source->max_ratio * (double)source->packed)
        return 0;
    return sbx_err_set(err, SBX_ERR_INVALID, "unpacks to more than %g times its size", source->max_ratio);
}

ssize_t sbx_source_next(struct sbx_source *source, const void **block, struct sbx_err *err)
{
    ssize_t n;
    if (source->unpacker) {
        n = next_unpacked(source, block, err);
    } else {
        n = next_chunk(source, err);
        *block = chunk_of(source);
    }
    if (n <= 0)
        return n;
    source->unpacked += n;
    if (source->unpacked > source->ceiling)
        return sbx_err_set(err, SBX_ERR_INVALID, "%s", source->ceiling_says);
    return sbx_source_check_ratio(source, source->unpacked, err) < 0 ? -1 : n;
}
