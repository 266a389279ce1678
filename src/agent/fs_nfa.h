/* What fs_nfa.c makes of an expression and fs_scan.c follows. */
#ifndef SBX_AGENT_FS_NFA_H
#define SBX_AGENT_FS_NFA_H

#include <stdbool.h>
#include <stdint.h>

#define FS_NODES_MAX 1500
#define FS_NODE_NONE (-1)

/* A step over one of a set of bytes, a fork that takes no byte, or the end: a match. */
struct fs_node {
    enum { FS_NODE_SET, FS_NODE_SPLIT, FS_NODE_END } kind;
    int next, other; /* FS_NODE_SPLIT has both; FS_NODE_NONE: leads nowhere */
    uint8_t set[32];
};

struct fs_nfa {
    struct fs_node nodes[FS_NODES_MAX];
    int count;
    int begin;
};

/* The automaton of an extended regular expression, which accepts at least what the expression matches. NULL:
 * something in it is left to regexec alone, or it is too large. Valid until the next call. */
const struct fs_nfa *fs_nfa_parse(const char *expression);

#endif
