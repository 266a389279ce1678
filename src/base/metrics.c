/* A table of series in shared memory, found by a hash of family and labels. A slot is claimed by its hash;
 * labels are written before `ready` says so, and by everybody who finds it not ready: whoever claimed it may
 * be dead. */
#include "sandboxd/base/metrics.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "sandboxd/base/util.h"

#define SERIES  1024
#define LABELS  120
#define BUCKETS SBX_ARRAY_LEN(bounds_us)

/* Upper bounds of histogram buckets; what is above all of them is in one bucket more. */
static const int64_t bounds_us[] = {500,    1000,   2500,    5000,    10000,   25000,    50000,   100000,
                                    250000, 500000, 1000000, 2500000, 5000000, 10000000, 60000000};

static const struct {
    const char *name;
    const char *help;
    bool histogram;
} families[SBX_METRIC_FAMILIES] = {
    [SBX_METRIC_REQUESTS] = {"sandboxd_requests_total", "Requests answered.", false},
    [SBX_METRIC_REQUEST_TIME] = {"sandboxd_request_duration_seconds",
                                 "Time from the first byte to the answer.", true},
    [SBX_METRIC_PHASE_TIME] = {"sandboxd_phase_duration_seconds",
                               "Time that requests spent in calls of the lock, dockerd, agents and patches.",
                               true},
    [SBX_METRIC_ANSWER_BYTES] = {"sandboxd_answer_bytes_total", "Bytes of answers' bodies.", false},
    [SBX_METRIC_PROCESS_DEATHS] = {"sandboxd_process_deaths_total", "Processes that died by themselves.",
                                   false},
    [SBX_METRIC_SWEPT] = {"sandboxd_swept_total", "What the janitor removed.", false},
    [SBX_METRIC_POOL] = {"sandboxd_pool_claims_total", "Creates that asked the warm pool.", false},
};

struct series {
    uint64_t hash; /* 0: free */
    uint32_t family;
    uint32_t ready;
    char labels[LABELS];
    uint64_t count;  /* of a counter */
    uint64_t sum_us; /* of a histogram */
    uint64_t buckets[SBX_ARRAY_LEN(bounds_us) + 1];
};

static struct shared {
    uint64_t dropped;
    struct series series[SERIES];
} * shared;

int sbx_metrics_open(struct sbx_err *err)
{
    void *memory =
        mmap(NULL, sizeof(struct shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        return sbx_err_sys(err, SBX_ERR_INTERNAL, errno, "cannot map the metrics");
    shared = memory;
    return 0;
}

static void count(uint64_t *at, uint64_t n)
{
    __atomic_fetch_add(at, n, __ATOMIC_RELAXED);
}

/* FNV-1a; never 0. */
static uint64_t hash_of(enum sbx_metric family, const char *labels)
{
    uint64_t hash = 0xcbf29ce484222325U ^ (uint64_t)family;
    for (; *labels; labels++)
        hash = (hash ^ (unsigned char)*labels) * 0x100000001b3U;
    hash *= 0x100000001b3U;
    return hash ? hash : 1;
}

static struct series *find(enum sbx_metric family, const char *labels)
{
    uint64_t hash = hash_of(family, labels);
    size_t len = strlen(labels);
    for (size_t i = 0; len < LABELS && i < SERIES; i++) {
        struct series *at = &shared->series[(hash + i) % SERIES];
        uint64_t there = 0;
        if (!__atomic_compare_exchange_n(&at->hash, &there, hash, false, __ATOMIC_ACQ_REL,
                                         __ATOMIC_ACQUIRE) &&
            there != hash)
            continue;
        if (!__atomic_load_n(&at->ready, __ATOMIC_ACQUIRE)) {
            at->family = (uint32_t)family;
            memcpy(at->labels, labels, len + 1);
            __atomic_store_n(&at->ready, 1, __ATOMIC_RELEASE);
        }
        return at;
    }
    count(&shared->dropped, 1);
    return NULL;
}

void sbx_metric_add(enum sbx_metric family, const char *labels, uint64_t n)
{
    struct series *series = shared ? find(family, labels) : NULL;
    if (series)
        count(&series->count, n);
}

void sbx_metric_observe(enum sbx_metric family, const char *labels, int64_t us)
{
    struct series *series = shared ? find(family, labels) : NULL;
    if (!series)
        return;
    if (us < 0)
        us = 0;
    count(&series->sum_us, (uint64_t)us);
    size_t bucket = 0;
    while (bucket < BUCKETS && us > bounds_us[bucket])
        bucket++;
    count(&series->buckets[bucket], 1);
}

/* One sample; `more` is a further label or "". */
static int put_sample(struct sbx_buf *out, const char *name, const char *labels, const char *more,
                      const char *value, struct sbx_err *err)
{
    if (!labels[0] && !more[0])
        return sbx_buf_printf(out, err, "%s %s\n", name, value);
    return sbx_buf_printf(out, err, "%s{%s%s%s} %s\n", name, labels, labels[0] && more[0] ? "," : "", more,
                          value);
}

static int put_number(struct sbx_buf *out, const char *name, const char *labels, const char *more,
                      uint64_t number, struct sbx_err *err)
{
    char value[32];
    snprintf(value, sizeof(value), "%" PRIu64, number);
    return put_sample(out, name, labels, more, value, err);
}

static uint64_t load(const uint64_t *at)
{
    return __atomic_load_n(at, __ATOMIC_RELAXED);
}

/* Writers go on meanwhile, so the parts may differ by what is being added: +Inf is what the buckets hold. */
static int put_histogram(struct sbx_buf *out, const char *name, const struct series *series,
                         struct sbx_err *err)
{
    char part[128];
    uint64_t below = 0;
    snprintf(part, sizeof(part), "%s_bucket", name);
    for (size_t i = 0; i <= BUCKETS; i++) {
        char bound[32];
        below += load(&series->buckets[i]);
        if (i < BUCKETS)
            snprintf(bound, sizeof(bound), "le=\"%g\"", (double)bounds_us[i] / 1e6);
        else
            snprintf(bound, sizeof(bound), "le=\"+Inf\"");
        if (put_number(out, part, series->labels, bound, below, err) < 0)
            return -1;
    }
    snprintf(part, sizeof(part), "%s_count", name);
    if (put_number(out, part, series->labels, "", below, err) < 0)
        return -1;
    char sum[32];
    snprintf(part, sizeof(part), "%s_sum", name);
    snprintf(sum, sizeof(sum), "%.6f", (double)load(&series->sum_us) / 1e6);
    return put_sample(out, part, series->labels, "", sum, err);
}

static int put_family(struct sbx_buf *out, uint32_t family, struct sbx_err *err)
{
    bool named = false;
    const char *name = families[family].name;
    bool histogram = families[family].histogram;
    for (size_t i = 0; i < SERIES; i++) {
        const struct series *series = &shared->series[i];
        if (!__atomic_load_n(&series->ready, __ATOMIC_ACQUIRE) || series->family != family)
            continue;
        if (!named &&
            sbx_metrics_head(out, name, families[family].help, histogram ? "histogram" : "counter", err) < 0)
            return -1;
        named = true;
        int rc = histogram ? put_histogram(out, name, series, err)
                           : put_number(out, name, series->labels, "", load(&series->count), err);
        if (rc < 0)
            return -1;
    }
    return 0;
}

int sbx_metrics_head(struct sbx_buf *out, const char *name, const char *help, const char *type,
                     struct sbx_err *err)
{
    return sbx_buf_printf(out, err, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

int sbx_metrics_print(struct sbx_buf *out, struct sbx_err *err)
{
    static const char DROPPED[] = "sandboxd_metrics_dropped_total";
    if (!shared)
        return 0;
    for (uint32_t family = 0; family < SBX_METRIC_FAMILIES; family++) {
        if (put_family(out, family, err) < 0)
            return -1;
    }
    if (sbx_metrics_head(out, DROPPED, "Observations that found no room.", "counter", err) < 0)
        return -1;
    return put_number(out, DROPPED, "", "", load(&shared->dropped), err);
}
