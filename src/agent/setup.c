#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "agent/agent.h"

struct identity user = {.uid = 1000, .gid = 1000};

static const char *const default_dirs[] = {
    WORKSPACE,
    "/skills",
    HOME_DIR,
    HOME_DIR "/.cache",
    HOME_DIR "/.config",
    HOME_DIR "/.local",
    HOME_DIR "/.local/share",
    HOME_DIR "/.local/state",
};

/* Keep the few capabilities that are used. The bounding set is emptied here once: commands inherit that, and
 * with it and no_new_privs nothing they execute can gain a capability. */
static int drop_capabilities(void)
{
    uint32_t keep = 1u << CAP_SETUID | 1u << CAP_SETGID | 1u << CAP_KILL | 1u << CAP_CHOWN;
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct sets[2];

    for (int cap = 0; prctl(PR_CAPBSET_READ, cap, 0, 0, 0) >= 0; cap++)
        if (prctl(PR_CAPBSET_READ, cap, 0, 0, 0) == 1 && prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) < 0)
            return -1;
    (void)prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
    if (syscall(SYS_capget, &header, sets) < 0)
        return -1;
    sets[0].permitted &= keep;
    sets[0].effective = sets[0].permitted;
    sets[0].inheritable = 0;
    memset(&sets[1], 0, sizeof(sets[1]));
    return (int)syscall(SYS_capset, &header, sets);
}

/* Every signal is blocked (two are read from a descriptor) and has its default action: what a child inherits
 * is clean but for the mask. */
static void reset_signals(void)
{
    sigset_t all;
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, NULL);
    /* not signal(2) of the C library: that keeps two signals for itself, and whoever started us may have
     * ignored them */
    const unsigned long kernel_default[4] = {0};
    for (int sig = 1; sig < NSIG; sig++)
        (void)!syscall(SYS_rt_sigaction, sig, kernel_default, NULL, sizeof(uint64_t));
}

static int make_nonblocking(int fd)
{
    int flags = fcntl(fd, F_GETFL);
    return flags < 0 ? -1 : fcntl(fd, F_SETFL, flags | O_NONBLOCK);
}

int setup_process(void)
{
    reset_signals();
    umask(022);
    if (fcntl(STDERR_FILENO, F_GETFD) < 0 && open("/dev/null", O_WRONLY) < 0)
        return -1;
    if (make_nonblocking(STDIN_FILENO) < 0 || make_nonblocking(STDOUT_FILENO) < 0)
        return -1;
    if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return -1;
    filter_install();
    if (setgroups(0, NULL) < 0 || drop_capabilities() < 0)
        return -1;
    return chdir("/");
}

void become_user(void)
{
    (void)!setresgid((gid_t)-1, user.gid, (gid_t)-1);
    (void)!setresuid((uid_t)-1, user.uid, (uid_t)-1);
}

void become_root(void)
{
    (void)!setresuid((uid_t)-1, 0, (uid_t)-1);
    (void)!setresgid((gid_t)-1, 0, (gid_t)-1);
    /* a change of identity sets it to what fs.suid_dumpable says */
    (void)prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
}

/* One directory: by root where root may (there is no DAC_OVERRIDE), else by the user. */
static void make_directory(const char *path)
{
    if (mkdir(path, 0755) == 0 || errno != EACCES)
        return;
    become_user();
    (void)!mkdir(path, 0755);
    become_root();
}

static void make_parents(const char *path)
{
    char part[512];
    for (size_t i = 1; i < sizeof(part) && path[i] != '\0'; i++) {
        if (path[i] != '/')
            continue;
        memcpy(part, path, i);
        part[i] = '\0';
        make_directory(part);
    }
}

static void give_to_user(const char *path)
{
    struct stat st;
    if (lstat(path, &st) < 0 || !S_ISDIR(st.st_mode) || (st.st_uid == user.uid && st.st_gid == user.gid))
        return;
    (void)!lchown(path, user.uid, user.gid);
}

/* Another name for the same places. What an image has there already stays, unless it is an empty directory.
 */
static void make_workspace(void)
{
    make_directory("/workspace");
    (void)!rmdir("/workspace/repo");
    (void)!rmdir("/workspace/skills");
    (void)!symlink(WORKSPACE, "/workspace/repo");
    (void)!symlink("/skills", "/workspace/skills");
    make_directory("/workspace/tmp");
    give_to_user("/workspace/tmp");
}

void setup_directories(const char *const *dirs, size_t n)
{
    if (!dirs) {
        dirs = default_dirs;
        n = sizeof(default_dirs) / sizeof(default_dirs[0]);
    }
    for (size_t i = 0; i < n; i++) {
        make_parents(dirs[i]);
        make_directory(dirs[i]);
        give_to_user(dirs[i]);
    }
    make_workspace();
}
