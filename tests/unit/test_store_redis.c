#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <arpa/inet.h>
#include <cmocka.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "redis_server.h"
#include "store_suite.h"

#define SOON_MS 60000

static char url[128], other_url[128];
static struct sbx_store_options options;

/* Wait through `wait` for that long, or until a hook fails: its error's kind. */
static enum sbx_err_kind wait_through(struct sbx_wait *wait, int64_t ms, struct sbx_err *err)
{
    int64_t until = sbx_now_ms() + ms;
    for (int64_t left; (left = until - sbx_now_ms()) > 0;)
        if (sbx_wait_poll(wait, NULL, 0, (int)left, err) < 0)
            return err->kind;
    return SBX_ERR_NONE;
}

static void until_it_answers(struct sbx_store *store)
{
    int64_t start = sbx_now_ms();
    while (sbx_store_ping(store, NULL) < 0) {
        assert_true(sbx_now_ms() - start < SOON_MS);
        assert_int_equal(sbx_wait_poll(NULL, NULL, 0, 10, NULL), 0);
    }
}

/* What is left of the TTL of a lock in milliseconds. */
static int64_t left_of(const char *id)
{
    char command[128], left[32];
    snprintf(command, sizeof(command), "PTTL daiv-sandbox:session-lock:%s", id);
    redis_server_ask(command, left, sizeof(left));
    return strtoll(left, NULL, 10);
}

/* While it waits it gets the whole TTL again and again, however much of it has passed. */
static void a_held_lock_outlives_its_ttl_while_its_holder_waits(void **state)
{
    struct sbx_store_options quick = options;
    quick.lock_refresh_ms = 100;
    struct sbx_store *store = suite_open(&quick);
    struct sbx_store *second = suite_open(&quick);
    struct sbx_wait wait;
    sbx_wait_init(&wait);
    char id[SBX_UUID_LEN + 1], command[128];
    sbx_uuid4(id);
    struct sbx_lock lock = SBX_LOCK_INIT, another = SBX_LOCK_INIT;
    struct sbx_err err = SBX_ERR_INIT;
    assert_int_equal(sbx_store_lock(store, &wait, id, 0, &lock, NULL), 0);
    snprintf(command, sizeof(command), "PEXPIRE daiv-sandbox:session-lock:%s 20000", id);
    for (int i = 0; i < 3; i++) {
        redis_server_tell(command); /* as if that time had passed */
        assert_in_range(left_of(id), 1, 20000);
        for (int64_t start = sbx_now_ms(); left_of(id) <= 20000;) {
            assert_true(sbx_now_ms() - start < SOON_MS);
            assert_int_equal(wait_through(&wait, 110, &err), SBX_ERR_NONE);
        }
        assert_in_range(left_of(id), 1, quick.lock_ttl_ms);
    }
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
    snprintf(command, sizeof(command), "DEL daiv-sandbox:session-lock:%s", id);
    redis_server_tell(command); /* as a failover might */
    assert_int_equal(sbx_store_lock(store, NULL, id, 0, &next, NULL), 0);
    assert_true(next.fence > lock.fence);
    assert_int_equal(wait_through(&wait, SOON_MS, &err), SBX_ERR_UNAVAILABLE);
    assert_non_null(strstr(err.msg, "lost"));
    sbx_store_unlock(&lock, &wait, false);
    assert_int_equal(sbx_store_lock(store, NULL, id, 0, &third, &err), -1);
    assert_int_equal(err.kind, SBX_ERR_CONFLICT);
    snprintf(command, sizeof(command), "GET daiv-sandbox:session-lock:%s", id);
    redis_server_ask(command, token, sizeof(token));
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
    snprintf(command, sizeof(command), "SET daiv-sandbox:session-fence:%s %llu", id,
             (unsigned long long)future);
    redis_server_tell(command);
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
    redis_server_stop();
    assert_int_equal(wait_through(&wait, SOON_MS, &err), SBX_ERR_UNAVAILABLE);
    int64_t lasted = sbx_now_ms() - start;
    assert_true(lasted >= 200); /* the first failure is not the end of it */
    assert_non_null(strstr(err.msg, "cannot be kept"));
    sbx_store_unlock(&lock, &wait, false);
    sbx_store_close(store);
    redis_server_start(0);
}

static void a_handle_survives_a_restart_of_redis_and_keeps_the_instance(void **state)
{
    struct sbx_store *store = suite_open_empty(&options);
    char instance[SBX_UUID_LEN + 1];
    strlcpy(instance, sbx_store_instance(store), sizeof(instance));
    redis_server_stop();
    struct sbx_err err = SBX_ERR_INIT;
    assert_int_equal(sbx_store_ping(store, &err), -1);
    assert_int_equal(err.kind, SBX_ERR_UNAVAILABLE);
    struct sbx_record record;
    suite_record(&record);
    err.kind = SBX_ERR_NONE;
    assert_int_equal(sbx_store_insert(store, &record, &err), -1);
    assert_int_equal(err.kind, SBX_ERR_UNAVAILABLE);

    redis_server_start(0);
    assert_int_equal(sbx_store_insert(store, &record, NULL), 0);
    redis_server_stop();
    redis_server_start(0);
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
    assert_int_equal(sbx_store_lease(store, "x", "a", 600000, NULL), 1);
    redis_server_tell("SCRIPT FLUSH");
    assert_int_equal(sbx_store_lease(store, "x", "a", 600000, NULL), 1);
    assert_int_equal(sbx_store_lease(store, "x", "b", 600000, NULL), 0);
    assert_int_equal(sbx_store_lease_release(store, "x", "a", NULL), 0);
    sbx_store_close(store);
}

static void a_redis_that_refuses_writes_is_not_healthy(void **state)
{
    struct sbx_store *store = suite_open(&options);
    assert_int_equal(sbx_store_ping(store, NULL), 0);
    redis_server_tell("CONFIG SET maxmemory 1");
    struct sbx_err err = SBX_ERR_INIT;
    assert_int_equal(sbx_store_ping(store, &err), -1);
    assert_int_equal(err.kind, SBX_ERR_UNAVAILABLE);
    redis_server_tell("CONFIG SET maxmemory 0");
    assert_int_equal(sbx_store_ping(store, NULL), 0);
    sbx_store_close(store);
}

static void a_silent_redis_is_given_up_and_its_late_answer_dropped(void **state)
{
    struct sbx_store *store = suite_open_empty(&options);
    struct sbx_record record, out;
    suite_record(&record);
    sbx_record_init(&out);
    kill(redis_server_pid, SIGSTOP);
    struct sbx_err err = SBX_ERR_INIT;
    int64_t start = sbx_now_ms();
    assert_int_equal(sbx_store_lease(store, "late", "a", 60000, &err), -1);
    int64_t lasted = sbx_now_ms() - start;
    kill(redis_server_pid, SIGCONT);
    assert_int_equal(err.kind, SBX_ERR_UNAVAILABLE);
    assert_non_null(strstr(err.msg, "no answer"));
    assert_in_range(lasted, 1000, 10000);
    until_it_answers(store);
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
    redis_server_tell("ACL SETUSER me on >p@ss/w ~* +@all");
    redis_server_tell("CONFIG SET requirepass secret");
    snprintf(with, sizeof(with), "unix://me:%s@%s?db=3", good, redis_server_socket);
    sbx_store_close(suite_open(&opts));
    snprintf(with, sizeof(with), "unix://:secret@%s", redis_server_socket);
    sbx_store_close(suite_open(&opts));

    struct sbx_err err = SBX_ERR_INIT;
    snprintf(with, sizeof(with), "unix://:wrong@%s", redis_server_socket);
    assert_null(sbx_store_open(&opts, &err));
    assert_int_equal(err.kind, SBX_ERR_UNAVAILABLE);
    assert_null(strstr(err.msg, "wrong@"));
    assert_null(sbx_store_open(&options, &err)); /* none at all */
    redis_server_stop();
    redis_server_start(0);
}

static void calls_to_a_hanging_redis_do_not_each_wait(void **state)
{
    struct sbx_store *store = suite_open(&options);
    kill(redis_server_pid, SIGSTOP);
    int64_t start = sbx_now_ms();
    struct sbx_err err = SBX_ERR_INIT;
    for (int i = 0; i < 5; i++) {
        err = (struct sbx_err)SBX_ERR_INIT;
        assert_int_equal(sbx_store_lease(store, "x", "a", 1000, &err), -1);
        assert_int_equal(err.kind, SBX_ERR_UNAVAILABLE);
        assert_non_null(strstr(err.msg, "no answer"));
    }
    int64_t lasted = sbx_now_ms() - start;
    kill(redis_server_pid, SIGCONT);
    assert_in_range(lasted, 1000, 2000); /* not once for each of them */
    until_it_answers(store);
    sbx_store_close(store);
}

/* The lock's key as text, "" when there is none. */
static void ask_lock(const char *id, char token[128])
{
    char command[128];
    snprintf(command, sizeof(command), "GET daiv-sandbox:session-lock:%s", id);
    redis_server_ask(command, token, 128);
}

static void ask_held(const char *id, char token[128])
{
    char command[128];
    snprintf(command, sizeof(command), "HGET daiv-sandbox:locks-of:test %s", id);
    redis_server_ask(command, token, 128);
}

static void a_held_lock_is_taken_again_when_redis_comes_back_empty(void **state)
{
    struct sbx_store_options quick = options;
    quick.lock_refresh_ms = 50;
    struct sbx_store *store = suite_open(&quick);
    struct sbx_wait wait;
    sbx_wait_init(&wait);
    char id[SBX_UUID_LEN + 1], token[128];
    sbx_uuid4(id);
    struct sbx_lock lock = SBX_LOCK_INIT, next = SBX_LOCK_INIT;
    struct sbx_err err = SBX_ERR_INIT;
    assert_int_equal(sbx_store_lock(store, &wait, id, 0, &lock, NULL), 0);
    redis_server_stop();
    redis_server_start(0);
    for (int64_t start = sbx_now_ms(); ask_lock(id, token), !*token;) {
        assert_true(sbx_now_ms() - start < SOON_MS);
        assert_int_equal(wait_through(&wait, 60, &err), SBX_ERR_NONE);
    }
    assert_string_equal(token, lock.token);
    uint64_t fence = lock.fence;
    sbx_store_unlock(&lock, &wait, false);
    assert_int_equal(sbx_store_lock(store, NULL, id, 0, &next, NULL), 0);
    assert_true(next.fence > fence);
    sbx_store_unlock(&next, NULL, true);
    sbx_store_close(store);
}

static void a_lock_that_another_had_in_between_is_not_taken_again(void **state)
{
    struct sbx_store_options quick = options;
    quick.lock_refresh_ms = 50;
    struct sbx_store *store = suite_open(&quick);
    struct sbx_wait wait;
    sbx_wait_init(&wait);
    char id[SBX_UUID_LEN + 1], command[128];
    sbx_uuid4(id);
    struct sbx_lock lock = SBX_LOCK_INIT, next = SBX_LOCK_INIT;
    struct sbx_err err = SBX_ERR_INIT;
    assert_int_equal(sbx_store_lock(store, &wait, id, 0, &lock, NULL), 0);
    snprintf(command, sizeof(command), "DEL daiv-sandbox:session-lock:%s", id);
    redis_server_tell(command); /* as if its TTL were over */
    assert_int_equal(sbx_store_lock(store, NULL, id, 0, &next, NULL), 0);
    sbx_store_unlock(&next, NULL, false);
    assert_int_equal(wait_through(&wait, SOON_MS, &err), SBX_ERR_UNAVAILABLE);
    assert_string_equal(err.msg, "session lock was lost");
    sbx_store_unlock(&lock, &wait, true);
    sbx_store_close(store);
}

static void locks_of_dead_processes_of_the_replica_are_released(void **state)
{
    struct sbx_store_options elsewhere = options;
    elsewhere.replica = "another";
    struct sbx_store *store = suite_open(&options);
    struct sbx_store *foreign = suite_open(&elsewhere);
    assert_true(sbx_store_free_dead(store, NULL) >= 0); /* of the tests before */
    char dead[SBX_UUID_LEN + 1], living[SBX_UUID_LEN + 1], token[128];
    sbx_uuid4(dead);
    sbx_uuid4(living);
    struct sbx_lock lock = SBX_LOCK_INIT;
    assert_int_equal(sbx_store_lock(store, NULL, living, 0, &lock, NULL), 0);
    pid_t holder = suite_hold_lock(&options, dead);
    assert_int_equal(sbx_store_free_dead(store, NULL), 0);
    kill(holder, SIGKILL);
    assert_int_equal(suite_reap(holder), 1000 + SIGKILL);
    assert_int_equal(sbx_store_free_dead(foreign, NULL), 0);
    ask_lock(dead, token);
    assert_true(*token);
    assert_int_equal(sbx_store_free_dead(store, NULL), 1);
    ask_lock(dead, token);
    assert_string_equal(token, "");
    ask_lock(living, token);
    assert_string_equal(token, lock.token);
    assert_int_equal(sbx_store_free_dead(store, NULL), 0);
    ask_held(living, token);
    assert_string_equal(token, lock.token);
    sbx_store_unlock(&lock, NULL, true);
    ask_held(living, token);
    assert_string_equal(token, "");
    ask_held(dead, token);
    assert_string_equal(token, "");
    sbx_store_close(store);
    sbx_store_close(foreign);
}

/* Its release was lost, and its TTL is over. */
static void a_lock_that_a_living_process_lost_is_forgotten(void **state)
{
    struct sbx_store *store = suite_open(&options);
    struct sbx_lock lock = SBX_LOCK_INIT;
    char id[SBX_UUID_LEN + 1], command[128], token[128];
    sbx_uuid4(id);
    assert_int_equal(sbx_store_lock(store, NULL, id, 0, &lock, NULL), 0);
    assert_int_equal(sbx_store_free_dead(store, NULL), 0);
    ask_held(id, token);
    assert_string_equal(token, lock.token);
    snprintf(command, sizeof(command), "DEL daiv-sandbox:session-lock:%s", id);
    redis_server_tell(command);
    assert_int_equal(sbx_store_free_dead(store, NULL), 0);
    ask_held(id, token);
    assert_string_equal(token, "");
    sbx_store_unlock(&lock, NULL, true);
    sbx_store_close(store);
}

/* A process with the pid of a dead holder, as the next container of a replica has them. */
static void a_lock_of_an_earlier_process_of_the_same_pid_is_released(void **state)
{
    struct sbx_store *store = suite_open(&options);
    char id[SBX_UUID_LEN + 1], command[192], token[128];
    sbx_uuid4(id);
    snprintf(command, sizeof(command), "SET daiv-sandbox:session-lock:%s %d.1.abc", id, (int)getpid());
    redis_server_tell(command);
    snprintf(command, sizeof(command), "HSET daiv-sandbox:locks-of:test %s %d.1.abc", id, (int)getpid());
    redis_server_tell(command);
    assert_int_equal(sbx_store_free_dead(store, NULL), 1);
    ask_lock(id, token);
    assert_string_equal(token, "");
    sbx_store_close(store);
}

static void a_process_starts_while_redis_is_away_and_the_instance_survives_its_loss(void **state)
{
    char dir[] = "/tmp/sbx-redis-dir-XXXXXX", instance[SBX_UUID_LEN + 1], path[64];
    assert_non_null(mkdtemp(dir));
    struct sbx_store_options kept = options;
    kept.dir = dir;
    struct sbx_err err = SBX_ERR_INIT;
    redis_server_stop();
    assert_null(sbx_store_open(&kept, &err)); /* never seen: this may be a mistake in the URL */
    assert_int_equal(err.kind, SBX_ERR_UNAVAILABLE);
    redis_server_start(0);
    struct sbx_store *store = suite_open(&kept);
    strlcpy(instance, sbx_store_instance(store), sizeof(instance));
    sbx_store_close(store);
    redis_server_stop();
    store = suite_open(&kept);
    assert_string_equal(sbx_store_instance(store), instance);
    assert_int_equal(sbx_store_ping(store, &err), -1);
    redis_server_start(0); /* empty */
    until_it_answers(store);
    struct sbx_store *another = suite_open(&options);
    assert_string_equal(sbx_store_instance(another), instance);
    redis_server_tell("FLUSHALL"); /* nobody's connection breaks */
    assert_int_equal(sbx_store_ping(store, NULL), 0);
    char known[64];
    redis_server_ask("GET daiv-sandbox:instance", known, sizeof(known));
    assert_string_equal(known, instance);
    sbx_store_close(another);
    sbx_store_close(store);
    snprintf(path, sizeof(path), "%s/instance", dir);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(rmdir(dir), 0);
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
    redis_server_stop();
    int port = free_port();
    redis_server_start(port);
    snprintf(tcp, sizeof(tcp), "redis://127.0.0.1:%d/2", port);
    struct sbx_store *store = suite_open(&opts);
    assert_int_equal(sbx_store_ping(store, NULL), 0);
    sbx_store_close(store);
    redis_server_stop();
    struct sbx_err err = SBX_ERR_INIT;
    assert_null(sbx_store_open(&opts, &err));
    assert_int_equal(err.kind, SBX_ERR_UNAVAILABLE);
    redis_server_start(0);
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
    redis_server_start(0);
    return 0;
}

static int end(void **state)
{
    redis_server_stop();
    return 0;
}

static void redis_server_starts(void **state)
{
    redis_server_start(0);
}

static void a_record_of_an_earlier_version_is_read(void **state)
{
    static const char id[] = "00000000-0000-4000-8000-000000000001";
    struct sbx_store *store = suite_open_empty(&options);
    struct sbx_record record;
    sbx_record_init(&record);
    redis_server_tell("HSET daiv-sandbox:session:00000000-0000-4000-8000-000000000001"
                      " id 00000000-0000-4000-8000-000000000001 state 2 owner default replica r worker_pid 7"
                      " image i container c extract_patch 0 ephemeral 0 seeded 1"
                      " created_ms 10 used_ms 20");
    assert_int_equal(suite_get(store, id, &record), SBX_ERR_NONE);
    assert_int_equal(record.state, SBX_SESSION_READY);
    assert_int_equal(record.used_ms, 20);
    assert_int_equal(record.idle_ms, 0);
    assert_int_equal(record.expires_ms, 0);
    assert_string_equal(record.key, "");
    assert_null(record.labels);
    assert_int_equal(sbx_store_set_stopped(store, id, NULL), 0);
    assert_int_equal(sbx_store_delete(store, id, NULL), 0);
    sbx_record_done(&record);
    sbx_store_close(store);
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN); /* as in the service */
    if (redis_server_prepare() < 0)
        return 1;
    snprintf(url, sizeof(url), "unix://%s", redis_server_socket);
    snprintf(other_url, sizeof(other_url), "unix://%s?db=1", redis_server_socket);
    options = (struct sbx_store_options){
        .redis_url = url, .replica = "test", .lock_ttl_ms = 30000, .lock_refresh_ms = 10000};

    const struct CMUnitTest store_redis_start[] = {cmocka_unit_test(redis_server_starts)};
    int failed = cmocka_run_group_tests(store_redis_start, NULL, NULL);
    if (failed == 0) {
        struct store_suite suite = {.options = options, .other = options};
        suite.other.redis_url = other_url;
        failed += store_suite_run(&suite);
    }
    redis_server_stop();
    const struct CMUnitTest store_redis[] = {
        cmocka_unit_test(a_record_of_an_earlier_version_is_read),
        cmocka_unit_test(a_held_lock_outlives_its_ttl_while_its_holder_waits),
        cmocka_unit_test(a_lost_lock_ends_the_wait_and_is_not_taken_from_its_new_holder),
        cmocka_unit_test(a_held_lock_is_taken_again_when_redis_comes_back_empty),
        cmocka_unit_test(a_lock_that_another_had_in_between_is_not_taken_again),
        cmocka_unit_test(locks_of_dead_processes_of_the_replica_are_released),
        cmocka_unit_test(a_lock_that_a_living_process_lost_is_forgotten),
        cmocka_unit_test(a_lock_of_an_earlier_process_of_the_same_pid_is_released),
        cmocka_unit_test(a_process_starts_while_redis_is_away_and_the_instance_survives_its_loss),
        cmocka_unit_test(calls_to_a_hanging_redis_do_not_each_wait),
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
    redis_server_forget();
    return failed != 0;
}
