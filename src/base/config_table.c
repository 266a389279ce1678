/* The one table of settings. */
#include "base/config_table.h"

#include <string.h>

#define NAME(suffix) "DAIV_SANDBOX_" suffix
#define FIELD(name)  .offset = offsetof(struct sbx_config, name)
#define TEXT         .type = SBX_SETTING_TEXT
#define BOOL         .type = SBX_SETTING_BOOL, .initial = "false"
#define RATE         .type = SBX_SETTING_RATE, .initial = "0.0"
#define CHOICE(list) .type = SBX_SETTING_CHOICE, .choices = list
#define INT(lo, hi)  .type = SBX_SETTING_INT, .min = lo, .max = hi
#define SIZE(lo, hi) .type = SBX_SETTING_SIZE, .min = lo, .max = hi
/* limits in milliseconds */
#define SECONDS(lo, hi) .type = SBX_SETTING_SECONDS, .min = lo, .max = hi

#define HOUR (3600 * INT64_C(1000))
#define DAY  (24 * HOUR)
#define GIB  (INT64_C(1) << 30)

/* Caches, build output and what version control and editors keep: nobody's source. */
#define PRUNE_DIRS                                                                                           \
    ".git,.hg,.svn,.idea,.vs,__pycache__,.ruff_cache,.mypy_cache,.pytest_cache,.pyre,.pytype,.hypothesis,"   \
    ".ipynb_checkpoints,*.egg-info,.eggs,.next,.nuxt,.svelte-kit,.turbo,.parcel-cache,.angular,.vite,"       \
    ".astro,.docusaurus,.cache,.phpunit.cache,.gradle,target,obj"

const struct sbx_setting sbx_settings[] = {
    {NAME("API_KEY"), TEXT, FIELD(api_key), .check = sbx_check_api_key, .secret = true,
     .otherwise = "required, unless there is an API_KEYS_FILE",
     .allowed = "1 to 512 printable ASCII characters without a blank at either end",
     .description = "The key that clients send as X-API-Key. Its client is named \"default\"."},
    {NAME("API_V1_STR"), TEXT, FIELD(api_v1_str), .initial = "/api/v1", .check = sbx_check_base_path,
     .allowed = "a path that starts with / and has only letters, digits and _ . - / in it",
     .description = "Base path of the API; the routes are at the root as well."},
    {NAME("ENVIRONMENT"), CHOICE("local production"), FIELD(environment), .initial = "production",
     .description = "Kind of deployment, for reports and logs."},
    {NAME("SENTRY_DSN"), TEXT, FIELD(sentry_dsn), .check = sbx_check_dsn, .secret = true,
     .allowed = "a DSN: http(s)://key@host[:port]/[path/]project",
     .description = "Sentry project that failed requests and crashed processes are reported to."},
    {NAME("SENTRY_ENABLE_LOGS"), BOOL, FIELD(sentry_enable_logs),
     .description = "Send the log lines to Sentry too, those from LOG_LEVEL up."},
    {NAME("SENTRY_TRACES_SAMPLE_RATE"), RATE, FIELD(sentry_traces_sample_rate),
     .description =
         "Share of requests whose time is sent to Sentry, by lock, Docker calls, agent and patch."},
    {NAME("SENTRY_PROFILES_SAMPLE_RATE"), RATE, FIELD(sentry_profiles_sample_rate),
     .description = "Share of traced requests that carry the worker's CPU time and peak memory; no sampled "
                    "stacks are sent."},
    {NAME("SENTRY_SEND_DEFAULT_PII"), BOOL, FIELD(sentry_send_default_pii),
     .description = "Let reports carry client addresses, clients' names and request paths."},
    {NAME("RUNTIME"), TEXT, FIELD(runtime), .initial = "runc", .check = sbx_check_runtime,
     .allowed = "runc, runsc or another runtime that dockerd knows, of a-z 0-9 . _ -",
     .description = "Container runtime of the sessions; runsc is gVisor."},
    {NAME("RUN_UID"), INT(1, INT32_MAX - 1), FIELD(run_uid), .initial = "1000",
     .description = "User id that commands run under; never root."},
    {NAME("RUN_GID"), INT(1, INT32_MAX - 1), FIELD(run_gid), .initial = "1000",
     .description = "Group id that commands run under; never root."},
    {NAME("COMMAND_TIMEOUT"), SECONDS(0, 30 * DAY), FIELD(command_timeout_ms), .initial = "0",
     .description = "Longest time of a command whose request names none; 0: no limit."},
    {NAME("REDIS_URL"), TEXT, FIELD(redis_url), .check = sbx_check_redis_url, .secret = true,
     .otherwise = "embedded store",
     .allowed =
         "redis://[user:password@]host[:port][/database] or unix://[user:password@]/path[?db=database]; not "
         "rediss://, the Redis library has no TLS",
     .description = "Store shared by several replicas. Unset: a store on this machine's disk."},
    {NAME("SESSION_LOCK_TTL_SECONDS"), SECONDS(100, DAY), FIELD(session_lock_ttl_ms), .initial = "900",
     .description = "Life of a session's lock in Redis when its holder is gone."},
    {NAME("SESSION_LOCK_WAIT_SECONDS"), SECONDS(0, HOUR), FIELD(session_lock_wait_ms), .initial = "1.0",
     .description = "How long a request waits for a busy session before it gets 409."},
    {NAME("SESSION_LOCK_REFRESH_SECONDS"), SECONDS(10, DAY), FIELD(session_lock_refresh_ms),
     .initial = "30.0", .description = "How often a held lock is refreshed; less than its life."},
    {NAME("GIT_IMAGE"), TEXT, FIELD(git_image), .initial = "alpine/git:2.52.0", .check = sbx_check_image,
     .allowed = "an image reference", .description = "Image with git that patches are made with."},
    {NAME("HOST"), TEXT, FIELD(host), .initial = "0.0.0.0", .check = sbx_check_host,
     .allowed = "an IP address or a host name", .description = "Address that nginx listens on."},
    {NAME("PORT"), INT(1, 65535), FIELD(port), .initial = "8000",
     .description = "Port that nginx listens on."},
    {NAME("LOG_LEVEL"), CHOICE("DEBUG INFO WARNING ERROR CRITICAL"), FIELD(log_level), .initial = "INFO",
     .description = "Least severe log lines to write."},

    {NAME("API_KEYS_FILE"), TEXT, FIELD(api_keys_file), .check = sbx_check_path,
     .allowed = "an absolute path other than /",
     .description =
         "File of further clients, a line each: name:hash[:limits], the hash as --hash-key prints it. "
         "Read at start and at SIGHUP."},
    {NAME("LOG_FORMAT"), CHOICE("text json"), FIELD(log_format), .initial = "text",
     .description = "Log lines as key=value pairs or as JSON objects."},
    {"DOCKER_HOST", TEXT, FIELD(docker_host), .initial = "unix:///var/run/docker.sock",
     .check = sbx_check_docker_host, .allowed = "unix:///path or tcp://host:port",
     .description = "Where dockerd listens."},
    {NAME("DOCKER_CONFIG"), TEXT, FIELD(docker_config), .check = sbx_check_path,
     .allowed = "an absolute path other than /",
     .description =
         "Docker config.json whose auths are the credentials for private registries. Read at start "
         "and at SIGHUP."},
    {NAME("HOME"), TEXT, FIELD(home), .initial = "/var/lib/sandboxd", .check = sbx_check_path,
     .allowed = "an absolute path other than /",
     .description =
         "Directory for sockets and pid files (run/) and for the database, locks and spool files (state/)."},
    {NAME("USER"), TEXT, FIELD(user), .check = sbx_check_replica, .otherwise = "who starts it",
     .allowed = "1 to 63 letters, digits and . _ -",
     .description =
         "User that workers and janitor run as when the service is started by root; it needs the group of "
         "dockerd's socket."},
    {NAME("METRICS_LISTEN"), TEXT, FIELD(metrics_listen), .check = sbx_check_listen,
     .allowed = "host:port, such as 127.0.0.1:9464 or [::1]:9464",
     .description = "Where nginx shows /-/metrics/ to Prometheus, without a key; unset: nowhere."},
    {NAME("REPLICA"), TEXT, FIELD(replica), .check = sbx_check_replica, .otherwise = "host name",
     .allowed = "1 to 63 letters, digits and . _ -",
     .description = "Name of this replica; each has its own."},
    {NAME("AGENT"), TEXT, FIELD(agent), .otherwise = "beside the program, else in libexec",
     .allowed = "a path", .description = "The agent's binary."},
    {NAME("MIN_WORKERS"), INT(1, SBX_WORKERS_MAX), FIELD(min_workers), .initial = "4",
     .description = "Workers kept ready."},
    {NAME("MAX_WORKERS"), INT(1, SBX_WORKERS_MAX), FIELD(max_workers), .initial = "64",
     .description = "Most workers, each serving one request; not below the workers kept ready."},
    {NAME("CONTROL_WORKERS"), INT(1, SBX_CONTROL_WORKERS_MAX), FIELD(control_workers), .initial = "3",
     .description =
         "Workers that answer health, version and metrics, whatever the others do; all but one of them "
         "also close sessions and end commands while the others are busy."},
    {NAME("MAX_QUEUED"), INT(0, 65536), FIELD(max_queued), .initial = "256",
     .description =
         "Requests that may wait for a worker, or be on their way to one; further ones get 429 at once."},
    {NAME("MAX_STREAMS"), INT(0, 512), FIELD(max_streams), .initial = "32",
     .description = "Most workers that follow execs at once, never more than half of them; further followers "
                    "get 429."},
    {NAME("STREAM_KEEPALIVE_SECONDS"), SECONDS(100, HOUR), FIELD(keepalive_ms), .initial = "15",
     .description = "Longest silence of a stream before a keepalive is sent."},
    {NAME("ON_DISCONNECT"), CHOICE("cancel finish"), FIELD(on_disconnect), .initial = "cancel",
     .description = "What becomes of a run whose client goes away: its command is ended, or all of it is "
                    "finished."},
    {NAME("WORKER_REQUESTS"), INT(1, 1000000000), FIELD(worker_requests), .initial = "10000",
     .units = "requests", .description = "A worker is replaced after that many."},
    {NAME("WARM_POOL"), TEXT, FIELD(warm_pool), .check = sbx_check_pool, .otherwise = "no pool",
     .allowed = "IMAGE=COUNT[;patch][;network] or auto=COUNT, separated by commas, each count from 1 to 256",
     .description =
         "Sessions made in advance, so many of each image for all replicas together, and with auto "
         "so many of what creates ask for most: a create of such a session takes one of them."},
    {NAME("DRAIN_SECONDS"), SECONDS(0, HOUR), FIELD(drain_ms), .initial = "30",
     .description = "How long running requests may go on when the service stops."},
    {NAME("DOCKER_TIMEOUT_SECONDS"), SECONDS(100, HOUR), FIELD(docker_timeout_ms), .initial = "60",
     .description = "Longest wait for an answer of dockerd."},
    {NAME("PULL_TIMEOUT_SECONDS"), SECONDS(100, DAY), FIELD(pull_timeout_ms), .initial = "120",
     .description = "Longest silence while an image is pulled."},
    {NAME("MAX_BODY_BYTES"), SIZE(1024, GIB), FIELD(max_body_bytes), .initial = "64M",
     .description = "Largest JSON body of a request."},
    {NAME("MAX_SEED_BYTES"), SIZE(1024, 1024 * GIB), FIELD(max_seed_bytes), .initial = "4G",
     .description = "Largest seed archive, and the most that it may unpack to."},
    {NAME("MAX_SEED_ENTRIES"), INT(1, 100000000), FIELD(max_seed_entries), .initial = "1000000",
     .units = "entries", .description = "Most entries of a seed archive."},
    {NAME("MAX_OUTPUT_BYTES"), SIZE(1024, GIB), FIELD(max_output_bytes), .initial = "10M",
     .description = "Output kept of a command whose request names no limit: its head and its tail."},
    {NAME("MAX_FILE_BYTES"), SIZE(1024, 1024 * GIB), FIELD(max_file_bytes), .initial = "4G",
     .description = "Largest file, or archive of a directory, that is transferred as such."},
    {NAME("FS_PRUNE_DIRS"), TEXT, FIELD(fs_prune_dirs), .initial = PRUNE_DIRS, .check = sbx_check_names,
     .allowed = "names or patterns of directories, with commas between them",
     .description = "Directories that grep and glob leave out, at any depth."},
    {NAME("FS_TIMEOUT_SECONDS"), SECONDS(100, HOUR), FIELD(fs_timeout_ms), .initial = "60",
     .description = "Longest time of a file operation; an upload has a second more for each megabyte, a "
                    "download has none."},
    {NAME("PIDS_LIMIT"), INT(8, 4194304), FIELD(pids_limit), .initial = "512", .units = "processes",
     .description = "Most processes and threads of a session."},
    {NAME("DISK_BYTES"), SIZE(0, 1024 * GIB), FIELD(disk_bytes), .initial = "0",
     .description = "Limit of what a session writes to disk, and the most that a client may ask for with "
                    "disk_bytes; 0: none. Needs overlay2 on xfs with pquota."},
    {NAME("SESSION_IDLE_SECONDS"), SECONDS(0, 3650 * DAY), FIELD(session_idle_ms), .initial = "0",
     .description =
         "A session that was not used for that long is removed, and the most that a client may ask "
         "for with idle_seconds; 0: no limit."},
    {NAME("SESSION_MAX_SECONDS"), SECONDS(0, 3650 * DAY), FIELD(session_max_ms), .initial = "0",
     .description = "Age at which a session is removed, used or not, and the most that a client may ask for "
                    "with ttl_seconds; 0: no limit."},
    {NAME("CLOSE"), CHOICE("remove stop"), FIELD(close), .initial = "remove",
     .description = "What DELETE does to a session: remove it, or stop it and keep its files for a while."},
    {NAME("STOPPED_SECONDS"), SECONDS(0, 3650 * DAY), FIELD(stopped_ms), .initial = "3600",
     .description = "How long a stopped session is kept."},
    {NAME("STOPPED_MAX"), INT(0, 1000000), FIELD(stopped_max), .initial = "100", .units = "sessions",
     .description = "How many stopped sessions are kept; the first to be stopped go first."},
    {NAME("SWEEP_SECONDS"), SECONDS(100, DAY), FIELD(sweep_ms), .initial = "30",
     .description = "How often the janitor looks for what is to be removed."},
    {NAME("ORPHAN_GRACE_SECONDS"), SECONDS(0, DAY), FIELD(orphan_grace_ms), .initial = "300",
     .description = "Age from which a container or volume that no session knows is removed."},
};

const size_t sbx_settings_count = sizeof(sbx_settings) / sizeof(sbx_settings[0]);

const struct sbx_setting *sbx_setting_find(const char *name)
{
    for (size_t i = 0; i < sbx_settings_count; i++) {
        if (strcmp(sbx_settings[i].name, name) == 0)
            return &sbx_settings[i];
    }
    return NULL;
}
