/* Reports: through the queue, and out to a peer that plays Sentry. */
#include <arpa/inet.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "report/backlog.h"
#include "report_kit.h"

static struct timespec stopped; /* what the time is while it stands still; 0: it does not */

/* Stands before the C library's: no time passes for the courier, however long this process sleeps. */
int clock_gettime(clockid_t clock, struct timespec *ret)
{
    if (clock == CLOCK_MONOTONIC && stopped.tv_sec > 0) {
        *ret = stopped;
        return 0;
    }
    return (int)syscall(SYS_clock_gettime, clock, ret);
}

static void a_full_queue_drops_counts_and_never_waits(void **state)
{
    struct report_kit *kit = *state;
    struct sbx_report_crash crash = {.role = "worker", .signo = 9, .request = "", .session = ""};
    struct sbx_item item;
    uint64_t sent = 0;
    uint64_t taken = 0;
    report_kit_record(kit);
    while (kit->dropped < 3) {
        sbx_report_crash(&crash);
        sent++;
    }
    assert_true(sent > 100);
    while (report_kit_take(kit, &item))
        taken++;
    assert_int_equal(taken, sent - 3);
    sbx_report_crash(&crash);
    assert_int_equal(kit->dropped, 3);
}

static void a_mangled_item_is_not_taken_for_one(void **state)
{
    struct sbx_item item = {.kind = SBX_ITEM_LOG};
    item.u.log.len = 5;
    size_t n = sbx_item_size(&item);
    assert_true(sbx_item_is_whole(&item, n));
    assert_false(sbx_item_is_whole(&item, n - 1));
    assert_false(sbx_item_is_whole(&item, 3));
    item.u.log.len = SBX_ITEM_FIELDS + 1;
    assert_false(sbx_item_is_whole(&item, sizeof(item)));
    item.kind = 99;
    assert_false(sbx_item_is_whole(&item, sizeof(item)));
    item = (struct sbx_item){.kind = SBX_ITEM_ERROR};
    item.u.error.frame_count = SBX_STACK_FRAMES + 1;
    assert_false(sbx_item_is_whole(&item, sbx_item_size(&item)));
}

static void the_oldest_reports_make_room(void **state)
{
    struct sbx_backlog backlog = {.count = 0};
    struct sbx_item item = {.kind = SBX_ITEM_CRASH};
    size_t n = sbx_item_size(&item);
    for (int i = 0; i < SBX_BACKLOG_ITEMS + 5; i++) {
        item.pid = i;
        assert_int_equal(sbx_backlog_add(&backlog, &item, n), i < SBX_BACKLOG_ITEMS);
    }
    assert_int_equal(backlog.count, SBX_BACKLOG_ITEMS);
    assert_int_equal(sbx_backlog_at(&backlog, 0)->pid, 5);
    sbx_backlog_drop(&backlog, 2);
    assert_int_equal(sbx_backlog_at(&backlog, 0)->pid, 7);
    sbx_backlog_drop(&backlog, backlog.count);
    assert_int_equal(backlog.count, 0);
}

/* Answers one POST with `status` on each connection it accepts, then closes it. */
struct peer {
    int fd;
    const char *answer;
    int posts;
    char last[8192];
};

static void *play(void *arg)
{
    struct peer *peer = arg;
    int fd;
    while ((fd = accept(peer->fd, NULL, NULL)) >= 0) {
        size_t used = 0;
        ssize_t n;
        while (used + 1 < sizeof(peer->last) &&
               (n = read(fd, peer->last + used, sizeof(peer->last) - 1 - used)) > 0) {
            used += (size_t)n;
            peer->last[used] = '\0';
            const char *length = strcasestr(peer->last, "content-length:");
            const char *end = strstr(peer->last, "\r\n\r\n");
            if (length && end && peer->last + used >= end + 4 + atoi(length + 15))
                break;
        }
        peer->posts++;
        (void)!write(fd, peer->answer, strlen(peer->answer));
        close(fd);
    }
    return NULL;
}

static void start_peer(struct peer *peer, pthread_t *thread, char *dsn, size_t size)
{
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(addr);
    peer->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(peer->fd, (struct sockaddr *)&addr, len), 0);
    assert_int_equal(listen(peer->fd, 4), 0);
    assert_int_equal(getsockname(peer->fd, (struct sockaddr *)&addr, &len), 0);
    snprintf(dsn, size, "http://abcdef@127.0.0.1:%d/9", ntohs(addr.sin_port));
    assert_int_equal(pthread_create(thread, NULL, play, peer), 0);
}

static void deliver_one(struct report_kit *kit, struct peer *peer, uint64_t want_dropped)
{
    char dsn[64];
    pthread_t thread;
    struct sbx_err err = SBX_ERR_INIT;
    struct sbx_report_crash crash = {.role = "worker", .signo = 9, .request = "", .session = ""};
    unsetenv("http_proxy");
    unsetenv("all_proxy");
    start_peer(peer, &thread, dsn, sizeof(dsn));
    free(kit->config.sentry_dsn);
    kit->config.sentry_dsn = strdup(dsn);
    report_kit_record(kit);
    sbx_report_crash(&crash);
    struct sbx_courier *courier = sbx_courier_new(&kit->config, &kit->queue, &kit->dropped, &err);
    assert_non_null(courier);
    assert_true(sbx_courier_due_ms(courier) == INT64_MAX);
    clock_gettime(CLOCK_MONOTONIC, &stopped);
    sbx_courier_work(courier);
    assert_true(sbx_courier_due_ms(courier) < INT64_MAX); /* lingers for more */
    assert_int_equal(peer->posts, 0);
    sbx_courier_free(courier);
    stopped.tv_sec = 0;
    shutdown(peer->fd, SHUT_RDWR);
    pthread_join(thread, NULL);
    close(peer->fd);
    assert_int_equal(peer->posts, 1);
    assert_int_equal(kit->dropped, want_dropped);
}

static void a_courier_that_leaves_posts_what_it_has(void **state)
{
    struct peer peer = {.answer = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"};
    deliver_one(*state, &peer, 0);
    assert_non_null(strstr(peer.last, "POST /api/9/envelope/ HTTP/1.1\r\n"));
    assert_non_null(strstr(peer.last, "sentry_key=abcdef"));
    assert_non_null(strstr(peer.last, "{\"type\":\"event\""));
}

static void a_refused_report_is_counted(void **state)
{
    struct peer peer = {.answer = "HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n"};
    deliver_one(*state, &peer, 1);
}

static void without_a_dsn_there_is_no_courier(void **state)
{
    struct report_kit *kit = *state;
    struct sbx_err err = SBX_ERR_INIT;
    free(kit->config.sentry_dsn);
    kit->config.sentry_dsn = NULL;
    assert_null(sbx_courier_new(&kit->config, &kit->queue, &kit->dropped, &err));
    assert_int_equal(err.kind, SBX_ERR_NONE);
    sbx_courier_free(NULL);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, report_kit_open, report_kit_close)

int main(void)
{
    sbx_log_init(SBX_LOG_CRITICAL, false, "test");
    const struct CMUnitTest tests[] = {
        TEST(a_full_queue_drops_counts_and_never_waits),
        cmocka_unit_test(a_mangled_item_is_not_taken_for_one),
        cmocka_unit_test(the_oldest_reports_make_room),
        TEST(a_courier_that_leaves_posts_what_it_has),
        TEST(a_refused_report_is_counted),
        TEST(without_a_dsn_there_is_no_courier),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
