#include "http/multipart.h"

#include <stdbool.h>
#include <string.h>
#include <strings.h>

/* A piece of text that is being taken apart from its front. */
struct text {
    const char *at;
    const char *end;
};

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

static void skip_blanks(struct text *text)
{
    while (text->at < text->end && is_blank(*text->at))
        text->at++;
}

static bool take(struct text *text, char c)
{
    if (text->at >= text->end || *text->at != c)
        return false;
    text->at++;
    return true;
}

/* Everything up to one of the stop characters, without blanks at its end. */
static struct text take_until(struct text *text, const char *stops)
{
    struct text ret = {text->at, text->at};
    while (text->at < text->end && !strchr(stops, *text->at))
        text->at++;
    for (ret.end = text->at; ret.end > ret.at && is_blank(ret.end[-1]); ret.end--)
        ;
    return ret;
}

static bool equals(const struct text *text, const char *word)
{
    size_t n = (size_t)(text->end - text->at);
    return n == strlen(word) && strncasecmp(text->at, word, n) == 0;
}

/* Copy as much as fits; whether all of it did. */
static bool copy(const struct text *text, char *out, size_t size)
{
    size_t n = (size_t)(text->end - text->at);
    bool fits = n < size;
    n = fits ? n : size - 1;
    memcpy(out, text->at, n);
    out[n] = '\0';
    return fits;
}

/* After the opening quote: unescape into out what fits and step over the closing quote. Only \" and \\ are
 * escapes: some clients send paths with bare backslashes. *ret_fits tells whether all of it fitted; false
 * when there is no closing quote. */
static bool take_quoted(struct text *text, char *out, size_t size, bool *ret_fits)
{
    size_t len = 0;
    *ret_fits = true;
    while (text->at < text->end && *text->at != '"') {
        char c = *text->at++;
        if (c == '\\' && text->at < text->end && (*text->at == '"' || *text->at == '\\'))
            c = *text->at++;
        if (len + 1 < size)
            out[len++] = c;
        else
            *ret_fits = false;
    }
    out[len] = '\0';
    return take(text, '"');
}

struct parameter {
    struct text name;
    char value[256];
    bool fits; /* value is whole */
};

/* The next `; name=value`: 1, 0 at the end, -1 when malformed. */
static int next_parameter(struct text *text, struct parameter *ret)
{
    do {
        skip_blanks(text);
        if (text->at >= text->end)
            return 0;
        if (!take(text, ';'))
            return -1;
        skip_blanks(text);
    } while (text->at >= text->end || *text->at == ';'); /* empty parameters are common at the end */

    ret->name = take_until(text, "=;");
    if (ret->name.at == ret->name.end || !take(text, '='))
        return -1;
    skip_blanks(text);
    if (take(text, '"'))
        return take_quoted(text, ret->value, sizeof(ret->value), &ret->fits) ? 1 : -1;
    struct text value = take_until(text, ";");
    ret->fits = copy(&value, ret->value, sizeof(ret->value));
    return 1;
}

static bool is_boundary(const char *s)
{
    static const char allowed[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789'()+_,-./:=? ";
    size_t n = strlen(s);
    return n > 0 && n <= MULTIPART_BOUNDARY_MAX && s[strspn(s, allowed)] == '\0' && s[n - 1] != ' ';
}

int sbx_multipart_boundary(const char *content_type, char ret[MULTIPART_BOUNDARY_MAX + 1],
                           struct sbx_err *err)
{
    struct text text = {content_type, content_type + strlen(content_type)};
    skip_blanks(&text);
    struct text type = take_until(&text, ";");
    if (!equals(&type, "multipart/form-data"))
        return sbx_err_set(err, SBX_ERR_BAD_REQUEST, "content type is not multipart/form-data");
    struct parameter parameter;
    int more;
    while ((more = next_parameter(&text, &parameter)) > 0) {
        if (!equals(&parameter.name, "boundary"))
            continue;
        if (!parameter.fits || !is_boundary(parameter.value))
            return sbx_err_set(err, SBX_ERR_BAD_REQUEST, "multipart boundary is malformed");
        memcpy(ret, parameter.value, strlen(parameter.value) + 1);
        return 0;
    }
    return sbx_err_set(err, SBX_ERR_BAD_REQUEST,
                       more < 0 ? "content type is malformed" : "multipart boundary is missing");
}

static int parse_disposition(struct text *text, struct sbx_part *part, struct sbx_err *err)
{
    take_until(text, ";");
    bool named = false;
    bool filed = false;
    struct parameter parameter;
    int more;
    while ((more = next_parameter(text, &parameter)) > 0) {
        struct text value = {parameter.value, parameter.value + strlen(parameter.value)};
        if (!named && equals(&parameter.name, "name")) {
            if (!copy(&value, part->name, sizeof(part->name)) || !parameter.fits)
                return sbx_err_set(err, SBX_ERR_BAD_REQUEST, "name of a part is longer than %zu bytes",
                                   sizeof(part->name) - 1);
            named = true;
        } else if (!filed && equals(&parameter.name, "filename")) {
            copy(&value, part->filename, sizeof(part->filename));
            filed = true;
        }
    }
    if (more < 0)
        return sbx_err_set(err, SBX_ERR_BAD_REQUEST, "content disposition of a part is malformed");
    return 0;
}

static int parse_line(struct text line, struct sbx_part *part, struct sbx_err *err)
{
    struct text name = take_until(&line, ":");
    if (name.at == name.end || is_blank(*name.at) || !take(&line, ':'))
        return sbx_err_set(err, SBX_ERR_BAD_REQUEST, "header line of a part is malformed");
    skip_blanks(&line);
    if (equals(&name, "content-disposition"))
        return parse_disposition(&line, part, err);
    if (equals(&name, "content-type")) {
        struct text type = take_until(&line, "");
        copy(&type, part->type, sizeof(part->type));
    }
    return 0;
}

int sbx_multipart_head(const char *head, size_t n, struct sbx_part *ret, struct sbx_err *err)
{
    *ret = (struct sbx_part){.name = ""};
    if (memchr(head, '\0', n))
        return sbx_err_set(err, SBX_ERR_BAD_REQUEST, "header of a part contains a NUL byte");
    for (const char *at = head; at < head + n;) {
        const char *end = memmem(at, (size_t)(head + n - at), "\r\n", 2);
        if (!end)
            end = head + n;
        if (parse_line((struct text){at, end}, ret, err) < 0)
            return -1;
        at = end + 2;
    }
    return 0;
}
