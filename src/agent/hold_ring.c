#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>

#include "agent/hold.h"

#define SEGMENTS 4096
#define READ_MAX ((size_t)64 * 1024)

/* One mapping, whose pages cost nothing before they are written. */
static size_t mapping_size(size_t size)
{
    return size + SEGMENTS * sizeof(struct hold_segment);
}

bool hold_ring_init(struct hold_ring *ring, uint64_t size)
{
    size = size < SBX_HELD_BUFFER_MIN ? SBX_HELD_BUFFER_MIN : size;
    size = size > SBX_HELD_BUFFER_MAX ? SBX_HELD_BUFFER_MAX : size;
    size &= ~(uint64_t)4095;
    void *at = mmap(NULL, mapping_size(size), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED)
        return false;
    *ring = (struct hold_ring){.bytes = at, .size = size};
    ring->segments = (struct hold_segment *)(void *)(ring->bytes + size);
    return true;
}

void hold_ring_done(struct hold_ring *ring)
{
    if (ring->bytes)
        munmap(ring->bytes, mapping_size(ring->size));
    ring->bytes = NULL;
}

static struct hold_segment *segment(const struct hold_ring *ring, size_t i)
{
    return &ring->segments[(ring->at + i) % SEGMENTS];
}

static bool begins_segment(const struct hold_ring *ring, int channel)
{
    return ring->count == 0 || segment(ring, ring->count - 1)->channel != channel;
}

size_t hold_ring_room(const struct hold_ring *ring, int channel, uint64_t keep)
{
    if (keep < ring->first)
        keep = ring->first;
    if (begins_segment(ring, channel) && ring->count == SEGMENTS && segment(ring, 1)->start > keep)
        return 0;
    size_t room = ring->size - (size_t)(ring->end - keep);
    return room < READ_MAX ? room : READ_MAX;
}

static void drop_oldest(struct hold_ring *ring)
{
    ring->at = (ring->at + 1) % SEGMENTS;
    ring->count--;
    if (ring->first < segment(ring, 0)->start)
        ring->first = segment(ring, 0)->start;
}

static void add(struct hold_ring *ring, int channel, size_t n)
{
    if (begins_segment(ring, channel)) {
        if (ring->count == SEGMENTS)
            drop_oldest(ring);
        *segment(ring, ring->count++) = (struct hold_segment){ring->end, channel};
    }
    ring->end += n;
    if (ring->end - ring->first > ring->size)
        ring->first = ring->end - ring->size;
    while (ring->count > 1 && segment(ring, 1)->start <= ring->first)
        drop_oldest(ring);
}

ssize_t hold_ring_read(struct hold_ring *ring, int channel, int fd, size_t max)
{
    size_t at = (size_t)(ring->end % ring->size);
    size_t head = ring->size - at < max ? ring->size - at : max;
    struct iovec iov[2] = {{ring->bytes + at, head}, {ring->bytes, max - head}};
    ssize_t n = readv(fd, iov, max > head ? 2 : 1);
    if (n > 0)
        add(ring, channel, (size_t)n);
    return n;
}

/* The segment that a number stands in. */
static size_t search(const struct hold_ring *ring, uint64_t number)
{
    size_t low = 0, high = ring->count;
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        if (segment(ring, middle)->start <= number)
            low = middle;
        else
            high = middle;
    }
    return low;
}

size_t hold_ring_copy(const struct hold_ring *ring, uint64_t from, uint8_t *out, size_t max, int *ret_channel)
{
    size_t i = search(ring, from);
    uint64_t until = i + 1 < ring->count ? segment(ring, i + 1)->start : ring->end;
    size_t n = until - from < max ? (size_t)(until - from) : max;
    size_t at = (size_t)(from % ring->size);
    size_t head = ring->size - at < n ? ring->size - at : n;

    memcpy(out, ring->bytes + at, head);
    memcpy(out + head, ring->bytes, n - head);
    *ret_channel = segment(ring, i)->channel;
    return n;
}
