/* What a process records and hands over. */
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "report/item.h"

#define VALUE_BYTES 512

static struct {
    bool on;
    bool logs;
    bool pii;
    double traces;
    double profiles;
    int fd;
    const char *role;
    uint64_t *dropped;
    uint8_t process_trace[16]; /* for log lines outside of any request */
} state;

/* The request being served. */
static struct {
    bool active;
    bool traced;
    bool profiled;
    int64_t begun_us; /* monotonic */
    uint8_t trace_id[16];
    uint8_t span_id[8];
    char request[65];
    char session[SBX_UUID_LEN + 1];
    const char *route;
    struct rusage usage;
} current;

static int64_t wall_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static void start_item(struct sbx_item *item, enum sbx_item_kind kind)
{
    memset(item, 0, offsetof(struct sbx_item, u));
    item->kind = kind;
    item->pid = getpid();
    item->wall_us = wall_us();
    snprintf(item->role, sizeof(item->role), "%s", state.role);
    memcpy(item->trace_id, current.active ? current.trace_id : state.process_trace, sizeof(item->trace_id));
    if (!current.active)
        return;
    memcpy(item->span_id, current.span_id, sizeof(item->span_id));
    snprintf(item->request, sizeof(item->request), "%s", current.request);
    snprintf(item->session, sizeof(item->session), "%s", current.session);
    snprintf(item->route, sizeof(item->route), "%s", current.route);
}

/* Does the value of a log line's key stay here? */
static bool is_kept_back(const struct sbx_log_entry *entry, const char *key)
{
    if (strcmp(key, "first_skipped") == 0) /* a name out of an upload */
        return true;
    if (strcmp(key, "error") == 0 && entry->level < SBX_LOG_WARNING) /* quotes what was wrong in a body */
        return true;
    return !state.pii && (strcmp(key, "remote") == 0 || strcmp(key, "path") == 0);
}

static void on_log(const struct sbx_log_entry *entry, va_list fields)
{
    struct sbx_item item;
    start_item(&item, SBX_ITEM_LOG);
    snprintf(item.role, sizeof(item.role), "%s", entry->role);
    snprintf(item.request, sizeof(item.request), "%s", entry->request);
    snprintf(item.session, sizeof(item.session), "%s", entry->session);
    if (state.pii)
        snprintf(item.client, sizeof(item.client), "%s", entry->client);
    item.u.log.level = entry->level;
    item.u.log.len = 0;
    bool room = sbx_item_add_field(&item, entry->event, VALUE_BYTES);
    const char *key;
    while (room && (key = va_arg(fields, const char *))) {
        const char *value = va_arg(fields, const char *);
        uint32_t before = item.u.log.len;
        if (!value || is_kept_back(entry, key))
            continue;
        room = sbx_item_add_field(&item, key, VALUE_BYTES) && sbx_item_add_field(&item, value, VALUE_BYTES);
        if (!room)
            item.u.log.len = before;
    }
    (void)sbx_item_send(state.fd, &item, state.dropped);
}

void sbx_report_init(const struct sbx_config *config, const struct sbx_report_queue *queue, const char *role,
                     uint64_t *dropped)
{
    state.on = config->sentry_dsn != NULL;
    state.logs = state.on && config->sentry_enable_logs;
    state.pii = config->sentry_send_default_pii;
    state.traces = config->sentry_traces_sample_rate;
    state.profiles = config->sentry_profiles_sample_rate;
    state.fd = queue->send_fd;
    state.role = role;
    state.dropped = dropped;
    current.active = false;
    sbx_random(state.process_trace, sizeof(state.process_trace));
    sbx_stack_enable(state.on);
    sbx_log_set_tap(state.logs ? on_log : NULL);
}

void sbx_report_begin(const char *request_id)
{
    struct {
        uint64_t trace_dice;
        uint64_t profile_dice;
        uint8_t trace_id[16];
        uint8_t span_id[8];
    } dice;
    if (!state.on)
        return;
    sbx_random(&dice, sizeof(dice));
    current.active = true;
    current.begun_us = sbx_now_us();
    memcpy(current.trace_id, dice.trace_id, sizeof(current.trace_id));
    memcpy(current.span_id, dice.span_id, sizeof(current.span_id));
    snprintf(current.request, sizeof(current.request), "%s", request_id);
    current.session[0] = '\0';
    current.route = "";
    current.traced = sbx_sampled(state.traces, dice.trace_dice);
    current.profiled = current.traced && sbx_sampled(state.profiles, dice.profile_dice);
    if (current.profiled)
        getrusage(RUSAGE_SELF, &current.usage);
}

void sbx_report_route(const char *pattern, const char *session_id)
{
    if (!current.active)
        return;
    current.route = pattern;
    snprintf(current.session, sizeof(current.session), "%s", session_id);
}

static void add_request(struct sbx_item *item, const struct sbx_report_end *end)
{
    snprintf(item->method, sizeof(item->method), "%s", end->method);
    item->status = end->status;
    if (!state.pii)
        return;
    snprintf(item->remote, sizeof(item->remote), "%s", end->remote);
    snprintf(item->client, sizeof(item->client), "%s", end->client);
}

static bool is_fault(const struct sbx_report_end *end)
{
    enum sbx_err_kind kind = end->err->kind;
    return !end->expected && (end->status >= 500 || kind == SBX_ERR_INTERNAL || kind == SBX_ERR_UPSTREAM ||
                              kind == SBX_ERR_UNAVAILABLE || kind == SBX_ERR_TIMEOUT);
}

static void send_error(const struct sbx_report_end *end)
{
    struct sbx_item item;
    start_item(&item, SBX_ITEM_ERROR);
    add_request(&item, end);
    memset(&item.u.error, 0, sizeof(item.u.error));
    snprintf(item.u.error.kind, sizeof(item.u.error.kind), "%s", sbx_err_kind_name(end->err->kind));
    snprintf(item.u.error.text, sizeof(item.u.error.text), "%s", end->err->msg);
    item.u.error.frame_count = (uint32_t)sbx_stack_get(end->err->stack, item.u.error.frames);
    (void)sbx_item_send(state.fd, &item, state.dropped);
}

static int64_t cpu_us(const struct timeval *now, const struct timeval *before)
{
    return (int64_t)(now->tv_sec - before->tv_sec) * 1000000 + (now->tv_usec - before->tv_usec);
}

static void send_transaction(const struct sbx_report_end *end)
{
    struct sbx_item item;
    int64_t now = sbx_now_us();
    start_item(&item, SBX_ITEM_TRANSACTION);
    add_request(&item, end);
    memset(&item.u.transaction, 0,
           offsetof(struct sbx_item, u.transaction.spans) - offsetof(struct sbx_item, u));
    item.u.transaction.took_us = now - current.begun_us;
    item.u.transaction.user_us = -1;
    if (current.profiled) {
        struct rusage usage;
        getrusage(RUSAGE_SELF, &usage);
        item.u.transaction.user_us = cpu_us(&usage.ru_utime, &current.usage.ru_utime);
        item.u.transaction.system_us = cpu_us(&usage.ru_stime, &current.usage.ru_stime);
        item.u.transaction.max_rss_bytes = usage.ru_maxrss * INT64_C(1024);
    }
    for (int i = 0; i < end->trace->count; i++) {
        const struct sbx_span *span = &end->trace->spans[i];
        struct sbx_item_span *to = &item.u.transaction.spans[item.u.transaction.span_count++];
        int64_t ended = span->ended_us ? span->ended_us : now;
        memset(to, 0, sizeof(*to));
        snprintf(to->op, sizeof(to->op), "%s", span->op);
        snprintf(to->what, sizeof(to->what), "%s", span->what);
        to->begun_us = span->begun_us - current.begun_us;
        to->took_us = ended - span->begun_us;
        to->parent = span->parent;
    }
    (void)sbx_item_send(state.fd, &item, state.dropped);
}

void sbx_report_end(const struct sbx_report_end *end)
{
    if (!current.active)
        return;
    if (is_fault(end))
        send_error(end);
    if (current.traced)
        send_transaction(end);
    current.active = false;
}

void sbx_report_crash(const struct sbx_report_crash *crash)
{
    struct sbx_item item;
    if (!state.on)
        return;
    start_item(&item, SBX_ITEM_CRASH);
    item.pid = crash->pid;
    snprintf(item.role, sizeof(item.role), "%s", crash->role);
    snprintf(item.request, sizeof(item.request), "%s", crash->request);
    snprintf(item.session, sizeof(item.session), "%s", crash->session);
    item.u.crash.signo = crash->signo;
    item.u.crash.code = crash->code;
    (void)sbx_item_send(state.fd, &item, state.dropped);
}
