/* Private to src/session: names, labels, the link to an agent. */
#ifndef SBX_SESSION_INTERNAL_H
#define SBX_SESSION_INTERNAL_H

#include <pthread.h>

#include "sandboxd/base.h"
#include "sandboxd/session.h"
#include "sandboxd/wire.h"

#define SBX_SESSION_GONE "Session not found or already closed"

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
void sbx_name_container(const char *id, char out[SBX_NAME_SIZE]);
void sbx_name_helper(const char *id, char out[SBX_NAME_SIZE]);
void sbx_name_volume(const char *id, char out[SBX_NAME_SIZE]);

/* Labels of one object; `created` backs one of them. */
struct sbx_labels {
    struct sbx_docker_pair pairs[6];
    char created[24];
};
void sbx_labels_fill(struct sbx_labels *labels, struct sbx_engine *engine, const char *id, const char *role);

/* What the agent needs as PID 1: become the sandbox user, own its directories, end its processes. Commands
 * get none. */
extern const char *const SBX_AGENT_CAPS[];

/* Put the agent into its volume, using `image` (any image that exists) for the carrier container. */
int sbx_agent_install(struct sbx_engine *engine, const char *image, struct sbx_err *err) SBX_MUST_CHECK;

/* Start a container whose entrypoint is the agent; installs the agent when its volume turns out to be empty.
 */
int sbx_agent_start(struct sbx_engine *engine, const char *container, const char *image,
                    struct sbx_err *err) SBX_MUST_CHECK;

/* Pull under a lock that all replicas share, so that one missing image is pulled once. */
int sbx_image_pull_once(struct sbx_engine *engine, const char *image, struct sbx_err *err) SBX_MUST_CHECK;

/* Remove containers and volume of a session by their names. */
int sbx_session_remove_objects(struct sbx_engine *engine, const char *id, bool has_volume,
                               struct sbx_err *err) SBX_MUST_CHECK;

/* Patches. volume and start fill the record's volume and helper; NOT_FOUND from start: the git image is
 * missing. */
int sbx_patch_volume(struct sbx_engine *engine, struct sbx_record *record,
                     struct sbx_err *err) SBX_MUST_CHECK;
int sbx_patch_start(struct sbx_engine *engine, struct sbx_record *record, struct sbx_err *err) SBX_MUST_CHECK;

/* Note the tree as it is now as what the next patch is against. */
int sbx_patch_baseline(struct sbx_session *session, struct sbx_err *err) SBX_MUST_CHECK;

/* sbx_patch_start in a thread. begin and end come in pairs; end joins, and with give_up cuts the work short
 * first. */
struct sbx_helper_thread {
    struct sbx_engine engine;
    struct sbx_wait wait;
    struct sbx_record record; /* a copy; its heap parts stay the original's */
    struct sbx_err err;
    pthread_t id;
    int stop_fd;
    int rc;
};
int sbx_helper_begin(struct sbx_helper_thread *thread, struct sbx_engine *engine,
                     const struct sbx_record *record, struct sbx_err *err) SBX_MUST_CHECK;
int sbx_helper_end(struct sbx_helper_thread *thread, bool give_up, struct sbx_record *record,
                   struct sbx_err *err) SBX_MUST_CHECK;

/* The session's options as they are kept in the record. */
char *sbx_options_to_json(const struct sbx_session_options *options, struct sbx_err *err) SBX_MUST_CHECK;

/* The connection to one agent: attach stream, frames, credit. */
struct sbx_link *sbx_link_open(struct sbx_engine *engine, const char *container, uint64_t fence,
                               struct sbx_err *err) SBX_MUST_CHECK;
void sbx_link_close(struct sbx_link *link);

/* Wait for the agent's answer to HELLO. Not needed before an exec: both may be on their way together. */
int sbx_link_greet(struct sbx_link *link, struct sbx_err *err) SBX_MUST_CHECK;

int sbx_link_exec(struct sbx_link *link, const struct sbx_exec_spec *spec,
                  int (*on_output)(void *arg, int channel, const void *data, size_t n, struct sbx_err *err),
                  void *arg, struct sbx_exec_result *ret, struct sbx_err *err) SBX_MUST_CHECK;

/* Files one after another on the same connection without waiting in between; fills status and reason of each.
 */
int sbx_link_write(struct sbx_link *link, struct sbx_write *files, size_t count,
                   struct sbx_err *err) SBX_MUST_CHECK;

/* The links of an opened session, made on first use. */
struct sbx_link *sbx_session_link(struct sbx_session *session, struct sbx_err *err) SBX_MUST_CHECK;
struct sbx_link *sbx_session_helper(struct sbx_session *session, struct sbx_err *err) SBX_MUST_CHECK;

/* After a CONFLICT of a link: the container stopped (its agent died, dockerd was restarted). Start it again;
 * its file system was kept. */
int sbx_session_revive(struct sbx_session *session, const char *container, const char *image,
                       struct sbx_err *err) SBX_MUST_CHECK;

#endif
