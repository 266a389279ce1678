/* The longest text that an extended regular expression cannot match without. */
#include <string.h>

#include "agent/fs.h"

struct run {
    char text[FS_LITERAL_MAX + 1];
    size_t len;
};

/* Behind a bracket expression that starts at p. */
static const char *skip_class(const char *p)
{
    p++;
    p += *p == '^';
    p += *p == ']';
    while (*p && *p != ']') {
        if (p[0] == '[' && (p[1] == ':' || p[1] == '.' || p[1] == '=')) {
            char kind = p[1];
            for (p += 2; *p && !(p[0] == kind && p[1] == ']'); p++)
                ;
            p += *p ? 2 : 0;
        } else {
            p++;
        }
    }
    return *p ? p + 1 : p;
}

/* Behind a group that starts at p; NULL where it does not end. */
static const char *skip_group(const char *p)
{
    int depth = 0;
    while (*p) {
        if (*p == '[') {
            p = skip_class(p);
            continue;
        }
        if (*p == '\\' && p[1])
            p++;
        else if (*p == '(')
            depth++;
        else if (*p == ')' && --depth == 0)
            return p + 1;
        p++;
    }
    return NULL;
}

static void end_run(struct run *run, struct run *best)
{
    if (run->len > best->len)
        *best = *run;
    run->len = 0;
}

/* A character that means itself: *p goes behind it. */
static bool take_plain(const char **p, char *ret)
{
    const char *at = *p;
    if (*at == '\\') {
        /* letters and digits behind a backslash have meanings of their own */
        if (!strchr(".[]()*+?{}^$|\\/-", at[1]) || at[1] == '\0')
            return false;
        at++;
    } else if (strchr(".[]()*+?{}^$|", *at)) {
        return false;
    }
    *ret = *at;
    *p = at + 1;
    return true;
}

void fs_literal(const char *expression, char out[FS_LITERAL_MAX + 1], bool *whole)
{
    static struct run run, best;
    const char *p = expression;
    char c;
    run.len = best.len = 0;
    *whole = true;
    while (p && *p) {
        if (run.len < FS_LITERAL_MAX && take_plain(&p, &c)) {
            run.text[run.len++] = c;
            continue;
        }
        *whole = false;
        if (*p == '|') { /* either side will do */
            best.len = 0;
            run.len = 0;
            break;
        }
        if (*p == '*' || *p == '?' || *p == '{')
            run.len -= run.len > 0;
        end_run(&run, &best);
        if (*p == '{')
            p += strcspn(p, "}");
        if (*p == '[')
            p = skip_class(p);
        else if (*p == '(')
            p = skip_group(p);
        else if (*p == '\\' && p[1])
            p += 2;
        else if (*p)
            p++;
    }
    end_run(&run, &best);
    memcpy(out, best.text, best.len);
    out[p ? best.len : 0] = '\0';
}
