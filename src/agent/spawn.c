/* A command's process: from fork to exec. Between the two runs only what this file shows. */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "agent/agent.h"

/* Shared with a child until it execs: it can say why it did not, and costs no descriptor. */
static struct spawn_report *reports;

int spawn_init(void)
{
    void *at = mmap(NULL, (MAX_EXECS + 1) * sizeof(*reports), PROT_READ | PROT_WRITE,
                    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED)
        return -1;
    reports = at;
    return 0;
}

struct spawn_report spawn_report(size_t slot)
{
    return reports[slot];
}

static _Noreturn void fail(const struct spawn *spawn, enum spawn_step step)
{
    reports[spawn->slot] = (struct spawn_report){.step = step, .err = errno};
    _exit(127);
}

/* The OOM killer should take the command and not the agent. While still root: the file is root's until exec.
 */
static void volunteer_for_oom(void)
{
    int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return;
    (void)!write(fd, "1000", 4);
    close(fd);
}

/* dup2 onto itself would leave the close-on-exec flag. */
static int hand_down(int fd, int as)
{
    return fd == as ? fcntl(fd, F_SETFD, 0) : dup2(fd, as);
}

static _Noreturn void run_child(const struct spawn *spawn)
{
    sigset_t none;

    setsid();
    volunteer_for_oom();
    if (dup2(spawn->in, 0) < 0 || dup2(spawn->out, 1) < 0 || dup2(spawn->err, 2) < 0)
        fail(spawn, SPAWN_EXEC);
    if (spawn->tty && ioctl(0, TIOCSCTTY, 0) < 0)
        fail(spawn, SPAWN_EXEC);
    /* only now: one of the three may have had that number */
    if (spawn->script >= 0 && hand_down(spawn->script, SCRIPT_FD) < 0)
        fail(spawn, SPAWN_EXEC);
    if (setgroups(spawn->tag ? 1 : 0, &spawn->tag) < 0 || setresgid(user.gid, user.gid, user.gid) < 0 ||
        setresuid(user.uid, user.uid, user.uid) < 0)
        fail(spawn, SPAWN_PRIVILEGES);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    if (chdir(spawn->cwd) < 0)
        fail(spawn, SPAWN_CWD);
    if (spawn->builtin)
        _exit(builtin_run(spawn->builtin, spawn->argv));
    environ = spawn->envp;
    if (spawn->shell)
        execv(spawn->shell, spawn->argv);
    else
        execvp(spawn->argv[0], spawn->argv);
    fail(spawn, SPAWN_EXEC);
}

pid_t spawn_process(const struct spawn *spawn)
{
    reports[spawn->slot] = (struct spawn_report){.step = SPAWN_OK};
    pid_t pid = fork();
    if (pid == 0)
        run_child(spawn);
    return pid;
}
