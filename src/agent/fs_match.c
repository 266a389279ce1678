/* Shell patterns for names and paths, matched as bytes. */
#include <string.h>

#include "agent/fs.h"

/* Does c match the class that starts at *pattern (behind its bracket)? *pattern goes behind its end; NULL
 * when it has none, and the bracket then means itself. */
static bool in_class(const char **pattern, unsigned char c)
{
    const unsigned char *p = (const unsigned char *)*pattern;
    bool negated = *p == '!' || *p == '^';
    bool found = false;
    p += negated;
    for (bool first = true; first || *p != ']'; first = false) {
        if (*p == '\\' && p[1] != '\0')
            p++;
        if (*p == '\0') {
            *pattern = NULL;
            return false;
        }
        unsigned char low = *p++;
        unsigned char high = low;
        if (p[0] == '-' && p[1] != ']' && p[1] != '\0') {
            high = p[1];
            p += 2;
        }
        found |= c >= low && c <= high;
    }
    *pattern = (const char *)p + 1;
    return found != negated;
}

/* One character of text against what stands at *pattern, which goes on behind it. */
static bool one(const char **pattern, char c)
{
    const char *p = *pattern;
    if (*p == '?') {
        *pattern = p + 1;
        return true;
    }
    if (*p == '[') {
        const char *behind = p + 1;
        bool found = in_class(&behind, (unsigned char)c);
        if (behind) {
            *pattern = behind;
            return found;
        }
    }
    if (*p == '\\' && p[1] != '\0')
        p++;
    *pattern = p + 1;
    return *p == c;
}

/* A component against a pattern's: [pattern, pattern_end). A star that fails is given one more character. */
static bool match_name(const char *pattern, const char *pattern_end, const char *name, const char *name_end)
{
    const char *star = NULL;
    const char *again = NULL;
    while (name < name_end || pattern < pattern_end) {
        if (pattern < pattern_end && *pattern == '*') {
            star = ++pattern;
            again = name;
            continue;
        }
        const char *next = pattern;
        if (pattern < pattern_end && name < name_end && one(&next, *name) && next <= pattern_end) {
            pattern = next;
            name++;
            continue;
        }
        if (!star || again >= name_end)
            return false;
        pattern = star;
        name = ++again;
    }
    return true;
}

static const char *end_of(const char *component)
{
    return component + strcspn(component, "/");
}

static const char *behind(const char *end)
{
    return end + strspn(end, "/");
}

/* Like stars within a name, `**` takes one component more whenever what follows it does not match. */
bool fs_match(const char *pattern, const char *path)
{
    const char *star = NULL;
    const char *again = NULL;
    for (;;) {
        const char *pattern_end = end_of(pattern);
        if (pattern_end - pattern == 2 && memcmp(pattern, "**", 2) == 0) {
            pattern = behind(pattern_end);
            if (*pattern == '\0')
                return *path != '\0';
            star = pattern;
            again = path;
            continue;
        }
        if (*pattern == '\0' && *path == '\0')
            return true;
        const char *path_end = end_of(path);
        if (*pattern != '\0' && *path != '\0' && match_name(pattern, pattern_end, path, path_end)) {
            pattern = behind(pattern_end);
            path = behind(path_end);
            continue;
        }
        if (!star || *again == '\0')
            return false;
        again = behind(end_of(again));
        pattern = star;
        path = again;
        if (*path == '\0')
            return false;
    }
}

bool fs_match_entry(const char *pattern, const char *path, const char *name)
{
    return fs_match(pattern, strchr(pattern, '/') ? path : name);
}
