/*
 * What the sanitiser remembers of the names it has seen: every directory and every symlink, never a file. 32
 * bytes and up to 16 more for the index each, plus the last component of the name and a symlink's target;
 * both the number and the bytes have a ceiling. Private to src/archive.
 */
#ifndef SRC_ARCHIVE_TREE_H
#define SRC_ARCHIVE_TREE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "sandboxd/base/err.h"

#define SBX_TREE_ROOT      0u
#define SBX_TREE_NONE      UINT32_MAX
#define SBX_TREE_NODES_MAX (1u << 20)
#define SBX_TREE_TEXT_MAX  (64u << 20) /* names and targets together, bytes */

enum sbx_node_kind {
    SBX_NODE_OTHER, /* was one of the others once; a file by now, or nothing */
    SBX_NODE_DIR,
    SBX_NODE_LINK,
};

enum sbx_node_flag {
    SBX_NODE_MEMBERS = 1, /* directory: something is below it, so it stays a directory */
    SBX_NODE_WRITTEN = 2, /* directory: is in the output */
    SBX_NODE_CHANGED = 4, /* directory: has other attributes by now than the output says */
    SBX_NODE_DEPENDS = 8, /* symlink: sbx_symlink_stays decides at the end whether it is written */
};

struct sbx_node {
    int64_t mtime;
    uint32_t parent; /* always a smaller index than the node's own */
    uint32_t hash;
    uint32_t name;   /* offset of the last component in text */
    uint32_t target; /* symlink: offset of the target, NUL-terminated */
    uint16_t mode;
    uint8_t name_len;
    uint8_t kind;
    uint8_t flags;
};

struct sbx_tree {
    struct sbx_node *nodes; /* 0 is the root */
    uint32_t count, room;
    uint32_t *index; /* open addressing; node numbers, 0 for a free slot */
    uint32_t index_size;
    char *text;
    uint32_t text_len, text_room;
    uint64_t key[2]; /* of the hash: nobody can make names that collide */
};

int sbx_tree_init(struct sbx_tree *tree, struct sbx_err *err) SBX_MUST_CHECK;
void sbx_tree_done(struct sbx_tree *tree);

/* The node of a component in a directory, SBX_TREE_NONE when there is none. */
uint32_t sbx_tree_find(const struct sbx_tree *tree, uint32_t parent, const char *name, size_t n);

/* A new node; the name must not be there yet. Kind OTHER, everything else zero. INVALID at a ceiling. Node
 * pointers are not valid across this call. */
int sbx_tree_add(struct sbx_tree *tree, uint32_t parent, const char *name, size_t n, uint32_t *ret,
                 struct sbx_err *err) SBX_MUST_CHECK;

/* Set the target of a symlink, once or again. */
int sbx_tree_retarget(struct sbx_tree *tree, uint32_t node, const char *target,
                      struct sbx_err *err) SBX_MUST_CHECK;

static inline const char *sbx_tree_target(const struct sbx_tree *tree, uint32_t node)
{
    return tree->text + tree->nodes[node].target;
}

/* The node's whole name, NUL-terminated, into the end of out; returns where it begins. The names came out of
 * sbx_member_name_parse, so SBX_MEMBER_NAME_MAX + 1 bytes are enough. */
const char *sbx_tree_path(const struct sbx_tree *tree, uint32_t node, char *out, size_t size);

#endif
