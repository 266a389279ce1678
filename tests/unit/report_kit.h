/* Settings and a queue for the tests of src/report. */
#ifndef TESTS_REPORT_KIT_H
#define TESTS_REPORT_KIT_H

#include "report/item.h"

#define KEY   "the-key-of-the-api"
#define REDIS "redis://user:pass-of-redis@host:6379/0"
#define DSN   "https://0123456789abcdef@sentry.example/7"
#define ID    "550e8400-e29b-41d4-a716-446655440000"

struct report_kit {
    struct sbx_config config;
    struct sbx_report_queue queue;
    uint64_t dropped;
};

/* Set-up and tear-down of cmocka. */
int report_kit_open(void **state);
int report_kit_close(void **state);

/* Record in this process by kit->config, as it is now. */
void report_kit_record(struct report_kit *kit);

/* The next item of the queue; false when there is none. */
bool report_kit_take(struct report_kit *kit, struct sbx_item *item);

/* The payload of an envelope around this item, which the caller puts; text gets the whole envelope. */
struct json_object *report_kit_payload(const struct report_kit *kit, const struct sbx_item *item, char *text,
                                       size_t size);

#endif
