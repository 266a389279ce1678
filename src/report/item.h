/* What goes through the queue: one item a datagram, made by any process, turned into JSON by the courier. All
 * processes are forks of one, so return addresses mean the same in each. */
#ifndef SBX_REPORT_ITEM_H
#define SBX_REPORT_ITEM_H

#include <stddef.h>
#include <stdint.h>

#include "sandboxd/base.h"
#include "sandboxd/report.h"

#define SBX_ITEM_FIELDS 2048

enum sbx_item_kind { SBX_ITEM_ERROR, SBX_ITEM_CRASH, SBX_ITEM_LOG, SBX_ITEM_TRANSACTION };

struct sbx_item_span {
    char op[12];
    char what[36];
    int64_t begun_us; /* after the request's begin */
    int64_t took_us;
    int32_t parent; /* -1: the request itself */
};

struct sbx_item {
    uint32_t kind;
    int32_t pid;
    int64_t wall_us; /* when it was made; the end of a transaction */
    uint8_t trace_id[16];
    uint8_t span_id[8];
    char role[12];
    char request[65];
    char session[SBX_UUID_LEN + 1];
    char method[12];
    char route[48];  /* "": none was found */
    char remote[64]; /* this and the next are empty unless PII may be sent */
    char client[64];
    int32_t status;
    /* the part of its kind is last, and only as much of it is sent as is used */
    union {
        struct {
            char kind[16];
            char text[sizeof(((struct sbx_err *)NULL)->msg)];
            uint32_t frame_count;
            void *frames[SBX_STACK_FRAMES]; /* innermost first */
        } error;
        struct {
            int32_t signo;
            int32_t code;
        } crash;
        struct {
            int32_t level;
            uint32_t len;
            char fields[SBX_ITEM_FIELDS]; /* event, then key and value in turns, each ended by NUL */
        } log;
        struct {
            int64_t took_us;
            int64_t user_us; /* -1: not profiled */
            int64_t system_us;
            int64_t max_rss_bytes;
            uint32_t span_count;
            struct sbx_item_span spans[SBX_TRACE_SPANS];
        } transaction;
    } u;
};

/* Bytes of an item that count. */
size_t sbx_item_size(const struct sbx_item *item);

/* Is this what sbx_item_size bytes of a good item look like? */
bool sbx_item_is_whole(const struct sbx_item *item, size_t n);

/* Hand it over without waiting. False: the queue is full or broken, *dropped (may be NULL) is one more. */
bool sbx_item_send(int fd, const struct sbx_item *item, uint64_t *dropped);

/* Shall this one be taken, at a share of rate? dice: 64 random bits. */
bool sbx_sampled(double rate, uint64_t dice);

/* Add a NUL-ended text to a log item, cut to `most` bytes; false when it found no room at all. */
bool sbx_item_add_field(struct sbx_item *item, const char *text, size_t most);

#endif
