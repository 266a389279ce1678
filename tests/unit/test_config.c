#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "sandboxd/base.h"

#define KEY "DAIV_SANDBOX_API_KEY=k"
#define P   "DAIV_SANDBOX_"

struct fixture {
    char dir[256]; /* stands for /run/secrets */
    char file[300];
};

static int set_up(void **state)
{
    const char *tmp = getenv("TMPDIR");
    struct fixture *f = calloc(1, sizeof(*f));
    snprintf(f->dir, sizeof(f->dir), "%s/config-XXXXXX", tmp ? tmp : "/tmp");
    if (!mkdtemp(f->dir))
        return -1;
    snprintf(f->file, sizeof(f->file), "%s/settings", f->dir);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    unlink(f->file);
    int rc = rmdir(f->dir);
    free(f);
    return rc;
}

static void put(const char *path, const char *text, size_t n)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_int_equal(fwrite(text, 1, n, file), n);
    fclose(file);
}

static void put_file(struct fixture *f, const char *text)
{
    put(f->file, text, strlen(text));
}

static const char *secret(struct fixture *f, const char *name)
{
    static char path[400];
    snprintf(path, sizeof(path), "%s/%s", f->dir, name);
    return path;
}

static int load(struct fixture *f, const char *const *env, bool file, struct sbx_config *config,
                struct sbx_err *err)
{
    const struct sbx_config_source source = {
        .env = (char **)(uintptr_t)env, .file = file ? f->file : NULL, .secrets_dir = f->dir};
    return sbx_config_load(config, &source, err);
}

/* Loads with one more variable beside the key. */
static int load_one(struct fixture *f, const char *variable, struct sbx_config *config, struct sbx_err *err)
{
    const char *const env[] = {KEY, variable, NULL};
    return load(f, env, false, config, err);
}

/* A variable and what sbx_config_get then says of it. */
static void check_value(struct fixture *f, const char *variable, const char *want)
{
    struct sbx_config config;
    struct sbx_err err = SBX_ERR_INIT;
    char name[64], got[1024];
    if (load_one(f, variable, &config, &err) < 0)
        fail_msg("%s", err.msg);
    snprintf(name, sizeof(name), "%.*s", (int)strcspn(variable, "="), variable);
    assert_int_equal(sbx_config_get(&config, name, got, sizeof(got)), 0);
    assert_string_equal(got, want);
    sbx_config_done(&config);
}

static void check_refused(struct fixture *f, const char *variable, const char *allowed)
{
    struct sbx_config config, before;
    struct sbx_err err = SBX_ERR_INIT;
    char want[600];
    memset(&config, 0x5A, sizeof(config));
    before = config;
    if (load_one(f, variable, &config, &err) == 0)
        fail_msg("taken although it is wrong: %s", variable);
    assert_memory_equal(&config, &before, sizeof(config));
    assert_int_equal(err.kind, SBX_ERR_INVALID);
    snprintf(want, sizeof(want), "%s in the environment: must be %s", variable, allowed);
    assert_string_equal(err.msg, want);
}

static void the_defaults_are_the_documented_ones(void **state)
{
    struct sbx_config c;
    struct sbx_err err = SBX_ERR_INIT;
    char host[65] = "";
    assert_int_equal(load_one(*state, NULL, &c, &err), 0);
    assert_string_equal(c.api_key, "k");
    assert_string_equal(c.api_v1_str, "/api/v1");
    assert_string_equal(c.environment, "production");
    assert_null(c.sentry_dsn);
    assert_false(c.sentry_enable_logs);
    assert_true(c.sentry_traces_sample_rate == 0 && c.sentry_profiles_sample_rate == 0);
    assert_false(c.sentry_send_default_pii);
    assert_string_equal(c.runtime, "runc");
    assert_int_equal(c.run_uid, 1000);
    assert_int_equal(c.run_gid, 1000);
    assert_int_equal(c.command_timeout_ms, 0);
    assert_null(c.redis_url);
    assert_int_equal(c.session_lock_ttl_ms, 900000);
    assert_int_equal(c.session_lock_wait_ms, 1000);
    assert_int_equal(c.session_lock_refresh_ms, 30000);
    assert_string_equal(c.git_image, "alpine/git:2.52.0");
    assert_string_equal(c.host, "0.0.0.0");
    assert_int_equal(c.port, 8000);
    assert_string_equal(c.log_level, "INFO");
    assert_string_equal(c.log_format, "text");
    assert_string_equal(c.docker_host, "unix:///var/run/docker.sock");
    assert_string_equal(c.home, "/var/lib/sandboxd");
    assert_null(c.agent);
    assert_int_equal(c.min_workers, 4);
    assert_int_equal(c.max_workers, 64);
    assert_int_equal(c.control_workers, 3);
    assert_int_equal(c.max_queued, 256);
    assert_int_equal(c.worker_requests, 10000);
    assert_int_equal(c.drain_ms, 30000);
    assert_int_equal(c.docker_timeout_ms, 60000);
    assert_int_equal(c.pull_timeout_ms, 120000);
    assert_int_equal(c.max_body_bytes, 67108864);
    assert_int_equal(c.max_seed_bytes, 4294967296);
    assert_int_equal(c.max_seed_entries, 1000000);
    assert_int_equal(c.max_output_bytes, 10485760);
    assert_int_equal(c.pids_limit, 512);
    assert_int_equal(c.sweep_ms, 30000);
    assert_int_equal(c.orphan_grace_ms, 300000);
    gethostname(host, sizeof(host) - 1);
    assert_int_equal(strlen(c.replica), strlen(host) > 63 ? 63 : strlen(host));
    sbx_config_done(&c);
    sbx_config_done(&c); /* nothing left to free */
}

static void the_environment_comes_before_the_file_and_the_file_before_secrets(void **state)
{
    struct fixture *f = *state;
    struct sbx_config config;
    struct sbx_err err = SBX_ERR_INIT;
    const char *const first[] = {KEY "1", P "PORT=1", NULL}, *const empty[] = {P "PORT=", P "API_KEY=", NULL},
                      *const none[] = {NULL};
    put_file(f, P "PORT=2\n" P "API_KEY=k2\n");
    put(secret(f, "daiv_sandbox_port"), "3", 1);
    put(secret(f, "daiv_sandbox_api_key"), "k3\n", 3);
    assert_int_equal(load(f, first, true, &config, &err), 0);
    assert_int_equal(config.port, 1);
    assert_string_equal(config.api_key, "k1");
    sbx_config_done(&config);
    assert_int_equal(load(f, empty, true, &config, &err), 0);
    assert_int_equal(config.port, 2);
    assert_string_equal(config.api_key, "k2");
    sbx_config_done(&config);
    put_file(f, P "PORT=\n" P "API_KEY=\"\"\n");
    assert_int_equal(load(f, none, true, &config, &err), 0);
    assert_int_equal(config.port, 3);
    assert_string_equal(config.api_key, "k3");
    sbx_config_done(&config);
    put(secret(f, "daiv_sandbox_port"), " \n", 2);
    assert_int_equal(load(f, none, false, &config, &err), 0);
    assert_int_equal(config.port, 8000); /* empty everywhere: the default */
    sbx_config_done(&config);
    unlink(secret(f, "daiv_sandbox_port"));
    unlink(secret(f, "daiv_sandbox_api_key"));
}

static void a_file_has_comments_quotes_and_the_settings_of_others(void **state)
{
    struct fixture *f = *state;
    struct sbx_config config;
    struct sbx_err err = SBX_ERR_INIT;
    const char *const none[] = {NULL};
    put_file(f, "# comment\n\n  " P "API_KEY = 'a b=c#d' \r\n" P
                "HOST=\"::1\"\nDOCKER_HOST=tcp://h:1\nPATH=/bin\n" P "PORT=1\n" P "PORT=2");
    assert_int_equal(load(f, none, true, &config, &err), 0);
    assert_string_equal(config.api_key, "a b=c#d");
    assert_string_equal(config.host, "::1");
    assert_string_equal(config.docker_host, "tcp://h:1");
    assert_int_equal(config.port, 2);
    sbx_config_done(&config);
}

static void check_file_refused(struct fixture *f, const char *text, const char *what)
{
    struct sbx_config config;
    struct sbx_err err = SBX_ERR_INIT;
    const char *const env[] = {KEY, NULL};
    char want[600];
    put_file(f, text);
    assert_int_equal(load(f, env, true, &config, &err), -1);
    assert_int_equal(err.kind, SBX_ERR_INVALID);
    snprintf(want, sizeof(want), "%s%s", f->file, what);
    assert_string_equal(err.msg, want);
}

static void mistakes_in_a_file_are_named_without_quoting_it(void **state)
{
    struct fixture *f = *state;
    struct sbx_config config;
    struct sbx_err err = SBX_ERR_INIT;
    const char *const env[] = {KEY, NULL};
    check_file_refused(f, "\n" P "PROT=1\n", " line 2: there is no setting " P "PROT");
    check_file_refused(f, P "PO\r\x1b[RT=1\n", " line 1: there is no setting " P "PO??[RT");
    check_file_refused(f, "s3cret\n", " line 1: NAME=value was expected");
    check_file_refused(f, "=s3cret\n", " line 1: NAME=value was expected");
    put(f->file, "A=b\0c", 5);
    assert_int_equal(load(f, env, true, &config, &err), -1);
    assert_non_null(strstr(err.msg, "not a text file"));
    unlink(f->file);
    assert_int_equal(load(f, env, true, &config, &err), -1);
    assert_int_equal(err.kind, SBX_ERR_INVALID);
    assert_non_null(strstr(err.msg, f->file));
}

static void a_bad_value_is_told_with_where_it_was_found(void **state)
{
    struct fixture *f = *state;
    struct sbx_config config;
    struct sbx_err err = SBX_ERR_INIT;
    const char *const env[] = {KEY, NULL};
    char want[600];
    put_file(f, P "PORT=0\n");
    assert_int_equal(load(f, env, true, &config, &err), -1);
    snprintf(want, sizeof(want), P "PORT=0 in %s: must be a whole number from 1 to 65535", f->file);
    assert_string_equal(err.msg, want);
    put(secret(f, "daiv_sandbox_port"), "x\n", 2);
    assert_int_equal(load(f, env, false, &config, &err), -1);
    snprintf(want, sizeof(want), P "PORT=x in %s: must be a whole number from 1 to 65535",
             secret(f, "daiv_sandbox_port"));
    assert_string_equal(err.msg, want);
    unlink(secret(f, "daiv_sandbox_port"));
}

static void a_secret_that_cannot_be_read_is_an_error(void **state)
{
    struct fixture *f = *state;
    struct sbx_config config;
    struct sbx_err err = SBX_ERR_INIT;
    const char *const none[] = {NULL};
    assert_int_equal(mkdir(secret(f, "daiv_sandbox_api_key"), 0700), 0);
    assert_int_equal(load(f, none, false, &config, &err), -1);
    assert_int_equal(err.kind, SBX_ERR_INVALID);
    assert_non_null(strstr(err.msg, "daiv_sandbox_api_key"));
    rmdir(secret(f, "daiv_sandbox_api_key"));
}

static void the_api_key_is_required(void **state)
{
    struct sbx_config config;
    struct sbx_err err = SBX_ERR_INIT;
    const char *const none[] = {NULL};
    assert_int_equal(load(*state, none, false, &config, &err), -1);
    assert_string_equal(err.msg, P "API_KEY is not set, and " P "API_KEYS_FILE neither: one is required");
}

static void secrets_are_masked_in_errors(void **state)
{
    static const char *const bad[][2] = {
        {P "API_KEY= s3cret", P "API_KEY=********"},
        {P "API_KEY=s3cret ", P "API_KEY=********"},
        {P "API_KEY=s3cr\xC3\xA9t", P "API_KEY=********"},
        {P "API_KEY=s3cret\nx", P "API_KEY=********"},
        {P "REDIS_URL=s3cret", P "REDIS_URL=********"},
        {P "SENTRY_DSN=s3cret", P "SENTRY_DSN=********"},
        {P "REDIS_URL=rediss://:s3cret@h", P "REDIS_URL=********"},
    };
    for (size_t i = 0; i < SBX_ARRAY_LEN(bad); i++) {
        struct sbx_config config;
        struct sbx_err err = SBX_ERR_INIT;
        const char *const env[] = {bad[i][0], KEY, NULL};
        assert_int_equal(load(*state, env, false, &config, &err), -1);
        assert_null(strstr(err.msg, "s3cr"));
        assert_memory_equal(err.msg, bad[i][1], strlen(bad[i][1]));
        assert_null(strchr(err.msg, '\n'));
    }
}

static void an_error_is_one_line_whatever_the_value(void **state)
{
    struct sbx_config config;
    struct sbx_err err = SBX_ERR_INIT;
    char variable[3000];
    snprintf(variable, sizeof(variable), P "PORT=1\n\x1b%02000d", 0);
    assert_int_equal(load_one(*state, variable, &config, &err), -1);
    assert_memory_equal(err.msg, P "PORT=1??000", 21);
    assert_non_null(strstr(err.msg, "0... in the environment: must be a whole number from 1 to 65535"));
}

static void numbers_have_limits(void **state)
{
    check_value(*state, P "PORT=1", "1");
    check_value(*state, P "PORT= 65535 ", "65535");
    check_refused(*state, P "PORT=0", "a whole number from 1 to 65535");
    check_refused(*state, P "PORT=65536", "a whole number from 1 to 65535");
    check_refused(*state, P "PORT=-1", "a whole number from 1 to 65535");
    check_refused(*state, P "PORT=+1", "a whole number from 1 to 65535");
    check_refused(*state, P "PORT=80x", "a whole number from 1 to 65535");
    check_refused(*state, P "PORT=8 0", "a whole number from 1 to 65535");
    check_refused(*state, P "PORT=0x50", "a whole number from 1 to 65535");
    check_refused(*state, P "PORT=1e3", "a whole number from 1 to 65535");
    check_refused(*state, P "PORT=18446744073709551617", "a whole number from 1 to 65535");
    check_refused(*state, P "PORT=   ", "a whole number from 1 to 65535");
    check_value(*state, P "RUN_UID=2147483646", "2147483646");
    check_refused(*state, P "RUN_UID=0", "a whole number from 1 to 2147483646"); /* never root */
    check_refused(*state, P "RUN_GID=2147483647", "a whole number from 1 to 2147483646");
    check_refused(*state, P "PIDS_LIMIT=0", "a whole number of processes from 8 to 4194304");
}

static void times_are_seconds_with_decimals(void **state)
{
    struct sbx_config config;
    struct sbx_err err = SBX_ERR_INIT;
    assert_int_equal(load_one(*state, P "SESSION_LOCK_WAIT_SECONDS=1.25", &config, &err), 0);
    assert_int_equal(config.session_lock_wait_ms, 1250);
    sbx_config_done(&config);
    check_value(*state, P "SESSION_LOCK_WAIT_SECONDS=0", "0");
    check_value(*state, P "SESSION_LOCK_WAIT_SECONDS=0.05", "0.05");
    check_value(*state, P "SESSION_LOCK_WAIT_SECONDS=0.007", "0.007");
    check_value(*state, P "SESSION_LOCK_WAIT_SECONDS=1.500", "1.5");
    check_value(*state, P "SESSION_LOCK_WAIT_SECONDS=3600", "3600");
    static const char allowed[] = "seconds from 0 to 3600, with up to three decimals";
    check_refused(*state, P "SESSION_LOCK_WAIT_SECONDS=3600.001", allowed);
    check_refused(*state, P "SESSION_LOCK_WAIT_SECONDS=1.0005", allowed);
    check_refused(*state, P "SESSION_LOCK_WAIT_SECONDS=-1", allowed);
    check_refused(*state, P "SESSION_LOCK_WAIT_SECONDS=.5", allowed);
    check_refused(*state, P "SESSION_LOCK_WAIT_SECONDS=1.", allowed);
    check_refused(*state, P "SESSION_LOCK_WAIT_SECONDS=1s", allowed);
    check_refused(*state, P "SESSION_LOCK_WAIT_SECONDS=inf", allowed);
    check_refused(*state, P "SESSION_LOCK_WAIT_SECONDS=999999999999999999", allowed);
}

static void sizes_take_a_suffix(void **state)
{
    check_value(*state, P "MAX_BODY_BYTES=1024", "1024");
    check_value(*state, P "MAX_BODY_BYTES=1K", "1024");
    check_value(*state, P "MAX_BODY_BYTES=2m", "2097152");
    check_value(*state, P "MAX_SEED_BYTES=1024G", "1099511627776");
    static const char allowed[] = "bytes from 1024 to 1073741824, plain or with K, M or G";
    check_refused(*state, P "MAX_BODY_BYTES=1023", allowed);
    check_refused(*state, P "MAX_BODY_BYTES=2G", allowed);
    check_refused(*state, P "MAX_BODY_BYTES=1T", allowed);
    check_refused(*state, P "MAX_BODY_BYTES=1MB", allowed);
    check_refused(*state, P "MAX_BODY_BYTES=1 K", allowed);
    check_refused(*state, P "MAX_BODY_BYTES=M", allowed);
    check_refused(*state, P "MAX_BODY_BYTES=1.5M", allowed);
    check_refused(*state, P "MAX_BODY_BYTES=999999999999999999G", allowed);
}

static void booleans_rates_and_choices(void **state)
{
    check_value(*state, P "SENTRY_ENABLE_LOGS=True", "true");
    check_value(*state, P "SENTRY_ENABLE_LOGS=ON", "true");
    check_value(*state, P "SENTRY_ENABLE_LOGS=yes", "true");
    check_value(*state, P "SENTRY_ENABLE_LOGS=1", "true");
    check_value(*state, P "SENTRY_ENABLE_LOGS=no", "false");
    check_refused(*state, P "SENTRY_ENABLE_LOGS=2", "true or false");
    check_refused(*state, P "SENTRY_ENABLE_LOGS=tru", "true or false");
    check_value(*state, P "SENTRY_TRACES_SAMPLE_RATE=0.25", "0.25");
    check_value(*state, P "SENTRY_TRACES_SAMPLE_RATE=1.0", "1");
    check_refused(*state, P "SENTRY_TRACES_SAMPLE_RATE=1.1", "a number from 0 to 1");
    check_refused(*state, P "SENTRY_TRACES_SAMPLE_RATE=-0.1", "a number from 0 to 1");
    check_refused(*state, P "SENTRY_TRACES_SAMPLE_RATE=nan", "a number from 0 to 1");
    check_refused(*state, P "SENTRY_TRACES_SAMPLE_RATE=.", "a number from 0 to 1");
    check_refused(*state, P "SENTRY_TRACES_SAMPLE_RATE=0.1.1", "a number from 0 to 1");
    check_value(*state, P "LOG_LEVEL=debug", "DEBUG");
    check_refused(*state, P "LOG_LEVEL=DEBUG INFO", "one of DEBUG, INFO, WARNING, ERROR, CRITICAL");
    check_refused(*state, P "LOG_LEVEL=WARN", "one of DEBUG, INFO, WARNING, ERROR, CRITICAL");
    check_refused(*state, P "ENVIRONMENT=staging", "one of local, production");
    check_refused(*state, P "LOG_FORMAT=xml", "one of text, json");
}

static void the_base_path_loses_its_trailing_slash(void **state)
{
    struct sbx_config config;
    struct sbx_err err = SBX_ERR_INIT;
    check_value(*state, P "API_V1_STR=/v2/x.y_z-/", "/v2/x.y_z-");
    check_value(*state, P "API_V1_STR=/", "/");
    assert_int_equal(load_one(*state, P "API_V1_STR=//", &config, &err), 0);
    assert_string_equal(config.api_v1_str, "");
    sbx_config_done(&config);
    static const char allowed[] = "a path that starts with / and has only letters, digits and _ . - / in it";
    check_refused(*state, P "API_V1_STR=api", allowed);
    check_refused(*state, P "API_V1_STR=/a b", allowed);
    check_refused(*state, P "API_V1_STR=/a//b", allowed);
    check_refused(*state, P "API_V1_STR=/a/../b", allowed);
    check_refused(*state, P "API_V1_STR=/.", allowed);
    check_refused(*state, P "API_V1_STR=/$uri", allowed);
    check_refused(*state, P "API_V1_STR=/a;", allowed);
}

static void texts_are_checked_for_what_they_name(void **state)
{
    check_value(*state, P "RUNTIME=kata-fc.v2_1", "kata-fc.v2_1");
    check_refused(*state, P "RUNTIME=Runc",
                  "runc, runsc or another runtime that dockerd knows, of a-z 0-9 . _ -");
    static const char host[] = "an IP address or a host name";
    check_value(*state, P "HOST=::", "::");
    check_value(*state, P "HOST=127.0.0.1", "127.0.0.1");
    check_value(*state, P "HOST=my-host.example", "my-host.example");
    check_refused(*state, P "HOST=256.0.0.1", host);
    check_refused(*state, P "HOST=1.2.3", host);
    check_refused(*state, P "HOST=-a", host);
    check_refused(*state, P "HOST=a..b", host);
    check_refused(*state, P "HOST=a;b", host);
    check_refused(*state, P "HOST=[::1]", host);
    static const char docker[] = "unix:///path or tcp://host:port";
    check_value(*state, "DOCKER_HOST=unix:///run/d.sock", "unix:///run/d.sock");
    check_value(*state, "DOCKER_HOST=tcp://127.0.0.1:2375", "tcp://127.0.0.1:2375");
    check_refused(*state, "DOCKER_HOST=unix://run/d.sock", docker);
    check_refused(*state, "DOCKER_HOST=unix:///", docker);
    check_refused(*state, "DOCKER_HOST=tcp://h", docker);
    check_refused(*state, "DOCKER_HOST=tcp://:1", docker);
    check_refused(*state, "DOCKER_HOST=ssh://h:1", docker);
    check_value(*state, P "HOME=/srv/x//", "/srv/x");
    check_refused(*state, P "HOME=relative", "an absolute path other than /");
    check_refused(*state, P "HOME=/", "an absolute path other than /");
    check_refused(*state, P "REPLICA=a b", "1 to 63 letters, digits and . _ -");
    check_refused(*state, P "GIT_IMAGE=a b", "an image reference");
    check_value(*state, P "REDIS_URL=redis://:p@h:6379/0", "redis://:p@h:6379/0");
}

static void settings_must_fit_together(void **state)
{
    struct sbx_config config;
    struct sbx_err err = SBX_ERR_INIT;
    assert_int_equal(load_one(*state, P "SESSION_LOCK_TTL_SECONDS=30", &config, &err), -1);
    assert_string_equal(err.msg, P "SESSION_LOCK_REFRESH_SECONDS=30: must be less than " P
                                   "SESSION_LOCK_TTL_SECONDS=30");
    assert_int_equal(load_one(*state, P "MAX_WORKERS=3", &config, &err), -1);
    assert_string_equal(err.msg, P "MIN_WORKERS=4: must not be more than " P "MAX_WORKERS=3");
    assert_int_equal(load_one(*state, P "MAX_WORKERS=4", &config, &err), 0);
    sbx_config_done(&config);
}

/* What a printer wrote (heap). */
static char *printed(const struct sbx_config *config)
{
    char *text = NULL;
    size_t n = 0;
    FILE *out = open_memstream(&text, &n);
    if (config)
        sbx_config_print(config, out);
    else
        sbx_config_print_markdown(out);
    fclose(out);
    return text;
}

static void the_effective_settings_are_printed_with_secrets_masked(void **state)
{
    struct sbx_config config;
    struct sbx_err err = SBX_ERR_INIT;
    const char *const env[] = {P "API_KEY=s3cret", P "REDIS_URL=redis://:s3cret@h", P "API_V1_STR=/", NULL};
    assert_int_equal(load(*state, env, false, &config, &err), 0);
    char *text = printed(&config);
    assert_null(strstr(text, "s3cret"));
    assert_memory_equal(text, P "API_KEY=********\n", strlen(P "API_KEY=********\n"));
    assert_non_null(strstr(text, "\n" P "REDIS_URL=********\n"));
    assert_non_null(strstr(text, "\n" P "SENTRY_DSN=\n"));
    assert_non_null(strstr(text, "\n" P "API_V1_STR=/\n"));
    assert_non_null(strstr(text, "\n" P "MAX_SEED_BYTES=4294967296\n"));
    assert_non_null(strstr(text, "\nDOCKER_HOST=unix:///var/run/docker.sock\n"));
    free(text);
    sbx_config_done(&config);
}

static void what_is_printed_can_be_read_back(void **state)
{
    struct fixture *f = *state;
    struct sbx_config config, again;
    struct sbx_err err = SBX_ERR_INIT;
    const char *const none[] = {NULL};
    assert_int_equal(load_one(f, P "SWEEP_SECONDS=1.5", &config, &err), 0);
    char *text = printed(&config);
    put_file(f, text);
    assert_int_equal(load(f, none, true, &again, &err), 0);
    char *second = printed(&again);
    assert_string_equal(text, second);
    free(text);
    free(second);
    sbx_config_done(&config);
    sbx_config_done(&again);
}

static void the_table_has_a_row_for_every_setting(void **state)
{
    struct sbx_config config;
    struct sbx_err err = SBX_ERR_INIT;
    assert_int_equal(load_one(*state, NULL, &config, &err), 0);
    char *values = printed(&config), *table = printed(NULL);
    int rows = -2, settings = 0; /* two lines of head */
    for (const char *at = table; (at = strchr(at, '\n')); at++)
        rows++;
    for (char *rest = values, *line; (line = strsep(&rest, "\n")) && *line; settings++) {
        char row[128];
        snprintf(row, sizeof(row), "\n| `%.*s` | ", (int)strcspn(line, "="), line);
        assert_non_null(strstr(table, row));
    }
    assert_int_equal(rows, settings);
    assert_non_null(
        strstr(table, "| `DAIV_SANDBOX_SESSION_LOCK_WAIT_SECONDS` | `1.0` | seconds from 0 to 3600"));
    assert_non_null(strstr(table, "| `DAIV_SANDBOX_API_KEY` | required, unless "));
    free(values);
    free(table);
    sbx_config_done(&config);
}

static void a_setting_is_found_by_its_name(void **state)
{
    struct sbx_config config;
    struct sbx_err err = SBX_ERR_INIT;
    char value[64];
    assert_int_equal(load_one(*state, P "DRAIN_SECONDS=2.5", &config, &err), 0);
    assert_int_equal(sbx_config_get(&config, P "API_KEY", value, sizeof(value)), 0);
    assert_string_equal(value, "k");
    assert_int_equal(sbx_config_get(&config, P "DRAIN_SECONDS", value, sizeof(value)), 0);
    assert_string_equal(value, "2.5");
    assert_int_equal(sbx_config_get(&config, P "REDIS_URL", value, sizeof(value)), 0);
    assert_string_equal(value, "");
    assert_int_equal(sbx_config_get(&config, "PATH", value, sizeof(value)), -1);
    sbx_config_done(&config);
}

static int render(const struct sbx_config *config, const char *template, char **ret, struct sbx_err *err)
{
    static const char *const extra[][2] = {{"WORK_SOCKET", "/run/a \"b\".sock"}, {"EMPTY", ""}, {NULL, NULL}};
    size_t n = 0;
    FILE *in = fmemopen((void *)(uintptr_t) template, strlen(template), "r"), *out = open_memstream(ret, &n);
    int rc = sbx_config_render(config, in, out, extra, err);
    fclose(in);
    fclose(out);
    return rc;
}

static void a_template_gets_its_values_and_nothing_else_changes(void **state)
{
    struct sbx_config config;
    struct sbx_err err = SBX_ERR_INIT;
    const char *const env[] = {P "API_KEY=a\"b\\c$d@X@", P "API_V1_STR=/", NULL};
    char *text = NULL;
    assert_int_equal(load(*state, env, false, &config, &err), 0);
    assert_int_equal(
        render(&config,
               "listen @DAIV_SANDBOX_HOST@:@DAIV_SANDBOX_PORT@;\nlocation @named { } # me@example.org @@ "
               "@\n\"@DAIV_SANDBOX_API_KEY@\" @WORK_SOCKET@[@EMPTY@] location @DAIV_SANDBOX_API_V1_STR@/ "
               "@A",
               &text, &err),
        0);
    assert_string_equal(text, "listen 0.0.0.0:8000;\nlocation @named { } # me@example.org @@ @\n"
                              "\"a\\\"b\\\\c$d@X@\" /run/a \"b\".sock[] location / @A");
    free(text);
    assert_int_equal(render(&config, "a\nb @DAIV_SANDBOX_PROT@\n", &text, &err), -1);
    assert_int_equal(err.kind, SBX_ERR_INVALID);
    assert_string_equal(err.msg, "template line 2: there is no setting DAIV_SANDBOX_PROT");
    free(text);
    sbx_config_done(&config);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_defaults_are_the_documented_ones),
        TEST(the_environment_comes_before_the_file_and_the_file_before_secrets),
        TEST(a_file_has_comments_quotes_and_the_settings_of_others),
        TEST(mistakes_in_a_file_are_named_without_quoting_it),
        TEST(a_bad_value_is_told_with_where_it_was_found),
        TEST(a_secret_that_cannot_be_read_is_an_error),
        TEST(the_api_key_is_required),
        TEST(secrets_are_masked_in_errors),
        TEST(an_error_is_one_line_whatever_the_value),
        TEST(numbers_have_limits),
        TEST(times_are_seconds_with_decimals),
        TEST(sizes_take_a_suffix),
        TEST(booleans_rates_and_choices),
        TEST(the_base_path_loses_its_trailing_slash),
        TEST(texts_are_checked_for_what_they_name),
        TEST(settings_must_fit_together),
        TEST(the_effective_settings_are_printed_with_secrets_masked),
        TEST(what_is_printed_can_be_read_back),
        TEST(the_table_has_a_row_for_every_setting),
        TEST(a_setting_is_found_by_its_name),
        TEST(a_template_gets_its_values_and_nothing_else_changes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
