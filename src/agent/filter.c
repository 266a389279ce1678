/* One more filter of system calls for the agent and all commands, on top of dockerd's profile: io_uring,
 * which profiles of dockerd before 25 let through, and which has been the way out of containers more than
 * once. Programs do without it when it is not there. */
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "agent/agent.h"

#define X32_BIT 0x40000000u

/* Numbers from 424 on are the same for every architecture that a process can switch to. */
static struct sock_filter program[] = {
    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
    BPF_STMT(BPF_ALU | BPF_AND | BPF_K, ~X32_BIT),
    BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, SYS_io_uring_setup, 0, 2),
    BPF_JUMP(BPF_JMP | BPF_JGT | BPF_K, SYS_io_uring_register, 1, 0),
    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
};

void filter_install(void)
{
    struct sock_fprog filter = {sizeof(program) / sizeof(program[0]), program};
    (void)prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER,
                &filter); /* a kernel without filters has dockerd's profile neither */
}
