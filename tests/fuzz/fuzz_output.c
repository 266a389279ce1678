/*
 * What commands and git write, on its way into an answer: head and tail, text in JSON, patches in base64.
 * Input: size of the pieces, bytes kept and in memory, bytes. However they are cut into pieces, the same
 * comes out.
 */
#include <stdlib.h>
#include <string.h>

#include "api/internal.h"
#include "fuzz.h"
#include "sandboxd/base/json.h"

#define INPUT_MAX (1 << 16)

static int keep(void *arg, const char *bytes, size_t n)
{
    struct sbx_err err = SBX_ERR_INIT;
    return sbx_buf_add(arg, bytes, n, &err);
}

/* What is kept of the bytes, marker included. */
static void capture(const char *data, size_t n, size_t step, size_t memory, size_t max, struct sbx_buf *out)
{
    struct sbx_err err = SBX_ERR_INIT;
    struct sbx_capture capture;
    sbx_capture_init(&capture, "/tmp", memory, max);
    for (size_t at = 0; at < n; at += step)
        FUZZ_CHECK(sbx_capture_add(&capture, data + at, n - at < step ? n - at : step, &err) == 0);
    uint64_t dropped = sbx_capture_dropped(&capture);
    FUZZ_CHECK(capture.total == n && dropped == (n > max ? n - max : 0));
    FUZZ_CHECK(sbx_capture_emit(&capture, keep, out, &err) == 0);
    size_t head = n > max ? max - max / 2 : n;
    size_t tail = n > max ? max / 2 : 0;
    FUZZ_CHECK(out->len >= head + tail && (dropped > 0 || out->len == n));
    FUZZ_CHECK(sbx_capture_last(&capture) == (tail > 0 ? data[n - 1] : head > 0 ? data[head - 1] : '\0'));
    FUZZ_CHECK(head == 0 || memcmp(out->data, data, head) == 0);
    FUZZ_CHECK(tail == 0 || memcmp(out->data + out->len - tail, data + n - tail, tail) == 0);
    sbx_capture_done(&capture);
}

/* The bytes as a JSON string. */
static void escape(const char *data, size_t n, size_t step, struct sbx_spool *spool)
{
    struct sbx_err err = SBX_ERR_INIT;
    struct sbx_text text = {.spool = spool, .err = &err};
    FUZZ_CHECK(sbx_put(spool, "\"", &err) == 0);
    for (size_t at = 0; at < n; at += step)
        FUZZ_CHECK(sbx_text_add(&text, data + at, n - at < step ? n - at : step) == 0);
    FUZZ_CHECK(sbx_text_end(&text) == 0 && sbx_put(spool, "\"", &err) == 0);
    FUZZ_CHECK(sbx_text_unfinished(data, n) <= 3 && sbx_text_unfinished(data, n) <= n);
}

static void check_text(const char *data, size_t n, size_t step)
{
    struct sbx_err err = SBX_ERR_INIT;
    struct sbx_spool pieces, whole;
    bool ok = false;
    sbx_spool_init(&pieces, "/tmp", 16 * INPUT_MAX, 16 * INPUT_MAX);
    sbx_spool_init(&whole, "/tmp", 16 * INPUT_MAX, 16 * INPUT_MAX);
    escape(data, n, step, &pieces);
    escape(data, n, SIZE_MAX / 2, &whole);
    const char *one = pieces.mem.data; /* all of it: it fits */
    size_t len = (size_t)sbx_spool_len(&pieces);
    FUZZ_CHECK(sbx_spool_len(&whole) == (int64_t)len && memcmp(one, whole.mem.data, len) == 0);
    FUZZ_CHECK(sbx_utf8_valid(one, len) == len);
    struct json_object *value = sbx_json_parse(one, len, &ok, &err);
    FUZZ_CHECK(ok || memchr(data, '\0', n)); /* the reader refuses what clients may not send */
    if (ok && sbx_utf8_valid(data, n) == n)
        FUZZ_CHECK((size_t)json_object_get_string_len(value) == n &&
                   memcmp(json_object_get_string(value), data, n) == 0);
    json_object_put(value);
    sbx_spool_done(&pieces);
    sbx_spool_done(&whole);
}

static void check_base64(const char *data, size_t n)
{
    static char text[INPUT_MAX * 4 / 3 + 8];
    static char back[INPUT_MAX + 8];
    size_t len = sbx_base64_encode(data, n, text);
    FUZZ_CHECK(len == (n + 2) / 3 * 4 && strlen(text) == len);
    FUZZ_CHECK(sbx_base64_decode(text, len, back) == (ssize_t)n && memcmp(back, data, n) == 0);
    ssize_t got = sbx_base64_decode(data, n, back); /* and of what is none */
    if (got >= 0) {
        FUZZ_CHECK(sbx_base64_encode(back, (size_t)got, text) == n && memcmp(text, data, n) == 0);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    if (n < 3 || n - 3 > INPUT_MAX)
        return 0;
    size_t step = (size_t)data[0] + 1;
    size_t max = (size_t)data[1] << (data[2] % 9);
    size_t memory = (size_t)64 << (data[2] / 9 % 12);
    const char *bytes = (const char *)data + 3;
    n -= 3;
    struct sbx_buf pieces, whole;
    sbx_buf_init(&pieces, 2 * INPUT_MAX);
    sbx_buf_init(&whole, 2 * INPUT_MAX);
    capture(bytes, n, step, memory, max, &pieces);
    capture(bytes, n, SIZE_MAX / 2, 2 * INPUT_MAX, max, &whole);
    FUZZ_CHECK(pieces.len == whole.len &&
               (pieces.len == 0 || memcmp(pieces.data, whole.data, whole.len) == 0));
    sbx_buf_done(&pieces);
    sbx_buf_done(&whole);
    check_text(bytes, n, step);
    check_base64(bytes, n);
    return 0;
}
