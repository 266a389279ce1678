/*
 * Commands sent ahead of their turn, so that the agent starts each as soon as the one before it is over: the
 * way back and forth through dockerd takes a third of a short command's time.
 */
#include "session/link.h"

#include <string.h>

static int send_next(struct sbx_link *link, uint32_t stream, const struct sbx_exec_spec *next, size_t size,
                     struct sbx_err *err)
{
    struct sbx_link_ahead *ahead = &link->ahead[link->ahead_n];
    uint32_t follows = link->ahead_n ? link->ahead[link->ahead_n - 1].stream : stream;
    *ahead = (struct sbx_link_ahead){sbx_link_stream(link), next->command, size};
    link->ahead_bytes += size;
    link->ahead_n++;
    return sbx_link_put_exec(link, ahead->stream, next, follows, err);
}

int sbx_link_ahead_fill(struct sbx_link *link, uint32_t stream, const struct sbx_exec_spec *spec,
                        struct sbx_err *err)
{
    /* In batches: each write costs dockerd and the shim a copy. */
    if (!spec->ahead || spec->stdin_data || spec->stdin_spool || link->ahead_n > link->ahead_max / 2)
        return 0;
    while (link->ahead_n < link->ahead_max) {
        struct sbx_exec_spec next = *spec;
        next.command = spec->ahead->command(spec->ahead->arg, link->ahead_n + 1, &next.command_len);
        size_t size = sbx_link_exec_size(&next);
        if (!next.command || size > SBX_AHEAD_BYTES - link->ahead_bytes)
            break;
        if (send_next(link, stream, &next, size, err) < 0)
            return -1;
    }
    return 0;
}

uint32_t sbx_link_ahead_take(struct sbx_link *link, const struct sbx_exec_spec *spec)
{
    if (link->ahead_n == 0)
        return 0;
    if (!spec->ahead || link->ahead[0].command != spec->command) {
        sbx_link_ahead_drop(link);
        return 0;
    }
    uint32_t stream = link->ahead[0].stream;
    link->ahead_bytes -= link->ahead[0].size;
    link->ahead_n--;
    memmove(link->ahead, link->ahead + 1, link->ahead_n * sizeof(link->ahead[0]));
    return stream;
}

void sbx_link_ahead_over(struct sbx_link *link, const struct sbx_exec_spec *spec,
                         const struct sbx_exec_result *result)
{
    bool goes_on = result->reason != SBX_EXIT_TIMEOUT && result->reason != SBX_EXIT_CANCELLED;
    if (!goes_on || (spec->ahead && spec->ahead->if_ok && result->code != 0))
        link->ahead_n = link->ahead_bytes = 0; /* the agent skips them by itself */
}

void sbx_link_ahead_drop(struct sbx_link *link)
{
    for (size_t i = 0; i < link->ahead_n; i++)
        sbx_link_abandon(link, link->ahead[i].stream);
    link->ahead_n = link->ahead_bytes = 0;
}
