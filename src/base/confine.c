/* Filters of system calls, capabilities, limits. */
#include "sandboxd/base/confine.h"

#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <pwd.h>
#include <sched.h>
#include <seccomp.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "sandboxd/base/util.h"

#define GROUPS_MAX 64

/* What a service never calls. */
static const int denied[] = {
    /* other programs, and the insides of other processes */
    SCMP_SYS(execve),
    SCMP_SYS(execveat),
    SCMP_SYS(ptrace),
    SCMP_SYS(process_vm_readv),
    SCMP_SYS(process_vm_writev),
    SCMP_SYS(process_madvise),
    SCMP_SYS(kcmp),
    SCMP_SYS(pidfd_getfd),
    SCMP_SYS(pidfd_send_signal),

    /* namespaces and mounts */
    SCMP_SYS(unshare),
    SCMP_SYS(setns),
    SCMP_SYS(mount),
    SCMP_SYS(umount2),
    SCMP_SYS(pivot_root),
    SCMP_SYS(chroot),
    SCMP_SYS(open_tree),
    SCMP_SYS(move_mount),
    SCMP_SYS(fsopen),
    SCMP_SYS(fsconfig),
    SCMP_SYS(fsmount),
    SCMP_SYS(fspick),
    SCMP_SYS(mount_setattr),
    SCMP_SYS(open_by_handle_at),
    SCMP_SYS(name_to_handle_at),
    SCMP_SYS(mknod),
    SCMP_SYS(mknodat),
    /* the kernel */
    SCMP_SYS(init_module),
    SCMP_SYS(finit_module),
    SCMP_SYS(delete_module),
    SCMP_SYS(kexec_load),
    SCMP_SYS(kexec_file_load),
    SCMP_SYS(bpf),
    SCMP_SYS(perf_event_open),
    SCMP_SYS(userfaultfd),
    SCMP_SYS(io_uring_setup),
    SCMP_SYS(io_uring_enter),
    SCMP_SYS(io_uring_register),
    SCMP_SYS(add_key),
    SCMP_SYS(request_key),
    SCMP_SYS(keyctl),
    SCMP_SYS(personality),
    SCMP_SYS(modify_ldt),
    SCMP_SYS(iopl),
    SCMP_SYS(ioperm),
    SCMP_SYS(syslog),
    SCMP_SYS(lookup_dcookie),
    SCMP_SYS(vmsplice),
    SCMP_SYS(fanotify_init),
    /* the machine */
    SCMP_SYS(reboot),
    SCMP_SYS(swapon),
    SCMP_SYS(swapoff),
    SCMP_SYS(sethostname),
    SCMP_SYS(setdomainname),
    SCMP_SYS(settimeofday),
    SCMP_SYS(clock_settime),
    SCMP_SYS(clock_adjtime),
    SCMP_SYS(adjtimex),
    SCMP_SYS(acct),
    SCMP_SYS(quotactl),
    SCMP_SYS(vhangup),
};

/* What reading, writing and computing take. */
static const int allowed[] = {
    SCMP_SYS(read),           SCMP_SYS(write),       SCMP_SYS(readv),        SCMP_SYS(writev),
    SCMP_SYS(pread64),        SCMP_SYS(pwrite64),    SCMP_SYS(lseek),        SCMP_SYS(fstat),
    SCMP_SYS(newfstatat),     SCMP_SYS(ftruncate),   SCMP_SYS(close),        SCMP_SYS(fcntl),
    SCMP_SYS(mmap),           SCMP_SYS(munmap),      SCMP_SYS(mremap),       SCMP_SYS(mprotect),
    SCMP_SYS(madvise),        SCMP_SYS(brk),         SCMP_SYS(futex),        SCMP_SYS(clock_gettime),
    SCMP_SYS(gettimeofday),   SCMP_SYS(time),        SCMP_SYS(getrandom),    SCMP_SYS(getpid),
    SCMP_SYS(gettid),         SCMP_SYS(tgkill),      SCMP_SYS(rt_sigreturn), SCMP_SYS(rt_sigaction),
    SCMP_SYS(rt_sigprocmask), SCMP_SYS(sigaltstack), SCMP_SYS(sched_yield),  SCMP_SYS(restart_syscall),
    SCMP_SYS(exit),           SCMP_SYS(exit_group),
};

static int deny(scmp_filter_ctx filter, int call)
{
    return seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), call, 0);
}

/* The same where the first argument compares so. */
static int deny_when(scmp_filter_ctx filter, int call, int failure, struct scmp_arg_cmp when)
{
    return seccomp_rule_add_array(filter, SCMP_ACT_ERRNO((uint16_t)failure), call, 1, &when);
}

/* New namespaces through clone; clone3 hides its flags behind a pointer, and glibc does without it. */
static int deny_namespaces(scmp_filter_ctx filter)
{
    static const uint64_t FLAGS[] = {CLONE_NEWNS,   CLONE_NEWCGROUP, CLONE_NEWUTS, CLONE_NEWIPC,
                                     CLONE_NEWUSER, CLONE_NEWPID,    CLONE_NEWNET};
    int rc = seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
    for (size_t i = 0; rc == 0 && i < SBX_ARRAY_LEN(FLAGS); i++) {
        struct scmp_arg_cmp flag = {.op = SCMP_CMP_MASKED_EQ, .datum_a = FLAGS[i], .datum_b = FLAGS[i]};
        rc = deny_when(filter, SCMP_SYS(clone), EPERM, flag);
    }
    return rc;
}

/* All but Unix, IPv4, IPv6, and netlink, which the resolver asks for addresses. */
static int deny_sockets(scmp_filter_ctx filter)
{
    struct scmp_arg_cmp beyond = {.op = SCMP_CMP_GT, .datum_a = AF_NETLINK};
    int rc = deny_when(filter, SCMP_SYS(socket), EAFNOSUPPORT, beyond);
    for (unsigned family = 0; rc == 0 && family < AF_NETLINK; family++) {
        struct scmp_arg_cmp this = {.op = SCMP_CMP_EQ, .datum_a = family};
        if (family != AF_UNIX && family != AF_INET && family != AF_INET6)
            rc = deny_when(filter, SCMP_SYS(socket), EAFNOSUPPORT, this);
    }
    return rc;
}

static int load_filter(scmp_filter_ctx filter, int rc, struct sbx_err *err)
{
    if (rc == 0)
        rc = seccomp_load(filter);
    seccomp_release(filter);
    return rc == 0 ? 0 : sbx_err_sys(err, SBX_ERR_INTERNAL, -rc, "cannot filter system calls");
}

static int filter_service(struct sbx_err *err)
{
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
    if (!filter)
        return sbx_err_set(err, SBX_ERR_INTERNAL, "no memory for a filter of system calls");
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < SBX_ARRAY_LEN(denied); i++)
        rc = deny(filter, denied[i]);
    if (rc == 0)
        rc = deny_namespaces(filter);
    if (rc == 0)
        rc = deny_sockets(filter);
    return load_filter(filter, rc, err);
}

static int drop_capabilities(struct sbx_err *err)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct none[2] = {{0}};
    for (unsigned long cap = 0; prctl(PR_CAPBSET_READ, cap) >= 0; cap++)
        (void)prctl(PR_CAPBSET_DROP,
                    cap); /* not allowed without CAP_SETPCAP: then there is nothing to drop */
    (void)prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
    if (syscall(SYS_capset, &header, none) < 0)
        return sbx_err_sys(err, SBX_ERR_INTERNAL, errno, "cannot drop capabilities");
    return 0;
}

static int lock_down(struct sbx_err *err)
{
    struct rlimit none = {0, 0};
    if (setrlimit(RLIMIT_CORE, &none) < 0 || prctl(PR_SET_DUMPABLE, 0) < 0 ||
        prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return sbx_err_sys(err, SBX_ERR_INTERNAL, errno, "cannot give up privileges");
    return drop_capabilities(err);
}

int sbx_confine_service(struct sbx_err *err)
{
    return lock_down(err) < 0 ? -1 : filter_service(err);
}

static int compare(const void *a, const void *b)
{
    return *(const int *)a - *(const int *)b;
}

static int close_others(const int *keep, size_t n, struct sbx_err *err)
{
    int sorted[8];
    unsigned from = 0;
    if (n > SBX_ARRAY_LEN(sorted))
        return sbx_err_set(err, SBX_ERR_INTERNAL, "too many descriptors to keep");
    memcpy(sorted, keep, n * sizeof(*keep));
    qsort(sorted, n, sizeof(*sorted), compare);
    for (size_t i = 0; i < n; i++) {
        unsigned fd = (unsigned)sorted[i];
        if (fd > from && close_range(from, fd - 1, 0) < 0)
            return sbx_err_sys(err, SBX_ERR_INTERNAL, errno, "cannot close descriptors");
        from = fd + 1;
    }
    if (close_range(from, ~0U, 0) < 0)
        return sbx_err_sys(err, SBX_ERR_INTERNAL, errno, "cannot close descriptors");
    return 0;
}

int sbx_confine_parser(const int *keep, size_t n, struct sbx_err *err)
{
    if (close_others(keep, n, err) < 0 || lock_down(err) < 0)
        return -1;
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ERRNO(EPERM));
    if (!filter)
        return sbx_err_set(err, SBX_ERR_INTERNAL, "no memory for a filter of system calls");
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < SBX_ARRAY_LEN(allowed); i++)
        rc = seccomp_rule_add(filter, SCMP_ACT_ALLOW, allowed[i], 0);
    return load_filter(filter, rc, err);
}

int sbx_become(const char *user, const unsigned *groups, size_t n, struct sbx_err *err)
{
    gid_t all[GROUPS_MAX];
    int count = GROUPS_MAX - (int)n;
    errno = 0;
    const struct passwd *entry = getpwnam(user);
    if (!entry)
        return sbx_err_set(err, SBX_ERR_INVALID, "there is no user '%s'", user);
    uid_t uid = entry->pw_uid;
    gid_t gid = entry->pw_gid;
    if (getgrouplist(user, gid, all, &count) < 0)
        return sbx_err_set(err, SBX_ERR_INVALID, "the user '%s' is in too many groups", user);
    for (size_t i = 0; i < n; i++)
        all[count++] = groups[i];
    if (setgroups((size_t)count, all) < 0 || setresgid(gid, gid, gid) < 0 || setresuid(uid, uid, uid) < 0)
        return sbx_err_sys(err, SBX_ERR_INTERNAL, errno, "cannot become '%s'", user);
    return 0;
}
