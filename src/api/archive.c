/* Archives of clients on their way to a session: sanitised into unlinked files before anything is touched. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/internal.h"
#include "sandboxd/archive.h"

ssize_t sbx_body_read(void *request, void *buf, size_t n, struct sbx_err *err)
{
    return sbx_request_read(request, buf, n, err);
}

int sbx_spool_archive(struct sbx_call *call, const char *field,
                      ssize_t (*read)(void *arg, void *buf, size_t n, struct sbx_err *err), void *arg,
                      struct sbx_tar *ret, struct sbx_err *err)
{
    const struct sbx_config *config = call->engine->config;
    int fd = sbx_tmpfile(call->api->spool_dir, err);
    if (fd < 0)
        return -1;
    struct sbx_archive_options options = {
        .uid = config->run_uid,
        .gid = config->run_gid,
        .max_bytes = config->max_seed_bytes,
        .max_entries = config->max_seed_entries,
    };
    struct sbx_archive_stats stats;
    if (sbx_archive_sanitise_confined(read, arg, fd, &options, &stats, err) < 0) {
        sbx_close(&fd);
        return err->kind == SBX_ERR_INVALID ? sbx_err_wrap(err, "%s is invalid", field) : -1;
    }
    *ret = (struct sbx_tar){.fd = fd, .size = stats.out_bytes, .members = stats.entries};
    char counts[3][24];
    snprintf(counts[0], sizeof(counts[0]), "%lld", (long long)stats.entries);
    snprintf(counts[1], sizeof(counts[1]), "%lld", (long long)stats.bytes);
    snprintf(counts[2], sizeof(counts[2]), "%lld", (long long)stats.skipped);
    sbx_log(stats.skipped ? SBX_LOG_WARNING : SBX_LOG_INFO, "archive sanitised", "archive", field, "entries",
            counts[0], "bytes", counts[1], "skipped", counts[2], "first_skipped", stats.first_skipped, NULL);
    return 0;
}

/* Decode n characters (a multiple of four but for a broken text): bytes, -1. Padding is for the end only. */
static ssize_t decode(struct sbx_base64_text *text, size_t n, void *out)
{
    ssize_t got = sbx_base64_decode(text->text + text->at, n, out);
    text->at += n;
    if (got < 0 || (text->at < text->len && (size_t)got != n / 4 * 3))
        return -1;
    return got;
}

ssize_t sbx_base64_read(void *arg, void *buf, size_t n, struct sbx_err *err)
{
    struct sbx_base64_text *text = arg;
    ssize_t got = 0;
    if (text->rest_len == 0) {
        size_t left = text->len - text->at;
        size_t room = n / 3 * 4;
        if (room > 0)
            got = decode(text, left < room ? left : room, buf);
        else
            got = decode(text, left < 4 ? left : 4, text->rest);
        if (got < 0)
            return sbx_err_set(err, SBX_ERR_INVALID, "the text is not padded standard base64");
        if (room > 0)
            return got;
        text->rest_len = (size_t)got;
        text->rest_at = 0;
    }
    size_t part = n < text->rest_len ? n : text->rest_len;
    memcpy(buf, text->rest + text->rest_at, part);
    text->rest_at += part;
    text->rest_len -= part;
    return (ssize_t)part;
}

bool sbx_base64_good(const char *text, size_t len)
{
    struct sbx_base64_text check = {.text = text, .len = len};
    struct sbx_err ignored = SBX_ERR_INIT;
    char bytes[3072];
    ssize_t got;
    do
        got = sbx_base64_read(&check, bytes, sizeof(bytes), &ignored);
    while (got > 0);
    return got == 0;
}

char *sbx_base64_unwrap(const char *text, size_t len, size_t *ret_len)
{
    size_t first = strcspn(text, " \t\r\n");
    char *copy = first < len ? malloc(len + 1) : NULL;
    if (!copy)
        return NULL;
    memcpy(copy, text, first);
    size_t n = first;
    for (size_t i = first; i < len; i++) {
        if (!strchr(" \t\r\n", text[i]) || text[i] == '\0')
            copy[n++] = text[i];
    }
    copy[n] = '\0';
    *ret_len = n;
    return copy;
}

char *sbx_base64_bytes(const char *text, size_t len, size_t *ret_len)
{
    char *data = malloc(len / 4 * 3 + 1);
    ssize_t n = data ? sbx_base64_decode(text, len, data) : -1;
    if (data && n < 0) {
        SBX_AUTO_FREE char *joined = sbx_base64_unwrap(text, len, &len);
        n = joined ? sbx_base64_decode(joined, len, data) : -1;
    }
    if (n < 0) {
        free(data);
        return NULL;
    }
    *ret_len = (size_t)n;
    return data;
}
