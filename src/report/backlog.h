/* Reports waiting for their post: a bounded queue whose oldest make room. */
#ifndef SBX_REPORT_BACKLOG_H
#define SBX_REPORT_BACKLOG_H

#include "report/item.h"

#define SBX_BACKLOG_ITEMS 512

struct sbx_backlog {
    struct sbx_item *items[SBX_BACKLOG_ITEMS]; /* owned copies, as long as they need be */
    size_t first;
    size_t count;
};

/* Keep a copy of a whole item of n bytes. False: an older one, or this one for lack of memory, was lost. */
bool sbx_backlog_add(struct sbx_backlog *backlog, const struct sbx_item *item, size_t n);

/* The i-th oldest; i < count. */
const struct sbx_item *sbx_backlog_at(const struct sbx_backlog *backlog, size_t i);

/* Drop the n oldest; n <= count. */
void sbx_backlog_drop(struct sbx_backlog *backlog, size_t n);

#endif
