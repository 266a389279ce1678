#include <errno.h>
#include <locale.h>
#include <stdlib.h>
#include <time.h>

#include "archive/members.h"

#define DEPTH_DEFAULT 100
#define RATIO_DEFAULT 1000.0
/* What libarchive may take in before it has the next member's header: long names, pax records, the map of a
 * sparse file, which it keeps in memory at about twelve times the size. */
#define HEADER_MAX ((int64_t)4 << 20)
/* Beyond the content: headers, padding, members that are skipped, what follows the end marker. */
#define OVERHEAD_FREE      ((int64_t)64 << 20)
#define OVERHEAD_PER_ENTRY ((int64_t)16 << 10)

static la_ssize_t feed(struct archive *in, void *arg, const void **block)
{
    struct sbx_sanitiser *run = arg;
    ssize_t n = sbx_source_next(&run->source, block, &run->feed_error);
    if (n < 0)
        archive_set_error(in, EIO, "the input failed");
    return n;
}

int sbx_sanitiser_broken(struct sbx_sanitiser *run, struct sbx_err *err)
{
    if (run->feed_error.kind != SBX_ERR_NONE) {
        *err = run->feed_error;
        return -1;
    }
    if (archive_format(run->in) == 0)
        return sbx_err_set(err, SBX_ERR_INVALID,
                           "not a tar archive (plain or packed with gzip, bzip2, xz or zstd)");
    const char *why = archive_error_string(run->in);
    return sbx_err_set(err, SBX_ERR_INVALID, "damaged or truncated tar archive (%s)",
                       why ? why : "no reason given");
}

static int64_t sum_capped(int64_t a, int64_t b)
{
    int64_t sum;
    return __builtin_add_overflow(a, b, &sum) ? INT64_MAX : sum;
}

/* How much more may be unpacked: all that the limits leave, and while a header is awaited not more than one
 * needs. */
static void set_ceiling(struct sbx_sanitiser *run, bool header)
{
    int64_t overhead = OVERHEAD_FREE + run->seen * OVERHEAD_PER_ENTRY;
    int64_t most = sum_capped(run->options.max_bytes, overhead);
    int64_t most_header = run->source.unpacked + HEADER_MAX;
    bool by_header = header && most_header < most;
    run->source.ceiling = by_header ? most_header : most;
    run->source.ceiling_says =
        by_header ? "the header of a member is too large" : "unpacks to far more than its members may take";
}

static int read_members(struct sbx_sanitiser *run, struct sbx_err *err)
{
    struct archive_entry *entry;
    for (;;) {
        set_ceiling(run, true);
        int got = archive_read_next_header(run->in, &entry);
        if (got == ARCHIVE_EOF)
            return 0;
        /* a warning is about something that is dropped anyway, or a name that is no UTF-8 */
        if (got != ARCHIVE_OK && got != ARCHIVE_WARN)
            return sbx_sanitiser_broken(run, err);
        set_ceiling(run, false);
        if (sbx_sanitiser_member(run, entry, err) < 0)
            return -1;
        if (archive_read_data_skip(run->in) < ARCHIVE_WARN)
            return sbx_sanitiser_broken(run, err);
    }
}

/* What follows the end marker is of no interest, but it has to be there, whole: a packed stream keeps its
 * checksum at the end. */
static int read_rest(struct sbx_sanitiser *run, struct sbx_err *err)
{
    const void *block;
    ssize_t n;
    set_ceiling(run, false);
    do
        n = sbx_source_next(&run->source, &block, err);
    while (n > 0);
    return n < 0 ? -1 : 0;
}

static int sanitise(struct sbx_sanitiser *run, sbx_source_read *read, void *arg, int out_fd,
                    struct sbx_err *err)
{
    if (sbx_tree_init(&run->tree, err) < 0 ||
        sbx_tar_writer_open(&run->out, out_fd, run->options.uid, run->options.gid, err) < 0 ||
        sbx_source_open(&run->source, read, arg, run->options.max_ratio, err) < 0)
        return -1;
    set_ceiling(run, true);
    run->in = archive_read_new();
    if (!run->in || archive_read_support_format_tar(run->in) != ARCHIVE_OK)
        return sbx_err_set(err, SBX_ERR_INTERNAL, "out of memory for reading an archive");
    if (archive_read_open(run->in, run, NULL, feed, NULL) != ARCHIVE_OK)
        return sbx_sanitiser_broken(run, err);
    if (read_members(run, err) < 0 || read_rest(run, err) < 0 || sbx_sanitiser_finish(run, err) < 0)
        return -1;
    return sbx_tar_writer_finish(&run->out, err);
}

static struct sbx_sanitiser *sanitiser_new(const struct sbx_archive_options *options)
{
    struct sbx_sanitiser *run = calloc(1, sizeof(*run));
    if (!run)
        return NULL;
    run->options = *options;
    if (run->options.max_depth <= 0)
        run->options.max_depth = DEPTH_DEFAULT;
    if (run->options.max_ratio <= 0)
        run->options.max_ratio = RATIO_DEFAULT;
    run->now = time(NULL);
    return run;
}

static void sanitiser_free(struct sbx_sanitiser *run)
{
    archive_read_free(run->in);
    sbx_source_done(&run->source);
    sbx_tar_writer_done(&run->out);
    sbx_tree_done(&run->tree);
    free(run);
}

/*
 * libarchive takes the names of pax headers for UTF-8 and converts them to the locale's encoding. With an
 * UTF-8 locale that means Unicode normalisation: "e" + U+0301 comes back as U+00E9, another file name. Where
 * the conversion is impossible it gives the bytes as they are, so all of this runs in the C locale, whatever
 * the process has chosen.
 */
int sbx_archive_sanitise(ssize_t (*read)(void *arg, void *buf, size_t n, struct sbx_err *err), void *arg,
                         int out_fd, const struct sbx_archive_options *options,
                         struct sbx_archive_stats *ret_stats, struct sbx_err *err)
{
    struct sbx_err ignored = SBX_ERR_INIT;
    struct sbx_sanitiser *run = sanitiser_new(options);
    locale_t c_locale = newlocale(LC_CTYPE_MASK, "C", (locale_t)0);
    int ret = -1;
    if (!err)
        err = &ignored;
    if (run && c_locale) {
        locale_t before = uselocale(c_locale);
        ret = sanitise(run, read, arg, out_fd, err);
        uselocale(before);
    } else {
        sbx_err_set(err, SBX_ERR_INTERNAL, "out of memory for an archive");
    }
    if (ret == 0) {
        *ret_stats = run->stats;
        ret_stats->out_bytes = run->out.bytes;
    }
    if (c_locale)
        freelocale(c_locale);
    if (run)
        sanitiser_free(run);
    return ret;
}
