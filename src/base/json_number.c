#include "base/json_number.h"

#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MAX_INT_TEXT    4300
#define MAX_DOUBLE_TEXT 1024

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static void strip(const char **s, size_t *n)
{
    while (*n > 0 && isspace((unsigned char)(*s)[0])) {
        (*s)++;
        (*n)--;
    }
    while (*n > 0 && isspace((unsigned char)(*s)[*n - 1]))
        (*n)--;
}

/* "5.000" is the integer 5: the length without such a tail. */
static size_t without_zeros(const char *s, size_t n)
{
    size_t end = n;
    while (end > 0 && s[end - 1] == '0')
        end--;
    return end < n && end > 1 && s[end - 1] == '.' && is_digit(s[end - 2]) ? end - 1 : n;
}

enum sbx_number sbx_number_int(const char *s, size_t n, int64_t *ret)
{
    strip(&s, &n);
    if (n > MAX_INT_TEXT)
        return SBX_NUMBER_TOO_LONG;
    n = without_zeros(s, n);
    size_t at = n > 0 && (s[0] == '-' || s[0] == '+') ? 1 : 0;
    bool negative = at > 0 && s[0] == '-';
    if (at == n || !is_digit(s[at]) || !is_digit(s[n - 1]))
        return SBX_NUMBER_BAD;
    const uint64_t limit = negative ? (uint64_t)INT64_MAX + 1 : INT64_MAX;
    uint64_t value = 0;
    bool beyond = false;
    for (; at < n; at++) {
        if (s[at] == '_' && s[at - 1] != '_')
            continue;
        if (!is_digit(s[at]))
            return SBX_NUMBER_BAD;
        uint64_t digit = (uint64_t)(s[at] - '0');
        beyond = beyond || value > (limit - digit) / 10;
        value = beyond ? limit : value * 10 + digit;
    }
    if (beyond)
        return negative ? SBX_NUMBER_LOW : SBX_NUMBER_HIGH;
    *ret = negative ? (int64_t)(0 - value) : (int64_t)value;
    return SBX_NUMBER_GOOD;
}

/* A decimal number and nothing else? Keeps out what strtod takes besides, such as hexadecimal. */
static bool is_decimal(const char *s)
{
    s += *s == '+' || *s == '-';
    size_t digits = strspn(s, "0123456789");
    s += digits;
    if (*s == '.') {
        size_t more = strspn(s + 1, "0123456789");
        s += 1 + more;
        digits += more;
    }
    if (digits == 0)
        return false;
    if (*s == 'e' || *s == 'E') {
        s += s[1] == '+' || s[1] == '-' ? 2 : 1;
        digits = strspn(s, "0123456789");
        s += digits;
    }
    return digits > 0 && *s == '\0';
}

static bool is_word(const char *s)
{
    s += *s == '+' || *s == '-';
    return strcasecmp(s, "inf") == 0 || strcasecmp(s, "infinity") == 0 || strcasecmp(s, "nan") == 0;
}

enum sbx_number sbx_number_double(const char *s, size_t n, double *ret)
{
    char text[MAX_DOUBLE_TEXT + 1];
    size_t len = 0;
    strip(&s, &n);
    if (n > MAX_DOUBLE_TEXT || n == 0 || s[0] == '_' || s[n - 1] == '_')
        return SBX_NUMBER_BAD;
    for (size_t i = 0; i < n; i++) {
        if (s[i] == '\0' || (s[i] == '_' && s[i - 1] == '_'))
            return SBX_NUMBER_BAD;
        if (s[i] != '_')
            text[len++] = s[i];
    }
    text[len] = '\0';
    if (!is_decimal(text) && !is_word(text))
        return SBX_NUMBER_BAD;
    *ret = strtod(text, NULL);
    return SBX_NUMBER_GOOD;
}
