#include "archive/tree.h"

#include <stdlib.h>
#include <string.h>

#include "sandboxd/base/util.h"

#define FIRST_NODES 64u
#define FIRST_INDEX 128u
#define FIRST_TEXT  4096u

static uint64_t rotate(uint64_t x, int n)
{
    return x << n | x >> (64 - n);
}

static void sip_round(uint64_t v[4])
{
    v[0] += v[1], v[1] = rotate(v[1], 13) ^ v[0], v[0] = rotate(v[0], 32);
    v[2] += v[3], v[3] = rotate(v[3], 16) ^ v[2];
    v[0] += v[3], v[3] = rotate(v[3], 21) ^ v[0];
    v[2] += v[1], v[1] = rotate(v[1], 17) ^ v[2], v[2] = rotate(v[2], 32);
}

/* SipHash-1-3 of the parent's number and the component, folded to 32 bits. */
static uint32_t hash_of(const struct sbx_tree *tree, uint32_t parent, const char *name, size_t n)
{
    uint64_t v[4] = {tree->key[0] ^ 0x736f6d6570736575, tree->key[1] ^ 0x646f72616e646f6d,
                     tree->key[0] ^ 0x6c7967656e657261, tree->key[1] ^ 0x7465646279746573};
    uint64_t word = (uint64_t)parent << 8 | (uint8_t)n;
    for (;;) {
        v[3] ^= word;
        sip_round(v);
        v[0] ^= word;
        if (n == 0)
            break;
        size_t take = n < sizeof(word) ? n : sizeof(word);
        word = 0;
        memcpy(&word, name, take);
        name += take;
        n -= take;
    }
    v[2] ^= 0xff;
    for (int i = 0; i < 3; i++)
        sip_round(v);
    uint64_t sum = v[0] ^ v[1] ^ v[2] ^ v[3];
    return (uint32_t)(sum ^ sum >> 32);
}

int sbx_tree_init(struct sbx_tree *tree, struct sbx_err *err)
{
    *tree = (struct sbx_tree){
        .count = 1, .room = FIRST_NODES, .index_size = FIRST_INDEX, .text_room = FIRST_TEXT};
    sbx_random(tree->key, sizeof(tree->key));
    tree->nodes = malloc(FIRST_NODES * sizeof(*tree->nodes));
    tree->index = calloc(FIRST_INDEX, sizeof(*tree->index));
    tree->text = malloc(FIRST_TEXT);
    if (!tree->nodes || !tree->index || !tree->text)
        return sbx_err_set(err, SBX_ERR_INTERNAL, "out of memory for the names of an archive");
    tree->nodes[SBX_TREE_ROOT] =
        (struct sbx_node){.kind = SBX_NODE_DIR, .flags = SBX_NODE_MEMBERS | SBX_NODE_WRITTEN};
    return 0;
}

void sbx_tree_done(struct sbx_tree *tree)
{
    free(tree->nodes);
    free(tree->index);
    free(tree->text);
    *tree = (struct sbx_tree){0};
}

uint32_t sbx_tree_find(const struct sbx_tree *tree, uint32_t parent, const char *name, size_t n)
{
    uint32_t hash = hash_of(tree, parent, name, n);
    for (uint32_t slot = hash & (tree->index_size - 1); tree->index[slot] != 0;
         slot = (slot + 1) & (tree->index_size - 1)) {
        const struct sbx_node *node = &tree->nodes[tree->index[slot]];
        if (node->hash == hash && node->parent == parent && node->name_len == n &&
            memcmp(tree->text + node->name, name, n) == 0)
            return tree->index[slot];
    }
    return SBX_TREE_NONE;
}

static void index_put(struct sbx_tree *tree, uint32_t number)
{
    uint32_t slot = tree->nodes[number].hash & (tree->index_size - 1);
    while (tree->index[slot] != 0)
        slot = (slot + 1) & (tree->index_size - 1);
    tree->index[slot] = number;
}

/* Room for one more node, in the array and in an index that is at most half full. */
static int grow_nodes(struct sbx_tree *tree, struct sbx_err *err)
{
    if (tree->count >= SBX_TREE_NODES_MAX)
        return sbx_err_set(err, SBX_ERR_INVALID, "more than %u directories and symlinks", SBX_TREE_NODES_MAX);
    if (tree->count == tree->room) {
        struct sbx_node *nodes = realloc(tree->nodes, (size_t)tree->room * 2 * sizeof(*nodes));
        if (!nodes)
            return sbx_err_set(err, SBX_ERR_INTERNAL, "out of memory for the names of an archive");
        tree->nodes = nodes;
        tree->room *= 2;
    }
    if (tree->count >= tree->index_size / 2) {
        uint32_t *index = calloc((size_t)tree->index_size * 2, sizeof(*index));
        if (!index)
            return sbx_err_set(err, SBX_ERR_INTERNAL, "out of memory for the names of an archive");
        free(tree->index);
        tree->index = index;
        tree->index_size *= 2;
        for (uint32_t i = 1; i < tree->count; i++)
            index_put(tree, i);
    }
    return 0;
}

static int add_text(struct sbx_tree *tree, const char *bytes, size_t n, uint32_t *ret, struct sbx_err *err)
{
    size_t need = tree->text_len + n;
    if (need > SBX_TREE_TEXT_MAX)
        return sbx_err_set(err, SBX_ERR_INVALID,
                           "the names of directories and symlinks take more than %u bytes",
                           SBX_TREE_TEXT_MAX);
    if (need > tree->text_room) {
        size_t room = tree->text_room;
        while (room < need)
            room *= 2;
        char *text = realloc(tree->text, room);
        if (!text)
            return sbx_err_set(err, SBX_ERR_INTERNAL, "out of memory for the names of an archive");
        tree->text = text;
        tree->text_room = (uint32_t)room;
    }
    memcpy(tree->text + tree->text_len, bytes, n);
    *ret = tree->text_len;
    tree->text_len = (uint32_t)need;
    return 0;
}

int sbx_tree_add(struct sbx_tree *tree, uint32_t parent, const char *name, size_t n, uint32_t *ret,
                 struct sbx_err *err)
{
    struct sbx_node node = {.parent = parent, .hash = hash_of(tree, parent, name, n), .name_len = (uint8_t)n};
    if (grow_nodes(tree, err) < 0 || add_text(tree, name, n, &node.name, err) < 0)
        return -1;
    tree->nodes[tree->count] = node;
    index_put(tree, tree->count);
    *ret = tree->count++;
    return 0;
}

int sbx_tree_retarget(struct sbx_tree *tree, uint32_t node, const char *target, struct sbx_err *err)
{
    size_t size = strlen(target) + 1;
    uint32_t old = tree->nodes[node].target;
    /* offset 0 always belongs to a name, so it stands for "none yet" */
    if (old != 0 && strlen(tree->text + old) + 1 >= size) {
        memcpy(tree->text + old, target, size);
        return 0;
    }
    return add_text(tree, target, size, &tree->nodes[node].target, err);
}

const char *sbx_tree_path(const struct sbx_tree *tree, uint32_t node, char *out, size_t size)
{
    char *at = out + size - 1;
    *at = '\0';
    for (; node != SBX_TREE_ROOT; node = tree->nodes[node].parent) {
        const struct sbx_node *this = &tree->nodes[node];
        if (*at != '\0')
            *--at = '/';
        at -= this->name_len;
        memcpy(at, tree->text + this->name, this->name_len);
    }
    return at;
}
