#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "store_suite.h"

struct sbx_store *suite_open(const struct sbx_store_options *options)
{
    struct sbx_err err = SBX_ERR_INIT;
    struct sbx_store *store = sbx_store_open(options, &err);
    if (!store)
        fail_msg("cannot open: %s", err.msg);
    return store;
}

static int delete_record(void *arg, const struct sbx_record *record)
{
    assert_int_equal(sbx_store_delete(arg, record->id, NULL), 0);
    return 0;
}

struct sbx_store *suite_open_empty(const struct sbx_store_options *options)
{
    struct sbx_store *store = suite_open(options);
    assert_int_equal(sbx_store_list(store, "", 1000000, delete_record, store, NULL), 0);
    return store;
}

void suite_record(struct sbx_record *record)
{
    sbx_record_init(record);
    sbx_uuid4(record->id);
    record->state = SBX_SESSION_CREATING;
    record->worker_pid = 4242;
    record->extract_patch = true;
    record->created_ms = sbx_wall_ms();
    record->used_ms = record->created_ms;
    strlcpy(record->owner, "client \"a\" of Žluťoučký", sizeof(record->owner));
    strlcpy(record->replica, "replica-1", sizeof(record->replica));
    memset(record->image, 'i', sizeof(record->image) - 1);
    memset(record->container, 'c', sizeof(record->container) - 1);
    memset(record->helper, 'h', sizeof(record->helper) - 1);
    memset(record->volume, 'v', sizeof(record->volume) - 1);
    record->options =
        strdup("{\"environment\":{\"A\":\"it's \\\"quoted\\\" – 日本 🎉 ? %s $1\\n\"},\"cpus\":1.5}");
    assert_non_null(record->options);
    record->labels = strdup("{\"team\":\"a \\\"b\\\"\"}");
    assert_non_null(record->labels);
    record->idle_ms = 3600000;
    record->expires_ms = record->created_ms + 86400000;
    record->stopped_ms = record->created_ms - 1000;
    strlcpy(record->key, record->id, sizeof(record->key));
    memset(record->body, 'b', sizeof(record->body) - 1);
}

void suite_same_record(const struct sbx_record *a, const struct sbx_record *b)
{
    assert_string_equal(a->id, b->id);
    assert_int_equal(a->state, b->state);
    assert_string_equal(a->owner, b->owner);
    assert_string_equal(a->replica, b->replica);
    assert_int_equal(a->worker_pid, b->worker_pid);
    assert_string_equal(a->image, b->image);
    assert_string_equal(a->container, b->container);
    assert_string_equal(a->helper, b->helper);
    assert_string_equal(a->volume, b->volume);
    assert_int_equal(a->extract_patch, b->extract_patch);
    assert_int_equal(a->ephemeral, b->ephemeral);
    assert_int_equal(a->seeded, b->seeded);
    assert_int_equal(a->created_ms, b->created_ms);
    assert_int_equal(a->used_ms, b->used_ms);
    assert_int_equal(a->idle_ms, b->idle_ms);
    assert_int_equal(a->expires_ms, b->expires_ms);
    assert_int_equal(a->stopped_ms, b->stopped_ms);
    assert_string_equal(a->key, b->key);
    assert_string_equal(a->body, b->body);
    assert_string_equal(a->options ? a->options : "none", b->options ? b->options : "none");
    assert_string_equal(a->labels ? a->labels : "none", b->labels ? b->labels : "none");
}

enum sbx_err_kind suite_get(struct sbx_store *store, const char *id, struct sbx_record *ret)
{
    struct sbx_err err = SBX_ERR_INIT;
    int got = sbx_store_get(store, id, ret, &err);
    assert_int_equal(got, err.kind == SBX_ERR_NONE ? 0 : -1);
    return err.kind;
}

void suite_insert(struct sbx_store *store, struct sbx_record *record)
{
    suite_record(record);
    assert_int_equal(sbx_store_insert(store, record, NULL), 0);
}

static int count_record(void *arg, const struct sbx_record *record)
{
    ++*(int *)arg;
    return 0;
}

int suite_count(struct sbx_store *store)
{
    int count = 0;
    assert_int_equal(sbx_store_list(store, "", 1000000, count_record, &count, NULL), 0);
    return count;
}

pid_t suite_spawn(int (*fn)(void *arg), void *arg)
{
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0)
        _exit(fn(arg));
    return pid;
}

int suite_reap(pid_t pid)
{
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

static int hold(void *arg)
{
    struct suite_holder *holder = arg;
    struct sbx_store *store = sbx_store_open(holder->options, NULL);
    struct sbx_lock lock = SBX_LOCK_INIT;
    if (!store || sbx_store_lock(store, NULL, holder->id, 0, &lock, NULL) < 0 ||
        write(holder->fd, "+", 1) != 1)
        return 1;
    for (;;)
        pause();
}

pid_t suite_hold_lock(const struct sbx_store_options *options, const char *id)
{
    int fds[2];
    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    struct suite_holder holder = {options, id, fds[1]};
    pid_t pid = suite_spawn(hold, &holder);
    close(fds[1]);
    char said;
    assert_int_equal(read(fds[0], &said, 1), 1);
    close(fds[0]);
    return pid;
}
