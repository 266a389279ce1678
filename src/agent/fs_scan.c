/*
 * Where a line may match an extended regular expression, found in one pass over the bytes. glibc's regexec
 * begins anew at every byte; this follows all beginnings at once, through an automaton whose states are made
 * when they are first met. It may say yes too often (anchors and the like are taken as always true, the upper
 * end of {m,n} as open), and whoever asks lets regexec have the last word; it never says no to a line that
 * matches.
 */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "agent/fs.h"

#define MAX_NODES  1500
#define MAX_STATES 400
#define MAX_REPEAT 200
#define MAX_DEPTH  100
#define NONE       (-1)
#define UNKNOWN    UINT16_MAX

struct node {
    enum { SET, SPLIT, END } kind;
    int next, other; /* SPLIT has both */
    uint8_t set[32];
};

/* Part of an automaton: where it begins, and the node whose `next` is open. */
struct part {
    int first, last;
};

static struct node nodes[MAX_NODES];
static int count;
static bool failed; /* something that is left to regexec alone */
static int begin;

/* The states: sets of nodes, and where each byte leads. */
static uint8_t members[MAX_STATES][(MAX_NODES + 7) / 8];
static uint16_t leads[MAX_STATES][256];
static bool accepts[MAX_STATES];
static unsigned states;

static int add(int kind)
{
    if (count == MAX_NODES) {
        failed = true;
        return 0;
    }
    nodes[count] = (struct node){.kind = kind, .next = NONE, .other = NONE};
    return count++;
}

static void include(struct node *node, unsigned char c)
{
    if (c != '\n')
        node->set[c / 8] |= (uint8_t)(1 << c % 8);
}

static struct part nothing(void)
{
    int node = add(SPLIT);
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
static void include_named(struct node *node, const char **p)
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
    int at = add(SET);
    struct node *node = &nodes[at];
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
    int at = add(SET);
    for (unsigned c = 0; c < 256; c++)
        if (wanted((unsigned char)c))
            include(&nodes[at], (unsigned char)c);
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
    int at = add(SET);
    include(&nodes[at], (unsigned char)c);
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
    nodes[left.last].next = right.first;
    return (struct part){left.first, right.last};
}

/* Any number of times, or at least once, or at most once. */
static struct part repeat(struct part part, char how)
{
    int split = add(SPLIT);
    int end = add(SPLIT);
    nodes[split].next = part.first;
    nodes[split].other = end;
    nodes[part.last].next = how == '?' ? end : split;
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
    int split = add(SPLIT);
    int end = add(SPLIT);
    nodes[split].next = part.first;
    nodes[split].other = other.first;
    nodes[part.last].next = nodes[other.last].next = end;
    return (struct part){split, end};
}

/* Put a node into a set, with all that it leads to without a byte. */
static void reach(uint8_t *set, int node)
{
    static int todo[2 * MAX_NODES + 1];
    int n = 0;
    todo[n++] = node;
    while (n > 0) {
        int at = todo[--n];
        if (at == NONE || (set[at / 8] & 1 << at % 8))
            continue;
        set[at / 8] |= (uint8_t)(1 << at % 8);
        if (nodes[at].kind == SPLIT) {
            todo[n++] = nodes[at].next;
            todo[n++] = nodes[at].other;
        }
    }
}

static bool has_end(const uint8_t *set)
{
    for (int i = 0; i < count; i++)
        if (nodes[i].kind == END && (set[i / 8] & 1 << i % 8))
            return true;
    return false;
}

/* The state with these members; all others are forgotten when there are too many. */
static unsigned state_of(const uint8_t *set)
{
    for (unsigned i = 0; i < states; i++)
        if (memcmp(members[i], set, sizeof(members[i])) == 0)
            return i;
    if (states == MAX_STATES) {
        states = 1;
        memset(leads[0], 0xff, sizeof(leads[0]));
        if (memcmp(members[0], set, sizeof(members[0])) == 0)
            return 0;
    }
    memcpy(members[states], set, sizeof(members[states]));
    memset(leads[states], 0xff, sizeof(leads[states]));
    accepts[states] = has_end(set);
    return states++;
}

static unsigned step(unsigned from, unsigned char c)
{
    uint8_t set[sizeof(members[0])] = {0};
    reach(set, begin);
    for (int i = 0; i < count; i++)
        if ((members[from][i / 8] & 1 << i % 8) && nodes[i].kind == SET && (nodes[i].set[c / 8] & 1 << c % 8))
            reach(set, nodes[i].next);
    unsigned before = states;
    unsigned to = state_of(set);
    if (states >= before) /* else `from` is forgotten */
        leads[from][c] = (uint16_t)to;
    return to;
}

bool fs_scan_compile(const char *expression)
{
    uint8_t set[sizeof(members[0])] = {0};
    count = 0;
    states = 0;
    failed = false;
    struct part part = parse_alternatives(&expression, 0);
    int end = add(END);
    nodes[part.last].next = end;
    begin = part.first;
    if (failed || *expression)
        return false;
    reach(set, begin);
    return !accepts[state_of(set)];
}

const char *fs_scan(const char *from, const char *end)
{
    unsigned state = 0;
    for (const char *p = from; p < end; p++) {
        unsigned char c = (unsigned char)*p;
        unsigned to = leads[state][c];
        state = to != UNKNOWN ? to : step(state, c);
        if (accepts[state])
            return p;
    }
    return NULL;
}
