/* Has the container's memory limit cost a process its life? The cgroup counts that. */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/agent.h"

static int events = -1;

void memory_init(void)
{
    static const char *const files[] = {"/sys/fs/cgroup/memory.events",              /* cgroup v2 */
                                        "/sys/fs/cgroup/memory/memory.oom_control"}; /* v1 */
    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]) && events < 0; i++)
        events = open(files[i], O_RDONLY | O_CLOEXEC);
}

uint64_t memory_kills(void)
{
    char text[512];
    ssize_t n = events < 0 ? -1 : pread(events, text, sizeof(text) - 1, 0);
    if (n <= 0)
        return 0;
    text[n] = '\0';
    const char *at = strstr(text, "oom_kill ");
    return at ? strtoull(at + strlen("oom_kill "), NULL, 10) : 0;
}
