/* Bytes of a command's output as a JSON string, piece by piece. */
#include <string.h>

#include "api/internal.h"

static int emit(void *arg, const char *bytes, size_t n)
{
    struct sbx_text *text = arg;
    return sbx_spool_add(text->spool, bytes, n, text->err);
}

/* Length that a UTF-8 sequence with this first byte announces; 1 for anything that starts none. */
static size_t announced(unsigned char lead)
{
    if (lead >= 0xc2 && lead <= 0xdf)
        return 2;
    if (lead >= 0xe0 && lead <= 0xef)
        return 3;
    if (lead >= 0xf0 && lead <= 0xf4)
        return 4;
    return 1;
}

size_t sbx_text_unfinished(const char *data, size_t n)
{
    for (size_t back = 1; back <= 3 && back <= n; back++) {
        unsigned char c = (unsigned char)data[n - back];
        if ((c & 0xc0) != 0x80)
            return announced(c) > back ? back : 0;
    }
    return 0;
}

static int flush(struct sbx_text *text)
{
    size_t n = text->carry_len;
    text->carry_len = 0;
    return n > 0 ? sbx_json_escape(text->carry, n, emit, text) : 0;
}

int sbx_text_add(void *arg, const char *bytes, size_t n)
{
    struct sbx_text *text = arg;
    while (text->carry_len > 0 && n > 0) {
        bool goes_on = ((unsigned char)*bytes & 0xc0) == 0x80;
        if (goes_on) {
            text->carry[text->carry_len++] = *bytes++;
            n--;
        }
        bool whole = text->carry_len == announced((unsigned char)text->carry[0]);
        if ((whole || !goes_on) && flush(text) != 0)
            return -1;
    }
    size_t keep = sbx_text_unfinished(bytes, n);
    if (n > keep && sbx_json_escape(bytes, n - keep, emit, text) != 0)
        return -1;
    if (keep > 0) {
        memcpy(text->carry, bytes + n - keep, keep);
        text->carry_len = keep;
    }
    return 0;
}

int sbx_text_end(struct sbx_text *text)
{
    return flush(text);
}

int sbx_put(struct sbx_spool *spool, const char *text, struct sbx_err *err)
{
    return sbx_spool_add(spool, text, strlen(text), err);
}

int sbx_put_string(struct sbx_spool *spool, const char *bytes, size_t n, struct sbx_err *err)
{
    struct sbx_text text = {.spool = spool, .err = err};
    if (sbx_put(spool, "\"", err) < 0 || sbx_text_add(&text, bytes, n) != 0 || sbx_text_end(&text) != 0)
        return -1;
    return sbx_put(spool, "\"", err);
}
