/*
 * dockerd's stream headers. However the bytes are cut into pieces, the same payload comes out on the same
 * streams. Input: size of the pieces, bytes.
 */
#include <string.h>

#include "fuzz.h"
#include "sandboxd/base/buf.h"
#include "sandboxd/docker.h"

/* Write down the payload as stream, byte pairs; whether all was accepted. */
static bool transcribe(const uint8_t *data, size_t n, size_t step, struct sbx_buf *out)
{
    struct sbx_err err = SBX_ERR_INIT;
    struct sbx_stdcopy demux = {.head_len = 0};
    while (n > 0) {
        size_t piece = step < n ? step : n;
        int stream = 0;
        size_t off = 0;
        size_t len = 0;
        ssize_t used = sbx_stdcopy_next(&demux, data, piece, &stream, &off, &len);
        if (used < 0)
            return false;
        FUZZ_CHECK(used > 0 && (size_t)used <= piece && demux.head_len <= sizeof(demux.head));
        FUZZ_CHECK(len == 0 || (off <= (size_t)used && len <= (size_t)used - off));
        FUZZ_CHECK(len == 0 || (stream >= 1 && stream <= 3));
        for (size_t i = 0; i < len; i++) {
            const uint8_t pair[2] = {(uint8_t)stream, data[off + i]};
            FUZZ_CHECK(sbx_buf_add(out, pair, sizeof(pair), &err) == 0);
        }
        data += used;
        n -= (size_t)used;
    }
    return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    if (n < 1 || n > 1 << 18)
        return 0;
    struct sbx_buf pieces, whole;
    sbx_buf_init(&pieces, 1 << 20);
    sbx_buf_init(&whole, 1 << 20);
    bool good = transcribe(data + 1, n - 1, (size_t)data[0] + 1, &pieces);
    FUZZ_CHECK(transcribe(data + 1, n - 1, SIZE_MAX, &whole) == good);
    FUZZ_CHECK(pieces.len == whole.len &&
               (whole.len == 0 || memcmp(pieces.data, whole.data, whole.len) == 0));
    sbx_buf_done(&pieces);
    sbx_buf_done(&whole);
    return 0;
}
