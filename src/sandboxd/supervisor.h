/* The master process: forks, watches, reloads, stops. */
#ifndef SBX_SANDBOXD_SUPERVISOR_H
#define SBX_SANDBOXD_SUPERVISOR_H

#include "sandboxd/process.h"

/* Master states only move down this list, but for a reload, which is no state: it is a new generation of
 * children. */
enum sbx_master_state {
    SBX_MASTER_NORMAL,
    SBX_MASTER_FINISHING,   /* new work is refused, running requests go on until the drain deadline */
    SBX_MASTER_TERMINATING, /* children were told TERM: running requests are given up */
    SBX_MASTER_KILLING,     /* children were sent KILL */
};

struct sbx_master {
    struct sbx_config *config;
    const struct sbx_config_source *source;
    struct sbx_agent_image agent;
    struct sbx_docker_credentials *credentials; /* owned; NULL: none */
    struct sbx_report_queue reports;
    struct sbx_scoreboard *board;
    enum sbx_master_state state;
    int64_t state_since_ms;
    uint32_t generation;
    int listen_fd[SBX_LANES];
    int pid_fd; /* locked pid file */
    int signal_fd;
    int wake_fd;            /* children → master */
    int janitor_fd;         /* master → janitor */
    int pool_fd;            /* workers → janitor */
    int more_fd;            /* worker → worker */
    int64_t spawn_after_ms; /* back-off: no fork before this */
    int early_deaths;       /* children in a row that died before they were ready */
    int64_t shrink_after_ms;
    bool announced; /* READY=1 was sent */
};

/* Run until told to stop. Takes settings and credentials over. Returns the exit code. */
int sbx_supervise(struct sbx_config *config, const struct sbx_config_source *source,
                  struct sbx_docker_credentials *credentials);

/* master.c */

/* Fill in what a master of these settings needs; its listen_fd and pid_fd are -1 before. After a failure too,
 * close it. */
int sbx_master_open(struct sbx_master *master, struct sbx_err *err) SBX_MUST_CHECK;

/* Take away the files of a master that got its pid file; give back the rest, settings and credentials
 * included. */
void sbx_master_close(struct sbx_master *master);

/* children.c */

/* Fork one process of a role in the current generation; nothing happens during back-off or without a free
 * slot. */
void sbx_children_spawn(struct sbx_master *master, enum sbx_role role);

/* Collect the dead: free slots, adjust the back-off, wake the janitor. */
void sbx_children_reap(struct sbx_master *master);

/* Send a signal to all children. */
void sbx_children_signal(struct sbx_master *master, int signo);

/* Tell one child to finish and leave. */
void sbx_children_dismiss(struct sbx_slot *slot);

/* Children alive (not dismissed) of a role; of the current generation only, or of older ones only. */
int sbx_children_count(const struct sbx_master *master, enum sbx_role role, bool current);
bool sbx_children_any(const struct sbx_master *master);

/* relieve.c */

/* Tell older generations of a role to leave: all of them when enough of the current one are ready to take
 * over, else, when so many of it are missing and no slot is free for them, a few that make room. */
void sbx_relieve(struct sbx_master *master, enum sbx_role role, int enough, int missing);

#endif
