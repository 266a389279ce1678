/* Counters and histograms that processes share. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "sandboxd/base.h"

#define TEXT_MAX (4 * 1024 * 1024)

static bool shows(const char *line)
{
    struct sbx_buf out;
    struct sbx_err err = SBX_ERR_INIT;
    sbx_buf_init(&out, TEXT_MAX);
    assert_int_equal(sbx_metrics_print(&out, &err), 0);
    bool found = strstr(sbx_buf_cstr(&out, &err), line) != NULL;
    if (!found)
        print_message("%s", out.data);
    sbx_buf_done(&out);
    return found;
}

static void nothing_happens_before_the_memory_is_made(void **state)
{
    struct sbx_buf out;
    struct sbx_err err = SBX_ERR_INIT;
    sbx_metric_add(SBX_METRIC_REQUESTS, "", 1);
    sbx_buf_init(&out, TEXT_MAX);
    assert_int_equal(sbx_metrics_print(&out, &err), 0);
    assert_int_equal(out.len, 0);
    sbx_buf_done(&out);
}

static void what_processes_add_is_one_sum(void **state)
{
    struct sbx_err err = SBX_ERR_INIT;
    assert_int_equal(sbx_metrics_open(&err), 0);
    for (int i = 0; i < 4; i++) {
        pid_t pid = fork();
        if (pid == 0) {
            for (int n = 0; n < 10000; n++)
                sbx_metric_add(SBX_METRIC_REQUESTS, n % 2 ? "method=\"GET\"" : "method=\"PUT\"", 1);
            _exit(0);
        }
    }
    while (wait(NULL) > 0)
        continue;
    assert_true(shows("# TYPE sandboxd_requests_total counter\n"));
    assert_true(shows("\nsandboxd_requests_total{method=\"GET\"} 20000\n"));
    assert_true(shows("\nsandboxd_requests_total{method=\"PUT\"} 20000\n"));
}

static void a_histogram_counts_up_to_its_bounds(void **state)
{
    sbx_metric_observe(SBX_METRIC_PHASE_TIME, "phase=\"lock\"", 0);
    sbx_metric_observe(SBX_METRIC_PHASE_TIME, "phase=\"lock\"", 1000);
    sbx_metric_observe(SBX_METRIC_PHASE_TIME, "phase=\"lock\"", 1001);
    sbx_metric_observe(SBX_METRIC_PHASE_TIME, "phase=\"lock\"", INT64_C(3600000000));
    assert_true(shows("_seconds_bucket{phase=\"lock\",le=\"0.0005\"} 1\n"));
    assert_true(shows("_seconds_bucket{phase=\"lock\",le=\"0.001\"} 2\n"));
    assert_true(shows("_seconds_bucket{phase=\"lock\",le=\"0.0025\"} 3\n"));
    assert_true(shows("_seconds_bucket{phase=\"lock\",le=\"60\"} 3\n"));
    assert_true(shows("_seconds_bucket{phase=\"lock\",le=\"+Inf\"} 4\n"));
    assert_true(shows("_seconds_count{phase=\"lock\"} 4\n"));
    assert_true(shows("_seconds_sum{phase=\"lock\"} 3600.002001\n"));
}

static void what_finds_no_room_is_counted(void **state)
{
    char labels[160];
    memset(labels, 'x', sizeof(labels) - 1);
    labels[sizeof(labels) - 1] = '\0';
    sbx_metric_add(SBX_METRIC_SWEPT, labels, 1);
    assert_true(shows("\nsandboxd_metrics_dropped_total 1\n"));
    for (int i = 0; i < 2000; i++) {
        snprintf(labels, sizeof(labels), "what=\"%d\"", i);
        sbx_metric_add(SBX_METRIC_SWEPT, labels, 1);
    }
    assert_true(shows("\nsandboxd_swept_total{what=\"0\"} 1\n"));
    assert_true(shows("\nsandboxd_metrics_dropped_total 9"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_happens_before_the_memory_is_made),
        cmocka_unit_test(what_processes_add_is_one_sum),
        cmocka_unit_test(a_histogram_counts_up_to_its_bounds),
        cmocka_unit_test(what_finds_no_room_is_counted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
