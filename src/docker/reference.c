/*
 * Image references: [registry[:port]/]path[:tag][@digest], by the grammar of the distribution project.
 */
#include <ctype.h>
#include <stdbool.h>
#include <string.h>

#include "docker/internal.h"

#define NAME_MAX_LEN 255
#define TAG_MAX_LEN  128

static bool is_lower_alnum(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

static bool is_alnum(char c)
{
    return is_lower_alnum(c) || (c >= 'A' && c <= 'Z');
}

/* Runs of lower-case letters and digits, joined by one dot, one or two underscores, or any number of dashes.
 */
static bool is_path_component(const char *s, size_t n)
{
    size_t i = 0;

    if (n == 0 || !is_lower_alnum(s[n - 1]))
        return false;
    for (;;) {
        size_t start = i;

        while (i < n && is_lower_alnum(s[i]))
            i++;
        if (i == start)
            return false;
        if (i == n)
            return true;
        if (s[i] == '-')
            while (s[i] == '-')
                i++;
        else if (s[i] == '_')
            i += s[i + 1] == '_' ? 2 : 1;
        else if (s[i] == '.')
            i++;
        else
            return false;
    }
}

static bool is_port(const char *s, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!isdigit((unsigned char)s[i]))
            return false;
    return n > 0 && n <= 5;
}

/* host or [v6], with or without :port */
static bool is_registry(const char *s, size_t n)
{
    const char *colon = memrchr(s, ':', n);
    size_t host = n;

    if (colon && s[n - 1] != ']') {
        host = (size_t)(colon - s);
        if (!is_port(colon + 1, n - host - 1))
            return false;
    }
    if (host > 2 && s[0] == '[' && s[host - 1] == ']')
        return strspn(s + 1, "0123456789abcdefABCDEF:.") == host - 2;
    for (size_t i = 0; i < host; i++) {
        bool edge = i == 0 || i == host - 1 || s[i - 1] == '.' || s[i + 1] == '.';

        if (!is_alnum(s[i]) && (edge || (s[i] != '-' && s[i] != '.')))
            return false;
    }
    return host > 0;
}

size_t sbx_docker_registry_of(const char *image)
{
    size_t n = strcspn(image, "/");
    bool registry = image[n] && (memchr(image, '.', n) || memchr(image, ':', n) || image[0] == '[' ||
                                 (n == 9 && memcmp(image, "localhost", 9) == 0));

    for (size_t i = 0; image[n] && i < n; i++)
        registry = registry || isupper((unsigned char)image[i]);
    return registry ? n : 0;
}

static bool is_name(const char *s, size_t n)
{
    const char *slash, *end = s + n;
    size_t registry = sbx_docker_registry_of(s);

    if (n == 0 || n > NAME_MAX_LEN || registry >= n)
        return false;
    if (registry > 0) {
        if (!is_registry(s, registry))
            return false;
        s += registry + 1;
    }
    for (;;) {
        slash = memchr(s, '/', (size_t)(end - s));
        if (!is_path_component(s, (size_t)((slash ? slash : end) - s)))
            return false;
        if (!slash)
            return true;
        s = slash + 1;
    }
}

static bool is_tag(const char *s, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!is_alnum(s[i]) && s[i] != '_' && (i == 0 || (s[i] != '.' && s[i] != '-')))
            return false;
    return n > 0 && n <= TAG_MAX_LEN;
}

/* The algorithms that dockerd knows, with the length of their sums. */
static bool is_digest(const char *s, size_t n)
{
    static const struct {
        const char *prefix;
        size_t hex;
    } known[] = {{"sha256:", 64}, {"sha384:", 96}, {"sha512:", 128}};

    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
        if (n == 7 + known[i].hex && memcmp(s, known[i].prefix, 7) == 0)
            return strspn(s + 7, "0123456789abcdef") == known[i].hex;
    return false;
}

static bool put(char *out, size_t size, const char *s, size_t n)
{
    if (n >= size)
        return false;
    memcpy(out, s, n);
    out[n] = '\0';
    return true;
}

int sbx_docker_parse_reference(const char *image, char *name, size_t name_size, char *tag, size_t tag_size,
                               struct sbx_err *err)
{
    const char *at = strchr(image, '@');
    size_t n = at ? (size_t)(at - image) : strlen(image), name_len = n, version_len = 6;
    const char *slash = memrchr(image, '/', n), *version = "latest";
    const char *colon = memrchr(image, ':', n);
    bool ok = true;

    if (colon && (!slash || colon > slash)) {
        name_len = (size_t)(colon - image);
        version = colon + 1;
        version_len = n - name_len - 1;
        ok = is_tag(version, version_len);
    }
    if (at) { /* a tag beside it is checked and has no say, as everywhere */
        version = at + 1;
        version_len = strlen(version);
        ok = ok && is_digest(version, version_len);
    }
    if (!ok || !is_name(image, name_len))
        return sbx_err_set(err, SBX_ERR_INVALID, "\"%s\" is not a valid image reference", image);
    if (!put(name, name_size, image, name_len) || !put(tag, tag_size, version, version_len))
        return sbx_err_set(err, SBX_ERR_INVALID, "the image reference \"%s\" is too long", image);
    return 0;
}
