#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <arpa/inet.h>
#include <cmocka.h>
#include <ftw.h>
#include <hiredis/hiredis.h>
#include <limits.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "store_suite.h"

#define SOON_MS 60000

static char top[64];
static char socket_path[96];
static char url[128], other_url[128];
static pid_t server = -1;
static struct sbx_store_options options;

/* A redis-server on the private socket (and a TCP port, unless 0) that dies with this process. */
static void start_server(int port)
{
    char tcp[16];
    snprintf(tcp, sizeof(tcp), "%d", port);
    server = fork();
    assert_true(server >= 0);
    if (server == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        execlp("redis-server", "redis-server", "--port", tcp, "--bind", "127.0.0.1", "--unixsocket",
               socket_path, "--unixsocketperm", "700", "--save", "", "--appendonly", "no", "--dir", top,
               "--loglevel", "warning", "--logfile", "/dev/null", (char *)NULL);
        _exit(127); /* the connection below never comes up */
    }
    int64_t start = sbx_now_ms();
    for (;;) {
        redisContext *ctx = redisConnectUnix(socket_path);
        bool up = ctx && !ctx->err;
        redisFree(ctx);
        if (up)
            return;
        if (sbx_now_ms() - start > 10000)
            fail_msg("redis-server does not answer: is it installed?");
        assert_int_equal(sbx_wait_poll(NULL, NULL, 0, 5, NULL), 0);
    }
}

static void stop_server(void)
{
    if (server <= 0)
        return;
    kill(server, SIGKILL);
    (void)suite_reap(server);
    server = -1;
    (void)unlink(socket_path);
}

/* What redis itself says to a command of words without spaces; "" for anything but a string or status. */
static void redis(const char *command, char *out, size_t size)
{
    redisContext *ctx = redisConnectUnix(socket_path);
    assert_non_null(ctx);
    assert_int_equal(ctx->err, 0);
    redisReply *reply = redisCommand(ctx, command);
    assert_non_null(reply);
    if (reply->type == REDIS_REPLY_ERROR)
        fail_msg("%s: %s", command, reply->str);
    snprintf(out, size, "%s", reply->str ? reply->str : "");
    freeReplyObject(reply);
    redisFree(ctx);
}

static void tell(const char *command)
{
    char ignored[64];
    redis(command, ignored, sizeof(ignored));
}

/* Wait through `wait` for that long, or until a hook fails: its error's kind. */
static enum sbx_err_kind wait_through(struct sbx_wait *wait, int64_t ms, struct sbx_err *err)
{
    int64_t until = sbx_now_ms() + ms;
    for (int64_t left; (left = until - sbx_now_ms()) > 0;)
        if (sbx_wait_poll(wait, NULL, 0, (int)left, err) < 0)
            return err->kind;
    return SBX_ERR_NONE;
}

static void a_held_lock_outlives_its_ttl_while_its_holder_waits(void **state)
{
    struct sbx_store_options quick = options;
    quick.lock_ttl_ms = 2000;
    quick.lock_refresh_ms = 100;
    struct sbx_store *store = suite_open(&quick);
    struct sbx_store *second = suite_open(&quick);
    struct sbx_wait wait;
    sbx_wait_init(&wait);
    char id[SBX_UUID_LEN + 1];
    sbx_uuid4(id);
    struct sbx_lock lock = SBX_LOCK_INIT, another = SBX_LOCK_INIT;
    struct sbx_err err = SBX_ERR_INIT;
    assert_int_equal(sbx_store_lock(store, &wait, id, 0, &lock, NULL), 0);
    assert_int_equal(wait_through(&wait, 2500, &err), SBX_ERR_NONE);
    assert_int_equal(sbx_store_lock(second, NULL, id, 0, &another, &err), -1);
    assert_int_equal(err.kind, SBX_ERR_CONFLICT);
    sbx_store_unlock(&lock, &wait, true);
    assert_int_equal(wait_through(&wait, 150, &err), SBX_ERR_NONE); /* the hook went with it */
    sbx_store_close(store);
    sbx_store_close(second);
}

static void a_lost_lock_ends_the_wait_and_is_not_taken_from_its_new_holder(void **state)
{
    struct sbx_store_options quick = options;
    quick.lock_refresh_ms = 50;
    struct sbx_store *store = suite_open(&quick);
    struct sbx_wait wait;
    sbx_wait_init(&wait);
    char id[SBX_UUID_LEN + 1], command[128], token[64];
    sbx_uuid4(id);
    struct sbx_lock lock = SBX_LOCK_INIT, next = SBX_LOCK_INIT, third = SBX_LOCK_INIT;
    struct sbx_err err = SBX_ERR_INIT;
    assert_int_equal(sbx_store_lock(store, &wait, id, 0, &lock, NULL), 0);
    snprintf(command, sizeof(command), "DEL sandboxd:lock:%s", id);
    tell(command); /* as a failover might */
    assert_int_equal(sbx_store_lock(store, NULL, id, 0, &next, NULL), 0);
    assert_true(next.fence > lock.fence);
    assert_int_equal(wait_through(&wait, SOON_MS, &err), SBX_ERR_UNAVAILABLE);
    assert_non_null(strstr(err.msg, "lost"));
    sbx_store_unlock(&lock, &wait, false);
    assert_int_equal(sbx_store_lock(store, NULL, id, 0, &third, &err), -1);
    assert_int_equal(err.kind, SBX_ERR_CONFLICT);
    snprintf(command, sizeof(command), "GET sandboxd:lock:%s", id);
    redis(command, token, sizeof(token));
    assert_string_equal(token, next.token);
    sbx_store_unlock(&next, NULL, true);
    sbx_store_close(store);
}

static void a_fence_grows_also_when_the_clock_was_set_back(void **state)
{
    struct sbx_store *store = suite_open(&options);
    char id[SBX_UUID_LEN + 1], command[160];
    sbx_uuid4(id);
    uint64_t future = (uint64_t)(sbx_wall_ms() + 3600000) * 1000;
    snprintf(command, sizeof(command), "SET sandboxd:fence:%s %llu", id, (unsigned long long)future);
    tell(command);
    for (uint64_t i = 1; i <= 2; i++) {
        struct sbx_lock lock = SBX_LOCK_INIT;
        assert_int_equal(sbx_store_lock(store, NULL, id, 0, &lock, NULL), 0);
        assert_true(lock.fence == future + i);
        sbx_store_unlock(&lock, NULL, true);
    }
    sbx_store_close(store);
}

static void work_stops_before_a_lock_that_cannot_be_refreshed_expires(void **state)
{
    struct sbx_store_options quick = options;
    quick.lock_ttl_ms = 600;
    quick.lock_refresh_ms = 100;
    struct sbx_store *store = suite_open(&quick);
    struct sbx_wait wait;
    sbx_wait_init(&wait);
    char id[SBX_UUID_LEN + 1];
    sbx_uuid4(id);
    struct sbx_lock lock = SBX_LOCK_INIT;
    struct sbx_err err = SBX_ERR_INIT;
    int64_t start = sbx_now_ms();
    assert_int_equal(sbx_store_lock(store, &wait, id, 0, &lock, NULL), 0);
    stop_server();
    assert_int_equal(wait_through(&wait, SOON_MS, &err), SBX_ERR_UNAVAILABLE);
    int64_t lasted = sbx_now_ms() - start;
    assert_true(lasted >= 200); /* the first failure is not the end of it */
    assert_non_null(strstr(err.msg, "cannot be kept"));
    sbx_store_unlock(&lock, &wait, false);
    sbx_store_close(store);
    start_server(0);
}

static void a_handle_survives_a_restart_of_redis_and_keeps_the_instance(void **state)
{
    struct sbx_store *store = suite_open_empty(&options);
    char instance[SBX_UUID_LEN + 1];
    strlcpy(instance, sbx_store_instance(store), sizeof(instance));
    stop_server();
    struct sbx_err err = SBX_ERR_INIT;
    assert_int_equal(sbx_store_ping(store, &err), -1);
    assert_int_equal(err.kind, SBX_ERR_UNAVAILABLE);
    struct sbx_record record;
    suite_record(&record);
    err.kind = SBX_ERR_NONE;
    assert_int_equal(sbx_store_insert(store, &record, &err), -1);
    assert_int_equal(err.kind, SBX_ERR_UNAVAILABLE);

    start_server(0);
    assert_int_equal(sbx_store_insert(store, &record, NULL), 0);
    stop_server();
    start_server(0);
    assert_int_equal(sbx_store_insert(store, &record, NULL),
                     0); /* the closed connection is noticed before it is used */
    struct sbx_store *second = suite_open(&options);
    assert_string_equal(sbx_store_instance(store), instance);
    assert_string_equal(sbx_store_instance(second), instance);
    sbx_record_done(&record);
    sbx_store_close(store);
    sbx_store_close(second);
}

static void scripts_that_redis_forgot_are_sent_again(void **state)
{
    struct sbx_store *store = suite_open_empty(&options);
    assert_int_equal(sbx_store_lease(store, "x", "a", 1000, NULL), 1);
    tell("SCRIPT FLUSH");
    assert_int_equal(sbx_store_lease(store, "x", "a", 1000, NULL), 1);
    assert_int_equal(sbx_store_lease(store, "x", "b", 1000, NULL), 0);
    sbx_store_close(store);
}

static void a_redis_that_refuses_writes_is_not_healthy(void **state)
{
    struct sbx_store *store = suite_open(&options);
    assert_int_equal(sbx_store_ping(store, NULL), 0);
    tell("CONFIG SET maxmemory 1");
    struct sbx_err err = SBX_ERR_INIT;
    assert_int_equal(sbx_store_ping(store, &err), -1);
    assert_int_equal(err.kind, SBX_ERR_UNAVAILABLE);
    tell("CONFIG SET maxmemory 0");
    assert_int_equal(sbx_store_ping(store, NULL), 0);
    sbx_store_close(store);
}

static void a_silent_redis_is_given_up_and_its_late_answer_dropped(void **state)
{
    struct sbx_store *store = suite_open_empty(&options);
    struct sbx_record record, out;
    suite_record(&record);
    sbx_record_init(&out);
    kill(server, SIGSTOP);
    struct sbx_err err = SBX_ERR_INIT;
    int64_t start = sbx_now_ms();
    assert_int_equal(sbx_store_lease(store, "late", "a", 60000, &err), -1);
    int64_t lasted = sbx_now_ms() - start;
    kill(server, SIGCONT);
    assert_int_equal(err.kind, SBX_ERR_UNAVAILABLE);
    assert_non_null(strstr(err.msg, "no answer"));
    assert_in_range(lasted, 1000, 10000);
    assert_int_equal(sbx_store_insert(store, &record, NULL), 0);
    assert_int_equal(sbx_store_get(store, record.id, &out, NULL), 0);
    assert_string_equal(out.options, record.options);
    sbx_record_done(&record);
    sbx_record_done(&out);
    sbx_store_close(store);
}

static void user_password_and_database_of_the_url_are_used(void **state)
{
    static const char good[] = "p%40ss%2Fw";
    char with[192];
    struct sbx_store_options opts = options;
    opts.redis_url = with;
    tell("ACL SETUSER me on >p@ss/w ~* +@all");
    tell("CONFIG SET requirepass secret");
    snprintf(with, sizeof(with), "unix://me:%s@%s?db=3", good, socket_path);
    sbx_store_close(suite_open(&opts));
    snprintf(with, sizeof(with), "unix://:secret@%s", socket_path);
    sbx_store_close(suite_open(&opts));

    struct sbx_err err = SBX_ERR_INIT;
    snprintf(with, sizeof(with), "unix://:wrong@%s", socket_path);
    assert_null(sbx_store_open(&opts, &err));
    assert_int_equal(err.kind, SBX_ERR_UNAVAILABLE);
    assert_null(strstr(err.msg, "wrong@"));
    assert_null(sbx_store_open(&options, &err)); /* none at all */
    stop_server();
    start_server(0);
}

static int free_port(void)
{
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(addr);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&addr, len), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&addr, &len), 0);
    close(fd);
    return ntohs(addr.sin_port);
}

static void redis_is_reached_over_tcp(void **state)
{
    char tcp[64];
    struct sbx_store_options opts = options;
    opts.redis_url = tcp;
    stop_server();
    int port = free_port();
    start_server(port);
    snprintf(tcp, sizeof(tcp), "redis://127.0.0.1:%d/2", port);
    struct sbx_store *store = suite_open(&opts);
    assert_int_equal(sbx_store_ping(store, NULL), 0);
    sbx_store_close(store);
    stop_server();
    struct sbx_err err = SBX_ERR_INIT;
    assert_null(sbx_store_open(&opts, &err));
    assert_int_equal(err.kind, SBX_ERR_UNAVAILABLE);
    start_server(0);
}

static void options_that_would_lose_locks_are_refused(void **state)
{
    struct sbx_store_options bad = options;
    bad.lock_refresh_ms = bad.lock_ttl_ms;
    struct sbx_err err = SBX_ERR_INIT;
    assert_null(sbx_store_open(&bad, &err));
    assert_int_equal(err.kind, SBX_ERR_INVALID);
}

static int begin(void **state)
{
    signal(SIGPIPE, SIG_IGN);
    start_server(0);
    return 0;
}

static int end(void **state)
{
    stop_server();
    return 0;
}

static void redis_server_starts(void **state)
{
    start_server(0);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    return remove(path);
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN); /* as in the service */
    const char *tmp = getenv("TMPDIR");
    snprintf(top, sizeof(top), "%s/sandboxd-redis-XXXXXX", tmp && strlen(tmp) < 32 ? tmp : "/tmp");
    if (!mkdtemp(top))
        return 1;
    snprintf(socket_path, sizeof(socket_path), "%s/redis.sock", top);
    snprintf(url, sizeof(url), "unix://%s", socket_path);
    snprintf(other_url, sizeof(other_url), "unix://%s?db=1", socket_path);
    options = (struct sbx_store_options){
        .redis_url = url, .replica = "test", .lock_ttl_ms = 30000, .lock_refresh_ms = 10000};

    const struct CMUnitTest store_redis_start[] = {cmocka_unit_test(redis_server_starts)};
    int failed = cmocka_run_group_tests(store_redis_start, NULL, NULL);
    if (failed == 0) {
        struct store_suite suite = {.options = options, .other = options};
        suite.other.redis_url = other_url;
        failed += store_suite_run(&suite);
    }
    stop_server();
    const struct CMUnitTest store_redis[] = {
        cmocka_unit_test(a_held_lock_outlives_its_ttl_while_its_holder_waits),
        cmocka_unit_test(a_lost_lock_ends_the_wait_and_is_not_taken_from_its_new_holder),
        cmocka_unit_test(a_fence_grows_also_when_the_clock_was_set_back),
        cmocka_unit_test(work_stops_before_a_lock_that_cannot_be_refreshed_expires),
        cmocka_unit_test(a_handle_survives_a_restart_of_redis_and_keeps_the_instance),
        cmocka_unit_test(scripts_that_redis_forgot_are_sent_again),
        cmocka_unit_test(a_redis_that_refuses_writes_is_not_healthy),
        cmocka_unit_test(a_silent_redis_is_given_up_and_its_late_answer_dropped),
        cmocka_unit_test(user_password_and_database_of_the_url_are_used),
        cmocka_unit_test(redis_is_reached_over_tcp),
        cmocka_unit_test(options_that_would_lose_locks_are_refused),
    };
    if (failed == 0)
        failed = cmocka_run_group_tests(store_redis, begin, end);
    nftw(top, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    return failed != 0;
}
