#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "report/envelope.h"

static int append(void *arg, const char *bytes, size_t n)
{
    struct sbx_err ignored = SBX_ERR_INIT;
    return sbx_buf_add(arg, bytes, n, &ignored);
}

void sbx_payload_text(const struct sbx_envelope *envelope, struct json_object *obj, const char *key,
                      const char *text)
{
    char scrubbed[1024];
    struct sbx_buf clean;
    if (!text[0])
        return;
    sbx_scrub_text(&envelope->scrub, text, scrubbed, sizeof(scrubbed));
    sbx_buf_init(&clean, 4 * sizeof(scrubbed));
    (void)sbx_utf8_clean(scrubbed, strlen(scrubbed), append, &clean);
    json_object_object_add(obj, key, json_object_new_string_len(clean.len ? clean.data : "", (int)clean.len));
    sbx_buf_done(&clean);
}

void sbx_payload_time(struct json_object *obj, const char *key, int64_t wall_us)
{
    char text[40];
    snprintf(text, sizeof(text), "%" PRId64 ".%06d", wall_us / 1000000, (int)(wall_us % 1000000));
    json_object_object_add(obj, key, json_object_new_double_s((double)wall_us / 1e6, text));
}

void sbx_payload_hex(const uint8_t *bytes, size_t n, char *out)
{
    for (size_t i = 0; i < n; i++)
        snprintf(out + 2 * i, 3, "%02x", bytes[i]);
}

void sbx_payload_id(struct json_object *obj, const char *key, const uint8_t *bytes, size_t n)
{
    char hex[SBX_HEX_ID];
    uint8_t any = 0;
    for (size_t i = 0; i < n; i++)
        any |= bytes[i];
    if (!any)
        return;
    sbx_payload_hex(bytes, n, hex);
    json_object_object_add(obj, key, json_object_new_string(hex));
}
