/* A command's stdin: what the worker sends is held until the pipe takes it, and credited then. */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#include "agent/agent.h"

#define CREDIT_STEP (64 * 1024) /* so much is consumed before the worker hears of it, unless all is */

static void send_credit(struct exec *exec)
{
    if (exec->hold) { /* each INPUT has its own answer */
        exec->in_credit = 0;
        return;
    }
    if (exec->in_credit == 0 || (exec->in_credit < CREDIT_STEP && exec->ring.len > 0))
        return;
    uint32_t n = (uint32_t)exec->in_credit;
    uint8_t payload[4] = {(uint8_t)n, (uint8_t)(n >> 8), (uint8_t)(n >> 16), (uint8_t)(n >> 24)};
    exec->in_credit = 0;
    conn_send(SBX_FRAME_CREDIT, exec->stream, payload, sizeof(payload));
}

/* Nobody reads it (any more); what still comes is credited and dropped. */
void input_close(struct exec *exec)
{
    if (exec->in >= 0)
        close(exec->in);
    exec->in = -1;
    exec->in_credit += exec->ring.len;
    if (exec->ring.bytes)
        munmap(exec->ring.bytes, SBX_WIRE_WINDOW);
    exec->ring = (struct ring){.bytes = NULL};
}

static int ring_parts(const struct ring *ring, struct iovec iov[2])
{
    size_t first = SBX_WIRE_WINDOW - ring->head < ring->len ? SBX_WIRE_WINDOW - ring->head : ring->len;
    iov[0] = (struct iovec){ring->bytes + ring->head, first};
    iov[1] = (struct iovec){ring->bytes, ring->len - first};
    return ring->len > first ? 2 : 1;
}

void input_write(struct exec *exec)
{
    struct ring *ring = &exec->ring;
    struct iovec iov[2];

    while (exec->in >= 0 && ring->len > 0) {
        ssize_t n = writev(exec->in, iov, ring_parts(ring, iov));
        if (n < 0 && errno == EAGAIN)
            break;
        if (n < 0) {
            input_close(exec);
            break;
        }
        ring->head = (ring->head + (size_t)n) % SBX_WIRE_WINDOW;
        ring->len -= (size_t)n;
        exec->in_credit += (size_t)n;
    }
    if (exec->in_eof && ring->len == 0)
        input_close(exec);
    send_credit(exec);
}

static bool ring_add(struct ring *ring, const uint8_t *data, size_t n)
{
    if (!ring->bytes) {
        void *at = mmap(NULL, SBX_WIRE_WINDOW, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (at == MAP_FAILED)
            return false;
        ring->bytes = at;
    }
    if (n > SBX_WIRE_WINDOW - ring->len)
        return false;
    size_t tail = (ring->head + ring->len) % SBX_WIRE_WINDOW;
    size_t first = SBX_WIRE_WINDOW - tail < n ? SBX_WIRE_WINDOW - tail : n;
    memcpy(ring->bytes + tail, data, first);
    memcpy(ring->bytes, data + first, n - first);
    ring->len += n;
    return true;
}

void input_add(struct exec *exec, const uint8_t *data, size_t n, int64_t now)
{
    if (exec->in < 0 || exec->in_eof) {
        exec->in_credit += n;
        send_credit(exec);
        return;
    }
    /* beyond the window, or no memory: rather no command than one that reads something else than was sent */
    if (!ring_add(&exec->ring, data, n))
        exec_end(exec, SBX_EXIT_CANCELLED, now);
    input_write(exec);
}

/* A terminal has no end: a program reads one where this character stands at the start of a line. */
void input_eof(struct exec *exec)
{
    static const uint8_t end_of_transmission = 4;
    if (exec->tty)
        (void)ring_add(&exec->ring, &end_of_transmission, 1);
    else
        exec->in_eof = true;
    input_write(exec);
}

size_t input_room(const struct exec *exec)
{
    return exec->in >= 0 && !exec->in_eof ? SBX_WIRE_WINDOW - exec->ring.len : 0;
}
