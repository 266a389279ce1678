#include "archive/members.h"

#include <string.h>

#include "archive/symlink.h"

#define MTIME_MAX (((int64_t)1 << 33) - 1) /* what a plain header holds: the year 2242 */
#define ZEROS     (64u << 10)

static void skip(struct sbx_sanitiser *run, const char *name)
{
    if (run->stats.skipped++ == 0)
        sbx_member_name_show(name, run->stats.first_skipped);
}

static int count(struct sbx_sanitiser *run, struct sbx_err *err)
{
    if (++run->seen > run->options.max_entries)
        return sbx_err_set(err, SBX_ERR_INVALID, "more than %lld entries",
                           (long long)run->options.max_entries);
    return 0;
}

static unsigned safe_mode(struct archive_entry *entry, bool dir)
{
    unsigned mode = archive_entry_perm(entry) & 0777;
    return mode | 0644 | (dir || mode & 0111 ? 0111 : 0);
}

static int64_t safe_mtime(struct archive_entry *entry)
{
    int64_t mtime = archive_entry_mtime(entry);
    return mtime < 0 ? 0 : mtime > MTIME_MAX ? MTIME_MAX : mtime;
}

static int write_member(struct sbx_sanitiser *run, const struct sbx_tar_member *member, struct sbx_err *err)
{
    run->stats.entries++;
    return sbx_tar_writer_member(&run->out, member, err);
}

static int write_dir(struct sbx_sanitiser *run, uint32_t dir, struct sbx_err *err)
{
    struct sbx_node *node = &run->tree.nodes[dir];
    node->flags &= (uint8_t)~SBX_NODE_CHANGED;
    node->flags |= SBX_NODE_WRITTEN;
    struct sbx_tar_member member = {.name = sbx_tree_path(&run->tree, dir, run->path, sizeof(run->path)),
                                    .type = AE_IFDIR,
                                    .mode = node->mode,
                                    .mtime = node->mtime};
    return write_member(run, &member, err);
}

/* The directory and what is above it, from the top, as far as the output does not have them yet. */
static int write_dirs(struct sbx_sanitiser *run, uint32_t dir, struct sbx_err *err)
{
    const struct sbx_node *nodes = run->tree.nodes;
    while (!(nodes[dir].flags & SBX_NODE_WRITTEN)) {
        uint32_t top = dir;
        while (!(nodes[nodes[top].parent].flags & SBX_NODE_WRITTEN))
            top = nodes[top].parent;
        if (write_dir(run, top, err) < 0)
            return -1;
    }
    return 0;
}

static void become_dir(struct sbx_node *node, unsigned mode, int64_t mtime)
{
    node->kind = SBX_NODE_DIR;
    node->flags = 0;
    node->mode = (uint16_t)mode;
    node->mtime = mtime;
}

/* The directory that the member lies in, made with its parents where they are missing: 0; 1 when a symlink is
 * on the way, and then nothing has been made. */
static int find_parent(struct sbx_sanitiser *run, uint32_t *ret, struct sbx_err *err)
{
    const struct sbx_member_name *name = &run->name;
    struct sbx_tree *tree = &run->tree;
    uint32_t dir = SBX_TREE_ROOT;
    for (size_t at = 0; at < name->leaf;) {
        size_t n = strcspn(name->path + at, "/");
        uint32_t next = sbx_tree_find(tree, dir, name->path + at, n);
        if (next != SBX_TREE_NONE && tree->nodes[next].kind == SBX_NODE_LINK)
            return 1;
        if (next == SBX_TREE_NONE || tree->nodes[next].kind == SBX_NODE_OTHER) {
            if (count(run, err) < 0)
                return -1;
            if (next == SBX_TREE_NONE && sbx_tree_add(tree, dir, name->path + at, n, &next, err) < 0)
                return -1;
            become_dir(&tree->nodes[next], 0755, run->now);
        }
        tree->nodes[dir].flags |= SBX_NODE_MEMBERS;
        dir = next;
        at += n + 1;
    }
    tree->nodes[dir].flags |= SBX_NODE_MEMBERS;
    *ret = dir;
    return 0;
}

/*
 * The member's parent and its own node (SBX_TREE_NONE when it has none): 0; or 1 when it must not be kept,
 * being below a symlink or, itself no directory, in the place of a directory with members. It is counted as
 * skipped then.
 */
static int locate(struct sbx_sanitiser *run, bool is_dir, uint32_t *ret_parent, uint32_t *ret_leaf,
                  struct sbx_err *err)
{
    const struct sbx_member_name *name = &run->name;
    int found = find_parent(run, ret_parent, err);
    if (found == 0) {
        *ret_leaf = sbx_tree_find(&run->tree, *ret_parent, name->path + name->leaf, name->len - name->leaf);
        const struct sbx_node *node = *ret_leaf == SBX_TREE_NONE ? NULL : &run->tree.nodes[*ret_leaf];
        if (!is_dir && node && node->kind == SBX_NODE_DIR && node->flags & SBX_NODE_MEMBERS)
            found = 1;
    }
    if (found > 0)
        skip(run, name->path);
    return found;
}

static int need_leaf(struct sbx_sanitiser *run, uint32_t parent, uint32_t *leaf, struct sbx_err *err)
{
    const struct sbx_member_name *name = &run->name;
    if (*leaf != SBX_TREE_NONE)
        return 0;
    return sbx_tree_add(&run->tree, parent, name->path + name->leaf, name->len - name->leaf, leaf, err);
}

static int keep_dir(struct sbx_sanitiser *run, struct archive_entry *entry, struct sbx_err *err)
{
    uint32_t parent, leaf;
    int found = locate(run, true, &parent, &leaf, err);
    if (found != 0)
        return found < 0 ? -1 : 0;
    if (need_leaf(run, parent, &leaf, err) < 0)
        return -1;
    struct sbx_node *node = &run->tree.nodes[leaf];
    unsigned mode = safe_mode(entry, true);
    int64_t mtime = safe_mtime(entry);
    if (node->kind != SBX_NODE_DIR) {
        become_dir(node, mode, mtime);
    } else if (node->mode != mode || node->mtime != mtime) {
        node->mode = (uint16_t)mode;
        node->mtime = mtime;
        node->flags |= SBX_NODE_CHANGED;
    }
    return 0;
}

static int keep_link(struct sbx_sanitiser *run, struct archive_entry *entry, struct sbx_err *err)
{
    uint32_t parent, leaf;
    const char *target = archive_entry_symlink(entry);
    enum sbx_symlink_verdict verdict =
        target ? sbx_symlink_judge(run->name.depth - 1, target) : SBX_SYMLINK_OUT;
    if (verdict == SBX_SYMLINK_OUT) {
        skip(run, run->name.path);
        return 0;
    }
    int found = locate(run, false, &parent, &leaf, err);
    if (found != 0)
        return found < 0 ? -1 : 0;
    if (need_leaf(run, parent, &leaf, err) < 0 || sbx_tree_retarget(&run->tree, leaf, target, err) < 0)
        return -1;
    struct sbx_node *node = &run->tree.nodes[leaf];
    node->kind = SBX_NODE_LINK;
    node->flags = verdict == SBX_SYMLINK_DEPENDS ? SBX_NODE_DEPENDS : 0;
    node->mtime = safe_mtime(entry);
    return 0;
}

static int write_content(struct sbx_sanitiser *run, const void *data, int64_t n, struct sbx_err *err)
{
    run->stats.bytes += n;
    if (sbx_source_check_ratio(&run->source, run->stats.bytes, err) < 0)
        return -1;
    return sbx_tar_writer_data(&run->out, data, (size_t)n, err);
}

static int write_hole(struct sbx_sanitiser *run, int64_t n, struct sbx_err *err)
{
    static const char zeros[ZEROS];
    for (; n > 0; n -= ZEROS) {
        if (write_content(run, zeros, n < ZEROS ? n : ZEROS, err) < 0)
            return -1;
    }
    return 0;
}

/* Exactly `size` bytes: the header has announced them. */
static int copy_content(struct sbx_sanitiser *run, int64_t size, struct sbx_err *err)
{
    int64_t done = 0;
    for (;;) {
        const void *block;
        size_t n = 0;
        la_int64_t offset = done;
        int got = archive_read_data_block(run->in, &block, &n, &offset);
        if (got == ARCHIVE_EOF)
            return write_hole(run, size - done, err);
        if (got != ARCHIVE_OK)
            return sbx_sanitiser_broken(run, err);
        if (offset < done || offset > size || (int64_t)n > size - offset)
            return sbx_err_set(err, SBX_ERR_INVALID, "damaged tar archive (content beyond its size)");
        if (write_hole(run, offset - done, err) < 0 || write_content(run, block, (int64_t)n, err) < 0)
            return -1;
        done = offset + (int64_t)n;
    }
}

static int keep_file(struct sbx_sanitiser *run, struct archive_entry *entry, struct sbx_err *err)
{
    uint32_t parent, leaf;
    int64_t size = archive_entry_size(entry);
    int found = locate(run, false, &parent, &leaf, err);
    if (found != 0)
        return found < 0 ? -1 : 0;
    if (size < 0 || size > run->options.max_bytes - run->stats.bytes)
        return sbx_err_set(err, SBX_ERR_INVALID, "unpacks to more than %lld bytes",
                           (long long)run->options.max_bytes);
    if (leaf != SBX_TREE_NONE)
        run->tree.nodes[leaf].kind = SBX_NODE_OTHER;
    struct sbx_tar_member member = {.name = run->name.path,
                                    .type = AE_IFREG,
                                    .mode = safe_mode(entry, false),
                                    .mtime = safe_mtime(entry),
                                    .size = size};
    if (write_dirs(run, parent, err) < 0 || write_member(run, &member, err) < 0)
        return -1;
    return copy_content(run, size, err);
}

int sbx_sanitiser_member(struct sbx_sanitiser *run, struct archive_entry *entry, struct sbx_err *err)
{
    const char *raw = archive_entry_pathname(entry);
    if (!raw)
        return sbx_err_set(err, SBX_ERR_INVALID, "a member has a name that cannot be read");
    if (sbx_member_name_parse(raw, (size_t)run->options.max_depth, &run->name, err) < 0)
        return -1;
    if (run->name.len == 0)
        return 0; /* the target directory is there already and stays as it is */
    if (count(run, err) < 0)
        return -1;
    /* before the type: libarchive gives a hardlink the type of a file */
    if (!archive_entry_hardlink(entry)) {
        switch (archive_entry_filetype(entry)) {
        case AE_IFREG:
            return keep_file(run, entry, err);
        case AE_IFDIR:
            return keep_dir(run, entry, err);
        case AE_IFLNK:
            return keep_link(run, entry, err);
        default:
            break;
        }
    }
    skip(run, run->name.path);
    return 0;
}

static int write_link(struct sbx_sanitiser *run, uint32_t link, struct sbx_err *err)
{
    const struct sbx_node *node = &run->tree.nodes[link];
    struct sbx_tar_member member = {.name = sbx_tree_path(&run->tree, link, run->path, sizeof(run->path)),
                                    .target = sbx_tree_target(&run->tree, link),
                                    .type = AE_IFLNK,
                                    .mode = 0777,
                                    .mtime = node->mtime};
    if (node->flags & SBX_NODE_DEPENDS && !sbx_symlink_stays(&run->tree, node->parent, member.target)) {
        skip(run, member.name);
        return 0;
    }
    return write_member(run, &member, err);
}

/* In order of the nodes, so parents come before what they hold. */
int sbx_sanitiser_finish(struct sbx_sanitiser *run, struct sbx_err *err)
{
    for (uint32_t i = 1; i < run->tree.count; i++) {
        const struct sbx_node *node = &run->tree.nodes[i];
        bool stale = !(node->flags & SBX_NODE_WRITTEN) || node->flags & SBX_NODE_CHANGED;
        if (node->kind == SBX_NODE_DIR && stale && write_dir(run, i, err) < 0)
            return -1;
        if (node->kind == SBX_NODE_LINK && write_link(run, i, err) < 0)
            return -1;
    }
    return 0;
}
