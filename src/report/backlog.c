#include "report/backlog.h"

#include <stdlib.h>
#include <string.h>

bool sbx_backlog_add(struct sbx_backlog *backlog, const struct sbx_item *item, size_t n)
{
    struct sbx_item *copy = malloc(n);
    if (!copy)
        return false;
    memcpy(copy, item, n);
    bool full = backlog->count == SBX_BACKLOG_ITEMS;
    if (full)
        sbx_backlog_drop(backlog, 1);
    backlog->items[(backlog->first + backlog->count++) % SBX_BACKLOG_ITEMS] = copy;
    return !full;
}

const struct sbx_item *sbx_backlog_at(const struct sbx_backlog *backlog, size_t i)
{
    return backlog->items[(backlog->first + i) % SBX_BACKLOG_ITEMS];
}

void sbx_backlog_drop(struct sbx_backlog *backlog, size_t n)
{
    for (; n > 0; n--) {
        free(backlog->items[backlog->first]);
        backlog->items[backlog->first] = NULL;
        backlog->first = (backlog->first + 1) % SBX_BACKLOG_ITEMS;
        backlog->count--;
    }
}
