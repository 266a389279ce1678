#include <string.h>

#include "sandboxd/wire.h"

#define FIELD_HEADER 5

size_t sbx_field_size(size_t n)
{
    return FIELD_HEADER + n;
}

static void put_le(uint8_t *out, uint64_t value, size_t n)
{
    for (size_t i = 0; i < n; i++)
        out[i] = (uint8_t)(value >> 8 * i);
}

static uint64_t get_le(const uint8_t *in, size_t n)
{
    uint64_t value = 0;
    for (size_t i = 0; i < n; i++)
        value |= (uint64_t)in[i] << 8 * i;
    return value;
}

size_t sbx_field_put(uint8_t *out, size_t size, size_t len, uint8_t tag, const void *data, size_t n)
{
    if (len > size || size - len < FIELD_HEADER || n > size - len - FIELD_HEADER || n > UINT32_MAX)
        return 0;
    out[len] = tag;
    put_le(out + len + 1, n, 4);
    if (n > 0)
        memcpy(out + len + FIELD_HEADER, data, n);
    return len + FIELD_HEADER + n;
}

size_t sbx_field_put_u32(uint8_t *out, size_t size, size_t len, uint8_t tag, uint32_t value)
{
    uint8_t bytes[4];
    put_le(bytes, value, sizeof(bytes));
    return sbx_field_put(out, size, len, tag, bytes, sizeof(bytes));
}

size_t sbx_field_put_u64(uint8_t *out, size_t size, size_t len, uint8_t tag, uint64_t value)
{
    uint8_t bytes[8];
    put_le(bytes, value, sizeof(bytes));
    return sbx_field_put(out, size, len, tag, bytes, sizeof(bytes));
}

bool sbx_field_next(const uint8_t *payload, size_t n, size_t *off, struct sbx_field *ret)
{
    if (*off >= n || n - *off < FIELD_HEADER)
        return false;
    const uint8_t *p = payload + *off;
    size_t len = (size_t)get_le(p + 1, 4);
    if (len > n - *off - FIELD_HEADER)
        return false;
    *ret = (struct sbx_field){.tag = p[0], .data = p + FIELD_HEADER, .len = len};
    *off += FIELD_HEADER + len;
    return true;
}

bool sbx_field_u32(const struct sbx_field *field, uint32_t *ret)
{
    if (field->len != 4)
        return false;
    *ret = (uint32_t)get_le(field->data, 4);
    return true;
}

bool sbx_field_u64(const struct sbx_field *field, uint64_t *ret)
{
    if (field->len != 8)
        return false;
    *ret = get_le(field->data, 8);
    return true;
}
