/*
 * Which symlinks may be in the output. Private to src/archive.
 *
 * The rule: a target is taken apart from the real directory that the link lies in. It is not absolute. At
 * first it goes up by "..", never above the top; after that it only goes down by names. A ".." may also
 * follow names, but only such as are real directories at the end of the archive: "dir/.." is a way of writing
 * ".".
 *
 * No chain of links that keep to it can leave the tree. While a path that starts inside is resolved, the
 * place reached is always a real directory of the tree:
 * - ".." at the head of a target is applied to the link's own directory and its ancestors, as often as it is
 *   deep at most, and the kernel goes to the real parent: inside.
 * - A name leads to a real directory of the tree, to a file, to nothing, or to another link of the tree. That
 *   one was accepted by the same rule and is resolved from its own real directory: by induction over the
 *   number of steps it ends inside as well.
 * - ".." after a link, where the text says one place and the kernel goes to another, does not occur: the
 * names before a ".." are real directories.
 *
 * So directories have to be what they were taken for. Links are therefore judged against the final state and
 * written last; directories with members never become anything else; members below a link are skipped; and
 * every directory is written to the output itself, so that the extractor replaces what else is in its place.
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
