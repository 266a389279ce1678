/* What the master hands to the processes it forks, and what they share. */
#ifndef SBX_SANDBOXD_PROCESS_H
#define SBX_SANDBOXD_PROCESS_H

#include "sandboxd/base.h"
#include "sandboxd/report.h"
#include "sandboxd/scoreboard.h"
#include "sandboxd/session.h"

/* Where requests come from. */
enum sbx_lane {
    SBX_LANE_WORK,
    SBX_LANE_CONTROL, /* health and the like */
    SBX_LANE_URGENT,  /* what ends something: taken first, and also by control workers */
    SBX_LANES,
};

struct sbx_process {
    const struct sbx_config *config;
    const struct sbx_agent_image *agent;
    const struct sbx_docker_credentials *credentials; /* for registries; NULL: none */
    struct sbx_scoreboard *board;
    struct sbx_slot *slot; /* the process's own */
    enum sbx_role role;
    int listen_fd[SBX_LANES]; /* workers: sockets they accept from, -1 for others' */
    int master_fd;  /* eventfd: wakes the master when something in the scoreboard wants its attention */
    int janitor_fd; /* eventfd: wakes the janitor, because a worker died */
    int pool_fd;    /* eventfd: wakes the janitor, because the pool may want filling */
    int more_fd;    /* eventfd: wakes an idle worker, because another one left a connection behind */
    const struct sbx_report_queue *reports;
};

/* Bodies of the forked processes; they return the exit code. */
int sbx_worker_main(struct sbx_process *process);
int sbx_janitor_main(struct sbx_process *process);

/* Keep the warm pool: fill it, with `look` after making the plan anew and removing what is not fit for use.
 * True when it was broken off for other work, which there is from until_ms (monotonic) on; never before one
 * entry was made. */
struct sbx_signals;
bool sbx_janitor_pool(struct sbx_engine *engine, const struct sbx_signals *signals,
                      const struct sbx_process *process, struct sbx_pool_plan *plan, bool look,
                      int64_t until_ms);

/* Exit code of a process that could not start (bad settings, no store): its master backs off. */
#define SBX_EXIT_NOT_READY 3

/*
 * Signals of a child: QUIT = finish what you do, then leave; TERM = give it up now. Both are blocked and read
 * through descriptors, because an interrupted read would close libfcgi's stream for good.
 */
struct sbx_signals {
    int quit_fd;
    int term_fd;
};
int sbx_signals_open(struct sbx_signals *signals, struct sbx_err *err) SBX_MUST_CHECK;

/* Engine of one process: store and dockerd connections of its own. */
struct sbx_engine_parts {
    struct sbx_engine engine;
    char state_dir[512];
    char spool_dir[512];
};
int sbx_engine_open(struct sbx_engine_parts *parts, const struct sbx_process *process,
                    struct sbx_err *err) SBX_MUST_CHECK;
void sbx_engine_close(struct sbx_engine_parts *parts);

/* What DAIV_SANDBOX_DOCKER_CONFIG names, the caller's to free; NULL when it is not set. -1 INVALID. */
int sbx_credentials_open(const struct sbx_config *config, struct sbx_docker_credentials **ret,
                         struct sbx_err *err) SBX_MUST_CHECK;

/* <home>/<what>; cut when it does not fit, which the socket's own length check reports. */
void sbx_home_path(const struct sbx_config *config, const char *what, char *out, size_t size);

/* Adds what the scoreboard knows to the metrics; for struct sbx_api. */
int sbx_gauges_print(void *scoreboard, struct sbx_buf *out, struct sbx_err *err) SBX_MUST_CHECK;

/* systemd's notification protocol: "READY=1", "STOPPING=1", …; nothing when NOTIFY_SOCKET is not set. */
void sbx_notify(const char *state);

/* Add one to an eventfd. */
void sbx_wake(int fd);

#endif
