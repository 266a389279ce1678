#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <ftw.h>
#include <hiredis/hiredis.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "redis_server.h"
#include "sandboxd/base/wait.h"
#include "store_suite.h"

static char redis_server_dir[64];
char redis_server_socket[96];
pid_t redis_server_pid = -1;

int redis_server_prepare(void)
{
    const char *tmp = getenv("TMPDIR");
    snprintf(redis_server_dir, sizeof(redis_server_dir), "%s/sandboxd-redis-XXXXXX",
             tmp && strlen(tmp) < 32 ? tmp : "/tmp");
    if (!mkdtemp(redis_server_dir))
        return -1;
    snprintf(redis_server_socket, sizeof(redis_server_socket), "%s/redis.sock", redis_server_dir);
    return 0;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    return remove(path);
}

void redis_server_start(int port)
{
    char tcp[16];
    snprintf(tcp, sizeof(tcp), "%d", port);
    redis_server_pid = fork();
    assert_true(redis_server_pid >= 0);
    if (redis_server_pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        execlp("redis-server", "redis-server", "--port", tcp, "--bind", "127.0.0.1", "--unixsocket",
               redis_server_socket, "--unixsocketperm", "700", "--save", "", "--appendonly", "no", "--dir",
               redis_server_dir, "--loglevel", "warning", "--logfile", "/dev/null", (char *)NULL);
        _exit(127); /* the connection below never comes up */
    }
    int64_t start = sbx_now_ms();
    for (;;) {
        redisContext *ctx = redisConnectUnix(redis_server_socket);
        bool up = ctx && !ctx->err;
        redisFree(ctx);
        if (up)
            return;
        if (sbx_now_ms() - start > 10000)
            fail_msg("redis-server does not answer: is it installed?");
        assert_int_equal(sbx_wait_poll(NULL, NULL, 0, 5, NULL), 0);
    }
}

void redis_server_stop(void)
{
    if (redis_server_pid <= 0)
        return;
    kill(redis_server_pid, SIGKILL);
    (void)suite_reap(redis_server_pid);
    redis_server_pid = -1;
    (void)unlink(redis_server_socket);
}

void redis_server_ask(const char *command, char *out, size_t size)
{
    redisContext *ctx = redisConnectUnix(redis_server_socket);
    assert_non_null(ctx);
    assert_int_equal(ctx->err, 0);
    redisReply *reply = redisCommand(ctx, command);
    assert_non_null(reply);
    if (reply->type == REDIS_REPLY_ERROR)
        fail_msg("%s: %s", command, reply->str);
    if (reply->type == REDIS_REPLY_INTEGER)
        snprintf(out, size, "%lld", reply->integer);
    else
        snprintf(out, size, "%s", reply->str ? reply->str : "");
    freeReplyObject(reply);
    redisFree(ctx);
}

void redis_server_tell(const char *command)
{
    char ignored[64];
    redis_server_ask(command, ignored, sizeof(ignored));
}

void redis_server_forget(void)
{
    redis_server_stop();
    nftw(redis_server_dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}
