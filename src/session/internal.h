/* Private to src/session: names, labels, the link to an agent. */
#ifndef SBX_SESSION_INTERNAL_H
#define SBX_SESSION_INTERNAL_H

#include <pthread.h>

#include "sandboxd/base.h"
#include "sandboxd/session.h"
#include "sandboxd/wire.h"

#define SBX_EXEC_GONE "Exec not found or forgotten"

/* Where the agent's volume is mounted, and its program there. */
#define SBX_AGENT_DIR  "/.sandboxd"
#define SBX_AGENT_PATH "/.sandboxd/agent"

/* Every Docker object of ours carries these, set at create. */
#define SBX_LABEL_INSTANCE "sandboxd.instance"
#define SBX_LABEL_SESSION  "sandboxd.session"
#define SBX_LABEL_ROLE     "sandboxd.role"
#define SBX_LABEL_REPLICA  "sandboxd.replica"
#define SBX_LABEL_CREATED  "sandboxd.created" /* wall clock, ms */

/* Deterministic names, so that whatever a dead worker left can be removed without looking for it. */
#define SBX_NAME_SIZE 80

enum sbx_part {
    SBX_PART_SESSION, /* containers … */
    SBX_PART_PATCH,
    SBX_PART_RUN, /* an ephemeral session has its runs in these */
    SBX_PART_RUN_PATCH,
    SBX_PART_REPO,      /* … and volumes */
    SBX_PART_META,      /* the meta repository of an ephemeral session, which its runs read */
    SBX_PART_RUN_REPO,  /* what a run sees as /repo: the session's, with the run's changes … */
    SBX_PART_RUN_UPPER, /* … kept here */
    SBX_PART_RUN_WORK,
    SBX_PART_NOTE,   /* what the store knows, once more: note.c … */
    SBX_PART_SEEDED, /* … and that the session is seeded */
};
void sbx_name_of(const char *id, enum sbx_part part, char out[SBX_NAME_SIZE]);

/* The image that an ephemeral session's runs start from: SBX_IMAGE_NAME:<id>. */
#define SBX_IMAGE_NAME "sandboxd-session"
void sbx_name_image(const char *id, char *out, size_t size);

/* Labels of one object; `created` backs one of them. */
struct sbx_labels {
    struct sbx_docker_pair pairs[6];
    char created[24];
};
void sbx_labels_fill(struct sbx_labels *labels, struct sbx_engine *engine, const char *id, const char *role);

/* Where the patch helper keeps its meta repository, and where a run's helper keeps its own additions to it.
 */
#define SBX_META_DIR    "/meta"
#define SBX_SCRATCH_DIR "/scratch"

#define SBX_SPEC_ARGS 9

/* What a container is made of. Its parts point at one another: it must stay where it is. */
struct sbx_spec {
    struct sbx_docker_spec docker;
    char name[SBX_NAME_SIZE];
    char image[512];
    char repo[SBX_NAME_SIZE]; /* names of volumes */
    char meta[SBX_NAME_SIZE];
    char uid[24];
    char gid[24];
    const char *entrypoint[2];
    const char *cmd[SBX_SPEC_ARGS];
    struct sbx_docker_mount mounts[4];
    struct sbx_labels labels;
};

/* The container that commands run in, and its patch helper. run: those of one run of an ephemeral session.
 * The options are borrowed. */
void sbx_spec_session(struct sbx_spec *spec, struct sbx_engine *engine, const char *id,
                      const struct sbx_session_options *options, bool run);
/* disk.c: the limit of what a session writes to disk. Overlays over project quotas of xfs keep it and nothing
 * else does for certain: btrfs takes it and may not. */
#define SBX_DISK_NOT_KEPT "its disk limit is not in force"
int64_t sbx_disk_of(const struct sbx_record *record); /* 0: none */
bool sbx_disk_kept(const struct sbx_docker_spec *wanted, const struct sbx_docker_state *state);
/* INVALID for sessions that no host can limit. */
int sbx_disk_check(const struct sbx_session_options *options, struct sbx_err *err) SBX_MUST_CHECK;
/* A session with a limit could not be made for *err: when that is a host that cannot keep it, say so. -1. */
int sbx_disk_explain(const struct sbx_engine *engine, const struct sbx_session_options *options,
                     struct sbx_err *err) SBX_MUST_CHECK;

void sbx_spec_helper(struct sbx_spec *spec, struct sbx_engine *engine, const struct sbx_record *record,
                     bool run);

/* Are containers gVisor's? So is every runtime whose name begins with "runsc". */
bool sbx_spec_is_gvisor(const struct sbx_config *config);

/* Does the started container run with all the limits of its spec? */
int sbx_spec_verify(const struct sbx_spec *spec, struct sbx_engine *engine, const char *container,
                    struct sbx_err *err) SBX_MUST_CHECK;

/* The first half of a close: the record says CLOSING and the objects are removed, but it stays, so that a
 * sweep looks once more: dockerd may still be making what a process that died had asked for. NOT_FOUND: there
 * is no record. */
int sbx_session_retire(struct sbx_engine *engine, const char *id, struct sbx_err *err) SBX_MUST_CHECK;

/* Make and greet the containers of a record that is in the store as CREATING; fills its container, helper and
 * volume. The caller removes what was made of it when this fails. */
int sbx_session_make(struct sbx_engine *engine, const struct sbx_session_options *options,
                     struct sbx_record *record, struct sbx_err *err) SBX_MUST_CHECK;

/* Does the agent of a container answer? */
int sbx_session_greet(struct sbx_engine *engine, const char *container, struct sbx_err *err) SBX_MUST_CHECK;

/* Count a session that was made, where the pool learns from that (auto). */
void sbx_pool_learn(struct sbx_engine *engine, const struct sbx_session_options *options, const char *id);

/* Take a session out of the pool for a record that is filled but not in the store. 1: it is in the store as
 * CREATING, with containers that answer and have the limits of the options; 0: there is none; -1. */
int sbx_pool_claim(struct sbx_engine *engine, const struct sbx_session_options *options,
                   struct sbx_record *record, struct sbx_err *err) SBX_MUST_CHECK;

/* A command with the session's environment, where that is not its container's own. done also after a failure.
 */
struct sbx_pool_exec {
    struct sbx_exec_spec spec;
    const char **list;
    char **environment;
};
int sbx_pool_environment(struct sbx_session *session, const struct sbx_exec_spec *spec,
                         struct sbx_pool_exec *ret, struct sbx_err *err) SBX_MUST_CHECK;
void sbx_pool_exec_done(struct sbx_pool_exec *exec);

/* Start a container whose entrypoint is the agent; installs the agent when its volume turns out to be empty,
 * with another container of `image` (any that exists). */
int sbx_agent_start(struct sbx_engine *engine, const char *container, const char *image,
                    struct sbx_err *err) SBX_MUST_CHECK;

/* Pull under a lock that all replicas share, so that one missing image is pulled once. */
int sbx_image_pull_once(struct sbx_engine *engine, const char *image, struct sbx_err *err) SBX_MUST_CHECK;

/* Remove containers, volumes and image of a session by their names. */
int sbx_session_remove_objects(struct sbx_engine *engine, const struct sbx_record *record,
                               struct sbx_err *err) SBX_MUST_CHECK;

/* The same for what belongs to one run of an ephemeral session. */
int sbx_run_remove_objects(struct sbx_engine *engine, const char *id, bool patch,
                           struct sbx_err *err) SBX_MUST_CHECK;

/* Runs whose worker died: their sessions are there, and nobody holds their lock. */
int sbx_run_sweep(struct sbx_engine *engine, struct sbx_sweep_counts *counts,
                  struct sbx_err *err) SBX_MUST_CHECK;

/* End a run of an ephemeral session: remove what it was made of. closed: the session is gone, so whatever
 * this process made of it after its close goes as well. Failures are left to the sweep. */
void sbx_run_end(struct sbx_session *session, bool closed);

/* Work that is finished also when the client has gone, this process is to stop or the deadline is over. The
 * session's lock is refreshed all the same. */
struct sbx_shield {
    int client_fd;
    int stop_fd;
    int64_t deadline_ms;
};
void sbx_shield_raise(struct sbx_shield *shield, struct sbx_engine *engine);
void sbx_shield_lower(const struct sbx_shield *shield, struct sbx_engine *engine);

/* The image of an ephemeral session, which its runs start from. make: of the session's container as it is.
 * drop: before anything in that container changes; does nothing within a run and for other sessions. */
int sbx_template_make(struct sbx_session *session, struct sbx_err *err) SBX_MUST_CHECK;
int sbx_template_drop(struct sbx_session *session, struct sbx_err *err) SBX_MUST_CHECK;

/* Notes, see note.c. rewrite: the record has changed. remove: the first step of removing a session. */
int sbx_note_write(struct sbx_engine *engine, const struct sbx_record *record,
                   struct sbx_err *err) SBX_MUST_CHECK;
int sbx_note_rewrite(struct sbx_engine *engine, const struct sbx_record *record,
                     struct sbx_err *err) SBX_MUST_CHECK;
int sbx_note_seeded(struct sbx_engine *engine, const char *id, bool seeded,
                    struct sbx_err *err) SBX_MUST_CHECK;
int sbx_note_remove(struct sbx_engine *engine, const char *id, struct sbx_err *err) SBX_MUST_CHECK;

/* Put the record of a session that the store does not know, but dockerd has, into the store again. 0: the
 * session is known now, and READY; NOT_FOUND: there is nothing to keep. */
int sbx_session_restore(struct sbx_engine *engine, const char *id, struct sbx_err *err) SBX_MUST_CHECK;

/* NOT_FOUND, in the words that clients are told when a session is closed, over its limits, another client's
 * or none. Always -1. */
int sbx_session_gone(struct sbx_err *err);

/* sbx_session_look for whoever has the session's lock: no other request works in it. */
int sbx_session_look_locked(struct sbx_engine *engine, const char *id, struct sbx_record *ret,
                            struct sbx_err *err) SBX_MUST_CHECK;

/* Find a session (sbx_session_find, sbx_session_look) and put it into another state (a setter of the
 * store's). A record that the store loses in between is rebuilt: no session is taken for gone because of
 * that. *ret must be initialised. */
int sbx_session_put(struct sbx_engine *engine, const char *id,
                    int (*find)(struct sbx_engine *, const char *, struct sbx_record *, struct sbx_err *),
                    int (*set)(struct sbx_store *, const char *, struct sbx_err *), struct sbx_record *ret,
                    struct sbx_err *err) SBX_MUST_CHECK;

/* Was the session closed while a request works in it? *ret_gone (may be NULL): and it is not kept. */
bool sbx_session_closed(struct sbx_session *session, bool *ret_gone);

/* Start the containers of a stopped session, which is locked, and greet their agents; it is READY then. */
int sbx_session_resume(struct sbx_session *session, struct sbx_err *err) SBX_MUST_CHECK;

/* Insert the record of a session to be made: 1; 0 when another session has its key, which is ret_id, READY.
 */
int sbx_session_insert_once(struct sbx_engine *engine, const struct sbx_record *record,
                            char ret_id[SBX_UUID_LEN + 1], struct sbx_err *err) SBX_MUST_CHECK;

/* Patches. volumes makes the volumes and fills record->volume; start fills record->helper (run: the helper of
 * one run); NOT_FOUND from start: the git image is missing. */
int sbx_patch_volumes(struct sbx_engine *engine, struct sbx_record *record,
                      struct sbx_err *err) SBX_MUST_CHECK;
int sbx_patch_start(struct sbx_engine *engine, struct sbx_record *record, bool run,
                    struct sbx_err *err) SBX_MUST_CHECK;

/* Note the tree as it is now as what the next patch is against. seed: and the cumulative one too, and with
 * files that the tree's own .gitignore names. */
int sbx_patch_baseline(struct sbx_session *session, bool seed, struct sbx_err *err) SBX_MUST_CHECK;

/* sbx_patch_start in a thread, pulling the git image when it is missing. begin and end come in pairs; end
 * joins, and with give_up cuts the work short first. */
struct sbx_helper_thread {
    struct sbx_engine engine;
    struct sbx_wait wait;
    struct sbx_record record; /* a copy; its heap parts stay the original's */
    struct sbx_err err;
    pthread_t id;
    bool run;
    int stop_fd;
    int done_fd; /* readable when the thread has ended */
    int rc;
};
int sbx_helper_begin(struct sbx_helper_thread *thread, struct sbx_engine *engine,
                     const struct sbx_record *record, bool run, struct sbx_err *err) SBX_MUST_CHECK;
int sbx_helper_end(struct sbx_helper_thread *thread, struct sbx_engine *engine, bool give_up,
                   struct sbx_record *record, struct sbx_err *err) SBX_MUST_CHECK;

/* The session's options as they are kept in the record, and back: strings of *ret are the record's, and the
 * environment is the caller's to free. */
char *sbx_options_to_json(const struct sbx_session_options *options, struct sbx_err *err) SBX_MUST_CHECK;
int sbx_options_from_record(const struct sbx_record *record, struct sbx_session_options *ret,
                            char ***ret_environment, struct sbx_err *err) SBX_MUST_CHECK;
void sbx_environment_free(char **environment);

/* The connection to one agent: attach stream, frames, credit. */
struct sbx_link *sbx_link_open(struct sbx_engine *engine, const char *container, uint64_t fence,
                               struct sbx_err *err) SBX_MUST_CHECK;
void sbx_link_close(struct sbx_link *link);

/* Did a command fail because the agent has not ended it in time? NULL: no. */
bool sbx_link_late(const struct sbx_link *link);

/* Wait for the agent's answer to HELLO. Not needed before an exec: both may be on their way together. */
int sbx_link_greet(struct sbx_link *link, struct sbx_err *err) SBX_MUST_CHECK;

int sbx_link_exec(struct sbx_link *link, const struct sbx_exec_spec *spec,
                  int (*on_output)(void *arg, int channel, const void *data, size_t n, struct sbx_err *err),
                  void *arg, struct sbx_exec_result *ret, struct sbx_err *err) SBX_MUST_CHECK;

/* One operation on held execs; spec: start one (call then only says whom to tell). -1 when it could not be
 * asked or answered; else what the agent says is in *ret_status (0 or errno) and message. */
int sbx_link_held(struct sbx_link *link, const struct sbx_exec_spec *spec, struct sbx_held_call *call,
                  int *ret_status, char message[256], struct sbx_err *err) SBX_MUST_CHECK;

/* Files one after another on the same connection without waiting in between; fills status and reason of each.
 */
int sbx_link_write(struct sbx_link *link, struct sbx_write *files, size_t count,
                   struct sbx_err *err) SBX_MUST_CHECK;

/* Fields that come in pieces. */
struct sbx_fields {
    struct sbx_buf part; /* of a field that is not whole yet */
    int (*on_field)(void *arg, const struct sbx_field *field, struct sbx_err *err);
    void *arg;
};
void sbx_fields_init(struct sbx_fields *fields,
                     int (*on_field)(void *arg, const struct sbx_field *field, struct sbx_err *err),
                     void *arg);
void sbx_fields_done(struct sbx_fields *fields);
/* UPSTREAM: no agent sends such a thing. */
int sbx_fields_add(struct sbx_fields *fields, const void *data, size_t n, struct sbx_err *err) SBX_MUST_CHECK;

/* The links of an opened session, made on first use. */
struct sbx_link *sbx_session_link(struct sbx_session *session, struct sbx_err *err) SBX_MUST_CHECK;
struct sbx_link *sbx_session_helper(struct sbx_session *session, struct sbx_err *err) SBX_MUST_CHECK;

/* After a CONFLICT of a link: the container stopped (its agent died, dockerd was restarted). Start it again;
 * its file system was kept. */
int sbx_session_revive(struct sbx_session *session, const char *container, const char *image,
                       struct sbx_err *err) SBX_MUST_CHECK;

#endif
