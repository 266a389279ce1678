/* What a confined process can no longer do. Each probe runs in a child: confinement does not come back. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "sandboxd/base.h"
#include "sandboxd/base/confine.h"

#define KEPT 5

/* The errno that probe ends with in a confined child, 0 when it succeeds. */
static int in_service(int (*probe)(void))
{
    pid_t pid = fork();
    if (pid == 0) {
        struct sbx_err err = SBX_ERR_INIT;
        if (sbx_confine_service(&err) < 0)
            _exit(255);
        errno = 0;
        _exit(probe() < 0 ? errno : 0);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static int in_parser(int (*probe)(void))
{
    pid_t pid = fork();
    if (pid == 0) {
        struct sbx_err err = SBX_ERR_INIT;
        static const int KEEP[] = {KEPT, STDERR_FILENO};
        if (dup2(STDERR_FILENO, KEPT) < 0 || dup2(STDERR_FILENO, KEPT + 2) < 0 ||
            sbx_confine_parser(KEEP, SBX_ARRAY_LEN(KEEP), &err) < 0)
            _exit(255);
        errno = 0;
        _exit(probe() < 0 ? errno : 0);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static int run_program(void)
{
    return execl("/bin/true", "true", (char *)NULL);
}

static int trace_parent(void)
{
    return (int)ptrace(PTRACE_ATTACH, getppid(), NULL, NULL);
}

static int new_user_namespace(void)
{
    return unshare(CLONE_NEWUSER);
}

static int clone_namespace(void)
{
    return (int)syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, NULL, NULL, NULL, NULL);
}

static int packet_socket(void)
{
    return socket(AF_PACKET, SOCK_RAW, 0);
}

static int vsock_socket(void)
{
    return socket(AF_VSOCK, SOCK_STREAM, 0);
}

static int alg_socket(void)
{
    return socket(AF_ALG, SOCK_SEQPACKET, 0);
}

static int load_bpf(void)
{
    return (int)syscall(SYS_bpf, 0, NULL, 0);
}

static int make_ring(void)
{
    return (int)syscall(SYS_io_uring_setup, 1, NULL);
}

static int become_root_again(void)
{
    struct rlimit core;
    if (getrlimit(RLIMIT_CORE, &core) < 0 || core.rlim_max != 0)
        return -1;
    return setresuid(1, 1, 1); /* takes a capability */
}

static void *nothing(void *arg)
{
    return arg;
}

static int serve(void)
{
    pthread_t thread;
    int fd = open("/etc/passwd", O_RDONLY | O_CLOEXEC);
    int unix_socket = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int inet_socket = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
    pid_t pid = fork();
    if (pid == 0)
        _exit(0);
    bool ok = fd >= 0 && unix_socket >= 0 && (inet_socket >= 0 || errno == EAFNOSUPPORT) && pid > 0 &&
              waitpid(pid, NULL, 0) == pid && pthread_create(&thread, NULL, nothing, NULL) == 0 &&
              pthread_join(thread, NULL) == 0;
    return ok ? 0 : -1;
}

static void a_service_can_do_its_work(void **state)
{
    assert_int_equal(in_service(serve), 0);
}

static void a_service_runs_no_program_and_reaches_no_other_process(void **state)
{
    assert_int_equal(in_service(run_program), EPERM);
    assert_int_equal(in_service(trace_parent), EPERM);
    assert_int_equal(in_service(become_root_again), EPERM);
}

static void a_service_has_no_way_into_the_kernels_rarer_parts(void **state)
{
    assert_int_equal(in_service(new_user_namespace), EPERM);
    assert_int_equal(in_service(clone_namespace), EPERM);
    assert_int_equal(in_service(load_bpf), EPERM);
    assert_int_equal(in_service(make_ring), EPERM);
    assert_int_equal(in_service(packet_socket), EAFNOSUPPORT);
    assert_int_equal(in_service(vsock_socket), EAFNOSUPPORT);
    assert_int_equal(in_service(alg_socket), EAFNOSUPPORT);
}

static int open_file(void)
{
    return open("/etc/passwd", O_RDONLY);
}

static int make_child(void)
{
    return (int)syscall(SYS_fork);
}

static int connect_somewhere(void)
{
    return socket(AF_UNIX, SOCK_STREAM, 0);
}

static int write_kept(void)
{
    return (int)write(KEPT, "", 0);
}

static int write_closed(void)
{
    return (int)write(KEPT + 2, "", 0);
}

static void a_parser_reads_and_writes_what_it_was_given_and_nothing_else(void **state)
{
    assert_int_equal(in_parser(write_kept), 0);
    assert_int_equal(in_parser(write_closed), EBADF);
    assert_int_equal(in_parser(open_file), EPERM);
    assert_int_equal(in_parser(make_child), EPERM);
    assert_int_equal(in_parser(connect_somewhere), EPERM);
    assert_int_equal(in_parser(run_program), EPERM);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_service_can_do_its_work),
        cmocka_unit_test(a_service_runs_no_program_and_reaches_no_other_process),
        cmocka_unit_test(a_service_has_no_way_into_the_kernels_rarer_parts),
        cmocka_unit_test(a_parser_reads_and_writes_what_it_was_given_and_nothing_else),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
