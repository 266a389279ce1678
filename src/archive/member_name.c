#include "archive/member_name.h"

#include <stdbool.h>
#include <string.h>

#include "sandboxd/base/util.h"

#define CUT_MARK "..."

static int refuse(const char *raw, struct sbx_err *err, const char *why)
{
    char shown[SBX_MEMBER_SHOWN];
    sbx_member_name_show(raw, shown);
    return sbx_err_set(err, SBX_ERR_INVALID, "member '%s': %s", shown, why);
}

int sbx_member_name_parse(const char *raw, size_t max_depth, struct sbx_member_name *ret, struct sbx_err *err)
{
    ret->len = ret->leaf = ret->depth = 0;
    if (raw[0] == '\0')
        return sbx_err_set(err, SBX_ERR_INVALID, "a member has an empty name");
    if (raw[0] == '/')
        return refuse(raw, err, "absolute path");
    for (const char *at = raw; *at != '\0';) {
        size_t n = strcspn(at, "/");
        const char *component = at;
        at += n;
        at += strspn(at, "/");
        if (n == 0 || (n == 1 && component[0] == '.'))
            continue;
        if (n == 2 && component[0] == '.' && component[1] == '.')
            return refuse(raw, err, "path leaves the archive");
        if (n > SBX_MEMBER_COMPONENT)
            return refuse(raw, err, "a component of the path is longer than 255 bytes");
        if (++ret->depth > max_depth)
            return refuse(raw, err, "path has too many components");
        if (ret->len + 1 + n > SBX_MEMBER_NAME_MAX)
            return refuse(raw, err, "path is too long");
        if (ret->len > 0)
            ret->path[ret->len++] = '/';
        ret->leaf = ret->len;
        memcpy(ret->path + ret->len, component, n);
        ret->len += n;
    }
    ret->path[ret->len] = '\0';
    return 0;
}

struct display {
    char *out;
    size_t len;
};

static int show_some(void *arg, const char *bytes, size_t n)
{
    struct display *display = arg;
    for (size_t i = 0; i < n; i++) {
        unsigned char byte = (unsigned char)bytes[i];
        if (display->len == SBX_MEMBER_SHOWN - 1) {
            /* back to where a character begins, with room for the mark */
            display->len -= strlen(CUT_MARK);
            while (((unsigned char)display->out[display->len] & 0xc0) == 0x80)
                display->len--;
            memcpy(display->out + display->len, CUT_MARK, strlen(CUT_MARK));
            display->len += strlen(CUT_MARK);
            return 1;
        }
        display->out[display->len++] = byte < 0x20 || byte == 0x7f ? '?' : (char)byte;
    }
    return 0;
}

void sbx_member_name_show(const char *raw, char out[SBX_MEMBER_SHOWN])
{
    struct display display = {.out = out};
    (void)sbx_utf8_clean(raw, strlen(raw), show_some, &display);
    out[display.len] = '\0';
}
