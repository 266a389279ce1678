/* sandboxd: command line. */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#include "sandboxd/process.h"
#include "sandboxd/status.h"
#include "sandboxd/supervisor.h"

#define SEED_FRAME (1024 * 1024) /* what multipart and tar put around the content of a seed */

enum command { SERVE, CHECK_CONFIG, PRINT_SETTINGS, RENDER, PURGE, STATUS, HASH_KEY };

struct arguments {
    enum command command;
    const char *config_file;
    const char *render_file;
};

static void usage(FILE *out)
{
    fputs("Usage: sandboxd [--config FILE] [COMMAND]\n"
          "\n"
          "Serves the sandbox API over FastCGI until SIGTERM; SIGHUP reloads the settings. Settings come "
          "from the\n"
          "environment, else from FILE (NAME=value lines), else from /run/secrets/<name>.\n"
          "\n"
          "  --check-config     check the settings, print the effective ones with secrets masked, exit\n"
          "  --print-settings   print the table of all settings in Markdown, exit\n"
          "  --render FILE      print a template with @SETTING@ replaced, exit\n"
          "  --purge            remove every session of this instance from dockerd and store, exit\n"
          "  --status           print what the processes of the running service do, exit\n"
          "  --hash-key         read a client's key from standard input, print its hash for the file of "
          "keys, exit\n"
          "  --config FILE      read settings from FILE too\n"
          "  --version, --help\n"
          "\n"
          "Exit status: 0 after a clean stop, 64 bad usage, 78 bad settings, 1 anything else.\n",
          out);
}

/* -1: go on; otherwise the exit code. */
static int parse(int argc, char **argv, struct arguments *args)
{
    static const struct option OPTIONS[] = {
        {"config", required_argument, NULL, 'c'},   {"check-config", no_argument, NULL, 'C'},
        {"print-settings", no_argument, NULL, 'S'}, {"render", required_argument, NULL, 'r'},
        {"purge", no_argument, NULL, 'p'},          {"status", no_argument, NULL, 's'},
        {"hash-key", no_argument, NULL, 'k'},       {"version", no_argument, NULL, 'v'},
        {"help", no_argument, NULL, 'h'},           {NULL, 0, NULL, 0},
    };
    int option;
    while ((option = getopt_long(argc, argv, "c:hv", OPTIONS, NULL)) != -1) {
        switch (option) {
        case 'c':
            args->config_file = optarg;
            break;
        case 'C':
            args->command = CHECK_CONFIG;
            break;
        case 'S':
            args->command = PRINT_SETTINGS;
            break;
        case 'r':
            args->command = RENDER;
            args->render_file = optarg;
            break;
        case 'p':
            args->command = PURGE;
            break;
        case 's':
            args->command = STATUS;
            break;
        case 'k':
            args->command = HASH_KEY;
            break;
        case 'v':
            puts("sandboxd " SBX_VERSION);
            return 0;
        case 'h':
            usage(stdout);
            return 0;
        default:
            usage(stderr);
            return EX_USAGE;
        }
    }
    if (optind < argc) {
        fprintf(stderr, "sandboxd: unexpected argument '%s'\n", argv[optind]);
        return EX_USAGE;
    }
    return -1;
}

static int fail(const struct sbx_err *err, int code)
{
    fprintf(stderr, "sandboxd: %s\n", err->msg);
    return code;
}

/* nginx wants an IPv6 address in brackets. */
static void listen_address(const struct sbx_config *config, char *out, size_t size)
{
    bool bare_v6 = strchr(config->host, ':') && config->host[0] != '[';
    snprintf(out, size, bare_v6 ? "[%s]:%lld" : "%s:%lld", config->host, (long long)config->port);
}

static int render(const struct sbx_config *config, const char *path)
{
    struct sbx_err err = SBX_ERR_INIT;
    char listen[300];
    listen_address(config, listen, sizeof(listen));
    char seed_bytes[24];
    snprintf(seed_bytes, sizeof(seed_bytes), "%lld", (long long)config->max_seed_bytes + SEED_FRAME);
    char admitted[24];
    snprintf(admitted, sizeof(admitted), "%lld",
             (long long)config->max_workers + (long long)config->max_queued);
    const char *const extra[][2] = {{"LISTEN", listen},
                                    {"ADMITTED", admitted},
                                    {"HOME", config->home},
                                    {"SEED_REQUEST_BYTES", seed_bytes},
                                    {"NGINX_USER_LINE", getenv("NGINX_USER_LINE") ?: ""},
                                    {NULL, NULL}};
    FILE *in = fopen(path, "re");
    if (!in) {
        fprintf(stderr, "sandboxd: cannot open the template '%s'\n", path);
        return EXIT_FAILURE;
    }
    int rc = sbx_config_render(config, in, stdout, extra, &err);
    fclose(in);
    return rc < 0 ? fail(&err, EXIT_FAILURE) : EXIT_SUCCESS;
}

static int purge(const struct sbx_config *config)
{
    struct sbx_err err = SBX_ERR_INIT;
    struct sbx_agent_image none = {.tar = NULL};
    struct sbx_process process = {.config = config, .agent = &none};
    struct sbx_engine_parts parts;
    struct sbx_sweep_counts counts = {0};
    int rc = sbx_engine_open(&parts, &process, &err);
    if (rc == 0)
        rc = sbx_session_purge(&parts.engine, &counts, &err);
    sbx_engine_close(&parts);
    if (rc < 0)
        return fail(&err, EXIT_FAILURE);
    printf("removed %d sessions and %d orphans\n", counts.closed + counts.reclaimed, counts.orphans);
    return EXIT_SUCCESS;
}

/* Also what the file of credentials is worth, which is read for this only. */
static int check_config(const struct sbx_config *config)
{
    struct sbx_err err = SBX_ERR_INIT;
    struct sbx_docker_credentials *credentials;
    if (sbx_credentials_open(config, &credentials, &err) < 0)
        return fail(&err, EX_CONFIG);
    if (sbx_docker_credentials_helpers(credentials))
        fprintf(stderr,
                "sandboxd: warning: %s names credential helpers, which are not run; only auths count\n",
                config->docker_config);
    sbx_docker_credentials_free(credentials);
    sbx_config_print(config, stdout);
    return EXIT_SUCCESS;
}

static int serve(struct sbx_config *config, const struct sbx_config_source *source)
{
    struct sbx_err err = SBX_ERR_INIT;
    struct sbx_docker_credentials *credentials;
    if (sbx_credentials_open(config, &credentials, &err) == 0)
        return sbx_supervise(config, source, credentials);
    sbx_config_done(config);
    return fail(&err, EX_CONFIG);
}

static int status(const struct sbx_config *config)
{
    struct sbx_err err = SBX_ERR_INIT;
    return sbx_status_print(config, stdout, &err) < 0 ? fail(&err, EXIT_FAILURE) : EXIT_SUCCESS;
}

/* From standard input: an argument would be in the process list. */
static int hash_key(void)
{
    char key[1024];
    char hash[SBX_SHA256_HEX + 1];
    size_t n = fread(key, 1, sizeof(key), stdin);
    if (n == sizeof(key)) {
        fputs("sandboxd: the key is too long\n", stderr);
        return EXIT_FAILURE;
    }
    while (n > 0 && (key[n - 1] == '\n' || key[n - 1] == '\r'))
        n--;
    if (n == 0) {
        fputs("sandboxd: no key on standard input\n", stderr);
        return EXIT_FAILURE;
    }
    sbx_sha256_hex(key, n, hash);
    puts(hash);
    return EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
    struct arguments args = {.command = SERVE};
    int code = parse(argc, argv, &args);
    if (code >= 0)
        return code;
    if (args.command == PRINT_SETTINGS) {
        sbx_config_print_markdown(stdout);
        return EXIT_SUCCESS;
    }
    if (args.command == HASH_KEY)
        return hash_key();
    struct sbx_err err = SBX_ERR_INIT;
    struct sbx_config config;
    struct sbx_config_source source = {.file = args.config_file};
    if (sbx_config_load(&config, &source, &err) < 0)
        return fail(&err, EX_CONFIG);
    sbx_log_init((enum sbx_log_level)sbx_log_level_parse(config.log_level),
                 strcmp(config.log_format, "json") == 0, "master");
    switch (args.command) {
    case CHECK_CONFIG:
        code = check_config(&config);
        break;
    case RENDER:
        code = render(&config, args.render_file);
        break;
    case PURGE:
        code = purge(&config);
        break;
    case STATUS:
        code = status(&config);
        break;
    default:
        return serve(&config, &source); /* owns the settings from here on */
    }
    sbx_config_done(&config);
    return code;
}
