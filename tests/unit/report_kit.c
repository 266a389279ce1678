#include "report_kit.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "report/envelope.h"

int report_kit_open(void **state)
{
    struct report_kit *kit = calloc(1, sizeof(*kit));
    struct sbx_err err = SBX_ERR_INIT;
    kit->config.api_key = strdup(KEY);
    kit->config.redis_url = strdup(REDIS);
    kit->config.sentry_dsn = strdup(DSN);
    kit->config.environment = strdup("local");
    kit->config.replica = strdup("me");
    assert_int_equal(sbx_report_queue_open(&kit->queue, &err), 0);
    *state = kit;
    return 0;
}

int report_kit_close(void **state)
{
    struct report_kit *kit = *state;
    free(kit->config.api_key);
    free(kit->config.redis_url);
    free(kit->config.sentry_dsn);
    kit->config.sentry_dsn = NULL;
    sbx_report_init(&kit->config, &kit->queue, "worker", NULL); /* off again */
    free(kit->config.environment);
    free(kit->config.replica);
    close(kit->queue.send_fd);
    close(kit->queue.take_fd);
    free(kit);
    return 0;
}

void report_kit_record(struct report_kit *kit)
{
    sbx_report_init(&kit->config, &kit->queue, "worker", &kit->dropped);
}

bool report_kit_take(struct report_kit *kit, struct sbx_item *item)
{
    ssize_t n = recv(kit->queue.take_fd, item, sizeof(*item), MSG_DONTWAIT);
    if (n < 0)
        return false;
    assert_true(sbx_item_is_whole(item, (size_t)n));
    return true;
}

struct json_object *report_kit_payload(const struct report_kit *kit, const struct sbx_item *item, char *text,
                                       size_t size)
{
    struct sbx_envelope envelope = {.environment = "local", .server = "me"};
    struct sbx_err err = SBX_ERR_INIT;
    struct sbx_buf out;
    bool ok;
    sbx_scrub_init(&envelope.scrub, &kit->config);
    sbx_symbols_init(&envelope.symbols);
    sbx_buf_init(&out, SBX_ENVELOPE_MAX);
    int rc = item->kind == SBX_ITEM_LOG ? sbx_envelope_logs(&envelope, &item, 1, &out, &err)
                                        : sbx_envelope_item(&envelope, item, &out, &err);
    assert_int_equal(rc, 0);
    snprintf(text, size, "%s", sbx_buf_cstr(&out, &err));
    char *head_end = strchr(out.data, '\n');
    char *item_end = strchr(head_end + 1, '\n');
    struct json_object *item_head =
        sbx_json_parse(head_end + 1, (size_t)(item_end - head_end - 1), &ok, &err);
    assert_non_null(item_head);
    int64_t length = sbx_json_int_at(item_head, "length", -1);
    assert_int_equal(length, out.data + out.len - 1 - (item_end + 1));
    struct json_object *obj = sbx_json_parse(item_end + 1, (size_t)length, &ok, &err);
    assert_non_null(obj);
    json_object_put(item_head);
    sbx_symbols_done(&envelope.symbols);
    sbx_buf_done(&out);
    return obj;
}
