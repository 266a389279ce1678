/* An extended regular expression as an automaton with forks (Thompson's construction). Anchors and the like
 * are taken as always true, the upper end of {m,n} as open: regexec has the last word. */
#include "agent/fs_nfa.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#define MAX_REPEAT 200
#define MAX_DEPTH  100

/* Part of an automaton: where it begins, and the node whose `next` is open. */
struct part {
    int first, last;
};

static struct fs_nfa nfa;
static bool failed; /* something that is left to regexec alone */

static int add(int kind)
{
    if (nfa.count == FS_NODES_MAX) {
        failed = true;
        return 0;
    }
    nfa.nodes[nfa.count] = (struct fs_node){.kind = kind, .next = FS_NODE_NONE, .other = FS_NODE_NONE};
    return nfa.count++;
}

static void include(struct fs_node *node, unsigned char c)
{
    if (c != '\n')
        node->set[c / 8] |= (uint8_t)(1 << c % 8);
}

static struct part nothing(void)
{
    int node = add(FS_NODE_SPLIT);
    return (struct part){node, node};
}

static bool in_named(const char *name, size_t n, unsigned char c)
{
    static const struct {
        const char *name;
        int (*is)(int);
    } classes[] = {{"alpha", isalpha}, {"digit", isdigit}, {"alnum", isalnum}, {"upper", isupper},
                   {"lower", islower}, {"space", isspace}, {"blank", isblank}, {"punct", ispunct},
                   {"print", isprint}, {"graph", isgraph}, {"cntrl", iscntrl}, {"xdigit", isxdigit}};
    for (size_t i = 0; i < sizeof(classes) / sizeof(classes[0]); i++)
        if (strlen(classes[i].name) == n && memcmp(classes[i].name, name, n) == 0)
            return classes[i].is(c) != 0;
    failed = true;
    return false;
}

/* [:name:] at *p, which goes behind it. */
static void include_named(struct fs_node *node, const char **p)
{
    const char *name = *p + 2;
    const char *end = strstr(name, ":]");
    if (!end) {
        failed = true;
        return;
    }
    for (unsigned c = 0; c < 256; c++)
        if (in_named(name, (size_t)(end - name), (unsigned char)c))
            include(node, (unsigned char)c);
    *p = end + 2;
}

static struct part parse_class(const char **pattern)
{
    const char *p = *pattern + 1;
    int at = add(FS_NODE_SET);
    struct fs_node *node = &nfa.nodes[at];
    bool negated = *p == '^';
    p += negated;
    for (bool first = true; !failed && (first || *p != ']'); first = false) {
        if (*p == '\0' || (p[0] == '[' && (p[1] == '.' || p[1] == '='))) {
            failed = true;
        } else if (p[0] == '[' && p[1] == ':') {
            include_named(node, &p);
        } else {
            unsigned char low = (unsigned char)*p++;
            unsigned char high = low;
            if (p[0] == '-' && p[1] != ']' && p[1] != '\0') {
                failed |= p[1] == '[';
                high = (unsigned char)p[1];
                p += 2;
            }
            for (unsigned c = low; c <= high; c++)
                include(node, (unsigned char)c);
        }
    }
    for (size_t i = 0; negated && i < sizeof(node->set); i++)
        node->set[i] = (uint8_t)~node->set[i];
    if (negated)
        node->set['\n' / 8] &= (uint8_t) ~(1 << '\n' % 8);
    *pattern = failed ? p : p + 1;
    return (struct part){at, at};
}

static struct part of_kind(bool (*wanted)(unsigned char))
{
    int at = add(FS_NODE_SET);
    for (unsigned c = 0; c < 256; c++)
        if (wanted((unsigned char)c))
            include(&nfa.nodes[at], (unsigned char)c);
    return (struct part){at, at};
}

static bool any(unsigned char c)
{
    return true;
}

static bool word(unsigned char c)
{
    return isalnum(c) || c == '_';
}

static bool no_word(unsigned char c)
{
    return !word(c);
}

static bool space(unsigned char c)
{
    return isspace(c) != 0;
}

static bool no_space(unsigned char c)
{
    return !isspace(c);
}

static struct part literal(char c)
{
    int at = add(FS_NODE_SET);
    include(&nfa.nodes[at], (unsigned char)c);
    return (struct part){at, at};
}

static struct part parse_escape(char c)
{
    switch (c) {
    case 'w':
        return of_kind(word);
    case 'W':
        return of_kind(no_word);
    case 's':
        return of_kind(space);
    case 'S':
        return of_kind(no_space);
    case 'b':
    case 'B':
    case '<':
    case '>':
    case '`':
    case '\'':
        return nothing();
    default:
        failed |= isalnum((unsigned char)c) || c == '\0';
        return literal(c);
    }
}

static struct part parse_alternatives(const char **pattern, unsigned depth);

static struct part parse_atom(const char **pattern, unsigned depth)
{
    char c = **pattern;
    struct part part;
    if (c == '[')
        return parse_class(pattern);
    ++*pattern;
    switch (c) {
    case '(':
        part = parse_alternatives(pattern, depth + 1);
        failed |= **pattern != ')';
        *pattern += !failed;
        return part;
    case '.':
        return of_kind(any);
    case '^':
    case '$':
        return nothing();
    case '\\':
        part = parse_escape(**pattern);
        *pattern += !failed;
        return part;
    case '*':
    case '+':
    case '?':
    case '{':
        failed = true; /* of nothing: what that means is regexec's business */
        return nothing();
    default:
        return literal(c);
    }
}

static struct part then(struct part left, struct part right)
{
    nfa.nodes[left.last].next = right.first;
    return (struct part){left.first, right.last};
}

/* Any number of times, or at least once, or at most once. */
static struct part repeat(struct part part, char how)
{
    int split = add(FS_NODE_SPLIT);
    int end = add(FS_NODE_SPLIT);
    nfa.nodes[split].next = part.first;
    nfa.nodes[split].other = end;
    nfa.nodes[part.last].next = how == '?' ? end : split;
    return (struct part){how == '+' ? part.first : split, end};
}

/* {m}, {m,} or {m,n} behind an atom that stands at `atom`: m times, and then any number. */
static struct part parse_interval(const char **pattern, const char *atom, struct part part, unsigned depth)
{
    char *end;
    unsigned long least =
        isdigit((unsigned char)(*pattern)[1]) ? strtoul(*pattern + 1, &end, 10) : MAX_REPEAT;
    const char *close = strchr(*pattern, '}');
    if (least >= MAX_REPEAT || !close) {
        failed = true;
        return part;
    }
    *pattern = close + 1;
    for (unsigned long i = 1; i < least && !failed; i++) {
        const char *again = atom;
        part = then(part, parse_atom(&again, depth));
    }
    const char *more = atom;
    return least == 0 ? repeat(part, '*') : then(part, repeat(parse_atom(&more, depth), '*'));
}

static struct part parse_repeated(const char **pattern, unsigned depth)
{
    const char *atom = *pattern;
    struct part part = parse_atom(pattern, depth);
    for (bool first = true; !failed && **pattern && strchr("*+?{", **pattern); first = false) {
        if (**pattern == '{') {
            failed |= !first;
            part = failed ? part : parse_interval(pattern, atom, part, depth);
        } else {
            part = repeat(part, *(*pattern)++);
        }
    }
    return part;
}

static struct part parse_alternatives(const char **pattern, unsigned depth)
{
    failed |= depth > MAX_DEPTH;
    struct part part = nothing();
    while (!failed && **pattern && **pattern != '|' && **pattern != ')')
        part = then(part, parse_repeated(pattern, depth));
    if (failed || **pattern != '|')
        return part;
    ++*pattern;
    struct part other = parse_alternatives(pattern, depth);
    int split = add(FS_NODE_SPLIT);
    int end = add(FS_NODE_SPLIT);
    nfa.nodes[split].next = part.first;
    nfa.nodes[split].other = other.first;
    nfa.nodes[part.last].next = nfa.nodes[other.last].next = end;
    return (struct part){split, end};
}

const struct fs_nfa *fs_nfa_parse(const char *expression)
{
    nfa.count = 0;
    failed = false;
    struct part part = parse_alternatives(&expression, 0);
    nfa.nodes[part.last].next = add(FS_NODE_END);
    nfa.begin = part.first;
    return failed || *expression ? NULL : &nfa;
}
