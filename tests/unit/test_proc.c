#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sandboxd/base.h"

/* A child of this name that waits to be killed; it has the name when this returns. */
static pid_t begin_child(const char *name)
{
    int ready[2];
    assert_int_equal(pipe(ready), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        prctl(PR_SET_NAME, name);
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        (void)!write(ready[1], "", 1);
        for (;;)
            pause();
    }
    char byte;
    assert_int_equal(read(ready[0], &byte, 1), 1);
    close(ready[0]);
    close(ready[1]);
    return pid;
}

/* Dead, and still a zombie. */
static void end_child(pid_t pid)
{
    siginfo_t info;
    assert_int_equal(kill(pid, SIGKILL), 0);
    assert_int_equal(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT), 0);
}

static void a_process_is_told_by_its_name_and_start(void **state)
{
    struct sbx_proc mine, other;
    pid_t pid = begin_child("sandboxd:worker");
    assert_int_equal(sbx_proc_look(getpid(), &mine), 0);
    assert_int_equal(sbx_proc_look(pid, &other), 0);
    assert_string_equal(other.name, "sandboxd:worker");
    assert_true(mine.start > 0 && other.start >= mine.start);
    end_child(pid);
    waitpid(pid, NULL, 0);
}

static void a_name_may_hold_what_ends_names(void **state)
{
    struct sbx_proc proc, plain;
    pid_t odd = begin_child("a) Z 1 2 (b) 3"), after = begin_child("plain");
    assert_int_equal(sbx_proc_look(odd, &proc), 0);
    assert_int_equal(sbx_proc_look(after, &plain), 0);
    assert_string_equal(proc.name, "a) Z 1 2 (b) 3");
    assert_true(proc.start > 3 && proc.start <= plain.start);
    end_child(odd);
    end_child(after);
    waitpid(odd, NULL, 0);
    waitpid(after, NULL, 0);
}

static void the_dead_are_not_looked_at(void **state)
{
    struct sbx_proc proc;
    pid_t pid = begin_child("dead");
    end_child(pid);
    assert_int_equal(sbx_proc_look(pid, &proc), -1);
    waitpid(pid, NULL, 0);
    assert_int_equal(sbx_proc_look(pid, &proc), -1);
}

static void who_gets_a_pid_again_is_another_process(void **state)
{
    struct sbx_proc mine;
    assert_int_equal(sbx_proc_look(getpid(), &mine), 0);
    int64_t id = sbx_proc_self();
    assert_int_equal(sbx_proc_id(getpid(), &mine), id);
    assert_int_equal(sbx_proc_pid(id), getpid());
    mine.start++;
    assert_int_not_equal(sbx_proc_id(getpid(), &mine), id);
    assert_int_equal(sbx_proc_pid(sbx_proc_id(getpid(), &mine)), getpid());
}

static void a_number_holds_any_pid_and_centuries(void **state)
{
    struct sbx_proc proc = {.start = INT64_C(100) * 86400 * 365 * 500};
    pid_t most = (1 << 22) - 1;
    assert_int_equal(sbx_proc_pid(sbx_proc_id(most, &proc)), most);
    assert_int_equal(sbx_proc_id(most, &proc) >> 22, proc.start);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_process_is_told_by_its_name_and_start),
        cmocka_unit_test(a_name_may_hold_what_ends_names),
        cmocka_unit_test(the_dead_are_not_looked_at),
        cmocka_unit_test(who_gets_a_pid_again_is_another_process),
        cmocka_unit_test(a_number_holds_any_pid_and_centuries),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
