#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "agent/agent.h"

#define CAPACITY       (512 * 1024)
#define OUTPUT_LIMIT   (160 * 1024) /* output beyond it stays in its pipe */
#define ANSWER_RESERVE (128 * 1024) /* more than the answers to one full frame reader */
#define BATCH          16           /* frames read from a pipe at a time */

static uint8_t buf[CAPACITY];
static size_t start, end; /* unsent bytes */
static size_t frame;      /* where the frame that `start` stands in begins */

bool queue_is_empty(void)
{
    return start == end;
}

bool queue_has_room(void)
{
    return CAPACITY - (end - start) >= ANSWER_RESERVE;
}

size_t queue_output_frames(void)
{
    size_t len = end - start;
    size_t frames = len < OUTPUT_LIMIT ? (OUTPUT_LIMIT - len) / SBX_FRAME_MAX : 0;
    return frames < BATCH ? frames : BATCH;
}

/* Room for a batch at the end. Half-written frames stay whole: `frame` moves to the front, not `start`. */
static void compact(size_t need)
{
    if (start == end)
        frame = start = end = 0;
    if (CAPACITY - end >= need)
        return;
    memmove(buf, buf + frame, end - frame);
    start -= frame;
    end -= frame;
    frame = 0;
}

uint8_t *queue_reserve(void)
{
    compact(BATCH * SBX_FRAME_MAX);
    return buf + end;
}

void queue_commit(size_t n)
{
    end += n;
}

void queue_send(uint64_t key, uint8_t type, uint32_t stream, const void *payload, size_t len)
{
    compact(SBX_FRAME_MAX);
    if (CAPACITY - end >= SBX_FRAME_MAX)
        end += sbx_frame_encode(buf + end, key, type, 0, stream, payload, len);
}

static size_t frame_size(const uint8_t *header)
{
    return SBX_FRAME_HEADER + ((size_t)header[8] | (size_t)header[9] << 8);
}

void queue_forget(void)
{
    end = frame == start ? start : frame + frame_size(buf + frame);
}

void queue_flush(void)
{
    while (start != end) {
        ssize_t n = write(STDOUT_FILENO, buf + start, end - start);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            return;
        if (n < 0) { /* nobody holds the other end */
            frame = start = end;
            return;
        }
        start += (size_t)n;
        while (frame < start && frame + frame_size(buf + frame) <= start)
            frame += frame_size(buf + frame);
    }
}
