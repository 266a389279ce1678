#include "sandboxd/base/stack.h"

#include <execinfo.h>
#include <string.h>

/* An error is set, then others while its cause is being cleaned up; then the first one is asked for. */
#define KEPT 16

static struct {
    unsigned number;
    int count;
    void *frames[SBX_STACK_FRAMES];
} kept[KEPT];

static bool enabled;
static unsigned last;

void sbx_stack_enable(bool on)
{
    void *frames[2];
    if (on && !enabled)
        (void)backtrace(frames, 2);
    enabled = on;
}

unsigned sbx_stack_record(void)
{
    if (!enabled)
        return 0;
    unsigned number = __atomic_add_fetch(&last, 1, __ATOMIC_RELAXED);
    if (number == 0)
        number = __atomic_add_fetch(&last, 1, __ATOMIC_RELAXED);
    unsigned at = number % KEPT;
    kept[at].count = backtrace(kept[at].frames, SBX_STACK_FRAMES);
    kept[at].number = number;
    return number;
}

size_t sbx_stack_get(unsigned number, void *frames[SBX_STACK_FRAMES])
{
    unsigned at = number % KEPT;
    if (number == 0 || kept[at].number != number)
        return 0;
    memcpy(frames, kept[at].frames, sizeof(kept[at].frames));
    return (size_t)kept[at].count;
}
