#include "sandboxd/base/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "sandboxd/base/json.h"
#include "sandboxd/base/util.h"

/* A line of at most PIPE_BUF bytes reaches a pipe whole, whoever else writes to it. */
#define LINE_MAX_BYTES 4096
#define TAIL_BYTES     8 /* kept free for what ends a cut value and the line */

struct line {
    size_t len;
    char text[LINE_MAX_BYTES];
};

static struct {
    enum sbx_log_level level;
    bool json;
    const char *role;
    char request[64];
    char session[64];
    char client[64];
} state = {.level = SBX_LOG_INFO};

static void (*tap)(const struct sbx_log_entry *, va_list);

static const char *const level_names[] = {"DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"};
static const char *const level_words[] = {"debug", "info", "warning", "error", "critical"};

void sbx_log_init(enum sbx_log_level level, bool json, const char *role)
{
    state.level = level;
    state.json = json;
    state.role = role;
}

int sbx_log_level_parse(const char *name)
{
    for (size_t i = 0; i < SBX_ARRAY_LEN(level_names); i++) {
        if (strcmp(name, level_names[i]) == 0)
            return (int)i;
    }
    return -1;
}

void sbx_log_set_tap(void (*fn)(const struct sbx_log_entry *, va_list))
{
    tap = fn;
}

static void set_context(char to[64], const char *value)
{
    snprintf(to, 64, "%s", value ? value : "");
}

void sbx_log_set_request(const char *request_id)
{
    set_context(state.request, request_id);
}

void sbx_log_set_session(const char *session_id)
{
    set_context(state.session, session_id);
}

void sbx_log_set_client(const char *client)
{
    set_context(state.client, client);
}

static void put_raw(struct line *line, const char *text)
{
    size_t n = strlen(text);
    memcpy(line->text + line->len, text, n); /* callers have checked the room */
    line->len += n;
}

/* Callback of sbx_json_escape: a piece is one escape (taken whole or not at all) or a run of plain text (cut
 * between characters). 1: the line is full. */
static int put_escaped(void *arg, const char *bytes, size_t n)
{
    struct line *line = arg;
    size_t room = sizeof(line->text) - TAIL_BYTES - line->len;
    size_t take = n;
    if (n > room)
        take = bytes[0] == '\\' ? 0 : sbx_utf8_valid(bytes, room);
    memcpy(line->text + line->len, bytes, take);
    line->len += take;
    return take < n;
}

/* May a text value stand without quotes? */
static bool is_bare(const char *value)
{
    for (const char *at = value; *at; at++) {
        if (*at <= ' ' || *at > '~' || *at == '"' || *at == '=' || *at == '\\')
            return false;
    }
    return *value != '\0';
}

static void put_field(struct line *line, const char *key, const char *value)
{
    size_t overhead = strlen(key) + sizeof(",\"\":\"\"");
    if (line->len + overhead + TAIL_BYTES > sizeof(line->text))
        return;
    bool quoted = state.json || !is_bare(value);
    if (line->len > (state.json ? 1 : 0))
        put_raw(line, state.json ? "," : " ");
    if (state.json)
        put_raw(line, "\"");
    put_raw(line, key);
    put_raw(line, state.json ? "\":" : "=");
    if (quoted)
        put_raw(line, "\"");
    if (sbx_json_escape(value, strlen(value), put_escaped, line) != 0)
        put_raw(line, "...");
    if (quoted)
        put_raw(line, "\"");
}

static void put_context(struct line *line, enum sbx_log_level level)
{
    struct timespec now;
    struct tm tm;
    char date[32], ts[40], pid[16];
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &tm);
    strftime(date, sizeof(date), "%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(ts, sizeof(ts), "%s.%03dZ", date, (int)(now.tv_nsec / 1000000));
    snprintf(pid, sizeof(pid), "%d", (int)getpid());
    put_field(line, "ts", ts);
    put_field(line, "level", level_words[level]);
    if (state.role)
        put_field(line, "role", state.role);
    put_field(line, "pid", pid);
    if (state.request[0])
        put_field(line, "request", state.request);
    if (state.session[0])
        put_field(line, "session", state.session);
    if (state.client[0])
        put_field(line, "client", state.client);
}

void sbx_log(enum sbx_log_level level, const char *event, ...)
{
    if (level < state.level)
        return;
    int saved = errno;
    struct line line;
    line.len = 0;
    if (state.json)
        put_raw(&line, "{");
    put_context(&line, level);
    put_field(&line, "event", event);
    va_list ap;
    va_start(ap, event);
    const char *key;
    while ((key = va_arg(ap, const char *))) {
        const char *value = va_arg(ap, const char *);
        put_field(&line, key, value ? value : "");
    }
    va_end(ap);
    put_raw(&line, state.json ? "}\n" : "\n");
    while (write(STDERR_FILENO, line.text, line.len) < 0 && errno == EINTR)
        continue;
    if (tap) {
        struct sbx_log_entry entry = {level,         event,         state.role ? state.role : "",
                                      state.request, state.session, state.client};
        va_start(ap, event);
        tap(&entry, ap);
        va_end(ap);
    }
    errno = saved;
}

void sbx_log_err(enum sbx_log_level level, const char *event, const struct sbx_err *err)
{
    sbx_log(level, event, "kind", sbx_err_kind_name(err->kind), "error", err->msg, NULL);
}
