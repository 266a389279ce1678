/* The sanitiser in a child: the parent reads the client and feeds a pipe, the child parses and writes the
 * file. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sandboxd/archive.h"
#include "sandboxd/base/confine.h"
#include "sandboxd/base/util.h"

#define CHUNK     (64 * 1024)
#define PIPE_SIZE (1024 * 1024)

/* What the child has to say at its end; less than a pipe takes at once. */
struct verdict {
    int rc;
    struct sbx_archive_stats stats;
    struct sbx_err err;
};

struct child {
    pid_t pid;
    int in;      /* the archive, to the child */
    int verdict; /* from the child */
};

static ssize_t read_pipe(void *fd, void *buf, size_t n, struct sbx_err *err)
{
    for (;;) {
        ssize_t got = read(*(int *)fd, buf, n);
        if (got >= 0)
            return got;
        if (errno != EINTR)
            return sbx_err_sys(err, SBX_ERR_INTERNAL, errno, "cannot read the archive");
    }
}

static _Noreturn void work(int in, int out, int to, const struct sbx_archive_options *options)
{
    struct verdict verdict = {.rc = -1};
    const int keep[] = {in, out, to, STDERR_FILENO};
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (sbx_confine_parser(keep, SBX_ARRAY_LEN(keep), &verdict.err) == 0)
        verdict.rc = sbx_archive_sanitise(read_pipe, &in, out, options, &verdict.stats, &verdict.err);
    ssize_t n = write(to, &verdict, sizeof(verdict));
    _exit(n != (ssize_t)sizeof(verdict));
}

static int start(struct child *child, int out, const struct sbx_archive_options *options, struct sbx_err *err)
{
    int in[2] = {-1, -1};
    int to[2] = {-1, -1};
    if (pipe2(in, O_CLOEXEC) < 0 || pipe2(to, O_CLOEXEC) < 0) {
        sbx_err_sys(err, SBX_ERR_UNAVAILABLE, errno, "no pipe to the archive's reader");
        sbx_close(&in[0]);
        sbx_close(&in[1]);
        return -1;
    }
    (void)fcntl(in[1], F_SETPIPE_SZ, PIPE_SIZE); /* fewer turns; may be refused */
    child->pid = fork();
    if (child->pid == 0)
        work(in[0], out, to[1], options);
    int failure = errno;
    child->in = in[1];
    child->verdict = to[0];
    sbx_close(&in[0]);
    sbx_close(&to[1]);
    if (child->pid >= 0)
        return 0;
    sbx_close(&child->in);
    sbx_close(&child->verdict);
    return sbx_err_sys(err, SBX_ERR_UNAVAILABLE, failure, "no process for the archive's reader");
}

/* 0 all was taken, 1 the child wants no more, -1 the client's side failed. */
static int feed(struct child *child, ssize_t (*read)(void *arg, void *buf, size_t n, struct sbx_err *err),
                void *arg, struct sbx_err *err)
{
    char buf[CHUNK];
    for (;;) {
        ssize_t n = read(arg, buf, sizeof(buf), err);
        if (n <= 0)
            return (int)n;
        for (ssize_t at = 0; at < n;) {
            ssize_t put = write(child->in, buf + at, (size_t)(n - at));
            if (put < 0 && errno != EINTR)
                return 1;
            at += put > 0 ? put : 0;
        }
    }
}

static int take_verdict(const struct child *child, struct verdict *verdict, int status, struct sbx_err *err)
{
    ssize_t n = read(child->verdict, verdict, sizeof(*verdict));
    if (n == (ssize_t)sizeof(*verdict))
        return 0;
    if (WIFSIGNALED(status))
        return sbx_err_set(err, SBX_ERR_INTERNAL, "the archive's reader died of signal %d", WTERMSIG(status));
    return sbx_err_set(err, SBX_ERR_INTERNAL, "the archive's reader ended with code %d", WEXITSTATUS(status));
}

int sbx_archive_sanitise_confined(ssize_t (*read)(void *arg, void *buf, size_t n, struct sbx_err *err),
                                  void *arg, int out_fd, const struct sbx_archive_options *options,
                                  struct sbx_archive_stats *ret_stats, struct sbx_err *err)
{
    struct child child;
    struct verdict verdict;
    int status = 0;
    if (start(&child, out_fd, options, err) < 0)
        return -1;
    int fed = feed(&child, read, arg, err);
    if (fed < 0)
        kill(child.pid, SIGKILL);
    sbx_close(&child.in);
    while (waitpid(child.pid, &status, 0) < 0 && errno == EINTR)
        continue;
    int rc = fed < 0 ? -1 : take_verdict(&child, &verdict, status, err);
    sbx_close(&child.verdict);
    if (rc < 0)
        return -1;
    if (verdict.rc < 0) {
        verdict.err.stack = 0; /* of another process */
        *err = verdict.err;
        return -1;
    }
    *ret_stats = verdict.stats;
    return 0;
}
