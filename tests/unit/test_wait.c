#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "sandboxd/base.h"

#define AN_HOUR INT64_C(3600000) /* not over while a test runs, however slow this machine is */

struct fixture {
    struct sbx_wait wait;
    int client[2]; /* [0] is ours, [1] the web server's end */
    int stop[2];
    int calls;
    int result; /* of the hook */
};

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    if (!f || socketpair(AF_UNIX, SOCK_STREAM, 0, f->client) < 0 || pipe(f->stop) < 0)
        return -1;
    sbx_wait_init(&f->wait);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    for (int i = 0; i < 2; i++) {
        sbx_close(&f->client[i]);
        sbx_close(&f->stop[i]);
    }
    free(f);
    return 0;
}

static int hook(void *arg, struct sbx_err *err)
{
    struct fixture *f = arg;
    f->calls++;
    return f->result < 0 ? sbx_err_set(err, SBX_ERR_UNAVAILABLE, "the lock was lost") : 0;
}

static void without_a_wait_it_is_poll(void **state)
{
    struct fixture *f = *state;
    struct sbx_err err = SBX_ERR_INIT;
    struct pollfd fds[2] = {{.fd = f->client[0], .events = POLLIN}, {.fd = f->stop[0], .events = POLLIN}};
    assert_int_equal(sbx_wait_poll(NULL, fds, 2, 0, &err), 0);
    assert_int_equal(write(f->stop[1], "x", 1), 1);
    assert_int_equal(sbx_wait_poll(NULL, fds, 2, -1, &err), 1);
    assert_int_equal(fds[0].revents, 0);
    assert_int_equal(fds[1].revents, POLLIN);
    assert_int_equal(sbx_wait_poll(NULL, NULL, 0, 5, &err), 0);
    assert_int_equal(sbx_wait_tick(NULL, &err), 0);
}

static void a_client_that_left_cancels(void **state)
{
    struct fixture *f = *state;
    struct sbx_err err = SBX_ERR_INIT;
    f->wait.client_fd = f->client[0];
    assert_int_equal(sbx_wait_tick(&f->wait, &err), 0);
    sbx_close(&f->client[1]);
    assert_int_equal(sbx_wait_poll(&f->wait, NULL, 0, -1, &err), -1);
    assert_int_equal(err.kind, SBX_ERR_CANCELLED);
    assert_string_equal(err.msg, "the client went away");
}

static void a_client_that_left_cancels_although_bytes_are_unread(void **state)
{
    struct fixture *f = *state;
    struct sbx_err err = SBX_ERR_INIT;
    f->wait.client_fd = f->client[0];
    assert_int_equal(write(f->client[1], "unread", 6), 6);
    sbx_close(&f->client[1]);
    assert_int_equal(sbx_wait_poll(&f->wait, NULL, 0, -1, &err), -1);
    assert_int_equal(err.kind, SBX_ERR_CANCELLED);
}

static void a_half_closed_client_cancels(void **state)
{
    struct fixture *f = *state;
    struct sbx_err err = SBX_ERR_INIT;
    f->wait.client_fd = f->client[0];
    assert_int_equal(shutdown(f->client[1], SHUT_WR), 0);
    assert_int_equal(sbx_wait_poll(&f->wait, NULL, 0, -1, &err), -1);
    assert_int_equal(err.kind, SBX_ERR_CANCELLED);
}

static int64_t cpu_us(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
    return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

static void unread_bytes_of_the_client_neither_end_the_wait_nor_make_it_spin(void **state)
{
    struct fixture *f = *state;
    struct sbx_err err = SBX_ERR_INIT;
    f->wait.client_fd = f->client[0];
    assert_int_equal(write(f->client[1], "unread", 6), 6);
    int64_t cpu = cpu_us();
    assert_int_equal(sbx_wait_poll(&f->wait, NULL, 0, 100, &err), 0);
    assert_true(cpu_us() - cpu < 50000);
    assert_int_equal(sbx_wait_tick(&f->wait, &err), 0);
}

static void a_stop_signal_is_unavailable(void **state)
{
    struct fixture *f = *state;
    struct sbx_err err = SBX_ERR_INIT;
    f->wait.stop_fd = f->stop[0];
    assert_int_equal(write(f->stop[1], "x", 1), 1);
    assert_int_equal(sbx_wait_poll(&f->wait, NULL, 0, -1, &err), -1);
    assert_int_equal(err.kind, SBX_ERR_UNAVAILABLE);
    assert_string_equal(err.msg, "the service is stopping");
    err = (struct sbx_err)SBX_ERR_INIT;
    assert_int_equal(sbx_wait_poll(&f->wait, NULL, 0, -1, &err), -1); /* the signal was not consumed */
    assert_int_equal(sbx_wait_tick(&f->wait, &err), -1);
}

static void the_deadline_ends_a_longer_wait(void **state)
{
    struct fixture *f = *state;
    struct sbx_err err = SBX_ERR_INIT;
    struct pollfd fd = {.fd = f->client[0], .events = POLLIN};
    int64_t start = sbx_now_ms();
    f->wait.deadline_ms = start + 30;
    assert_int_equal(sbx_wait_poll(&f->wait, &fd, 1, 60000, &err), -1);
    assert_int_equal(err.kind, SBX_ERR_TIMEOUT);
    assert_true(sbx_now_ms() >= start + 30);
    assert_true(sbx_now_ms() < start + 5000);
    assert_int_equal(sbx_wait_tick(&f->wait, &err), -1);
    assert_int_equal(err.kind, SBX_ERR_TIMEOUT);
}

static void a_timeout_before_the_deadline_is_no_error(void **state)
{
    struct fixture *f = *state;
    struct sbx_err err = SBX_ERR_INIT;
    struct pollfd fd = {.fd = f->client[0], .events = POLLIN, .revents = POLLIN};
    int64_t start = sbx_now_ms();
    f->wait.deadline_ms = start + 60000;
    assert_int_equal(sbx_wait_poll(&f->wait, &fd, 1, 20, &err), 0);
    assert_int_equal(fd.revents, 0);
    assert_true(sbx_now_ms() >= start + 20);
}

static void ready_descriptors_are_counted_without_our_own(void **state)
{
    struct fixture *f = *state;
    struct sbx_err err = SBX_ERR_INIT;
    int other[2];
    assert_int_equal(pipe(other), 0);
    f->wait.client_fd = f->client[0];
    f->wait.stop_fd = f->stop[0];
    assert_int_equal(write(f->client[1], "unread", 6), 6);
    assert_int_equal(write(other[1], "x", 1), 1);
    struct pollfd fds[2] = {{.fd = -1, .events = POLLIN}, {.fd = other[0], .events = POLLIN}};
    assert_int_equal(sbx_wait_poll(&f->wait, fds, 2, -1, &err), 1);
    assert_int_equal(fds[1].revents, POLLIN);
    close(other[0]);
    close(other[1]);
}

static void hooks_run_when_they_are_due_and_waiting_goes_on(void **state)
{
    struct fixture *f = *state;
    struct sbx_err err = SBX_ERR_INIT;
    int handle = sbx_wait_add(&f->wait, AN_HOUR, hook, f);
    assert_true(handle >= 0);
    assert_int_equal(sbx_wait_poll(&f->wait, NULL, 0, 0, &err), 0);
    assert_int_equal(f->calls, 0); /* first after its interval */
    sbx_wait_remove(&f->wait, handle);
    handle = sbx_wait_add(&f->wait, 10, hook, f);
    for (int i = 0; i < 50 && f->calls == 0; i++) { /* one that sleeps through all of its time runs none */
        int64_t start = sbx_now_ms();
        assert_int_equal(sbx_wait_poll(&f->wait, NULL, 0, 100, &err), 0);
        assert_true(sbx_now_ms() >= start + 100);
    }
    assert_true(f->calls >= 1 && f->calls <= 11);
    sbx_wait_remove(&f->wait, handle);
    f->calls = 0;
    assert_int_equal(sbx_wait_poll(&f->wait, NULL, 0, 30, &err), 0);
    assert_int_equal(f->calls, 0);
}

static void a_hook_that_fails_ends_the_wait_with_its_error(void **state)
{
    struct fixture *f = *state;
    struct sbx_err err = SBX_ERR_INIT;
    f->result = -1;
    sbx_wait_add(&f->wait, 5, hook, f);
    assert_int_equal(sbx_wait_poll(&f->wait, NULL, 0, -1, &err), -1);
    assert_string_equal(err.msg, "the lock was lost");
    assert_int_equal(f->calls, 1);
}

static void an_overdue_hook_runs_once_in_a_tick_not_once_for_each_miss(void **state)
{
    struct fixture *f = *state;
    struct sbx_err err = SBX_ERR_INIT;
    int handle = sbx_wait_add(&f->wait, AN_HOUR, hook, f);
    f->wait.hooks[handle].next_ms = sbx_now_ms() - 10 * AN_HOUR;
    assert_int_equal(sbx_wait_tick(&f->wait, &err), 0);
    assert_int_equal(sbx_wait_tick(&f->wait, &err), 0);
    assert_int_equal(f->calls, 1);
}

static int nested(void *arg, struct sbx_err *err)
{
    struct fixture *f = arg;
    f->calls++;
    return sbx_wait_poll(&f->wait, NULL, 0, 5, err);
}

static void a_hook_may_wait_itself(void **state)
{
    struct fixture *f = *state;
    struct sbx_err err = SBX_ERR_INIT;
    int handle = sbx_wait_add(&f->wait, AN_HOUR, nested, f);
    f->wait.hooks[handle].next_ms = sbx_now_ms();
    assert_int_equal(sbx_wait_poll(&f->wait, NULL, 0, 1, &err), 0);
    assert_int_equal(f->calls, 1);
}

static void there_is_a_limit_of_hooks_and_of_descriptors(void **state)
{
    struct fixture *f = *state;
    struct sbx_err err = SBX_ERR_INIT;
    struct pollfd fds[15];
    for (int i = 0; i < SBX_WAIT_HOOKS; i++)
        assert_int_equal(sbx_wait_add(&f->wait, 1000, hook, f), i);
    assert_int_equal(sbx_wait_add(&f->wait, 1000, hook, f), -1);
    sbx_wait_remove(&f->wait, -1);
    sbx_wait_remove(&f->wait, 2);
    assert_int_equal(sbx_wait_add(&f->wait, 1000, hook, f), 2);
    for (int i = 0; i < 15; i++)
        fds[i] = (struct pollfd){.fd = -1};
    assert_int_equal(sbx_wait_poll(&f->wait, fds, 14, 0, &err), 0);
    assert_int_equal(sbx_wait_poll(&f->wait, fds, 15, 0, &err), -1);
    assert_int_equal(err.kind, SBX_ERR_INTERNAL);
}

static void on_alarm(int number)
{
}

static void a_signal_does_not_end_the_wait(void **state)
{
    struct fixture *f = *state;
    struct sbx_err err = SBX_ERR_INIT;
    struct sigaction action = {.sa_handler = on_alarm}, old;
    struct itimerval timer = {{0, 2000}, {0, 2000}}, off = {{0, 0}, {0, 0}};
    int64_t start = sbx_now_ms();
    sigaction(SIGALRM, &action, &old);
    setitimer(ITIMER_REAL, &timer, NULL);
    assert_int_equal(sbx_wait_poll(&f->wait, NULL, 0, 30, &err), 0);
    assert_int_equal(sbx_wait_poll(NULL, NULL, 0, 30, &err), 0);
    setitimer(ITIMER_REAL, &off, NULL);
    sigaction(SIGALRM, &old, NULL);
    assert_true(sbx_now_ms() >= start + 60);
}

static void a_tick_asks_the_kernel_once_a_millisecond(void **state)
{
    struct fixture *f = *state;
    struct sbx_err err = SBX_ERR_INIT;
    f->wait.client_fd = f->client[0];
    assert_int_equal(sbx_wait_tick(&f->wait, &err), 0);
    sbx_close(&f->client[1]);
    f->wait.polled_us =
        sbx_now_us() + AN_HOUR * 1000; /* as if it had just been done, however slow this machine is */
    assert_int_equal(sbx_wait_tick(&f->wait, &err), 0);
    f->wait.polled_us = sbx_now_us() - 2000;
    assert_int_equal(sbx_wait_tick(&f->wait, &err), -1);
    assert_int_equal(err.kind, SBX_ERR_CANCELLED);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(without_a_wait_it_is_poll),
        TEST(a_client_that_left_cancels),
        TEST(a_client_that_left_cancels_although_bytes_are_unread),
        TEST(a_half_closed_client_cancels),
        TEST(unread_bytes_of_the_client_neither_end_the_wait_nor_make_it_spin),
        TEST(a_stop_signal_is_unavailable),
        TEST(the_deadline_ends_a_longer_wait),
        TEST(a_timeout_before_the_deadline_is_no_error),
        TEST(ready_descriptors_are_counted_without_our_own),
        TEST(hooks_run_when_they_are_due_and_waiting_goes_on),
        TEST(a_hook_that_fails_ends_the_wait_with_its_error),
        TEST(an_overdue_hook_runs_once_in_a_tick_not_once_for_each_miss),
        TEST(a_hook_may_wait_itself),
        TEST(there_is_a_limit_of_hooks_and_of_descriptors),
        TEST(a_signal_does_not_end_the_wait),
        TEST(a_tick_asks_the_kernel_once_a_millisecond),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
