/*
 * Which process something belongs to. A number alone tells that only while the process lives: the next one
 * may get it, and in a container that is started again it does at once. With the time of its start it is
 * nobody else's.
 */
#ifndef SANDBOXD_BASE_PROC_H
#define SANDBOXD_BASE_PROC_H

#include <stdint.h>
#include <sys/types.h>

#include "sandboxd/base/err.h"

struct sbx_proc {
    char name[16]; /* as the kernel knows it: cut there too */
    int64_t start; /* clock ticks from the machine's start */
};

/* Look at a living process: 0, or -1 when there is none, or only a zombie, or none that may be seen
 * (hidepid).
 */
int sbx_proc_look(pid_t pid, struct sbx_proc *ret) SBX_MUST_CHECK;

/* Both in one number, to be kept: start << 22 | pid, since the kernel's pids have 22 bits at most. */
int64_t sbx_proc_id(pid_t pid, const struct sbx_proc *proc);

/* The pid in such a number. */
pid_t sbx_proc_pid(int64_t id);

/* The number of this process; without /proc its pid alone. */
int64_t sbx_proc_self(void);

#endif
