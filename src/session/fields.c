/* Fields out of a stream of bytes. */
#include "session/internal.h"

#define HEADER 5

void sbx_fields_init(struct sbx_fields *fields,
                     int (*on_field)(void *, const struct sbx_field *, struct sbx_err *), void *arg)
{
    *fields = (struct sbx_fields){.on_field = on_field, .arg = arg};
    sbx_buf_init(&fields->part, HEADER + SBX_FS_FIELD_MAX + SBX_PAYLOAD_MAX);
}

void sbx_fields_done(struct sbx_fields *fields)
{
    sbx_buf_done(&fields->part);
}

static uint32_t length_of(const uint8_t *header)
{
    return (uint32_t)header[1] | (uint32_t)header[2] << 8 | (uint32_t)header[3] << 16 |
           (uint32_t)header[4] << 24;
}

int sbx_fields_add(struct sbx_fields *fields, const void *data, size_t n, struct sbx_err *err)
{
    struct sbx_buf *part = &fields->part;
    struct sbx_field field;
    size_t off = 0;
    if (sbx_buf_add(part, data, n, err) < 0)
        return -1;
    const uint8_t *bytes = (const uint8_t *)part->data;
    for (;;) {
        size_t next = off;
        if (part->len - off >= HEADER && length_of(bytes + off) > SBX_FS_FIELD_MAX)
            return sbx_err_set(err, SBX_ERR_UPSTREAM, "the agent's answer is malformed");
        if (!sbx_field_next(bytes, part->len, &next, &field))
            break;
        off = next;
        if (fields->on_field(fields->arg, &field, err) < 0)
            return -1;
    }
    sbx_buf_consume(part, off);
    return 0;
}
