/*
 * What becomes of each kind of member, and how the last one of a name wins. Private to src/archive.
 *
 * Files go to the output as they arrive. A directory is written when something below it is about to be, and
 * the other directories and the links are written at the end, from the state the tree has then:
 *
 *   file after file         written again
 *   file after directory    replaces it, unless it has members: then the file is skipped
 *   file after link         the link is forgotten
 *   directory after file    replaces it when it is written; a member below the name makes it one as well
 *   directory after itself  merged; new attributes are written at the end
 *   directory after link    the link is forgotten
 *   link after file         replaces it at the end
 *   link after directory    replaces it, unless it has members: then the link is skipped
 *   link after link         gets the new target
 *
 * A member that is refused replaces nothing. A directory with members cannot be taken back, because they are
 * in the output; what would replace it is skipped and counted, as GNU tar does (with an error). So in the
 * output a directory never becomes anything else, and whatever reads it in order, replacing what is in the
 * way, comes to the final state.
 */
#ifndef SRC_ARCHIVE_MEMBERS_H
#define SRC_ARCHIVE_MEMBERS_H

#include <archive.h>
#include <archive_entry.h>

#include "archive/member_name.h"
#include "archive/source.h"
#include "archive/tree.h"
#include "archive/writer.h"
#include "sandboxd/archive.h"

struct sbx_sanitiser {
    struct sbx_archive_options options;
    struct sbx_source source;
    struct archive *in; /* the tar inside of source */
    struct sbx_tree tree;
    struct sbx_tar_writer out;
    struct sbx_archive_stats stats;
    struct sbx_err feed_error; /* of source, where libarchive stands between it and us */
    int64_t seen;              /* members read and parents made */
    int64_t now;               /* time of the parents made */
    struct sbx_member_name name;
    char path[SBX_MEMBER_NAME_MAX + 1];
};

/* One member: checked, and kept, skipped or refused. Its content need not have been read afterwards. */
int sbx_sanitiser_member(struct sbx_sanitiser *run, struct archive_entry *entry,
                         struct sbx_err *err) SBX_MUST_CHECK;

/* After the last member: the directories and links that are still to be written. */
int sbx_sanitiser_finish(struct sbx_sanitiser *run, struct sbx_err *err) SBX_MUST_CHECK;

/* -1 with what went wrong in libarchive's reader: the source's error, or INVALID for a damaged tar. */
int sbx_sanitiser_broken(struct sbx_sanitiser *run, struct sbx_err *err);

#endif
