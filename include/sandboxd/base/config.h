/*
 * Settings: one table of {name, type, range, default, units, description} that the parser, --check-config,
 * the template renderer and the README's table share (src/base/config_table.c).
 *
 * A value comes from the environment, else from the file given with --config (NAME=value lines), else from a
 * file of the lower-case name in the secrets directory (/run/secrets). An empty value counts as unset.
 */
#ifndef SANDBOXD_BASE_CONFIG_H
#define SANDBOXD_BASE_CONFIG_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "sandboxd/base/clients.h"
#include "sandboxd/base/err.h"

/* The most that the settings allow. */
#define SBX_WORKERS_MAX         512
#define SBX_CONTROL_WORKERS_MAX 16

/* Strings are owned by the config. Optional strings are NULL when unset. Times are kept in milliseconds. */
struct sbx_config {
    /* the seed's settings */
    char *api_key;
    char *api_v1_str; /* "/api/v1": leading slash, no trailing one; "" for the root only */
    char *environment;
    char *sentry_dsn;
    bool sentry_enable_logs;
    double sentry_traces_sample_rate;
    double sentry_profiles_sample_rate;
    bool sentry_send_default_pii;
    char *runtime; /* "runc", "runsc" or another runtime that dockerd knows */
    int64_t run_uid;
    int64_t run_gid;
    int64_t command_timeout_ms; /* setting in seconds; 0: none */
    char *redis_url;
    int64_t session_lock_ttl_ms;
    int64_t session_lock_wait_ms;
    int64_t session_lock_refresh_ms;
    char *git_image;
    char *host;
    int64_t port;
    char *log_level;

    /* ours */
    char *api_keys_file;
    struct sbx_clients clients; /* whose keys the two say */
    char *log_format;           /* "text" or "json" */
    char *docker_host;          /* DOCKER_HOST: unix:///path or tcp://host:port */
    char *docker_config;        /* path of a Docker config.json with credentials for registries */
    char
        *home; /* DAIV_SANDBOX_HOME: run/ (sockets, pid files) and state/ (database, locks, spool) below it */
    char *metrics_listen; /* host:port */
    char *user;           /* of workers and janitor, where the master is root */
    char *replica;        /* DAIV_SANDBOX_REPLICA: name of this replica; default: the host name */
    char *agent; /* path of the agent binary; default: found beside the sandboxd binary or in libexec */
    int64_t min_workers;
    int64_t max_workers;
    int64_t control_workers;
    int64_t max_queued;
    int64_t max_streams;     /* workers that follow execs, see sbx_api.on_stream */
    int64_t keepalive_ms;    /* longest silence of a stream */
    char *on_disconnect;     /* of a run's client: "cancel" or "finish" */
    int64_t worker_requests; /* a worker is replaced after that many */
    char *warm_pool;         /* IMAGE=COUNT…, see pool_list.h */
    int64_t drain_ms;        /* SIGTERM: how long running requests may go on */
    int64_t docker_timeout_ms;
    int64_t pull_timeout_ms;
    int64_t max_body_bytes;
    int64_t max_seed_bytes; /* also the limit of what an archive unpacks to */
    int64_t max_seed_entries;
    int64_t max_output_bytes;
    int64_t max_file_bytes;
    char *fs_prune_dirs; /* "a,b*" */
    int64_t fs_timeout_ms;
    int64_t pids_limit;
    int64_t disk_bytes;      /* of a session; 0: none */
    int64_t session_idle_ms; /* 0: none */
    int64_t session_max_ms;  /* 0: none */
    char *close;             /* "remove" or "stop" */
    int64_t stopped_ms;      /* how long a stopped session is kept */
    int64_t stopped_max;     /* how many are */
    int64_t sweep_ms;        /* interval of the janitor */
    int64_t orphan_grace_ms;
};

/* Where values come from; any pointer may be NULL. */
struct sbx_config_source {
    char **env;              /* NULL: the process's environ */
    const char *file;        /* path of the --config file, NULL: none */
    const char *secrets_dir; /* NULL: /run/secrets */
};

/* Load and validate everything. On failure *err (INVALID) is one clear line naming the setting, its value
 * (masked when secret) and what is allowed, and *config is untouched. On success *config is filled; free with
 * sbx_config_done. */
int sbx_config_load(struct sbx_config *config, const struct sbx_config_source *source,
                    struct sbx_err *err) SBX_MUST_CHECK;
void sbx_config_done(struct sbx_config *config);

/* NAME=value for every setting, secrets masked as ********, unset as empty: what --check-config prints. */
void sbx_config_print(const struct sbx_config *config, FILE *out);

/* The README's table in Markdown. */
void sbx_config_print_markdown(FILE *out);

/* The value of a setting by its full name, formatted as it would be written in the environment (secrets in
 * clear), into out. Returns -1 when there is no such setting. */
int sbx_config_get(const struct sbx_config *config, const char *name, char *out, size_t size);

/* Copy a template, leaving out what stands between lines "@IF NAME@" and "@END@" where that setting is unset,
 * and replacing @NAME@ for setting names (value escaped for a double-quoted nginx string) and for the extra
 * names given as {name, value} pairs ended by {NULL, NULL} (inserted as they are). An unknown
 * @NAME@ is an error. */
int sbx_config_render(const struct sbx_config *config, FILE *in, FILE *out, const char *const extra[][2],
                      struct sbx_err *err) SBX_MUST_CHECK;

#endif
