#include "report/envelope.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#define LOGS_TYPE "application/vnd.sentry.items.log+json"

static struct json_object *head(const char *event_id)
{
    struct json_object *obj = json_object_new_object();
    char text[40];
    struct tm tm;
    time_t now = time(NULL);
    gmtime_r(&now, &tm);
    strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &tm);
    if (event_id)
        json_object_object_add(obj, "event_id", json_object_new_string(event_id));
    json_object_object_add(obj, "sent_at", json_object_new_string(text));
    struct json_object *sdk = json_object_new_object();
    json_object_object_add(sdk, "name", json_object_new_string("sandboxd"));
    json_object_object_add(sdk, "version", json_object_new_string(SBX_VERSION));
    json_object_object_add(obj, "sdk", sdk);
    return obj;
}

/* One line; takes the reference. */
static int put_line(struct json_object *obj, struct sbx_buf *out, struct sbx_err *err)
{
    int rc = sbx_json_print(obj, out, err);
    json_object_put(obj);
    return rc < 0 ? -1 : sbx_buf_add(out, "\n", 1, err);
}

/* The item's header and its payload; takes both references. */
static int put_item(struct json_object *item_head, struct json_object *payload, struct sbx_buf *out,
                    struct sbx_err *err)
{
    struct sbx_buf text;
    sbx_buf_init(&text, SBX_ENVELOPE_MAX);
    int rc = sbx_json_print(payload, &text, err);
    json_object_put(payload);
    json_object_object_add(item_head, "length", json_object_new_int64((int64_t)text.len));
    if (rc == 0)
        rc = put_line(item_head, out, err);
    else
        json_object_put(item_head);
    if (rc == 0)
        rc = sbx_buf_add(out, text.data, text.len, err);
    sbx_buf_done(&text);
    return rc < 0 ? -1 : sbx_buf_add(out, "\n", 1, err);
}

int sbx_envelope_item(const struct sbx_envelope *envelope, const struct sbx_item *item, struct sbx_buf *out,
                      struct sbx_err *err)
{
    bool timed = item->kind == SBX_ITEM_TRANSACTION;
    uint8_t id[16];
    char event_id[SBX_HEX_ID];
    sbx_random(id, sizeof(id));
    sbx_payload_hex(id, sizeof(id), event_id);
    sbx_buf_clear(out);
    if (put_line(head(event_id), out, err) < 0)
        return -1;
    struct json_object *item_head = json_object_new_object();
    json_object_object_add(item_head, "type", json_object_new_string(timed ? "transaction" : "event"));
    json_object_object_add(item_head, "content_type", json_object_new_string("application/json"));
    return put_item(item_head,
                    timed ? sbx_transaction_json(envelope, item, event_id)
                          : sbx_event_json(envelope, item, event_id),
                    out, err);
}

static void add_attribute(const struct sbx_envelope *envelope, struct json_object *attributes,
                          const char *key, const char *value)
{
    if (!value[0])
        return;
    struct json_object *attribute = json_object_new_object();
    sbx_payload_text(envelope, attribute, "value", value);
    json_object_object_add(attribute, "type", json_object_new_string("string"));
    json_object_object_add(attributes, key, attribute);
}

/* Sentry's words and OpenTelemetry's numbers for enum sbx_log_level. */
static const struct {
    const char *word;
    int number;
} LEVELS[] = {{"debug", 5}, {"info", 9}, {"warn", 13}, {"error", 17}, {"fatal", 21}};

/* The next NUL-ended text of a log item; NULL after the last. */
static const char *next_field(const struct sbx_item *item, size_t *at)
{
    const char *text = item->u.log.fields + *at;
    size_t room = item->u.log.len - *at;
    size_t n = strnlen(text, room);
    if (n == room)
        return NULL;
    *at += n + 1;
    return text;
}

static struct json_object *log_json(const struct sbx_envelope *envelope, const struct sbx_item *item)
{
    struct json_object *obj = json_object_new_object();
    struct json_object *attributes = json_object_new_object();
    int level =
        item->u.log.level >= 0 && item->u.log.level < (int)SBX_ARRAY_LEN(LEVELS) ? item->u.log.level : 1;
    size_t at = 0;
    char pid[16];
    const char *event = next_field(item, &at);
    sbx_payload_time(obj, "timestamp", item->wall_us);
    sbx_payload_id(obj, "trace_id", item->trace_id, sizeof(item->trace_id));
    sbx_payload_id(obj, "span_id", item->span_id, sizeof(item->span_id));
    json_object_object_add(obj, "level", json_object_new_string(LEVELS[level].word));
    json_object_object_add(obj, "severity_number", json_object_new_int(LEVELS[level].number));
    sbx_payload_text(envelope, obj, "body", event ? event : "(cut off)");
    snprintf(pid, sizeof(pid), "%d", item->pid);
    add_attribute(envelope, attributes, "sentry.environment", envelope->environment);
    add_attribute(envelope, attributes, "sentry.release", "sandboxd@" SBX_VERSION);
    add_attribute(envelope, attributes, "server.address", envelope->server);
    add_attribute(envelope, attributes, "role", item->role);
    add_attribute(envelope, attributes, "pid", pid);
    add_attribute(envelope, attributes, "request_id", item->request);
    add_attribute(envelope, attributes, "session_id", item->session);
    add_attribute(envelope, attributes, "route", item->route);
    add_attribute(envelope, attributes, "client", item->client);
    const char *key;
    const char *value;
    while (event && (key = next_field(item, &at)) && (value = next_field(item, &at)))
        add_attribute(envelope, attributes, key, value);
    json_object_object_add(obj, "attributes", attributes);
    return obj;
}

int sbx_envelope_logs(const struct sbx_envelope *envelope, const struct sbx_item *const *items, size_t count,
                      struct sbx_buf *out, struct sbx_err *err)
{
    struct json_object *list = json_object_new_array();
    for (size_t i = 0; i < count; i++)
        json_object_array_add(list, log_json(envelope, items[i]));
    struct json_object *payload = json_object_new_object();
    json_object_object_add(payload, "items", list);
    sbx_buf_clear(out);
    if (put_line(head(NULL), out, err) < 0) {
        json_object_put(payload);
        return -1;
    }
    struct json_object *item_head = json_object_new_object();
    json_object_object_add(item_head, "type", json_object_new_string("log"));
    json_object_object_add(item_head, "item_count", json_object_new_int64((int64_t)count));
    json_object_object_add(item_head, "content_type", json_object_new_string(LOGS_TYPE));
    return put_item(item_head, payload, out, err);
}
