/* A command's output: from its pipe straight into OUTPUT frames, as far as the worker's credit and the queue
 * go. */
#include <errno.h>
#include <sys/ioctl.h>
#include <sys/uio.h>
#include <unistd.h>

#include "agent/agent.h"

#define CHUNK (SBX_PAYLOAD_MAX - 1) /* a frame's payload but for the channel */
#define BATCH 16
uint32_t output_drain_ms = 25;

static uint8_t scratch[64 * 1024];

static int lingering[MAX_LINGERING];
static size_t lingering_watch[MAX_LINGERING];
static size_t n_lingering;

bool output_wanted(const struct exec *exec, int channel)
{
    if (exec->out[channel] < 0)
        return false;
    if (exec->hold)
        return hold_wants(exec->hold, channel);
    return !exec->attached || (exec->credit > 1 && queue_output_frames() > 0);
}

static void close_channel(struct exec *exec, int channel)
{
    close(exec->out[channel]);
    exec->out[channel] = -1;
    exec->owed[channel] = 0;
}

static void count(struct exec *exec, int channel, size_t n)
{
    exec->owed[channel] -= n < exec->owed[channel] ? n : exec->owed[channel];
}

/* Into its hold, or nobody waits for it: keep the writer going. */
static void discard(struct exec *exec, int channel)
{
    ssize_t n = exec->hold ? hold_read(exec->hold, channel, exec->out[channel])
                           : read(exec->out[channel], scratch, sizeof(scratch));
    if (n > 0)
        count(exec, channel, (size_t)n);
    else if (n == 0 || errno != EAGAIN)
        close_channel(exec, channel);
}

/* One readv into the payloads of up to BATCH frames; the headers follow. */
void output_read(struct exec *exec, int channel)
{
    struct iovec iov[BATCH];
    int64_t credit = exec->credit;
    size_t frames = queue_output_frames();
    int parts = 0;

    if (!output_wanted(exec, channel))
        return;
    if (!exec->attached) {
        discard(exec, channel);
        return;
    }
    uint8_t *at = queue_reserve();
    for (; parts < (int)frames && credit > 1; parts++) {
        size_t n = credit - 1 < CHUNK ? (size_t)(credit - 1) : CHUNK;
        iov[parts] = (struct iovec){at + (size_t)parts * SBX_FRAME_MAX + SBX_FRAME_HEADER + 1, n};
        credit -= (int64_t)n + 1;
    }
    ssize_t got = readv(exec->out[channel], iov, parts);
    if (got <= 0) {
        if (got == 0 || errno != EAGAIN)
            close_channel(exec, channel);
        return;
    }
    count(exec, channel, (size_t)got);
    size_t size = 0;
    for (size_t left = (size_t)got; left > 0;) {
        size_t n = left < CHUNK ? left : CHUNK;
        at[size + SBX_FRAME_HEADER] = (uint8_t)(channel + 1);
        exec->credit -= (int64_t)n + 1;
        size += sbx_frame_encode(at + size, conn_key(), SBX_FRAME_OUTPUT, 0, exec->stream,
                                 at + size + SBX_FRAME_HEADER, n + 1);
        left -= n;
    }
    queue_commit(size);
}

/* What stands in the pipes at the leader's end is owed, however long the worker takes for it. More may come
 * from processes that outlive it a little (`> >(tee log)`); a process that goes on writing for good is not
 * waited for. */
void output_settle(struct exec *exec, int64_t now)
{
    exec->settling = true;
    exec->settled = now + output_drain_ms * MS;
    for (int channel = 0; channel < 2; channel++) {
        int n = 0;
        if (exec->out[channel] >= 0 && ioctl(exec->out[channel], FIONREAD, &n) == 0 && n > 0)
            exec->owed[channel] = (size_t)n;
    }
}

bool output_settled(const struct exec *exec, int64_t now)
{
    bool closed = exec->out[0] < 0 && exec->out[1] < 0;
    return closed || (exec->owed[0] == 0 && exec->owed[1] == 0 && now >= exec->settled);
}

/* The oldest gives way. */
void linger_add(int fd)
{
    if (n_lingering == MAX_LINGERING) {
        close(lingering[0]);
        n_lingering--;
        for (size_t i = 0; i < n_lingering; i++) {
            lingering[i] = lingering[i + 1];
            lingering_watch[i] = lingering_watch[i + 1];
        }
    }
    lingering_watch[n_lingering] = 0;
    lingering[n_lingering++] = fd;
}

void linger_watch(struct watch *watch)
{
    for (size_t i = 0; i < n_lingering; i++)
        lingering_watch[i] = watch_add(watch, lingering[i], POLLIN);
}

void linger_step(const struct watch *watch)
{
    size_t kept = 0;
    for (size_t i = 0; i < n_lingering; i++) {
        bool ready = lingering_watch[i] != 0 && watch_ready(watch, lingering_watch[i]);
        ssize_t n = ready ? read(lingering[i], scratch, sizeof(scratch)) : 1;
        if (n == 0 || (n < 0 && errno != EAGAIN)) {
            close(lingering[i]);
            continue;
        }
        lingering_watch[kept] = lingering_watch[i];
        lingering[kept++] = lingering[i];
    }
    n_lingering = kept;
}
