/* Where values come from, and loading them all. */
#include "sandboxd/base/config.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/config_table.h"
#include "sandboxd/base/util.h"

#define SECRETS_DIR     "/run/secrets"
#define PREFIX          "DAIV_SANDBOX_"
#define MAX_FILE        (1024 * 1024)
#define MAX_SECRET_FILE (64 * 1024)
#define WHERE_SIZE      1024

struct sources {
    char **env;
    const char *file;
    char *file_text;
    const char *
        *file_values; /* one for each setting, pointing into file_text; NULL when it is not in the file */
    const char *secrets_dir;
};

static char *strip(char *text)
{
    while (isspace((unsigned char)*text))
        text++;
    size_t n = strlen(text);
    while (n > 0 && isspace((unsigned char)text[n - 1]))
        text[--n] = '\0';
    return text;
}

/* Take away one pair of quotes around a value, as shells and other readers of such files do. */
static char *unquote(char *text)
{
    size_t n = strlen(text);
    if (n >= 2 && (text[0] == '"' || text[0] == '\'') && text[n - 1] == text[0]) {
        text[n - 1] = '\0';
        return text + 1;
    }
    return text;
}

/* Messages never quote the line: it may hold a secret. */
static int read_line(struct sources *from, char *line, int number, struct sbx_err *err)
{
    line = strip(line);
    if (*line == '\0' || *line == '#')
        return 0;
    char *equals = strchr(line, '=');
    if (!equals || equals == line)
        return sbx_err_set(err, SBX_ERR_INVALID, "%s line %d: NAME=value was expected", from->file, number);
    *equals = '\0';
    char *name = strip(line);
    sbx_make_printable(name);
    const struct sbx_setting *setting = sbx_setting_find(name);
    if (setting)
        from->file_values[setting - sbx_settings] = unquote(strip(equals + 1));
    else if (strncmp(name, PREFIX, strlen(PREFIX)) == 0) /* others may be meant for somebody else */
        return sbx_err_set(err, SBX_ERR_INVALID, "%s line %d: there is no setting %.80s", from->file, number,
                           name);
    return 0;
}

static int read_config_file(struct sources *from, struct sbx_err *err)
{
    size_t n;
    if (sbx_read_file(from->file, MAX_FILE, &from->file_text, &n, err) < 0) {
        if (err)
            err->kind = SBX_ERR_INVALID;
        return -1;
    }
    if (strlen(from->file_text) != n)
        return sbx_err_set(err, SBX_ERR_INVALID, "%s: not a text file", from->file);
    char *rest = from->file_text, *line;
    for (int number = 1; (line = strsep(&rest, "\n")); number++) {
        if (read_line(from, line, number, err) < 0)
            return -1;
    }
    return 0;
}

static const char *from_env(char **env, const char *name)
{
    size_t n = strlen(name);
    for (; env && *env; env++) {
        if (strncmp(*env, name, n) == 0 && (*env)[n] == '=')
            return *env + n + 1;
    }
    return NULL;
}

/* A missing file is no value; one that cannot be read is an error, or a typo in its mode would go unnoticed.
 */
static int from_secret(const char *path, char **ret, struct sbx_err *err)
{
    struct sbx_err failure = SBX_ERR_INIT;
    SBX_AUTO_FREE char *text = NULL;
    size_t n;
    if (sbx_read_file(path, MAX_SECRET_FILE, &text, &n, &failure) < 0) {
        if (failure.kind == SBX_ERR_NOT_FOUND)
            return 0;
        return sbx_err_set(err, SBX_ERR_INVALID, "%s", failure.msg);
    }
    if (strlen(text) != n)
        return sbx_err_set(err, SBX_ERR_INVALID, "%s: not a text file", path);
    const char *value = strip(text);
    if (*value && !(*ret = strdup(value)))
        return sbx_err_set(err, SBX_ERR_INTERNAL, "out of memory");
    return 0;
}

static void secret_path(const struct sources *from, const char *name, char out[WHERE_SIZE])
{
    int n = snprintf(out, WHERE_SIZE, "%s/", from->secrets_dir);
    for (size_t i = 0; name[i] && n < WHERE_SIZE - 1; i++)
        out[n++] = (char)tolower((unsigned char)name[i]);
    out[n < WHERE_SIZE ? n : WHERE_SIZE - 1] = '\0';
}

/* The text of a setting (heap; NULL when it is set nowhere) and where it was found. */
static int find_value(const struct sources *from, const struct sbx_setting *setting, char **ret,
                      char where[WHERE_SIZE], struct sbx_err *err)
{
    const char *text = from_env(from->env, setting->name);
    snprintf(where, WHERE_SIZE, "the environment");
    if (!text || !*text) {
        text = from->file_values[setting - sbx_settings];
        snprintf(where, WHERE_SIZE, "%s", from->file ? from->file : "");
    }
    if (text && *text) {
        *ret = strdup(text);
        return *ret ? 0 : sbx_err_set(err, SBX_ERR_INTERNAL, "out of memory");
    }
    secret_path(from, setting->name, where);
    return from_secret(where, ret, err);
}

/* NAME=value in WHERE: must be …; on one line whatever the value is, and without a secret's value. */
static int refuse(const struct sbx_setting *setting, const char *text, const char *where, struct sbx_err *err)
{
    char shown[64], allowed[160];
    snprintf(shown, sizeof(shown), "%s", setting->secret ? SBX_SETTING_MASK : text);
    sbx_make_printable(shown);
    sbx_setting_allowed(setting, allowed, sizeof(allowed));
    return sbx_err_set(err, SBX_ERR_INVALID, "%s=%s%s in %s: must be %s", setting->name, shown,
                       !setting->secret && strlen(text) >= sizeof(shown) ? "..." : "", where, allowed);
}

static int load_setting(const struct sources *from, const struct sbx_setting *setting,
                        struct sbx_config *config, struct sbx_err *err)
{
    SBX_AUTO_FREE char *text = NULL;
    char where[WHERE_SIZE];
    if (find_value(from, setting, &text, where, err) < 0)
        return -1;
    const char *value = text ? text : setting->initial;
    if (!value)
        return 0;
    errno = 0;
    if (sbx_setting_parse(setting, value, config) == 0)
        return 0;
    if (errno == ENOMEM)
        return sbx_err_set(err, SBX_ERR_INTERNAL, "out of memory");
    return refuse(setting, value, where, err);
}

/* The host name, with what a replica's name cannot hold replaced. */
static int default_replica(struct sbx_config *config, struct sbx_err *err)
{
    char name[64];
    if (config->replica)
        return 0;
    if (gethostname(name, sizeof(name)) < 0 || name[0] == '\0')
        snprintf(name, sizeof(name), "localhost");
    name[sizeof(name) - 1] = '\0';
    for (char *at = name; *at; at++) {
        if (!isalnum((unsigned char)*at) && !strchr("._-", *at))
            *at = '-';
    }
    config->replica = strdup(name);
    return config->replica ? 0 : sbx_err_set(err, SBX_ERR_INTERNAL, "out of memory");
}

static int check_together(const struct sbx_config *config, struct sbx_err *err)
{
    if (!config->api_key && !config->api_keys_file)
        return sbx_err_set(err, SBX_ERR_INVALID,
                           PREFIX "API_KEY is not set, and " PREFIX "API_KEYS_FILE neither: one is required");
    if (config->session_lock_refresh_ms >= config->session_lock_ttl_ms)
        return sbx_err_set(
            err, SBX_ERR_INVALID,
            PREFIX "SESSION_LOCK_REFRESH_SECONDS=%g: must be less than " PREFIX "SESSION_LOCK_TTL_SECONDS=%g",
            (double)config->session_lock_refresh_ms / 1000, (double)config->session_lock_ttl_ms / 1000);
    if (config->min_workers > config->max_workers)
        return sbx_err_set(err, SBX_ERR_INVALID,
                           PREFIX "MIN_WORKERS=%lld: must not be more than " PREFIX "MAX_WORKERS=%lld",
                           (long long)config->min_workers, (long long)config->max_workers);
    return 0;
}

static int load_all(struct sources *from, struct sbx_config *config, struct sbx_err *err)
{
    if (from->file && read_config_file(from, err) < 0)
        return -1;
    for (size_t i = 0; i < sbx_settings_count; i++) {
        if (load_setting(from, &sbx_settings[i], config, err) < 0)
            return -1;
    }
    if (default_replica(config, err) < 0)
        return -1;
    if (check_together(config, err) < 0)
        return -1;
    return sbx_clients_load(&config->clients, config->api_key, config->api_keys_file, err);
}

int sbx_config_load(struct sbx_config *config, const struct sbx_config_source *source, struct sbx_err *err)
{
    struct sbx_config loaded = {0};
    struct sources from = {.env = source->env ? source->env : environ,
                           .file = source->file,
                           .secrets_dir = source->secrets_dir ? source->secrets_dir : SECRETS_DIR};
    from.file_values = calloc(sbx_settings_count, sizeof(*from.file_values));
    if (!from.file_values)
        return sbx_err_set(err, SBX_ERR_INTERNAL, "out of memory");
    int rc = load_all(&from, &loaded, err);
    free(from.file_values);
    free(from.file_text);
    if (rc < 0)
        sbx_config_done(&loaded);
    else
        *config = loaded;
    return rc;
}

void sbx_config_done(struct sbx_config *config)
{
    for (size_t i = 0; i < sbx_settings_count; i++) {
        const struct sbx_setting *setting = &sbx_settings[i];
        if (setting->type == SBX_SETTING_TEXT || setting->type == SBX_SETTING_CHOICE)
            free(*(char **)((char *)config + setting->offset));
    }
    sbx_clients_done(&config->clients);
    *config = (struct sbx_config){0};
}
