/*
 * What every process of a master is doing, in shared memory: single-writer slots, no locks, since any writer
 * may be killed at any instruction. The master writes pid, role, generation and urgent; the process writes
 * the rest of its slot.
 */
#ifndef SBX_SANDBOXD_SCOREBOARD_H
#define SBX_SANDBOXD_SCOREBOARD_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "sandboxd/base.h"

/* Two generations of workers, control workers and a janitor, the most that there can be of each, and some of
 * one before that are still busy. */
#define SBX_SLOTS (2 * (SBX_WORKERS_MAX + SBX_CONTROL_WORKERS_MAX + 1) + 30)

enum sbx_role { SBX_ROLE_NONE, SBX_ROLE_WORKER, SBX_ROLE_CONTROL, SBX_ROLE_JANITOR };

enum sbx_activity {
    SBX_ACTIVITY_STARTING, /* forked, not ready yet */
    SBX_ACTIVITY_IDLE,
    SBX_ACTIVITY_BUSY,
    SBX_ACTIVITY_LEAVING, /* will take no more requests */
};

struct sbx_slot {
    /* master */
    pid_t pid; /* 0: free */
    enum sbx_role role;
    uint32_t generation; /* of settings */
    bool told_to_leave;
    bool urgent; /* a control worker that takes urgent requests as well */
    /* the process itself */
    enum sbx_activity activity;
    bool streaming; /* follows an exec */
    uint64_t
        client; /* hash of the name of a client with a limit of concurrent requests, served now; else 0 */
    uint32_t requests;
    int64_t since_ms; /* monotonic, of the last change of activity */
    char request[65];
    char session[SBX_UUID_LEN + 1];
};

/* Name of the memory file, and what its first bytes are: sandboxd --status looks for them. */
#define SBX_SCOREBOARD_NAME  "sandboxd-scoreboard"
#define SBX_SCOREBOARD_MAGIC 0x53425831u

/* How far a client's rate is used up. Any process writes, atomically. An entry whose time has passed is as
 * good as a free one. */
struct sbx_rate {
    uint64_t client; /* hash of its name; 0: free */
    int64_t next_us; /* monotonic: when its requests so far would be over at its rate */
};

#define SBX_RATES 1024

struct sbx_scoreboard {
    uint32_t magic;
    char version[24];
    int64_t started_ms;       /* monotonic */
    bool draining;            /* the service is stopping: new work is refused */
    uint64_t reports_dropped; /* lost on their way to Sentry; any process adds, atomically */
    uint32_t used;            /* how many slots were ever taken, from the first: the master's */
    struct sbx_slot slots[SBX_SLOTS];
    struct sbx_rate rates[SBX_RATES];
};

/* A memory file, zeroed, mapped and kept open; NULL with an error. Lives as long as the process. */
struct sbx_scoreboard *sbx_scoreboard_new(struct sbx_err *err) SBX_MUST_CHECK;

/* The first free slot, NULL when there is none. For the master, who then fills it in and forks. */
struct sbx_slot *sbx_scoreboard_take(struct sbx_scoreboard *board);

/* How many slots, from the first, may have a process: every request looks through these, and no process that
 * began before is missed. */
size_t sbx_scoreboard_used(const struct sbx_scoreboard *board);

/* The process's own: a new activity with its time. */
void sbx_slot_set(struct sbx_slot *slot, enum sbx_activity activity);

/* How many processes of a role are alive and in an activity. */
int sbx_scoreboard_count(const struct sbx_scoreboard *board, enum sbx_role role, enum sbx_activity activity);

/* How many follow an exec. */
int sbx_scoreboard_streams(const struct sbx_scoreboard *board);

/* Is this process one of the master's? */
bool sbx_scoreboard_has(const struct sbx_scoreboard *board, pid_t pid);

const char *sbx_role_name(enum sbx_role role);
const char *sbx_activity_name(enum sbx_activity activity);

#endif
