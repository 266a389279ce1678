#include <stdio.h>
#include <string.h>

#include "base/utf8.h"
#include "sandboxd/base/json.h"

/* The escape of a byte that cannot stand for itself in a JSON string; NULL when it can. text is room for
 * \u00xx. */
static const char *escape_of(unsigned char c, char text[7])
{
    switch (c) {
    case '"':
        return "\\\"";
    case '\\':
        return "\\\\";
    case '\b':
        return "\\b";
    case '\f':
        return "\\f";
    case '\n':
        return "\\n";
    case '\r':
        return "\\r";
    case '\t':
        return "\\t";
    default:
        if (c >= 0x20)
            return NULL;
        snprintf(text, 7, "\\u%04x", c);
        return text;
    }
}

int sbx_json_escape(const char *data, size_t n, int (*emit)(void *arg, const char *bytes, size_t len),
                    void *arg)
{
    size_t start = 0; /* of the run that needs no change */
    for (size_t i = 0; i < n;) {
        char text[7];
        const char *instead;
        int step = 1;
        unsigned char c = (unsigned char)data[i];
        if (c < 0x80) {
            if (c >= 0x20 && c != '"' && c != '\\') {
                i++;
                continue;
            }
            instead = escape_of(c, text);
        } else {
            step = sbx_utf8_step(data + i, n - i);
            instead = step < 0 ? SBX_UTF8_REPLACEMENT : NULL;
        }
        if (instead) {
            int rc = i > start ? emit(arg, data + start, i - start) : 0;
            if (rc == 0)
                rc = emit(arg, instead, strlen(instead));
            if (rc != 0)
                return rc;
            step = step < 0 ? -step : step;
            start = i + (size_t)step;
        }
        i += (size_t)step;
    }
    return n > start ? emit(arg, data + start, n - start) : 0;
}

int sbx_json_print(struct json_object *obj, struct sbx_buf *buf, struct sbx_err *err)
{
    size_t n = 0;
    const char *text =
        json_object_to_json_string_length(obj, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE, &n);
    if (!text)
        return sbx_err_set(err, SBX_ERR_INTERNAL, "out of memory for a JSON text");
    return sbx_buf_add(buf, text, n, err);
}
