#include "sandboxd/base/proc.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "sandboxd/base/util.h"

#define STAT_MAX 4096

/* Fields of /proc/<pid>/stat, from 1: the name in parentheses, when the process began. */
#define FIELD_NAME  2
#define FIELD_START 22

#define PID_BITS 22 /* PID_MAX_LIMIT of 64-bit kernels */
#define PID_MASK ((INT64_C(1) << PID_BITS) - 1)

/* "123 (sandboxd:worker) S 1 …": the name may hold anything, parentheses and spaces too. */
int sbx_proc_look(pid_t pid, struct sbx_proc *ret)
{
    char path[64];
    snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    SBX_AUTO_FREE char *text = NULL;
    if (sbx_read_file(path, STAT_MAX, &text, NULL, NULL) < 0)
        return -1;
    const char *name = strchr(text, '(');
    char *rest = strrchr(text, ')');
    if (!name || !rest)
        return -1;
    *rest++ = '\0';
    const char *field = strsep(&rest, " ");
    char state = rest ? rest[0] : 'Z';
    for (int i = FIELD_NAME; rest && i < FIELD_START; i++)
        field = strsep(&rest, " ");
    if (!rest || state == 'Z' || state == 'X')
        return -1;
    snprintf(ret->name, sizeof(ret->name), "%.15s", name + 1);
    ret->start = strtoll(field, NULL, 10);
    return 0;
}

int64_t sbx_proc_id(pid_t pid, const struct sbx_proc *proc)
{
    return (int64_t)((uint64_t)proc->start << PID_BITS) | (pid & PID_MASK);
}

pid_t sbx_proc_pid(int64_t id)
{
    return (pid_t)(id & PID_MASK);
}

int64_t sbx_proc_self(void)
{
    struct sbx_proc self;
    return sbx_proc_look(getpid(), &self) == 0 ? sbx_proc_id(getpid(), &self) : getpid();
}
