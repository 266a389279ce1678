/* An EXEC message, taken apart into what a process is started with. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "agent/agent.h"

#define MAX_ARGS     32768
#define MAX_ENV      4096
#define MAX_ARGUMENT (100 * 1024) /* the kernel takes 128 KiB in one string */
#define PAGE         4096

/* One request at a time: it is over once its process is forked. Most need only the beginnings of these, which
 * stand at the start of a page each: every page that is written to is copied after a fork. */
static _Alignas(PAGE) char *argv_table[MAX_ARGS + 1];
static _Alignas(PAGE) char *envp_table[MAX_ENV + 1];
static _Alignas(PAGE) char pwd[4096 + 5];

static char *const own_env[] = {
    (char[]){"HOME=" HOME_DIR},
    (char[]){"XDG_CACHE_HOME=" HOME_DIR "/.cache"},
    (char[]){"XDG_CONFIG_HOME=" HOME_DIR "/.config"},
    (char[]){"XDG_DATA_HOME=" HOME_DIR "/.local/share"},
    (char[]){"XDG_STATE_HOME=" HOME_DIR "/.local/state"},
};
static char own_shell[64 + 6];
static char own_path[] = "PATH=" DEFAULT_PATH;

/* Set a variable in envp_table, which holds *n of them. */
static bool env_put(size_t *n, char *entry)
{
    const char *equals = strchr(entry, '=');
    if (!equals)
        return true; /* odd things in the container's own environment are passed over */
    size_t name = (size_t)(equals - entry) + 1;
    size_t at = 0;
    while (at < *n && strncmp(envp_table[at], entry, name) != 0)
        at++;
    if (at == MAX_ENV)
        return false;
    envp_table[at] = entry;
    *n += at == *n;
    return true;
}

/* The same for a finished table, unless the variable is there. */
static bool env_default(char *entry)
{
    size_t name = strcspn(entry, "=") + 1;
    size_t n = 0;
    for (; envp_table[n]; n++) {
        if (strncmp(envp_table[n], entry, name) == 0)
            return true;
    }
    bool ok = env_put(&n, entry);
    envp_table[n] = NULL;
    return ok;
}

static bool env_begin(size_t *n)
{
    bool ok = env_put(n, own_path);
    for (char **entry = environ; ok && *entry; entry++)
        ok = env_put(n, *entry);
    for (size_t i = 0; ok && i < sizeof(own_env) / sizeof(own_env[0]); i++)
        ok = env_put(n, own_env[i]);
    return ok;
}

/* A NUL-terminated copy in the arena; NULL when the text holds a NUL itself. */
static char *keep_text(char **arena, const struct sbx_field *field)
{
    if (memchr(field->data, '\0', field->len))
        return NULL;
    char *text = *arena;
    memcpy(text, field->data, field->len);
    text[field->len] = '\0';
    *arena += field->len + 1;
    return text;
}

static bool flag(const struct sbx_field *field)
{
    uint32_t value;
    return sbx_field_u32(field, &value) && value == 1;
}

static int take_command(struct request *request, char **arena, size_t *args, const struct sbx_field *field,
                        const char **why)
{
    char *text = keep_text(arena, field);
    if (!text) {
        *why = "a NUL byte in a command, an argument or a path";
        return EINVAL;
    }
    if (field->tag == SBX_TAG_CWD) {
        request->cwd = text;
    } else if (field->tag == SBX_TAG_BUILTIN) {
        request->builtin = text;
    } else if (field->tag == SBX_TAG_COMMAND) {
        request->command = text;
        request->command_len = field->len;
    } else if (*args < MAX_ARGS) {
        argv_table[(*args)++] = text;
    } else {
        *why = "too many arguments";
        return E2BIG;
    }
    return 0;
}

static int take_env(char **arena, size_t *envs, const struct sbx_field *field, const char **why)
{
    char *text = keep_text(arena, field);
    if (!text || text[0] == '=' || !strchr(text, '=')) {
        *why = "an environment variable that is not NAME=value";
        return EINVAL;
    }
    *why = "too many environment variables";
    return env_put(envs, text) ? 0 : E2BIG;
}

static void take_option(struct request *request, const struct sbx_field *field)
{
    if (field->tag == SBX_TAG_TIMEOUT_MS)
        (void)sbx_field_u32(field, &request->timeout_ms);
    else if (field->tag == SBX_TAG_STDIN)
        request->input = flag(field);
    else if (field->tag == SBX_TAG_SPLIT)
        request->split = flag(field);
    else if (field->tag == SBX_TAG_KEEP)
        request->keep = flag(field);
    else
        hold_option(&request->hold, field);
}

static int parse_commands(struct request *request, char **arena, const uint8_t *payload, size_t n,
                          const char **why)
{
    struct sbx_field field;
    size_t off = 0, args = 0;

    while (sbx_field_next(payload, n, &off, &field)) {
        if (field.tag == SBX_TAG_COMMAND || field.tag == SBX_TAG_ARG || field.tag == SBX_TAG_CWD ||
            field.tag == SBX_TAG_BUILTIN) {
            int err = take_command(request, arena, &args, &field, why);
            if (err != 0)
                return err;
        } else {
            take_option(request, &field);
        }
    }
    argv_table[args] = NULL;
    *why = "the request is malformed";
    if (off != n || (request->command != NULL) == (args > 0))
        return EINVAL;
    *why = "the agent has no such function";
    if (request->builtin && (request->command || !builtin_known(request->builtin)))
        return ENOSYS;
    return 0;
}

static int parse_env(const struct request *request, char **arena, const uint8_t *payload, size_t n,
                     const char **why)
{
    struct sbx_field field;
    size_t off = 0, envs = 0;

    *why = "too many environment variables";
    text_join(pwd, sizeof(pwd), "PWD=", request->cwd, NULL);
    if (!env_begin(&envs) || !env_put(&envs, pwd))
        return E2BIG;
    while (sbx_field_next(payload, n, &off, &field)) {
        int err = field.tag == SBX_TAG_ENV ? take_env(arena, &envs, &field, why) : 0;
        if (err != 0)
            return err;
    }
    envp_table[envs] = NULL;
    return 0;
}

int request_parse(struct request *request, const uint8_t *payload, size_t n, const char **why)
{
    *request = (struct request){.cwd = WORKSPACE, .argv = argv_table, .envp = envp_table, .script = -1};
    /* a field's header is longer than the NUL its text needs here */
    request->arena = malloc(n + 1);
    if (!request->arena) {
        *why = "out of memory for the request";
        return ENOMEM;
    }
    char *arena = request->arena;
    int err = parse_commands(request, &arena, payload, n, why);
    return err != 0 ? err : parse_env(request, &arena, payload, n, why);
}

/* Too big for an argument: the shell reads it from a memory file, and closes that before the first command of
 * it. */
static int make_script(struct request *request, const char **why)
{
    static const char prefix[] = "exec 9<&-;";
    size_t done = 0;

    *why = "cannot store the command";
    request->script = memfd_create("command", MFD_CLOEXEC);
    if (request->script < 0 || write(request->script, prefix, sizeof(prefix) - 1) < 0)
        return errno;
    while (done < request->command_len) {
        ssize_t n = write(request->script, request->command + done, request->command_len - done);
        if (n < 0)
            return errno;
        done += (size_t)n;
    }
    return 0;
}

int request_use_shell(struct request *request, const struct shell *shell, const char **why)
{
    static char path[64], o[] = "-o", pipefail[] = "pipefail", c[] = "-c", source[] = ". /proc/self/fd/9";
    size_t n = 0;

    if (request->command_len > MAX_ARGUMENT) {
        int err = make_script(request, why);
        if (err != 0)
            return err;
    }
    text_join(path, sizeof(path), shell->path, NULL);
    /* bash without it asks the user database, which takes longer than all else at its start. */
    text_join(own_shell, sizeof(own_shell), "SHELL=", path, NULL);
    *why = "too many environment variables";
    if (!env_default(own_shell))
        return E2BIG;
    argv_table[n++] = path;
    if (shell->pipefail) {
        argv_table[n++] = o;
        argv_table[n++] = pipefail;
    }
    argv_table[n++] = c;
    argv_table[n++] = request->script >= 0 ? source : request->command;
    argv_table[n] = NULL;
    return 0;
}

void request_done(struct request *request)
{
    free(request->arena);
    if (request->script >= 0)
        close(request->script);
    request->arena = NULL;
    request->script = -1;
}
