#include "archive/symlink.h"

#include <string.h>

#include "archive/member_name.h"
#include "sandboxd/archive.h"

enum step { STEP_END, STEP_UP, STEP_DOWN };

/* The next component that matters at *at: empty ones and "." are passed over. */
static enum step next_step(const char **at, const char **name, size_t *n)
{
    for (;;) {
        *at += strspn(*at, "/");
        *name = *at;
        *n = strcspn(*at, "/");
        *at += *n;
        if (*n == 0)
            return STEP_END;
        if ((*name)[0] != '.' || *n > 2)
            return STEP_DOWN;
        if (*n == 2)
            return (*name)[1] == '.' ? STEP_UP : STEP_DOWN;
    }
}

enum sbx_symlink_verdict sbx_symlink_judge(size_t depth, const char *target)
{
    if (target[0] == '\0' || target[0] == '/' || strlen(target) > SBX_SYMLINK_TARGET_MAX)
        return SBX_SYMLINK_OUT;
    bool down = false;
    const char *name;
    size_t n;
    for (enum step step; (step = next_step(&target, &name, &n)) != STEP_END;) {
        if (step == STEP_DOWN) {
            down = true;
            continue;
        }
        if (down)
            return SBX_SYMLINK_DEPENDS;
        if (depth == 0)
            return SBX_SYMLINK_OUT;
        depth--;
    }
    return SBX_SYMLINK_IN;
}

bool sbx_symlink_stays(const struct sbx_tree *tree, uint32_t dir, const char *target)
{
    const char *name;
    size_t n;
    for (enum step step; (step = next_step(&target, &name, &n)) != STEP_END;) {
        if (step == STEP_UP) {
            if (dir == SBX_TREE_NONE || dir == SBX_TREE_ROOT)
                return false;
            dir = tree->nodes[dir].parent;
        } else if (dir != SBX_TREE_NONE) {
            dir = sbx_tree_find(tree, dir, name, n);
            if (dir != SBX_TREE_NONE && tree->nodes[dir].kind != SBX_NODE_DIR)
                dir = SBX_TREE_NONE;
        }
    }
    return true;
}

int sbx_archive_link_inside(const char *name, const char *target)
{
    struct sbx_member_name parsed;
    if (sbx_member_name_parse(name, SIZE_MAX, &parsed, NULL) < 0 || parsed.depth == 0)
        return 0;
    return sbx_symlink_judge(parsed.depth - 1, target) == SBX_SYMLINK_IN;
}
