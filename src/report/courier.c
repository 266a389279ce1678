/* Takes reports from the queue and posts them. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "report/backlog.h"
#include "report/envelope.h"
#include "report/post.h"

#define LINGER_MS      200  /* from the first report to its post: what comes meanwhile goes with it */
#define WORK_MS        1000 /* no new post after that long */
#define RETRY_FIRST_MS 1000
#define RETRY_MAX_MS   60000
#define QUIET_MAX_MS   300000

/* In the order of posting: no flood of the later ones keeps the earlier back, or takes their room. */
enum { FAULTS, LOGS, TIMES, BACKLOGS };

struct sbx_courier {
    int take_fd;
    uint64_t *dropped;
    struct sbx_post post;
    struct sbx_envelope envelope;
    struct sbx_backlog backlog[BACKLOGS];
    struct sbx_buf text;
    int64_t due_ms;
    int failures;      /* in a row */
    long told_refusal; /* status of the refusal that was logged last: each kind is said once */
};

struct sbx_courier *sbx_courier_new(const struct sbx_config *config, const struct sbx_report_queue *queue,
                                    uint64_t *dropped, struct sbx_err *err)
{
    struct sbx_dsn dsn;
    if (!config->sentry_dsn || sbx_dsn_parse(config->sentry_dsn, &dsn, err) < 0)
        return NULL;
    struct sbx_courier *courier = calloc(1, sizeof(*courier));
    if (!courier) {
        sbx_err_set(err, SBX_ERR_INTERNAL, "out of memory for reports");
        return NULL;
    }
    if (sbx_post_open(&courier->post, &dsn, err) < 0) {
        free(courier);
        return NULL;
    }
    courier->take_fd = queue->take_fd;
    courier->dropped = dropped;
    courier->due_ms = INT64_MAX;
    courier->envelope.environment = config->environment;
    courier->envelope.server = config->replica ? config->replica : "";
    sbx_scrub_init(&courier->envelope.scrub, config);
    sbx_symbols_init(&courier->envelope.symbols);
    sbx_buf_init(&courier->text, SBX_ENVELOPE_MAX + 4096);
    return courier;
}

int64_t sbx_courier_due_ms(const struct sbx_courier *courier)
{
    return courier->due_ms;
}

static void lost(struct sbx_courier *courier, size_t n)
{
    if (courier->dropped)
        __atomic_fetch_add(courier->dropped, n, __ATOMIC_RELAXED);
}

static size_t waiting(const struct sbx_courier *courier)
{
    return courier->backlog[FAULTS].count + courier->backlog[LOGS].count + courier->backlog[TIMES].count;
}

static struct sbx_backlog *backlog_of(struct sbx_courier *courier, const struct sbx_item *item)
{
    if (item->kind == SBX_ITEM_LOG)
        return &courier->backlog[LOGS];
    return &courier->backlog[item->kind == SBX_ITEM_TRANSACTION ? TIMES : FAULTS];
}

/* Whatever is in the queue; bounded, so that those who fill it cannot keep us here. */
static void take(struct sbx_courier *courier)
{
    struct sbx_item item;
    for (size_t i = 0; i < SBX_BACKLOG_ITEMS; i++) {
        ssize_t n = recv(courier->take_fd, &item, sizeof(item), MSG_DONTWAIT);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            break;
        if (!sbx_item_is_whole(&item, (size_t)n) ||
            !sbx_backlog_add(backlog_of(courier, &item), &item, (size_t)n))
            lost(courier, 1);
    }
    if (waiting(courier) > 0 && courier->due_ms == INT64_MAX)
        courier->due_ms = sbx_now_ms() + LINGER_MS;
}

/* The next envelope into courier->text; how many reports of which backlog it holds. */
static int next_envelope(struct sbx_courier *courier, struct sbx_backlog **ret_from, size_t *ret_count,
                         struct sbx_err *err)
{
    int which = FAULTS;
    while (courier->backlog[which].count == 0)
        which++;
    const struct sbx_backlog *from = *ret_from = &courier->backlog[which];
    *ret_count = 1;
    if (which != LOGS)
        return sbx_envelope_item(&courier->envelope, sbx_backlog_at(from, 0), &courier->text, err);
    const struct sbx_item *items[SBX_ENVELOPE_LOGS];
    size_t count = from->count < SBX_ENVELOPE_LOGS ? from->count : SBX_ENVELOPE_LOGS;
    for (size_t i = 0; i < count; i++)
        items[i] = sbx_backlog_at(from, i);
    *ret_count = count;
    return sbx_envelope_logs(&courier->envelope, items, count, &courier->text, err);
}

/* These lines may become reports themselves, so none is written twice in a row for one and the same reason.
 */
static void back_off(struct sbx_courier *courier)
{
    int shift = courier->failures < 6 ? courier->failures : 6;
    int64_t wait = (int64_t)RETRY_FIRST_MS << shift;
    wait = wait < RETRY_MAX_MS ? wait : RETRY_MAX_MS;
    if (courier->post.retry_ms > wait)
        wait = courier->post.retry_ms < QUIET_MAX_MS ? courier->post.retry_ms : QUIET_MAX_MS;
    if (courier->failures++ == 0)
        sbx_log(SBX_LOG_WARNING, "reports cannot be sent", "error", courier->post.why, NULL);
    courier->due_ms = sbx_now_ms() + wait;
}

static void succeeded(struct sbx_courier *courier)
{
    if (courier->failures > 0) {
        char count[24];
        snprintf(count, sizeof(count), "%llu",
                 courier->dropped ? (unsigned long long)__atomic_load_n(courier->dropped, __ATOMIC_RELAXED)
                                  : 0);
        sbx_log(SBX_LOG_INFO, "reports are sent again", "dropped", count, NULL);
    }
    courier->failures = 0;
    courier->told_refusal = 0;
}

static void refused(struct sbx_courier *courier, size_t count)
{
    lost(courier, count);
    courier->failures = 0;
    if (courier->told_refusal != courier->post.status)
        sbx_log(SBX_LOG_WARNING, "a report was refused", "error", courier->post.why, NULL);
    courier->told_refusal = courier->post.status;
}

/* Post until nothing waits, the time is up, or Sentry cannot be reached. */
static void deliver(struct sbx_courier *courier)
{
    int64_t until = sbx_now_ms() + WORK_MS;
    courier->due_ms = INT64_MAX;
    while (waiting(courier) > 0) {
        struct sbx_backlog *from = NULL;
        size_t count = 0;
        struct sbx_err err = SBX_ERR_INIT;
        if (sbx_now_ms() >= until) {
            courier->due_ms = sbx_now_ms(); /* at once, but after whatever else the janitor has to do */
            return;
        }
        enum sbx_posted posted = SBX_POSTED_REFUSED;
        if (next_envelope(courier, &from, &count, &err) == 0)
            posted = sbx_post_envelope(&courier->post, &courier->text);
        else
            snprintf(courier->post.why, sizeof(courier->post.why), "%.200s", err.msg);
        if (posted == SBX_POSTED_LATER) {
            back_off(courier);
            return;
        }
        sbx_backlog_drop(from, count);
        if (posted == SBX_POSTED_TAKEN)
            succeeded(courier);
        else
            refused(courier, count);
    }
}

void sbx_courier_work(struct sbx_courier *courier)
{
    take(courier);
    if (sbx_now_ms() >= courier->due_ms)
        deliver(courier);
}

void sbx_courier_free(struct sbx_courier *courier)
{
    if (!courier)
        return;
    take(courier);
    if (courier->failures == 0)
        deliver(courier);
    lost(courier, waiting(courier));
    for (int i = 0; i < BACKLOGS; i++)
        sbx_backlog_drop(&courier->backlog[i], courier->backlog[i].count);
    sbx_symbols_done(&courier->envelope.symbols);
    sbx_buf_done(&courier->text);
    sbx_post_close(&courier->post);
    free(courier);
}
