#include "report/item.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

/* Room for what is reported while the courier is at a post or the janitor at a sweep. */
#define QUEUE_BYTES (2 * 1024 * 1024)

int sbx_report_queue_open(struct sbx_report_queue *queue, struct sbx_err *err)
{
    int pair[2];
    /* Not a datagram socket: that holds net.unix.max_dgram_qlen messages, ten by default. */
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0)
        return sbx_err_sys(err, SBX_ERR_INTERNAL, errno, "cannot make the queue of reports");
    int bytes = QUEUE_BYTES;
    if (setsockopt(pair[0], SOL_SOCKET, SO_SNDBUFFORCE, &bytes, sizeof(bytes)) < 0)
        (void)setsockopt(pair[0], SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes));
    queue->send_fd = pair[0];
    queue->take_fd = pair[1];
    return 0;
}

size_t sbx_item_size(const struct sbx_item *item)
{
    switch ((enum sbx_item_kind)item->kind) {
    case SBX_ITEM_ERROR:
        return offsetof(struct sbx_item, u) + sizeof(item->u.error);
    case SBX_ITEM_CRASH:
        return offsetof(struct sbx_item, u) + sizeof(item->u.crash);
    case SBX_ITEM_LOG:
        return offsetof(struct sbx_item, u.log.fields) + item->u.log.len;
    case SBX_ITEM_TRANSACTION:
        return offsetof(struct sbx_item, u.transaction.spans) +
               item->u.transaction.span_count * sizeof(struct sbx_item_span);
    }
    return 0;
}

bool sbx_item_is_whole(const struct sbx_item *item, size_t n)
{
    static const size_t LEAST[] = {sizeof(item->u.error), sizeof(item->u.crash),
                                   offsetof(struct sbx_item, u.log.fields) - offsetof(struct sbx_item, u),
                                   offsetof(struct sbx_item, u.transaction.spans) -
                                       offsetof(struct sbx_item, u)};
    if (n < offsetof(struct sbx_item, u) || item->kind >= SBX_ARRAY_LEN(LEAST) ||
        n < offsetof(struct sbx_item, u) + LEAST[item->kind])
        return false;
    if (item->kind == SBX_ITEM_ERROR && item->u.error.frame_count > SBX_STACK_FRAMES)
        return false;
    if (item->kind == SBX_ITEM_TRANSACTION && item->u.transaction.span_count > SBX_TRACE_SPANS)
        return false;
    return item->kind == SBX_ITEM_LOG && item->u.log.len > SBX_ITEM_FIELDS ? false : n == sbx_item_size(item);
}

bool sbx_item_send(int fd, const struct sbx_item *item, uint64_t *dropped)
{
    ssize_t sent;
    do {
        sent = send(fd, item, sbx_item_size(item), MSG_DONTWAIT | MSG_NOSIGNAL);
    } while (sent < 0 && errno == EINTR);
    if (sent < 0 && dropped)
        __atomic_fetch_add(dropped, 1, __ATOMIC_RELAXED);
    return sent >= 0;
}

bool sbx_sampled(double rate, uint64_t dice)
{
    return (double)(dice >> 11) < rate * 0x1p53;
}

bool sbx_item_add_field(struct sbx_item *item, const char *text, size_t most)
{
    size_t room = sizeof(item->u.log.fields) - item->u.log.len;
    size_t n = strlen(text);
    if (n > most)
        n = sbx_utf8_valid(text, most);
    if (n + 1 > room)
        return false;
    memcpy(item->u.log.fields + item->u.log.len, text, n);
    item->u.log.fields[item->u.log.len + n] = '\0';
    item->u.log.len += (uint32_t)n + 1;
    return true;
}
