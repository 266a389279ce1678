/*
 * The session engine: create, run, write files, seed, close and sweep sessions. Nothing about a session lives
 * in a process's memory between two calls; whatever is needed is in the store, in dockerd or in the agent.
 */
#ifndef SANDBOXD_SESSION_H
#define SANDBOXD_SESSION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "sandboxd/base/buf.h"
#include "sandboxd/base/config.h"
#include "sandboxd/base/err.h"
#include "sandboxd/base/pool_list.h"
#include "sandboxd/base/spool.h"
#include "sandboxd/base/wait.h"
#include "sandboxd/docker.h"
#include "sandboxd/store.h"
#include "sandboxd/wire.h"

/* The agent as it is put into containers: read once before the workers are forked, shared by them. */
struct sbx_agent_image {
    char volume[64]; /* name of the Docker volume that carries it: sandboxd-agent-<hash> */
    void *tar;       /* what fills the volume; owned */
    size_t tar_len;
};

/* path NULL: beside the running binary (<dir>/sandboxd-agent), else <dir>/../libexec/sandboxd/sandboxd-agent.
 */
int sbx_agent_image_load(struct sbx_agent_image *image, const char *path, struct sbx_err *err) SBX_MUST_CHECK;
void sbx_agent_image_done(struct sbx_agent_image *image);

/* What one process works with. All pointers are borrowed; `wait` and `client` are the current request's and
 * change with it. */
struct sbx_engine {
    const struct sbx_config *config;
    const struct sbx_agent_image *agent;
    struct sbx_docker *docker;
    struct sbx_store *store;
    const struct sbx_docker_credentials *credentials; /* for registries; NULL: none */
    struct sbx_wait *wait;
    const char *request; /* id of the request that is being served, told to the agents; NULL: none */
    const char *client;  /* whose sessions there are, for this request; NULL: everybody's (sweeps) */
    /* What is worth a log line (pull progress, swept objects); library code does not log by itself. May be
     * NULL. */
    void (*notice)(const char *event, const char *subject, const char *detail);
    void (*claimed)(
        void *arg); /* called when the pool was asked for a session: it may want filling; or NULL */
    void *claimed_arg;
};

/* What a client asks for at create; strings are borrowed. */
struct sbx_session_options {
    const char *owner;
    const char *image;
    bool extract_patch;
    bool network_enabled;
    bool ephemeral;                 /* nothing persists between runs: sbx_session_begin */
    int64_t memory_bytes;           /* 0: none */
    double cpus;                    /* 0: none */
    int64_t disk_bytes;             /* most of each place it can write to; 0: none */
    const char *const *environment; /* NAME=value, NULL-terminated; NULL: none */
    const char *labels;             /* JSON object of strings; NULL: none */
    int64_t idle_ms;                /* it ends when it was not used for that long; 0: no limit */
    int64_t ttl_ms;                 /* it ends after that time, used or not; 0: no limit */
    int64_t most;     /* sessions that the owner may have open, this one included; 0: no limit */
    const char *key;  /* see struct sbx_record; NULL: none */
    const char *body; /* likewise; with a key */
};

/* Make a session: pull the image when it is missing, create and start the container, greet its agent, file
 * the record. Whatever fails, nothing is left behind. With a key that a session has already, that one is the
 * result, waited for while it is being made; INVALID when it was made with another body, CONFLICT when it is
 * not there in time. INVALID: the image does not exist or cannot be used, or
 * dockerd refuses an option, or cannot keep the limit of the disk; UPSTREAM: the registry is unreachable, or
 * the limit of the disk that cannot be kept is that of the settings; LIMITED: the owner has
 * options->most already. */
int sbx_session_create(struct sbx_engine *engine, const struct sbx_session_options *options,
                       char ret_id[SBX_UUID_LEN + 1], struct sbx_err *err) SBX_MUST_CHECK;

/* Remove a session in whatever state it is, also a half-made one and while a command runs in it. Removing
 * what is gone is success. UNAVAILABLE when dockerd does not answer: the record says CLOSING and the sweep
 * goes on with it. */
int sbx_session_close(struct sbx_engine *engine, const char *id, struct sbx_err *err) SBX_MUST_CHECK;

/* The record of a session of the engine's client; NOT_FOUND for others' as for none. One that the store lost
 * is rebuilt. *ret must be initialised. */
int sbx_session_find(struct sbx_engine *engine, const char *id, struct sbx_record *ret,
                     struct sbx_err *err) SBX_MUST_CHECK;

/* What DELETE does by default. With DAIV_SANDBOX_CLOSE=stop the containers are stopped and the session is
 * kept: its next use starts them again. A session in any other state than READY is removed, or stays stopped.
 */
int sbx_session_leave(struct sbx_engine *engine, const char *id, struct sbx_err *err) SBX_MUST_CHECK;

/* The record of a session that its client may use: READY or STOPPED, and not over its limits; while a request
 * works in it that is its last use. Does not wait for it, and is no use itself. *ret must be initialised.
 * NOT_FOUND as by sbx_session_open. */
int sbx_session_look(struct sbx_engine *engine, const char *id, struct sbx_record *ret,
                     struct sbx_err *err) SBX_MUST_CHECK;

/* Write what a client may change of its session: labels, idle_ms, expires_ms, and used_ms; NOT_FOUND as by
 * sbx_session_open. */
int sbx_session_change(struct sbx_engine *engine, const struct sbx_record *record,
                       struct sbx_err *err) SBX_MUST_CHECK;

/* When a session ends if nothing happens, and why; wall clock in ms, 0: never. */
int64_t sbx_session_ends_ms(const struct sbx_config *config, const struct sbx_record *record,
                            const char **ret_why);

/* The same for all of the client's sessions with id > after ("" for all), in order of id: fn is called for
 * each until its result is not 0. */
int sbx_session_list(struct sbx_engine *engine, const char *after,
                     int (*fn)(void *arg, const struct sbx_record *record), void *arg,
                     struct sbx_err *err) SBX_MUST_CHECK;

/* What its containers use now; a failure means that it is not to be had. */
int sbx_session_usage(struct sbx_engine *engine, const struct sbx_record *record,
                      struct sbx_docker_usage *ret, struct sbx_err *err) SBX_MUST_CHECK;

/* An opened session: locked, its record read. */
struct sbx_link;
struct sbx_session {
    struct sbx_engine *engine;
    struct sbx_record record;
    struct sbx_lock lock;
    int64_t opened_ms;       /* monotonic time at which the record was read */
    struct sbx_link *link;   /* to the session's agent; made when first needed */
    struct sbx_link *helper; /* to the patch helper's agent; likewise */
    bool run; /* sbx_session_begin has made containers for this run: the record's container and helper are
                 theirs */
};

/* NOT_FOUND "Session not found or already closed"; CONFLICT "Session is busy" after the configured wait. A
 * stopped session is started again. */
int sbx_session_open(struct sbx_engine *engine, const char *id, struct sbx_session *session,
                     struct sbx_err *err) SBX_MUST_CHECK;

/* The same with a wait of the caller's. Without resume a stopped session is NOT_FOUND: for a request that
 * asks again and again, and is thus older than the stop. */
int sbx_session_open_within(struct sbx_engine *engine, const char *id, int64_t wait_ms, bool resume,
                            struct sbx_session *session, struct sbx_err *err) SBX_MUST_CHECK;

/* End the run of an ephemeral session, close links, release the lock. err: the error the request ends with,
 * or NULL; an error that comes from the session being closed under it is rewritten to NOT_FOUND. */
void sbx_session_done(struct sbx_session *session, struct sbx_err *err);

/* Commands follow. An ephemeral session gets containers of their own for them, as the session was seeded;
 * whatever is done until sbx_session_done is done there, and gone with it. Nothing in other sessions. */
int sbx_session_begin(struct sbx_session *session, struct sbx_err *err) SBX_MUST_CHECK;

/* What a held exec has besides; see wire.h. */
struct sbx_held_options {
    char id[SBX_UUID_LEN + 1];
    bool input; /* its stdin stays open for sbx_session_held */
    bool tty;
    bool block;
    bool tied;
    uint32_t rows, columns; /* 0: the default */
    uint64_t buffer;        /* bytes; 0: the default */
    uint64_t output_limit;  /* bytes; 0: none */
};

/* One command. */
struct sbx_exec_spec {
    const char *command; /* for the shell, or … */
    size_t command_len;
    const char *const *argv; /* … NULL-terminated argv; then command is NULL */
    const char
        *builtin; /* a function of the agent with argv as its arguments, see SBX_TAG_BUILTIN; or NULL */
    const char *const *env; /* NAME=value on top of the session's; NULL-terminated or NULL */
    const char *cwd;        /* NULL: /repo */
    const void *stdin_data; /* both NULL: /dev/null */
    size_t stdin_len;
    const struct sbx_spool *stdin_spool; /* instead of stdin_data; read piece by piece */
    bool split;
    int64_t timeout_ms;                  /* 0: none */
    const struct sbx_held_options *held; /* for sbx_session_hold only */
};

struct sbx_exec_result {
    int code;   /* 0..255; 128 + signal; 124 on timeout */
    int signal; /* 0: none */
    int reason; /* enum sbx_exit_reason of wire.h */
    int64_t duration_us;
    int64_t user_us;
    int64_t system_us;
    int64_t max_rss_bytes;
    char message[256]; /* why a command never ran (reason FAILED), else "" */
};

/* Run it and hand over its output as it comes: channel 1 (stdout, or both) or 2. on_output returns -1 with
 * *err to give up. The timeout is the agent's; an agent that does not keep it costs the container (it is
 * killed and restarted by the next use). */
int sbx_session_exec(struct sbx_session *session, const struct sbx_exec_spec *spec,
                     int (*on_output)(void *arg, int channel, const void *data, size_t n,
                                      struct sbx_err *err),
                     void *arg, struct sbx_exec_result *ret, struct sbx_err *err) SBX_MUST_CHECK;

/*
 * Held execs: commands that outlive the request that starts them. The agent holds them and what they write;
 * each call is short, so several run at once and any worker can follow them.
 */
struct sbx_held {
    char id[SBX_UUID_LEN + 1];
    char command[257]; /* its beginning */
    bool running;
    bool tty;
    bool tied;
    bool input;          /* stdin is open */
    uint64_t first, end; /* numbers of the oldest byte of output that is kept, and of the next one */
    uint64_t from, to;   /* of a read */
    char request[SBX_REQUEST_ID_MAX + 1]; /* that started it; "": not known */
    int64_t started_ms;                   /* wall clock */
    int64_t ended_ms;                     /* 0 while it runs */
    struct sbx_exec_result result;        /* once it is over; the duration at any time */
};

/* Start one; fills *ret. CONFLICT in an ephemeral session, INVALID when it cannot run, LIMITED when too many
 * do. */
int sbx_session_hold(struct sbx_session *session, const struct sbx_exec_spec *spec, struct sbx_held *ret,
                     struct sbx_err *err) SBX_MUST_CHECK;

struct sbx_held_call {
    int op;         /* enum sbx_held_op of wire.h */
    const char *id; /* none for LIST */
    uint64_t after; /* READ … */
    uint64_t limit;
    const void *data; /* INPUT; data_len is at most SBX_HELD_INPUT_MAX */
    size_t data_len;
    bool eof;
    int signal;
    uint32_t rows, columns;
    /* READ: its output; a failure ends the call. LIST: one held exec. */
    int (*on_output)(void *arg, int channel, const void *data, size_t n, struct sbx_err *err);
    int (*on_held)(void *arg, const struct sbx_held *held, struct sbx_err *err);
    void *arg;
    struct sbx_held held; /* out: STATE and READ */
    size_t accepted;      /* out: INPUT, bytes of data taken */
};
#define SBX_HELD_INPUT_MAX (256 * 1024)

/* NOT_FOUND: there is no such exec; CONFLICT: it is over, its stdin is closed, it has no terminal. */
int sbx_session_held(struct sbx_session *session, struct sbx_held_call *call,
                     struct sbx_err *err) SBX_MUST_CHECK;

/* The same place by its first name: below /repo for /workspace/repo, and likewise for skills. Part of path.
 */
const char *sbx_path_real(const char *path);

/* Is this a path that a client may write: absolute, below /repo, no "..", no NUL, CR or LF? 0, or -1 with the
 * reason. Pure. */
int sbx_path_check(const char *path, size_t len, char *reason, size_t reason_size);

/* One file of a batch. */
struct sbx_write {
    const char *path; /* absolute, below /repo */
    unsigned mode;    /* 0..07777, as it will be on disk */
    const void *data;
    size_t len;
    int status;       /* out: 0, or errno of what the agent met */
    char reason[192]; /* out: why it failed, "" on success */
};

/* Files, seeds and archives outside of a run of an ephemeral session change what its later runs start from:
 * they are written into the session's own container, and the image that was made of it is dropped.
 *
 * Write files as the sandbox user, atomically each, in order, in one round trip. A file that cannot be
 * written (is a directory, leaves /repo, no space) says so in its own status; -1 is a failure of the whole
 * request. */
int sbx_session_write(struct sbx_session *session, struct sbx_write *files, size_t count,
                      struct sbx_err *err) SBX_MUST_CHECK;

/* A batch of writes is over: advance the patch baseline when `any` of it succeeded (sessions with
 * extract_patch). */
int sbx_session_written(struct sbx_session *session, bool any, struct sbx_err *err) SBX_MUST_CHECK;

/* One file operation of the agent. */
struct sbx_field;
struct sbx_fs {
    const char *const *args; /* the operation and its arguments as wire.h has them; NULL-terminated */
    const void *input;       /* NULL: none, … */
    size_t input_len;
    const struct sbx_spool *spool; /* … or this is */
    bool changes;       /* files: outside of a run it is a turn of its own, as a batch of writes is … */
    bool partial;       /* … also when it failed: some of it may have been done */
    int64_t timeout_ms; /* 0: FS_TIMEOUT_SECONDS and one more for each MB of input, none for a look */
};

struct sbx_fs_result {
    int code;          /* enum sbx_fs_code of wire.h */
    char message[256]; /* "" with SBX_FS_OK */
};

/* Run it and hand over the fields of its answer as they come, but for FS_CODE and MESSAGE. on_field returns
 * -1 with *err to give up. An operation that fails, or is ended by its time or its memory, says so in *ret;
 * -1 is a failure of the request. */
int sbx_session_fs(struct sbx_session *session, const struct sbx_fs *fs,
                   int (*on_field)(void *arg, const struct sbx_field *field, struct sbx_err *err), void *arg,
                   struct sbx_fs_result *ret, struct sbx_err *err) SBX_MUST_CHECK;

/* Leave a directory ("/repo", "/skills") empty. Finished also when the client has gone. */
int sbx_session_clear(struct sbx_session *session, const char *target, struct sbx_err *err) SBX_MUST_CHECK;

/* A tar of the sanitiser: bytes [0, size) of a file. */
struct sbx_tar {
    int fd;
    int64_t size;
    int64_t members;
};

/* Extract one into directory `target` ("/repo", "/skills"). What is there gives way to what the tar has of
 * the same name. */
int sbx_session_extract(struct sbx_session *session, const char *target, const struct sbx_tar *tar,
                        struct sbx_err *err) SBX_MUST_CHECK;

/* The content of /repo becomes that of a sanitised tar, and what patches are against: an archive that comes
 * with a run. */
int sbx_session_replace(struct sbx_session *session, const struct sbx_tar *tar,
                        struct sbx_err *err) SBX_MUST_CHECK;

/* After the archives of a seed: initialise the patch baseline, set the seeded flag. */
int sbx_session_seeded(struct sbx_session *session, struct sbx_err *err) SBX_MUST_CHECK;

/* The binary diff of this turn into ret (initialised by the caller; empty when nothing changed), and advance
 * the baseline. cumulative: everything since the seed, baseline untouched. Only for sessions with
 * extract_patch. */
int sbx_session_patch(struct sbx_session *session, bool cumulative, struct sbx_spool *ret,
                      struct sbx_err *err) SBX_MUST_CHECK;

/* The warm pool (DAIV_SANDBOX_WARM_POOL), kept by janitors to a plan. plan: what to keep: what the setting
 * names, and of what creates ask for as much as it says. fill: make one entry where one is missing; 1 one was
 * made, 0 none is missing, -1 one that is missing cannot be made. check: remove entries whose container is
 * gone, whose image is not the newest, or which the plan has no place for. */
struct sbx_pool_plan {
    struct sbx_pool_want wants[SBX_POOL_WANTS];
    int count;
};
int sbx_pool_plan(struct sbx_engine *engine, struct sbx_pool_plan *ret, struct sbx_err *err) SBX_MUST_CHECK;
int sbx_pool_fill(struct sbx_engine *engine, const struct sbx_pool_plan *plan,
                  struct sbx_err *err) SBX_MUST_CHECK;
int sbx_pool_check(struct sbx_engine *engine, const struct sbx_pool_plan *plan,
                   struct sbx_err *err) SBX_MUST_CHECK;

/* Sweeps. alive: is the process that makes a CREATING record of this replica still at it? */
struct sbx_sweep_counts {
    int closed;    /* sessions that were CLOSING */
    int ended;     /* sessions over a limit, and such whose container is gone */
    int reclaimed; /* half-made ones whose maker died, and runs whose worker died */
    int later;     /* sessions that are being closed: to be looked at again soon */
    int orphans;   /* containers, volumes and images of this instance without a record */
};

/* Quick: half-made and closing records, and what is left of runs in ephemeral sessions. Cheap enough to run
 * whenever a worker died. */
int sbx_session_sweep_records(struct sbx_engine *engine, bool (*alive)(void *arg, int64_t pid), void *arg,
                              struct sbx_sweep_counts *counts, struct sbx_err *err) SBX_MUST_CHECK;

/* Sessions over their limits, stopped ones beyond the number that is kept, and those whose container is gone.
 * One in which a request works is left alone, unless it is over its absolute limit. */
int sbx_session_sweep_ended(struct sbx_engine *engine, struct sbx_sweep_counts *counts,
                            struct sbx_err *err) SBX_MUST_CHECK;

/* Slow: dockerd's objects of this instance that no record knows and that are older than the grace. */
int sbx_session_sweep_orphans(struct sbx_engine *engine, struct sbx_sweep_counts *counts,
                              struct sbx_err *err) SBX_MUST_CHECK;

/* Remove every session of this instance, and orphans of any age: `sandboxd --purge`. */
int sbx_session_purge(struct sbx_engine *engine, struct sbx_sweep_counts *counts,
                      struct sbx_err *err) SBX_MUST_CHECK;

/* A bounded collector of a command's output: everything while it fits, else head and tail with a marker
 * between. It is in memory while it is small and in an unlinked temporary file when it is not. */
struct sbx_capture {
    const char *dir; /* not owned; where the temporary file is made */
    size_t memory;   /* most bytes of buf */
    size_t max;      /* bytes kept, head and tail together */
    char *buf;       /* owned; the newest bytes, not in the file yet */
    size_t buf_len, buf_cap;
    int fd;         /* -1 while everything is in buf */
    char last;      /* see sbx_capture_last */
    uint64_t total; /* bytes seen */
};

/* memory: bytes kept in memory, one at least. dir is used only when there are more. */
void sbx_capture_init(struct sbx_capture *capture, const char *dir, size_t memory, size_t max);
void sbx_capture_done(struct sbx_capture *capture);

/* UNAVAILABLE when the disk is full. After a failure there is only sbx_capture_done. */
int sbx_capture_add(struct sbx_capture *capture, const void *data, size_t n,
                    struct sbx_err *err) SBX_MUST_CHECK;
uint64_t sbx_capture_dropped(const struct sbx_capture *capture);

/* The last byte that is kept; NUL when there is none. */
char sbx_capture_last(const struct sbx_capture *capture);

/* Hand the kept bytes to emit in order: head, then (when something was dropped) a marker line, then the tail.
 * 0, what emit gave when that was not 0, or -1 with *err. */
int sbx_capture_emit(struct sbx_capture *capture, int (*emit)(void *arg, const char *bytes, size_t n),
                     void *arg, struct sbx_err *err) SBX_MUST_CHECK;

#endif
