/*
 * Where a line may match an extended regular expression, found in one pass over the bytes. glibc's regexec
 * begins anew at every byte; this follows all beginnings at once, through an automaton whose states are made
 * when they are first met. It may say yes too often (anchors and the like are taken as always true, the upper
 * end of {m,n} as open), and whoever asks lets regexec have the last word; it never says no to a line that
 * matches.
 */
#include <string.h>

#include "agent/fs.h"
#include "agent/fs_nfa.h"

#define MAX_STATES 400
#define UNKNOWN    UINT16_MAX

static const struct fs_nfa *nfa;

/* The states: sets of nodes, and where each byte leads. */
static uint8_t members[MAX_STATES][(FS_NODES_MAX + 7) / 8];
static uint16_t leads[MAX_STATES][256];
static bool accepts[MAX_STATES];
static unsigned states;

/* Put a node into a set, with all that it leads to without a byte. */
static void reach(uint8_t *set, int node)
{
    static int todo[2 * FS_NODES_MAX + 1];
    int n = 0;
    todo[n++] = node;
    while (n > 0) {
        int at = todo[--n];
        if (at == FS_NODE_NONE || (set[at / 8] & 1 << at % 8))
            continue;
        set[at / 8] |= (uint8_t)(1 << at % 8);
        if (nfa->nodes[at].kind == FS_NODE_SPLIT) {
            todo[n++] = nfa->nodes[at].next;
            todo[n++] = nfa->nodes[at].other;
        }
    }
}

static bool has_end(const uint8_t *set)
{
    for (int i = 0; i < nfa->count; i++)
        if (nfa->nodes[i].kind == FS_NODE_END && (set[i / 8] & 1 << i % 8))
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
    reach(set, nfa->begin);
    for (int i = 0; i < nfa->count; i++)
        if ((members[from][i / 8] & 1 << i % 8) && nfa->nodes[i].kind == FS_NODE_SET &&
            (nfa->nodes[i].set[c / 8] & 1 << c % 8))
            reach(set, nfa->nodes[i].next);
    unsigned before = states;
    unsigned to = state_of(set);
    if (states >= before) /* else `from` is forgotten */
        leads[from][c] = (uint16_t)to;
    return to;
}

bool fs_scan_compile(const char *expression)
{
    uint8_t set[sizeof(members[0])] = {0};
    states = 0;
    nfa = fs_nfa_parse(expression);
    if (!nfa)
        return false;
    reach(set, nfa->begin);
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
