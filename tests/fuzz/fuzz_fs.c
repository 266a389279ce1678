/*
 * File operations. Input: a choice, the size of pieces, bytes. Fields of an agent in pieces; patterns of
 * names against names; the text that a regular expression cannot match without, against what regexec says.
 */
#include <regex.h>
#include <stdlib.h>
#include <string.h>

#include "agent/fs.h"
#include "fuzz.h"
#include "session/internal.h"

static int see(void *arg, const struct sbx_field *field, struct sbx_err *err)
{
    size_t *bytes = arg;
    FUZZ_CHECK(field->len <= SBX_FS_FIELD_MAX);
    *bytes += 5 + field->len;
    return 0;
}

static void fields(const uint8_t *data, size_t n, size_t piece)
{
    struct sbx_fields reader;
    struct sbx_err err = SBX_ERR_INIT;
    size_t bytes = 0;
    sbx_fields_init(&reader, see, &bytes);
    for (size_t at = 0; at < n; at += piece)
        if (sbx_fields_add(&reader, data + at, n - at < piece ? n - at : piece, &err) < 0)
            break;
    FUZZ_CHECK(bytes <= n);
    sbx_fields_done(&reader);
}

/* Two strings: up to the first newline, and the rest. */
static bool split(char *text, char **second)
{
    char *newline = strchr(text, '\n');
    if (!newline)
        return false;
    *newline = '\0';
    *second = newline + 1;
    return true;
}

static void patterns(char *pattern, const char *path)
{
    bool found = fs_match(pattern, path);
    if (strcmp(pattern, "**") == 0)
        FUZZ_CHECK(found == (path[0] != '\0'));
    if (!strpbrk(pattern, "*?[\\/") && !strchr(path, '/'))
        FUZZ_CHECK(found == (strcmp(pattern, path) == 0));
}

/* glibc takes seconds and gigabytes for some: "a+++++++". */
static bool is_costly(const char *expression)
{
    for (const char *p = expression; *p; p++)
        if (strchr("*+?", p[0]) && p[1] && strchr("*+?)", p[1]))
            return true;
    return strlen(expression) > 40 || strpbrk(expression, "{\\");
}

static void literals(const char *expression, const char *line)
{
    char literal[FS_LITERAL_MAX + 1];
    bool whole;
    regex_t regex;
    if (is_costly(expression) || strchr(line, '\n'))
        return;
    fs_literal(expression, literal, &whole);
    if (regcomp(&regex, expression, REG_EXTENDED | REG_NEWLINE) != 0)
        return;
    bool scanned = fs_scan_compile(expression);
    bool matches = regexec(&regex, line, 0, NULL, 0) == 0;
    FUZZ_CHECK(!matches || strstr(line, literal));
    if (scanned) {
        const char *hit = fs_scan(line, line + strlen(line));
        FUZZ_CHECK(!matches || hit);
        FUZZ_CHECK(!hit || (hit >= line && hit < line + strlen(line)));
    }
    FUZZ_CHECK(!whole || matches == (strstr(line, expression) != NULL));
    regfree(&regex);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    if (n < 2)
        return 0;
    if (data[0] % 3 == 0) {
        fields(data + 2, n - 2, 1 + data[1]);
        return 0;
    }
    char *text = malloc(n - 1);
    char *second;
    memcpy(text, data + 2, n - 2);
    text[n - 2] = '\0';
    if (split(text, &second)) {
        if (data[0] % 3 == 1)
            patterns(text, second);
        else
            literals(text, second);
    }
    free(text);
    return 0;
}
