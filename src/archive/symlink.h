/*
 * Which symlinks may be in the output. Private to src/archive.
 *
 * The rule, and why no chain of accepted links can leave the tree:
 *
 *   A target is taken apart from the real directory D that the link lies in. It is not absolute. At first it
 * goes up by
 *   "..", never above the top; after that it only goes down by names. A ".." may also follow names, but only
 * names that are real directories at the end of the archive, so that "dir/.." is a way of writing ".".
 *
 *   Resolving any path that starts inside keeps to one invariant: the place reached is a real directory
 * inside the tree. "..", at the head of a target, is applied to D or to an ancestor of it, as often as D is
 * deep at most: the kernel goes to the real parent, which is inside. A name leads to a real directory inside,
 * or to a file, or to nothing, or to another link of the tree, which was accepted by the same rule and is
 * resolved from its own real directory: by induction over the number of steps it ends inside as well. A ".."
 * after a link, the one way in which a target could be turned into something else than it looks like, does
 * not occur: names before a ".." are real directories.
 *
 *   For this D and those directories have to be what they were taken for. Links are therefore judged against
 * the final state and written last: directories with members never become anything else, members below a link
 * are skipped, and the path of every directory is written to the output itself, so that the extractor
 * replaces whatever is in its place.
 */
#ifndef SRC_ARCHIVE_SYMLINK_H
#define SRC_ARCHIVE_SYMLINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "archive/tree.h"

#define SBX_SYMLINK_TARGET_MAX 4095 /* symlink(2) takes no longer one */

enum sbx_symlink_verdict {
    SBX_SYMLINK_OUT,     /* leads out, or is no target that symlink(2) takes */
    SBX_SYMLINK_IN,      /* stays inside whatever else is in the tree */
    SBX_SYMLINK_DEPENDS, /* has a ".." after a name: sbx_symlink_stays decides when the tree is complete */
};

/* By the text alone; depth is that of the directory which the link lies in (0: the top). */
enum sbx_symlink_verdict sbx_symlink_judge(size_t depth, const char *target);

/* For SBX_SYMLINK_DEPENDS, once all members have been seen. */
bool sbx_symlink_stays(const struct sbx_tree *tree, uint32_t dir, const char *target);

#endif
