/* Items as Sentry's envelopes: https://develop.sentry.dev/sdk/data-model/envelopes/ */
#ifndef SBX_REPORT_ENVELOPE_H
#define SBX_REPORT_ENVELOPE_H

#include "report/item.h"
#include "report/scrub.h"
#include "report/symbols.h"

#define SBX_ENVELOPE_LOGS 100           /* most log lines in one */
#define SBX_ENVELOPE_MAX  (1024 * 1024) /* more than a hundred of the longest lines become */

/* What is the same in all. */
struct sbx_envelope {
    const char *environment;
    const char *server; /* the replica */
    struct sbx_scrub scrub;
    struct sbx_symbols symbols;
};

/* An envelope with one error, crash or transaction, into out (initialised, emptied first). */
int sbx_envelope_item(const struct sbx_envelope *envelope, const struct sbx_item *item, struct sbx_buf *out,
                      struct sbx_err *err) SBX_MUST_CHECK;

/* An envelope with log lines. */
int sbx_envelope_logs(const struct sbx_envelope *envelope, const struct sbx_item *const *items, size_t count,
                      struct sbx_buf *out, struct sbx_err *err) SBX_MUST_CHECK;

/* event.c: the payloads. */
struct json_object *sbx_event_json(const struct sbx_envelope *envelope, const struct sbx_item *item,
                                   const char *event_id);
struct json_object *sbx_transaction_json(const struct sbx_envelope *envelope, const struct sbx_item *item,
                                         const char *event_id);

/* payload.c: members of payloads. Texts are scrubbed and made valid UTF-8; an empty one is left out. */
#define SBX_HEX_ID 33
void sbx_payload_text(const struct sbx_envelope *envelope, struct json_object *obj, const char *key,
                      const char *text);
void sbx_payload_time(struct json_object *obj, const char *key, int64_t wall_us);
void sbx_payload_hex(const uint8_t *bytes, size_t n, char *out); /* 2n characters and NUL */
/* An id out of zero bytes is none. */
void sbx_payload_id(struct json_object *obj, const char *key, const uint8_t *bytes, size_t n);

#endif
