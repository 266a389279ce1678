/*
 * Docker Engine API client: one libcurl handle on the daemon's socket, and raw connections for hijacked
 * attach streams. One client a process, made after fork. Every call watches `wait` (client gone, stop,
 * deadline, lock refresh).
 *
 * Errors: UNAVAILABLE "Docker client is not responding" when the daemon cannot be reached or does not answer
 * in time; NOT_FOUND for a 404; CONFLICT for a 409; INVALID for a 400; UPSTREAM for other failures, with
 * dockerd's message.
 */
#ifndef SANDBOXD_DOCKER_H
#define SANDBOXD_DOCKER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "sandboxd/base/err.h"
#include "sandboxd/base/wait.h"

#define SBX_DOCKER_ID_LEN 64

struct sbx_docker;

/* host: unix:///path or tcp://host:port (plain). timeout_ms: longest silence of one ordinary call. Nothing is
 * connected yet; the API version is negotiated with the first call. */
struct sbx_docker *sbx_docker_new(const char *host, int64_t timeout_ms, struct sbx_err *err) SBX_MUST_CHECK;
void sbx_docker_free(struct sbx_docker *docker);

int sbx_docker_ping(struct sbx_docker *docker, struct sbx_wait *wait, struct sbx_err *err) SBX_MUST_CHECK;

struct sbx_docker_pair {
    const char *key;
    const char *value;
};

struct sbx_docker_mount {
    const char *volume; /* name of a volume, made by dockerd when it is missing */
    const char *target;
    bool read_only;
    bool no_copy; /* do not fill an empty volume from the image */
};

/* What to create. Pointers are borrowed; lists end with a NULL pointer / NULL key / NULL volume; NULL list =
 * empty. */
struct sbx_docker_spec {
    const char *name;
    const char *image;
    const char *const *entrypoint;
    const char *const *cmd;
    const char *const *env; /* NAME=value */
    const char *user;       /* "0:0" */
    const char *working_dir;
    const char *network_mode; /* "none", "bridge" or a network's name */
    const char *runtime;      /* NULL: the daemon's default */
    const struct sbx_docker_mount *mounts;
    const struct sbx_docker_pair *labels;
    const char *const *cap_add; /* everything else is dropped */
    int64_t memory_bytes;       /* 0: no limit; swap is set to the same */
    int64_t nano_cpus;          /* 0: no limit */
    int64_t pids_limit;         /* 0: no limit */
    int64_t shm_bytes;          /* most of /dev/shm; 0: dockerd's default, 64 MiB */
    int64_t user_processes;     /* RLIMIT_NPROC of every process; 0: not set */
    int64_t disk_bytes;         /* most of its writable layer; 0: no limit. Not every daemon can */
    bool open_stdin;
    bool no_new_privileges;
};

/* Not cut short by `wait`, which is looked at afterwards: dockerd would go on making what nobody waits for,
 * after its maker has already cleaned up. POST /containers/create with log driver none, CapDrop ALL,
 * StdinOnce false, Tty false. ret_id gets the id. NOT_FOUND when the image is missing, CONFLICT when the name
 * is taken. */
int sbx_docker_create(struct sbx_docker *docker, struct sbx_wait *wait, const struct sbx_docker_spec *spec,
                      char ret_id[SBX_DOCKER_ID_LEN + 1], struct sbx_err *err) SBX_MUST_CHECK;

/* Already started counts as success. */
int sbx_docker_start(struct sbx_docker *docker, struct sbx_wait *wait, const char *id,
                     struct sbx_err *err) SBX_MUST_CHECK;

/* SIGKILL the container. Not running or gone counts as success. */
int sbx_docker_kill(struct sbx_docker *docker, struct sbx_wait *wait, const char *id,
                    struct sbx_err *err) SBX_MUST_CHECK;

/* Remove by id or name, forced, with its anonymous volumes. Gone, or being removed already, counts as
 * success. */
int sbx_docker_remove(struct sbx_docker *docker, struct sbx_wait *wait, const char *id,
                      struct sbx_err *err) SBX_MUST_CHECK;

/* Other limits for a running container; 0 leaves one as it is. What is in force then is for the caller to
 * look up. */
int sbx_docker_update(struct sbx_docker *docker, struct sbx_wait *wait, const char *id, int64_t memory_bytes,
                      int64_t nano_cpus, struct sbx_err *err) SBX_MUST_CHECK;

struct sbx_docker_state {
    char id[SBX_DOCKER_ID_LEN + 1];
    char image_id[80];
    bool running;
    bool removing; /* somebody is at it */
    bool oom_killed;
    int exit_code;
    /* the limits in force, to be compared with what was asked for: unknown JSON fields are ignored by dockerd
     */
    int64_t memory_bytes;
    int64_t memory_swap_bytes;
    int64_t nano_cpus;
    int64_t pids_limit;
    int64_t disk_bytes;      /* as it was asked for: only some storage drivers keep it */
    char storage_driver[80]; /* "": the daemon does not tell */
    char network_mode[80];
    char runtime[80];
};

int sbx_docker_inspect(struct sbx_docker *docker, struct sbx_wait *wait, const char *id,
                       struct sbx_docker_state *ret, struct sbx_err *err) SBX_MUST_CHECK;

struct sbx_docker_usage {
    int64_t cpu_us;       /* since the container was started */
    int64_t memory_bytes; /* without page cache that can be dropped */
    int64_t processes;    /* and threads */
};

/* What a container uses now; CONFLICT when it does not run. */
int sbx_docker_usage(struct sbx_docker *docker, struct sbx_wait *wait, const char *id,
                     struct sbx_docker_usage *ret, struct sbx_err *err) SBX_MUST_CHECK;

/* Is the image there? 0 yes (ret_id, if not NULL, gets its id), -1 NOT_FOUND or another failure. */
int sbx_docker_image(struct sbx_docker *docker, struct sbx_wait *wait, const char *image, char ret_id[80],
                     struct sbx_err *err) SBX_MUST_CHECK;

/* Pull an image reference (tag, digest, registry with port; no tag means :latest). timeout_ms bounds the
 * silence between two progress messages. auth: X-Registry-Auth header value (base64url) or NULL. progress may
 * be NULL; it gets a line now and then. NOT_FOUND: the registry does not know it (or denies it); UPSTREAM:
 * the registry cannot be reached or fails; INVALID: not a valid reference. */
int sbx_docker_pull(struct sbx_docker *docker, struct sbx_wait *wait, const char *image, const char *auth,
                    int64_t timeout_ms, void (*progress)(void *arg, const char *status), void *arg,
                    struct sbx_err *err) SBX_MUST_CHECK;

/* Credentials for registries, read from a Docker config.json (`auths`: what `docker login` writes, with auth,
 * username and password, identitytoken or registrytoken). Credential helpers are never run; entries without
 * credentials count as missing. INVALID when the file cannot be read or understood; no message quotes a value
 * of it. Immutable, and so shared through fork. */
struct sbx_docker_credentials;
struct sbx_docker_credentials *sbx_docker_credentials_load(const char *path,
                                                           struct sbx_err *err) SBX_MUST_CHECK;
void sbx_docker_credentials_free(struct sbx_docker_credentials *credentials);

/* Does the file name helpers, whose credentials are not there for us? */
bool sbx_docker_credentials_helpers(const struct sbx_docker_credentials *credentials);

/* The X-Registry-Auth value for the registry of an image reference, matched as docker does: by host[:port],
 * Docker Hub by https://index.docker.io/v1/ above all. Borrowed; NULL when there are none. credentials may be
 * NULL. */
const char *sbx_docker_credentials_for(const struct sbx_docker_credentials *credentials, const char *image);

/* A reference is split into what /images/create wants: name (with registry) and tag ("latest" when there is
 * none) or digest ("sha256:…"). -1 INVALID for anything that cannot be a reference. Pure; sizes are of the
 * out buffers. */
int sbx_docker_parse_reference(const char *image, char *name, size_t name_size, char *tag, size_t tag_size,
                               struct sbx_err *err) SBX_MUST_CHECK;

/* Make an image without a name from what a container has changed (its volumes are not in it), running or not;
 * it is not paused. The labels are added to the container's own, which the image inherits. timeout_ms bounds
 * the wait: dockerd says nothing until it is done, and goes on when nobody waits any more. */
int sbx_docker_commit(struct sbx_docker *docker, struct sbx_wait *wait, const char *container,
                      const struct sbx_docker_pair *labels, int64_t timeout_ms, char ret_id[80],
                      struct sbx_err *err) SBX_MUST_CHECK;

/* Give an image (id or reference) the name name:tag, taking it from whichever image has it. */
int sbx_docker_tag(struct sbx_docker *docker, struct sbx_wait *wait, const char *image, const char *name,
                   const char *tag, struct sbx_err *err) SBX_MUST_CHECK;

/* Remove an image by reference or id, forced; what it was made from stays. Gone counts as success; CONFLICT
 * while a running container uses it. */
int sbx_docker_image_remove(struct sbx_docker *docker, struct sbx_wait *wait, const char *image,
                            struct sbx_err *err) SBX_MUST_CHECK;

/* max_bytes: most of its content, refused where the daemon cannot see to that; 0: no limit. One that is there
 * already keeps the limit it has. */
int sbx_docker_volume_create(struct sbx_docker *docker, struct sbx_wait *wait, const char *name,
                             const struct sbx_docker_pair *labels, int64_t max_bytes,
                             struct sbx_err *err) SBX_MUST_CHECK;

/* A volume that shows the content of volume `lower` and keeps every change in `upper`: an overlay that
 * dockerd mounts while containers use it, so it costs nothing to make and `lower` is never written. upper and
 * work (overlayfs's own) are made too, with the same labels; they must be empty, and removed after `name`.
 * lower must not change while `name` is in use. */
int sbx_docker_volume_overlay(struct sbx_docker *docker, struct sbx_wait *wait, const char *name,
                              const char *lower, const char *upper, const char *work,
                              const struct sbx_docker_pair *labels, struct sbx_err *err) SBX_MUST_CHECK;

/* Labels of a volume; the caller puts *ret, which is NULL where there are none. NOT_FOUND: no such volume. */
struct json_object;
int sbx_docker_volume_labels(struct sbx_docker *docker, struct sbx_wait *wait, const char *name,
                             struct json_object **ret, struct sbx_err *err) SBX_MUST_CHECK;

/* Gone counts as success; in use is CONFLICT. */
int sbx_docker_volume_remove(struct sbx_docker *docker, struct sbx_wait *wait, const char *name,
                             struct sbx_err *err) SBX_MUST_CHECK;

/* Containers, running or not (volumes) that carry label=value (value NULL: the label at all). fn gets id
 * (volumes: the name), name and the labels as a JSON object (borrowed); a non-zero result stops. Slow: sweeps
 * only. */
int sbx_docker_list(struct sbx_docker *docker, struct sbx_wait *wait, const char *label, const char *value,
                    int (*fn)(void *arg, const char *id, const char *name, struct json_object *labels),
                    void *arg, struct sbx_err *err) SBX_MUST_CHECK;
int sbx_docker_list_volumes(struct sbx_docker *docker, struct sbx_wait *wait, const char *label,
                            const char *value,
                            int (*fn)(void *arg, const char *name, struct json_object *labels), void *arg,
                            struct sbx_err *err) SBX_MUST_CHECK;

/* The same for images; there fn gets the id and the labels. */
int sbx_docker_list_images(struct sbx_docker *docker, struct sbx_wait *wait, const char *label,
                           const char *value,
                           int (*fn)(void *arg, const char *id, struct json_object *labels), void *arg,
                           struct sbx_err *err) SBX_MUST_CHECK;

/* PUT /containers/ID/archive?path=… with the bytes [0, size) of fd, read with pread, so that a retry can send
 * them again. */
int sbx_docker_put_archive(struct sbx_docker *docker, struct sbx_wait *wait, const char *id, const char *path,
                           int fd, int64_t size, struct sbx_err *err) SBX_MUST_CHECK;

/* The same from memory. */
int sbx_docker_put_archive_mem(struct sbx_docker *docker, struct sbx_wait *wait, const char *id,
                               const char *path, const void *tar, size_t size,
                               struct sbx_err *err) SBX_MUST_CHECK;

/* An attached stream: stdin and stdout of a container's PID 1. */
struct sbx_attach;

/* POST /containers/ID/attach, hijacked (101 or 200). Non-blocking from here on. NOT_FOUND when the container
 * is gone, CONFLICT when it is paused. dockerd also attaches to a container that is not running, and then
 * says nothing: only an answer of the agent proves that it runs. */
struct sbx_attach *sbx_docker_attach(struct sbx_docker *docker, struct sbx_wait *wait, const char *id,
                                     struct sbx_err *err) SBX_MUST_CHECK;
void sbx_attach_close(struct sbx_attach *attach);

/* For poll: POLLIN when sbx_attach_read may have data. */
int sbx_attach_fd(const struct sbx_attach *attach);

/* Demultiplexed stdout bytes without waiting: > 0 bytes, 0 when nothing is there now, -1 UNAVAILABLE at the
 * end of the stream or on garbage. Bytes may have come with the answer to the attach, and a full `out` may
 * leave more behind: poll only after a result < n, and read before the first poll. Bytes of stderr (the
 * agent's last words) are kept, see sbx_attach_stderr. */
ssize_t sbx_attach_read(struct sbx_attach *attach, void *out, size_t n, struct sbx_err *err) SBX_MUST_CHECK;

/* Write without waiting: bytes taken (0 when the socket is full) or -1. */
ssize_t sbx_attach_write(struct sbx_attach *attach, const void *data, size_t n,
                         struct sbx_err *err) SBX_MUST_CHECK;

/* What came on stderr, NUL-terminated, cut at 1 KiB. */
const char *sbx_attach_stderr(const struct sbx_attach *attach);

/* The stdcopy decoder behind sbx_attach_read, on its own for tests and fuzzing: headers [stream, 0, 0, 0, len
 * BE]. */
struct sbx_stdcopy {
    uint8_t head[8];
    size_t head_len;
    uint32_t left; /* payload bytes still to come */
};

/* Take from data[0, n): sets *ret_stream (1 stdout, 2 stderr), *ret_off and *ret_len of a run of payload
 * bytes and returns the bytes consumed so far (> 0; *ret_len may be 0); -1 on an impossible header. */
ssize_t sbx_stdcopy_next(struct sbx_stdcopy *demux, const uint8_t *data, size_t n, int *ret_stream,
                         size_t *ret_off, size_t *ret_len);

#endif
