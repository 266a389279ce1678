/*
 * The table of commands and each one's way: started → the leader is reaped → its output has settled → EXIT. A
 * tree that is to be ended (timeout, KILL, a newer connection) goes through kill.c in between.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/agent.h"

struct exec execs[MAX_EXECS];

int exec_init(void)
{
    return spawn_init();
}

struct exec *exec_find(uint32_t stream)
{
    for (size_t i = 0; i < MAX_EXECS; i++)
        if (execs[i].used && execs[i].attached && execs[i].stream == stream)
            return &execs[i];
    return NULL;
}

static struct exec *free_slot(void)
{
    for (size_t i = 0; i < MAX_EXECS; i++)
        if (!execs[i].used)
            return &execs[i];
    return NULL;
}

void exec_refuse(uint32_t stream, uint32_t code, int err, const char *message)
{
    uint8_t out[1024];
    size_t n = sbx_field_put_u32(out, sizeof(out), 0, SBX_TAG_CODE, code);
    n = sbx_field_put_u32(out, sizeof(out), n, SBX_TAG_SIGNAL, 0);
    n = sbx_field_put_u32(out, sizeof(out), n, SBX_TAG_REASON, SBX_EXIT_FAILED);
    n = sbx_field_put_u32(out, sizeof(out), n, SBX_TAG_STATUS, (uint32_t)err);
    n = sbx_field_put(out, sizeof(out), n, SBX_TAG_MESSAGE, message, strlen(message));
    conn_send(SBX_FRAME_EXIT, stream, out, n);
}

static void refuse_because(uint32_t stream, int err, const char *what)
{
    char message[256];
    exec_refuse(stream, 126, err, text_join(message, sizeof(message), what, ": ", text_errno(err), NULL));
}

/* Pipes of a command: [0] and [1] as of pipe(2), -1 where there is none. */
struct pipes {
    int in[2], out[2], err[2];
};

static void close_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

static void close_pipes(struct pipes *pipes)
{
    for (int i = 0; i < 2; i++) {
        close_fd(&pipes->in[i]);
        close_fd(&pipes->out[i]);
        close_fd(&pipes->err[i]);
    }
}

/* A pipe whose end `ours` does not block. */
static int make_pipe(int fds[2], int ours)
{
    if (pipe2(fds, O_CLOEXEC) < 0)
        return -1;
    return fcntl(fds[ours], F_SETFL, O_NONBLOCK);
}

/* A terminal is all three. */
static int open_terminal(struct pipes *pipes, const struct hold_options *options)
{
    if (pty_open(&pipes->out[0], &pipes->in[0], options->rows, options->columns) < 0 ||
        (pipes->in[1] = fcntl(pipes->out[0], F_DUPFD_CLOEXEC, 0)) < 0 ||
        (pipes->out[1] = fcntl(pipes->in[0], F_DUPFD_CLOEXEC, 0)) < 0)
        return -1;
    return 0;
}

static int open_pipes(struct pipes *pipes, const struct request *request)
{
    *pipes = (struct pipes){{-1, -1}, {-1, -1}, {-1, -1}};
    if (request->hold.tty)
        return open_terminal(pipes, &request->hold);
    if (request->input ? make_pipe(pipes->in, 1) < 0
                       : (pipes->in[0] = open("/dev/null", O_RDONLY | O_CLOEXEC)) < 0)
        return -1;
    if (make_pipe(pipes->out, 0) < 0 || (request->split && make_pipe(pipes->err, 0) < 0))
        return -1;
    return 0;
}

/* hold: for a held exec, else NULL. false: it was refused. */
static bool start(uint32_t stream, struct exec *exec, const struct request *request,
                  const struct shell *shell, struct hold *hold, int64_t now)
{
    struct pipes pipes;

    if (open_pipes(&pipes, request) < 0) {
        refuse_because(stream, errno, "cannot make pipes for the command");
        close_pipes(&pipes);
        return false;
    }
    struct spawn spawn = {.builtin = request->builtin,
                          .shell = shell->path,
                          .argv = request->argv,
                          .envp = request->envp,
                          .cwd = request->cwd,
                          .in = pipes.in[0],
                          .out = pipes.out[1],
                          .err = pipes.err[1] >= 0 ? pipes.err[1] : pipes.out[1],
                          .script = request->script,
                          .tag = proc_next_tag(),
                          .tty = request->hold.tty,
                          .slot = (size_t)(exec - execs)};
    pid_t pid = spawn_process(&spawn);
    if (pid < 0) {
        refuse_because(stream, errno, "cannot start a process");
        close_pipes(&pipes);
        return false;
    }
    *exec =
        (struct exec){.used = true,
                      .attached = hold == NULL,
                      .keep = request->keep,
                      .tty = request->hold.tty,
                      .hold = hold,
                      .stream = stream,
                      .tag = spawn.tag,
                      .pid = pid,
                      .start_ticks = spawn.tag ? 0 : proc_start_ticks(pid),
                      .started = now,
                      .kills = memory_kills(),
                      .deadline = request->timeout_ms > 0 ? now + (int64_t)request->timeout_ms * MS : NEVER,
                      .out = {pipes.out[0], pipes.err[0]},
                      .credit = SBX_WIRE_WINDOW,
                      .in = pipes.in[1]};
    text_join(exec->cwd, sizeof(exec->cwd), request->cwd, NULL);
    text_join(exec->program, sizeof(exec->program), request->argv[0], NULL);
    pipes.out[0] = pipes.err[0] = pipes.in[1] = -1;
    close_pipes(&pipes);
    return true;
}

static void start_held(uint32_t stream, struct exec *exec, const struct request *request,
                       const struct shell *shell, int64_t now)
{
    const char *why = NULL;
    int err = 0;
    struct hold *hold = hold_new(request, &err, &why);

    if (!hold)
        exec_refuse(stream, 126, err, why);
    else if (start(stream, exec, request, shell, hold, now))
        hold_begin(hold, exec, stream);
    else
        hold_free(hold);
}

void exec_start(uint32_t stream, const uint8_t *payload, size_t n, int64_t now)
{
    struct exec *exec = free_slot();
    struct shell shell = {.path = NULL};
    struct request request;
    const char *why = NULL;

    if (exec_find(stream)) {
        exec_refuse(stream, 126, EEXIST, "the stream is in use by another command");
        return;
    }
    if (!exec) {
        exec_refuse(stream, 126, EAGAIN, "too many commands are running at once");
        return;
    }
    int err = request_parse(&request, payload, n, &why);
    if (err == 0 && request.command && !shell_find(&shell))
        exec_refuse(stream, 127, ENOENT, "the image has no shell: give argv instead of a command");
    else if (err == 0 && request.command && (err = request_use_shell(&request, &shell, &why)) != 0)
        refuse_because(stream, err, why);
    else if (err != 0)
        exec_refuse(stream, 126, err, why);
    else if (request.hold.id[0])
        start_held(stream, exec, &request, &shell, now);
    else
        (void)start(stream, exec, &request, &shell, NULL, now);
    request_done(&request);
}

void exec_end(struct exec *exec, uint32_t reason, int64_t now)
{
    if (exec->reason == SBX_EXIT_EXITED)
        exec->reason = reason;
    tree_kill(exec, now);
}

void exec_disconnect(bool silent, int64_t now)
{
    for (size_t i = 0; i < MAX_EXECS; i++) {
        struct exec *exec = &execs[i];
        if (!exec->used || !exec->attached)
            continue;
        if (!silent) {
            exec->attached = false;
            input_close(exec);
        }
        if (!exec->keep)
            exec_end(exec, SBX_EXIT_CANCELLED, now);
    }
}

static void note_end(struct exec *exec, int status, const struct rusage *usage, int64_t now)
{
    exec->reaped = true;
    exec->status = status;
    exec->ended = now;
    exec->user_us = (int64_t)usage->ru_utime.tv_sec * 1000000 + usage->ru_utime.tv_usec;
    exec->system_us = (int64_t)usage->ru_stime.tv_sec * 1000000 + usage->ru_stime.tv_usec;
    exec->max_rss = (int64_t)usage->ru_maxrss * 1024;
    exec->scan_at = now;
}

void exec_reap(int64_t now)
{
    struct rusage usage;
    int status;
    pid_t pid;

    while ((pid = wait4(-1, &status, WNOHANG, &usage)) > 0) {
        for (size_t i = 0; i < MAX_EXECS; i++)
            if (execs[i].used && !execs[i].reaped && execs[i].pid == pid)
                note_end(&execs[i], status, &usage, now);
    }
}

void exec_watch(struct watch *watch, int64_t now)
{
    for (size_t i = 0; i < MAX_EXECS; i++) {
        struct exec *exec = &execs[i];
        if (!exec->used)
            continue;
        for (int channel = 0; channel < 2; channel++)
            exec->out_watch[channel] =
                output_wanted(exec, channel) ? watch_add(watch, exec->out[channel], POLLIN) : 0;
        exec->in_watch = exec->in >= 0 && exec->ring.len > 0 ? watch_add(watch, exec->in, POLLOUT) : 0;
        if (!exec->reaped && exec->ending == NOT_ENDING)
            watch_until(watch, exec->deadline);
        if (exec->ending == GRACE || exec->ending == KILLING)
            watch_until(watch, exec->scan_at);
        /* also when that has just passed: nothing else may ever happen */
        if (exec->settling && exec->owed[0] == 0 && exec->owed[1] == 0 && queue_has_room())
            watch_until(watch, exec->settled);
    }
}

static void send_exit(const struct exec *exec, const struct outcome *outcome)
{
    uint8_t out[OUTCOME_SIZE];
    conn_send(SBX_FRAME_EXIT, exec->stream, out, outcome_put(outcome, out, sizeof(out), 0));
}

static void finish(struct exec *exec)
{
    struct outcome outcome;

    outcome_of(exec, &outcome);
    if (exec->hold)
        hold_end(exec->hold, &outcome);
    else if (exec->attached)
        send_exit(exec, &outcome);
    input_close(exec);
    for (int channel = 0; channel < 2; channel++) {
        if (exec->out[channel] >= 0 && exec->tty) /* its end hangs up on whoever is left on the terminal */
            close(exec->out[channel]);
        else if (exec->out[channel] >= 0)
            linger_add(exec->out[channel]);
    }
    exec->used = false;
}

static void step_one(struct exec *exec, const struct watch *watch, int64_t now)
{
    if (exec->in >= 0 && (exec->in_watch != 0 && watch_ready(watch, exec->in_watch)))
        input_write(exec);
    if (!exec->reaped && exec->ending == NOT_ENDING && now >= exec->deadline) {
        exec->reason = SBX_EXIT_TIMEOUT;
        tree_terminate(exec, now);
    }
    tree_step(exec, now);

    bool over = exec->ending == DEAD || (exec->reaped && exec->ending == NOT_ENDING);
    if (over && !exec->settling) /* `now` may be older than its end, had this process to wait since */
        output_settle(exec, now_us());
    for (int channel = 0; channel < 2; channel++)
        if (exec->settling || (exec->out_watch[channel] != 0 && watch_ready(watch, exec->out_watch[channel])))
            output_read(exec, channel);
    if (over && output_settled(exec, now) && queue_has_room())
        finish(exec);
}

void exec_step(const struct watch *watch, int64_t now)
{
    for (size_t i = 0; i < MAX_EXECS; i++)
        if (execs[i].used)
            step_one(&execs[i], watch, now);
}
