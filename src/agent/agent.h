/*
 * sandboxd-agent: PID 1 of a session's container. One poll loop, one thread, fixed tables. It speaks the
 * protocol of sandboxd/wire.h on stdin and stdout, runs commands as an unprivileged user and writes files
 * under that user's identity. After start-up nothing here ends the process but SIGTERM or the end of stdin.
 *
 * Private to src/agent. Times are CLOCK_MONOTONIC in microseconds.
 */
#ifndef SBX_AGENT_H
#define SBX_AGENT_H

#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/types.h>

#include "agent/hold.h"
#include "sandboxd/wire.h"

#define MS            ((int64_t)1000)
#define NEVER         INT64_MAX
#define MAX_EXECS     64
#define MAX_LINGERING 512 /* with all that commands have below 1024, a usual limit of descriptors */
#define MAX_WATCHED   (3 + MAX_EXECS * 3 + MAX_LINGERING)
#define WORKSPACE     "/repo"
#define HOME_DIR      "/home/daiv-sandbox"
#define DEFAULT_PATH  "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

/* What one round of the loop waits for. */
struct watch {
    size_t n;
    int64_t until; /* earliest deadline */
    struct pollfd fds[MAX_WATCHED];
};

/* Returns a handle for watch_ready. */
size_t watch_add(struct watch *watch, int fd, short events);
bool watch_ready(const struct watch *watch, size_t handle);
void watch_until(struct watch *watch, int64_t when);

int64_t now_us(void);

/* text.c: NULL-terminated list of strings, joined and cut to size; returns buf. */
const char *text_join(char *buf, size_t size, ...) __attribute__((sentinel));
/* Decimal digits of value in buf (21 bytes are enough). */
const char *text_number(char buf[21], uint64_t value);
/* The kernel's word for an error, "unknown error" for one it does not know. */
const char *text_errno(int err);

/* setup.c */
struct identity {
    uid_t uid;
    gid_t gid;
};
extern struct identity user; /* whom commands run as */
/* Privileges cut down to what the agent needs, signal state, standard descriptors. -1: the agent cannot work.
 */
int setup_process(void);
/* The directories commands expect; what cannot be made is left out. dirs NULL: the default set. */
void setup_directories(const char *const *dirs, size_t n);
/* File operations between these two are the user's. */
void become_user(void);
void become_root(void);

/* queue.c: outgoing frames. */
/* Room for answers and for output, whose share is smaller, so that it never crowds answers out. */
bool queue_has_room(void);
size_t queue_output_frames(void);
/* A message of at most one frame; dropped when there is no room, which queue_has_room told before. */
void queue_send(uint64_t key, uint8_t type, uint32_t stream, const void *payload, size_t len);
/* Build frames in place: n bytes at the returned address after queue_commit. */
uint8_t *queue_reserve(void);
void queue_commit(size_t n);
/* Forget everything but the rest of a frame that is half written. */
void queue_forget(void);
bool queue_is_empty(void);
void queue_flush(void);

/* conn.c */
extern uint32_t conn_patience_ms; /* no frame for so long: the worker is gone (it pings every 15 s) */
void conn_init(void);
void conn_watch(struct watch *watch, int64_t now);
/* false: stdin has ended. */
bool conn_step(const struct watch *watch, int64_t now);
void conn_send(uint8_t type, uint32_t stream, const void *payload, size_t len);
uint64_t conn_key(void);
/* Id of the request that the connection is for; "" when it was not told. */
const char *conn_request(void);

/* spawn.c */
enum spawn_step { SPAWN_OK, SPAWN_PRIVILEGES, SPAWN_CWD, SPAWN_EXEC };
struct spawn_report { /* filled in by the child when it does not get as far as exec */
    int step;
    int err;
};
struct spawn {
    const char *builtin; /* NULL: a program */
    const char *shell;   /* program to execute as it is; NULL: argv[0], found through PATH */
    char **argv;
    char **envp;
    const char *cwd;
    int in, out, err;
    int script;  /* descriptor to hand down as SCRIPT_FD, -1: none */
    gid_t tag;   /* 0: none */
    bool tty;    /* `in` is a terminal, to become the command's */
    size_t slot; /* of its report */
};
#define SCRIPT_FD  9
#define PROBE_SLOT MAX_EXECS
int spawn_init(void);
/* -1 with errno when there can be no process. */
pid_t spawn_process(const struct spawn *spawn);
/* Valid once the child has ended. */
struct spawn_report spawn_report(size_t slot);

/* shell.c */
struct shell {
    const char *path;
    bool pipefail;
};
/* The shell for commands; false when the image has none. */
bool shell_find(struct shell *ret);

/* request.c: an EXEC message, taken apart. Strings live in `arena`. */
struct request {
    char *arena;
    char *command; /* NULL: argv was given */
    size_t command_len;
    char *builtin; /* NULL: a program */
    char **argv;   /* for a command: filled in by request_use_shell */
    char **envp;
    const char *cwd;
    uint32_t timeout_ms;
    bool input, split, keep;
    struct hold_options hold;
    int script; /* memfd of a command too big for an argument, -1 */
};
/* 0, or an errno with *why. request_done is due in both cases. */
int request_parse(struct request *request, const uint8_t *payload, size_t n, const char **why);
int request_use_shell(struct request *request, const struct shell *shell, const char **why);
void request_done(struct request *request);

/* exec.c */
enum ending { NOT_ENDING, GRACE, KILLING, DEAD };
struct ring { /* bytes for a command's stdin */
    uint8_t *bytes;
    size_t head, len;
};
struct exec {
    bool used;
    bool attached; /* somebody waits for the output and EXIT */
    bool keep;
    bool tty;
    struct hold *hold; /* who keeps the output; never attached then. NULL: a connection's command */
    uint32_t stream;
    gid_t tag;
    pid_t pid;
    uint64_t start_ticks; /* untagged only: the leader's start in /proc's unit */
    bool reaped;
    int status; /* of wait4, once reaped */
    int64_t user_us, system_us, max_rss;
    int64_t started, ended;
    uint64_t kills;   /* of the memory limit, when it started */
    int64_t deadline; /* of the command's timeout */
    uint32_t reason;  /* why the tree was ended, SBX_EXIT_EXITED when it was not */
    char cwd[128], program[128];

    int out[2]; /* merged or stdout, stderr; -1 when closed */
    size_t out_watch[2];
    int64_t credit;
    bool settling;   /* the leader is gone, the rest of the output is read */
    size_t owed[2];  /* bytes that stood in the pipe then */
    int64_t settled; /* when to stop waiting for EOF */

    int in; /* write end of stdin, -1 */
    size_t in_watch;
    bool in_eof;
    struct ring ring;
    size_t in_credit;

    enum ending ending;
    int64_t grace_until, give_up, scan_at;
    int64_t scan_pause;
    unsigned scans;
    bool killed; /* everybody that a pass found, once */
    bool frozen; /* with everybody else in the container */
};
extern struct exec execs[MAX_EXECS];
int exec_init(void);
void exec_start(uint32_t stream, const uint8_t *payload, size_t n, int64_t now);
void exec_refuse(uint32_t stream, uint32_t code, int err, const char *message);
struct exec *exec_find(uint32_t stream);
void exec_end(struct exec *exec, uint32_t reason, int64_t now);
/* The connection is gone (or silent: then somebody may still wait): what was not asked to be kept is killed.
 */
void exec_disconnect(bool silent, int64_t now);
void exec_reap(int64_t now);
void exec_watch(struct watch *watch, int64_t now);
void exec_step(const struct watch *watch, int64_t now);

/* outcome.c: how it went, as a worker is told. */
struct outcome {
    uint32_t code, signal, reason, status;
    int64_t user_us, system_us, max_rss, duration_us;
    char message[512]; /* why it never ran */
};
void outcome_of(const struct exec *exec, struct outcome *ret);
/* Append its fields to a payload that has room for them; the new length. */
#define OUTCOME_SIZE 640
size_t outcome_put(const struct outcome *outcome, uint8_t *out, size_t size, size_t n);

/* output.c */
extern uint32_t output_drain_ms; /* longest wait for EOF after the leader's end */
bool output_wanted(const struct exec *exec, int channel);
void output_read(struct exec *exec, int channel);
void output_settle(struct exec *exec, int64_t now);
bool output_settled(const struct exec *exec, int64_t now);
/* Pipes that background processes still hold: kept open and read, so that they do not die of SIGPIPE. */
void linger_add(int fd);
void linger_watch(struct watch *watch);
void linger_step(const struct watch *watch);

/* input.c */
void input_add(struct exec *exec, const uint8_t *data, size_t n, int64_t now);
void input_eof(struct exec *exec);
void input_write(struct exec *exec);
void input_close(struct exec *exec);
size_t input_room(const struct exec *exec);

/* filter.c: for this process and all it starts, for good; needs no_new_privs. */
void filter_install(void);

/* builtin.c: in the command's process, as the user. */
bool builtin_known(const char *name);
int builtin_run(const char *name, char **argv); /* the exit code */
/* Remove what is in the directory fd, which is taken over. Returns how many entries could not be removed. */
unsigned builtin_empty(int fd);

/* memory.c: processes that the container's memory limit has killed so far; 0 where that cannot be known. */
void memory_init(void);
uint64_t memory_kills(void);

/* kill.c */
void tree_terminate(struct exec *exec, int64_t now);
void tree_kill(struct exec *exec, int64_t now);
void tree_step(struct exec *exec, int64_t now);
/* The command's process group, while its leader is not reaped. */
void tree_signal(const struct exec *exec, int sig);

/* pty.c: a terminal of the user's, both ends close-on-exec, the master's not blocking; -1 with errno. */
int pty_open(int *ret_master, int *ret_slave, unsigned rows, unsigned columns);
int pty_resize(int master, unsigned rows, unsigned columns);
/* The process group in its foreground, -1. */
pid_t pty_foreground(int master);

/* proc.c: who belongs to a command. */
struct members {
    unsigned alive;   /* zombies do not count */
    unsigned running; /* alive and not stopped */
    bool cut;         /* it took too long: there are more */
};
void proc_init(void);
/* The tag for the next command, 0 where tags do not work. */
gid_t proc_next_tag(void);
uint64_t proc_start_ticks(pid_t pid);
/* Send sig (0: none) to every living member of the command's tree; returns how many were found. A second is
 * far more than it takes where this process gets its share of the processor; then it is given up. */
struct members proc_signal(const struct exec *exec, int sig);

/* path.c: open the directory a path below WORKSPACE stands in, symlinks resolved inside it, missing
 * directories made. Returns a descriptor, and the last component in *ret_name; or -errno with *why. */
int path_open_parent(const char *path, const char **ret_name, const char **why);
/* The temporary file takes the place of what stands at name, if anything, at once and whole; -1 with errno.
 */
int path_replace(int dir, const char *temporary, const char *name);

/* file.c */
void file_write(uint32_t stream, const uint8_t *payload, size_t n);
void file_data(uint32_t stream, const uint8_t *data, size_t n);
void file_refuse(uint32_t stream, int err, const char *message);
/* The connection is gone: what was being written is dropped. Or it is silent: then somebody may still wait,
 * and is told once the rest of the data has come. */
void file_abort(bool silent);

#endif
