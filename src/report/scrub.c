#include "report/scrub.h"

#include <string.h>

#define FILTERED "[Filtered]"
#define SHORTEST 6

static void add(struct sbx_scrub *scrub, const char *text, size_t len)
{
    if (len < SHORTEST || scrub->count == SBX_ARRAY_LEN(scrub->secrets))
        return;
    scrub->secrets[scrub->count].text = text;
    scrub->secrets[scrub->count++].len = len;
}

void sbx_scrub_init(struct sbx_scrub *scrub, const struct sbx_config *config)
{
    scrub->count = 0;
    if (config->api_key)
        add(scrub, config->api_key, strlen(config->api_key));
    if (config->sentry_dsn) {
        const char *key = strstr(config->sentry_dsn, "://");
        key = key ? key + 3 : config->sentry_dsn;
        add(scrub, key, strcspn(key, ":@/"));
    }
    const char *user = config->redis_url ? strstr(config->redis_url, "://") : NULL;
    const char *at = user ? strrchr(user, '@') : NULL;
    const char *colon = at ? memchr(user + 3, ':', (size_t)(at - user - 3)) : NULL;
    if (colon)
        add(scrub, colon + 1, (size_t)(at - colon - 1));
}

/* Length of what starts here and must go; 0: nothing. */
static size_t secret_at(const struct sbx_scrub *scrub, const char *text)
{
    for (size_t i = 0; i < scrub->count; i++) {
        if (strncmp(text, scrub->secrets[i].text, scrub->secrets[i].len) == 0)
            return scrub->secrets[i].len;
    }
    return 0;
}

/* Length of the user:password after "://". */
static size_t userinfo_at(const char *start, const char *text)
{
    if (text - start < 3 || memcmp(text - 3, "://", 3) != 0)
        return 0;
    size_t n = strcspn(text, "@/?# \t\r\n\"'");
    return text[n] == '@' ? n : 0;
}

void sbx_scrub_text(const struct sbx_scrub *scrub, const char *text, char *out, size_t size)
{
    size_t used = 0;
    for (const char *at = text; *at && used + 1 < size;) {
        size_t n = secret_at(scrub, at);
        if (n == 0)
            n = userinfo_at(text, at);
        if (n == 0) {
            out[used++] = *at++;
            continue;
        }
        at += n;
        used += strlcpy(out + used, FILTERED, size - used);
    }
    out[used < size ? used : size - 1] = '\0';
}
