/*
 * Decoder of the stream that dockerd multiplexes stdout and stderr into.
 */
#include <string.h>

#include "sandboxd/docker.h"

#define STREAM_STDOUT 1
#define STREAM_LAST   3 /* 3: errors of the daemon's own */

static size_t take_head(struct sbx_stdcopy *demux, const uint8_t *data, size_t n)
{
    size_t want = sizeof(demux->head) - demux->head_len;
    size_t take = n < want ? n : want;

    memcpy(demux->head + demux->head_len, data, take);
    demux->head_len += take;
    return take;
}

ssize_t sbx_stdcopy_next(struct sbx_stdcopy *demux, const uint8_t *data, size_t n, int *ret_stream,
                         size_t *ret_off, size_t *ret_len)
{
    const uint8_t *h = demux->head;
    size_t used = 0, run;

    if (demux->left == 0) {
        used = take_head(demux, data, n);
        /* Judged byte by byte: garbage is refused at once, not when eight bytes of it are there. */
        if (h[0] < STREAM_STDOUT || h[0] > STREAM_LAST)
            return -1;
        for (size_t i = 1; i < 4 && i < demux->head_len; i++)
            if (h[i] != 0)
                return -1;
        if (demux->head_len == sizeof(demux->head)) {
            demux->left = (uint32_t)h[4] << 24 | (uint32_t)h[5] << 16 | (uint32_t)h[6] << 8 | h[7];
            demux->head_len = 0;
        }
    }
    run = n - used < demux->left ? n - used : demux->left;
    *ret_stream = h[0];
    *ret_off = used;
    *ret_len = run;
    demux->left -= (uint32_t)run;
    return (ssize_t)(used + run);
}
