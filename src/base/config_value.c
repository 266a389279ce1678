/* Values of settings: from text, to text, and what is allowed. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/config_table.h"
#include "sandboxd/base/util.h"

#define NUMBER_TEXT 64

/* A plain decimal number of up to 18 digits at *at, which is moved behind it; -1 when there is none. */
static int64_t take_number(const char **at)
{
    size_t n = strspn(*at, "0123456789");
    if (n == 0 || n > 18)
        return -1;
    int64_t value = strtoll(*at, NULL, 10);
    *at += n;
    return value;
}

static int64_t parse_int(const char *text)
{
    int64_t value = take_number(&text);
    return *text == '\0' ? value : -1;
}

static int64_t parse_size(const char *text)
{
    static const char suffixes[] = "KMG";
    int64_t value = take_number(&text);
    if (value < 0 || *text == '\0')
        return value;
    const char *suffix = memchr(suffixes, *text & ~0x20, strlen(suffixes)); /* either case */
    if (!suffix || text[1] != '\0')
        return -1;
    int shift = 10 * (int)(suffix - suffixes + 1);
    return value > INT64_MAX >> shift ? -1 : value << shift;
}

/* Seconds to milliseconds. */
static int64_t parse_seconds(const char *text)
{
    int64_t value = take_number(&text);
    if (value < 0 || value > INT64_MAX / 1000)
        return -1;
    value *= 1000;
    if (*text == '.') {
        size_t n = strspn(++text, "0123456789");
        if (n < 1 || n > 3)
            return -1;
        for (int64_t unit = 100; n > 0; n--, unit /= 10)
            value += (*text++ - '0') * unit;
    }
    return *text == '\0' ? value : -1;
}

static double parse_rate(const char *text)
{
    char *end;
    if (text[strspn(text, "0123456789.")] != '\0')
        return -1;
    double value = strtod(text, &end);
    return *end == '\0' && value <= 1 ? value : -1;
}

static int parse_bool(const char *text)
{
    static const char *const words[][2] = {{"false", "true"}, {"0", "1"}, {"no", "yes"}, {"off", "on"}};
    for (size_t i = 0; i < SBX_ARRAY_LEN(words); i++) {
        for (int value = 0; value < 2; value++) {
            if (strcasecmp(text, words[i][value]) == 0)
                return value;
        }
    }
    return -1;
}

/* The choice that text names in any case, in the table's spelling; NULL when there is none or no memory. */
static char *parse_choice(const char *choices, const char *text)
{
    errno = EINVAL;
    for (const char *at = choices; *at; at += strspn(at, " ")) {
        size_t n = strcspn(at, " ");
        if (strlen(text) == n && strncasecmp(at, text, n) == 0)
            return strndup(at, n);
        at += n;
    }
    return NULL;
}

static char *parse_text(const struct sbx_setting *setting, const char *text)
{
    size_t n = strlen(text);
    errno = EINVAL;
    if (n > SBX_SETTING_TEXT_MAX)
        return NULL;
    for (size_t i = 0; i < n; i++) {
        if ((unsigned char)text[i] < ' ' || text[i] == 0x7F)
            return NULL;
    }
    char *copy = strdup(text);
    if (copy && setting->check && !setting->check(copy)) {
        free(copy);
        errno = EINVAL;
        return NULL;
    }
    return copy;
}

static int store_string(void *at, char *value)
{
    if (!value)
        return -1;
    free(*(char **)at);
    *(char **)at = value;
    return 0;
}

static int store_int(const struct sbx_setting *setting, void *at, int64_t value)
{
    if (value < setting->min || value > setting->max)
        return -1;
    *(int64_t *)at = value;
    return 0;
}

/* text without blanks around it */
static int parse_number(const struct sbx_setting *setting, const char *text, void *at)
{
    double rate;
    int truth;
    switch (setting->type) {
    case SBX_SETTING_INT:
        return store_int(setting, at, parse_int(text));
    case SBX_SETTING_SECONDS:
        return store_int(setting, at, parse_seconds(text));
    case SBX_SETTING_SIZE:
        return store_int(setting, at, parse_size(text));
    case SBX_SETTING_RATE:
        rate = parse_rate(text);
        if (rate < 0)
            return -1;
        *(double *)at = rate;
        return 0;
    case SBX_SETTING_BOOL:
        truth = parse_bool(text);
        if (truth < 0)
            return -1;
        *(bool *)at = truth == 1;
        return 0;
    case SBX_SETTING_TEXT:
    case SBX_SETTING_CHOICE:
        break;
    }
    return -1;
}

int sbx_setting_parse(const struct sbx_setting *setting, const char *text, struct sbx_config *config)
{
    void *at = (char *)config + setting->offset;
    char bare[NUMBER_TEXT];
    if (setting->type == SBX_SETTING_TEXT)
        return store_string(at, parse_text(setting, text));
    text += strspn(text, " \t");
    size_t n = strlen(text);
    while (n > 0 && (text[n - 1] == ' ' || text[n - 1] == '\t'))
        n--;
    errno = EINVAL;
    if (n >= sizeof(bare))
        return -1;
    memcpy(bare, text, n);
    bare[n] = '\0';
    if (setting->type == SBX_SETTING_CHOICE)
        return store_string(at, parse_choice(setting->choices, bare));
    return parse_number(setting, bare, at);
}

/* Milliseconds as seconds, without zeros at the end. */
static void format_seconds(int64_t ms, char *out, size_t size)
{
    int decimals = ms % 1000 == 0 ? 0 : ms % 100 == 0 ? 1 : ms % 10 == 0 ? 2 : 3;
    int64_t fraction = ms % 1000;
    for (int i = decimals; i < 3; i++)
        fraction /= 10;
    if (decimals == 0)
        snprintf(out, size, "%lld", (long long)(ms / 1000));
    else
        snprintf(out, size, "%lld.%0*lld", (long long)(ms / 1000), decimals, (long long)fraction);
}

void sbx_setting_format(const struct sbx_setting *setting, const struct sbx_config *config, char *out,
                        size_t size)
{
    const void *at = (const char *)config + setting->offset;
    const char *text;
    switch (setting->type) {
    case SBX_SETTING_TEXT:
    case SBX_SETTING_CHOICE:
        text = *(char *const *)at;
        snprintf(out, size, "%s", text ? text : "");
        return;
    case SBX_SETTING_BOOL:
        snprintf(out, size, "%s", *(const bool *)at ? "true" : "false");
        return;
    case SBX_SETTING_RATE:
        snprintf(out, size, "%.15g", *(const double *)at);
        return;
    case SBX_SETTING_SECONDS:
        format_seconds(*(const int64_t *)at, out, size);
        return;
    case SBX_SETTING_INT:
    case SBX_SETTING_SIZE:
        snprintf(out, size, "%lld", (long long)*(const int64_t *)at);
        return;
    }
}

/* "DEBUG INFO" → "DEBUG, INFO" */
static void list_choices(const char *choices, char *out, size_t size)
{
    size_t len = 0;
    for (const char *at = choices; *at && len + 3 < size; at++) {
        if (*at == ' ')
            out[len++] = ',';
        out[len++] = *at;
    }
    out[len] = '\0';
}

void sbx_setting_allowed(const struct sbx_setting *setting, char *out, size_t size)
{
    char lo[NUMBER_TEXT], hi[NUMBER_TEXT], list[128];
    switch (setting->type) {
    case SBX_SETTING_TEXT:
        snprintf(out, size, "%s", setting->allowed);
        return;
    case SBX_SETTING_CHOICE:
        list_choices(setting->choices, list, sizeof(list));
        snprintf(out, size, "one of %s", list);
        return;
    case SBX_SETTING_BOOL:
        snprintf(out, size, "true or false");
        return;
    case SBX_SETTING_RATE:
        snprintf(out, size, "a number from 0 to 1");
        return;
    case SBX_SETTING_SECONDS:
        format_seconds(setting->min, lo, sizeof(lo));
        format_seconds(setting->max, hi, sizeof(hi));
        snprintf(out, size, "seconds from %s to %s, with up to three decimals", lo, hi);
        return;
    case SBX_SETTING_INT:
        snprintf(out, size, "a whole number%s%s from %lld to %lld", setting->units ? " of " : "",
                 setting->units ? setting->units : "", (long long)setting->min, (long long)setting->max);
        return;
    case SBX_SETTING_SIZE:
        snprintf(out, size, "bytes from %lld to %lld, plain or with K, M or G", (long long)setting->min,
                 (long long)setting->max);
        return;
    }
}
