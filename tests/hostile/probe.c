/*
 * What hostile code inside a session tries: probe NAME [ARGUMENT] does one thing and prints "NAME allowed" or
 * "NAME refused ERRNO". Compiled by the suite inside a session.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/keyctl.h>
#include <linux/perf_event.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/reboot.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/swap.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static int p_mount(void)
{
    return mount("none", "/tmp", "tmpfs", 0, NULL);
}
static int p_umount(void)
{
    return umount2("/.sandboxd", MNT_DETACH);
}
static int p_unshare_user(void)
{
    return unshare(CLONE_NEWUSER);
}
static int p_unshare_mount(void)
{
    return unshare(CLONE_NEWNS);
}
static int p_unshare_net(void)
{
    return unshare(CLONE_NEWNET);
}
static int p_setns(void)
{
    int fd = open("/proc/1/ns/mnt", O_RDONLY);
    return fd < 0 ? -1 : setns(fd, 0);
}
static int p_chroot(void)
{
    return chroot("/");
}
static int p_pivot_root(void)
{
    return (int)syscall(SYS_pivot_root, "/", "/");
}
static int p_mknod(void)
{
    return mknod("/tmp/sda", S_IFBLK | 0600, 0x800);
}
static int p_settime(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return clock_settime(CLOCK_REALTIME, &now);
}
static int p_adjtime(void)
{
    struct timeval delta = {1, 0};
    return adjtime(&delta, NULL);
}
static int p_sethostname(void)
{
    return sethostname("x", 1);
}
static int p_reboot(void)
{
    return reboot(RB_DISABLE_CAD);
}
static int p_swapon(void)
{
    return swapon("/dev/null", 0);
}
static int p_module(void)
{
    return (int)syscall(SYS_init_module, "", 0, "");
}
static int p_kexec(void)
{
    return (int)syscall(SYS_kexec_load, 0, 0, NULL, 0);
}
static int p_bpf(void)
{
    uint64_t attributes[16] = {2, 4, 4, 1}; /* an array map */
    return (int)syscall(SYS_bpf, 0, attributes, sizeof(attributes));
}
static int p_perf(void)
{
    struct perf_event_attr attributes = {.type = PERF_TYPE_SOFTWARE, .size = sizeof(attributes)};
    return (int)syscall(SYS_perf_event_open, &attributes, -1, 0, -1, 0);
}
static int p_userfaultfd(void)
{
    return (int)syscall(SYS_userfaultfd, 0);
}
static int p_io_uring(void)
{
    char parameters[128] = {0};
    return (int)syscall(SYS_io_uring_setup, 1, parameters);
}
static int p_keyring(void)
{
    return (int)syscall(SYS_add_key, "user", "x", "y", 1, KEY_SPEC_SESSION_KEYRING);
}
static int p_by_handle(void)
{
    char handle[sizeof(struct file_handle) + 8] = {8};
    return open_by_handle_at(AT_FDCWD, (struct file_handle *)handle, O_RDONLY);
}
static int p_raw_socket(void)
{
    return socket(AF_INET, SOCK_RAW, 1);
}
static int p_packet_socket(void)
{
    return socket(AF_PACKET, SOCK_RAW, 0);
}
static int p_vsock(void)
{
    struct {
        sa_family_t family;
        uint16_t zero;
        uint32_t port, cid;
        char pad[4];
    } host = {40, 0, 1, 2, ""};
    int fd = socket(40, SOCK_STREAM, 0);
    return fd < 0 ? -1 : connect(fd, (struct sockaddr *)&host, 16);
}
static int p_setuid(void)
{
    return setuid(0);
}
static int p_setgid(void)
{
    return setgid(0);
}
static int p_setgroups(void)
{
    return (int)syscall(SYS_setgroups, 0, NULL);
}
static int p_capset(void)
{
    struct {
        uint32_t version;
        int pid;
    } header = {0x20080522, 0};
    uint32_t all[6] = {~0u, ~0u, 0, ~0u, ~0u, 0};
    return (int)syscall(SYS_capset, &header, all);
}
static int p_new_privs(void)
{
    return prctl(PR_SET_NO_NEW_PRIVS, 0, 0, 0, 0);
}
static int p_ptrace_agent(void)
{
    return (int)ptrace(PTRACE_ATTACH, 1, NULL, NULL);
}
static int p_read_agent(void)
{
    char byte;
    struct iovec local = {&byte, 1}, remote = {(void *)0x400000, 1};
    return (int)process_vm_readv(1, &local, 1, &remote, 1, 0);
}
static int p_mem_agent(void)
{
    return open("/proc/1/mem", O_RDWR);
}
static int p_stdin_agent(void)
{
    return open("/proc/1/fd/0", O_WRONLY);
}
static int p_stdout_agent(void)
{
    return open("/proc/1/fd/1", O_WRONLY);
}
static int p_cwd_agent(void)
{
    return open("/proc/1/cwd/etc/shadow", O_RDONLY);
}
static int p_oom_agent(void)
{
    return open("/proc/1/oom_score_adj", O_WRONLY);
}
static int p_pidfd_agent(void)
{
    int fd = (int)syscall(SYS_pidfd_open, 1, 0);
    return fd < 0 ? -1 : (int)syscall(SYS_pidfd_getfd, fd, 1, 0);
}
static int p_limit_agent(void)
{
    uint64_t none[2] = {0, 0};
    return (int)syscall(SYS_prlimit64, 1, 7, none, NULL);
}
static int p_nice_agent(void)
{
    return (int)syscall(SYS_setpriority, 0, 1, 19);
}
static int p_trigger(void)
{
    return open("/proc/sysrq-trigger", O_WRONLY);
}
static int p_sysctl(void)
{
    return open("/proc/sys/kernel/core_pattern", O_WRONLY);
}
static int p_kcore(void)
{
    char page[4096];
    int fd = open("/proc/kcore", O_RDONLY);
    return fd < 0 || read(fd, page, sizeof(page)) <= 0 ? -1 : 0;
}
static int p_release_agent(void)
{
    return open("/sys/fs/cgroup/memory/release_agent", O_WRONLY);
}
static int p_cgroup(void)
{
    return mkdir("/sys/fs/cgroup/memory/escape", 0700);
}
static int p_sysfs(void)
{
    return open("/sys/kernel/uevent_helper", O_WRONLY);
}
static int p_write_agent_file(void)
{
    return open("/.sandboxd/agent", O_WRONLY);
}
static int p_new_agent_file(void)
{
    return open("/.sandboxd/x", O_WRONLY | O_CREAT, 0600);
}
static int p_docker_socket(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = "/var/run/docker.sock"};
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    return fd < 0 ? -1 : connect(fd, (struct sockaddr *)&address, sizeof(address));
}
static int p_tiocsti(void)
{
    for (int fd = 0; fd < 64; fd++) {
        if (ioctl(fd, TIOCSTI, "x") == 0)
            return 0;
    }
    errno = ENOTTY;
    return -1;
}
static int p_personality(void)
{
    return (int)syscall(SYS_personality,
                        0x0400000); /* ADDR_NO_RANDOMIZE is harmless; this is READ_IMPLIES_EXEC */
}
/* The node alone may be had where it leads nowhere. */
static int p_own_device(void)
{
    (void)mknod("/tmp/mem", S_IFCHR | 0600, 0x101);
    return open("/tmp/mem", O_RDONLY);
}
static int p_nice_up(void)
{
    return (int)syscall(SYS_setpriority, 0, 0, -20);
}
static int p_shed_tag(void)
{
    return (int)syscall(SYS_setgroups, 0, NULL);
}

static const struct {
    const char *name;
    int (*try)(void);
} PROBES[] = {
#define P(name)                                                                                              \
    {                                                                                                        \
#name, p_##name                                                                                      \
    }
    P(mount),          P(umount),        P(unshare_user), P(unshare_mount),
    P(unshare_net),    P(setns),         P(chroot),       P(pivot_root),
    P(mknod),          P(own_device),    P(settime),      P(adjtime),
    P(sethostname),    P(reboot),        P(swapon),       P(module),
    P(kexec),          P(bpf),           P(perf),         P(userfaultfd),
    P(io_uring),       P(keyring),       P(by_handle),    P(raw_socket),
    P(packet_socket),  P(vsock),         P(setuid),       P(setgid),
    P(setgroups),      P(capset),        P(new_privs),    P(ptrace_agent),
    P(read_agent),     P(mem_agent),     P(stdin_agent),  P(stdout_agent),
    P(cwd_agent),      P(oom_agent),     P(pidfd_agent),  P(limit_agent),
    P(nice_agent),     P(trigger),       P(sysctl),       P(kcore),
    P(release_agent),  P(cgroup),        P(sysfs),        P(write_agent_file),
    P(new_agent_file), P(docker_socket), P(tiocsti),      P(personality),
    P(nice_up),        P(shed_tag),
};

/* Each in a child, so that what one of them does is no matter for the next. */
static void try_all(void)
{
    for (size_t i = 0; i < sizeof(PROBES) / sizeof(PROBES[0]); i++) {
        pid_t pid = fork();
        if (pid == 0) {
            errno = 0;
            int rc = PROBES[i].try();
            printf("%s %s %d\n", PROBES[i].name, rc >= 0 ? "allowed" : "refused", rc >= 0 ? 0 : errno);
            fflush(stdout);
            _exit(0);
        }
        waitpid(pid, NULL, 0);
    }
}

/* Bytes that look like frames of the protocol, on every descriptor there is, and on what leads to the
 * agent's. */
static void forge(void)
{
    unsigned char frame[32] = {0x58, 0x53, 67, 0, 1, 0, 0, 0, 16, 0, 0, 0, 0, 0, 0, 0};
    for (int round = 0; round < 1000; round++) {
        for (int fd = 0; fd < 256; fd++) {
            if (fd != 1 && fd != 2)
                (void)!write(fd, frame, sizeof(frame));
        }
        (void)!write(1, frame, sizeof(frame));
    }
    puts("\nforged");
}

static void watch_everything(int events)
{
    int made = 0;
    for (int i = 0; i < 4096; i++) {
        int fd = inotify_init();
        if (fd < 0)
            break;
        made++;
        inotify_add_watch(fd, "/repo", IN_ALL_EVENTS);
    }
    for (int i = 0; i < events; i++) {
        int fd = open("/repo/storm", O_CREAT | O_WRONLY, 0600);
        if (fd >= 0)
            close(fd);
        unlink("/repo/storm");
    }
    printf("storm %d\n", made);
}

static void take_descriptors(void)
{
    long count = 0;
    while (open("/dev/null", O_RDONLY) >= 0)
        count++;
    char text[64];
    int n = snprintf(text, sizeof(text), "descriptors %ld\n", count);
    (void)!write(1, text, (size_t)n);
}

int main(int argc, char **argv)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    const char *what = argc > 1 ? argv[1] : "all";
    if (strcmp(what, "all") == 0)
        try_all();
    else if (strcmp(what, "forge") == 0)
        forge();
    else if (strcmp(what, "storm") == 0)
        watch_everything(argc > 2 ? atoi(argv[2]) : 20000);
    else if (strcmp(what, "descriptors") == 0)
        take_descriptors();
    else
        return 2;
    return 0;
}
