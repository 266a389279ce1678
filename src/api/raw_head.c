#include "api/raw.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "sandboxd/wire.h"

/* "bytes=1-2", "bytes=1-" or "bytes=-2"; several ranges, or what is none, mean the whole file. */
static void read_range(struct sbx_raw_want *want, const char *header)
{
    if (!header || strncmp(header, "bytes=", 6) != 0)
        return;
    const char *first = header + 6;
    size_t n = strspn(first, "0123456789");
    if (first[n] != '-' || n > 18)
        return;
    const char *last = first + n + 1;
    size_t m = strspn(last, "0123456789");
    if (last[m] != '\0' || m > 18 || n + m == 0)
        return;
    snprintf(want->first, sizeof(want->first), "%.*s", (int)n, first);
    snprintf(want->last, sizeof(want->last), "%s", last);
    want->ranged = true;
}

static int read_format(struct sbx_raw_want *want, struct sbx_request *request, struct sbx_err *err)
{
    char format[16] = "";
    const char *accept = sbx_request_header(request, "accept");
    if (!sbx_request_param(request, "format", format, sizeof(format))) {
        if (accept && strstr(accept, "application/zstd"))
            want->filter = "zstd";
        else if (accept && strstr(accept, "application/gzip"))
            want->filter = "gzip";
        return 0;
    }
    if (strcmp(format, "tar.gz") == 0)
        want->filter = "gzip";
    else if (strcmp(format, "tar.zst") == 0)
        want->filter = "zstd";
    else if (strcmp(format, "tar") != 0)
        return sbx_err_set(err, SBX_ERR_INVALID, "format must be tar, tar.gz or tar.zst");
    return 0;
}

int sbx_raw_want(struct sbx_raw_want *want, struct sbx_request *request, struct sbx_err *err)
{
    *want = (struct sbx_raw_want){.head = strcmp(sbx_request_method(request), "HEAD") == 0,
                                  .none_match = sbx_request_header(request, "if-none-match"),
                                  .if_range = sbx_request_header(request, "if-range")};
    read_range(want, sbx_request_header(request, "range"));
    return read_format(want, request, err);
}

void sbx_raw_etag(const struct sbx_raw_have *have, char out[SBX_ETAG_SIZE])
{
    snprintf(out, SBX_ETAG_SIZE, "\"%" PRIx64 "-%" PRIx64 "-%" PRIx64 "\"", have->inode, have->size,
             (uint64_t)have->mtime_ns);
}

bool sbx_raw_tag_in(const char *list, const char *etag)
{
    return strcmp(list, "*") == 0 || strstr(list, etag);
}

void sbx_raw_headers(struct sbx_request *request, const struct sbx_raw_have *have)
{
    char text[SBX_ETAG_SIZE];
    struct tm tm;
    time_t seconds = (time_t)(have->mtime_ns / SBX_NS_PER_S) - (have->mtime_ns % SBX_NS_PER_S < 0);
    sbx_raw_etag(have, text);
    sbx_answer_header(request, "ETag", text);
    sbx_answer_header(request, "Accept-Ranges", "bytes");
    if (gmtime_r(&seconds, &tm) && strftime(text, sizeof(text), "%a, %d %b %Y %H:%M:%S GMT", &tm) > 0)
        sbx_answer_header(request, "Last-Modified", text);
    snprintf(text, sizeof(text), "%04" PRIo64, have->mode);
    sbx_answer_header(request, "X-File-Mode", text);
}
