/*
 * Patches: a helper container sees the session's /repo read-only and keeps a meta repository of its own,
 * which code of the session can neither read nor write. A turn is one command of the helper's agent. Trees
 * are compared, not commits: prev names the tree of the last turn, seed the one of the seed. Both are in
 * $STATE: beside the meta repository, or for a run of an ephemeral session in its own helper, where they
 * start as copies.
 */
#include "session/internal.h"

#include <stdio.h>
#include <string.h>

#define PATCH_TIMEOUT_MS (10 * 60 * 1000)

/* In memory: git replaces its index at every turn, which ext4 would write out each time. It is a cache; what
 * has to live as long as the session is beside the meta repository. */
#define INDEX         "/dev/shm/index"
#define INDEX_SETTING "GIT_INDEX_FILE=/dev/shm/index"

/* A hostile tree must not make git run anything: no configuration but ours, no hooks, no attributes of the
 * tree. */
#define GIT_ENV                                                                                              \
    "GIT_DIR=/meta/git", "GIT_WORK_TREE=/repo", "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null",      \
        "GIT_ATTR_NOSYSTEM=1", "GIT_TEMPLATE_DIR=", "GIT_TERMINAL_PROMPT=0", "GIT_LITERAL_PATHSPECS=1",      \
        "GIT_NO_REPLACE_OBJECTS=1", "GIT_CEILING_DIRECTORIES=/", "LC_ALL=C", "LANG=C",                       \
        "GIT_DISCOVERY_ACROSS_FILESYSTEM=0", INDEX_SETTING

static const char *const SESSION_ENV[] = {GIT_ENV, "STATE=/meta", "HOME=/meta", NULL};

/* The helper of a run reads the session's meta repository and writes beside it. */
static const char *const RUN_ENV[] = {GIT_ENV,
                                      "STATE=/scratch",
                                      "HOME=/scratch",
                                      "GIT_OBJECT_DIRECTORY=/scratch/objects",
                                      "GIT_ALTERNATE_OBJECT_DIRECTORIES=/meta/git/objects",
                                      NULL};

/*
 * $1 is seed, base, turn or all. What was seeded is tracked even where a .gitignore names it; later, the
 * tree's own .gitignore holds. A nested repository would become a gitlink, its content lost: its files are
 * put into the index one by one, and from then on `git add` walks into it like into any directory.
 *
 * The index is the same file as its mark as long as nothing has changed since the tree in prev was written:
 * git replaces it only then. A helper that was started again begins with the index of the last seed or
 * baseline, which knows most files. In a large tree it is worth the while to look first, on two processors,
 * whether anything is changed or new at all. prev is written in place, since ext4 writes out what is
 * truncated.
 */
static const char SCRIPT[] =
    "set -u; mode=$1; cd /repo || exit 9\n"
    "if [ ! -e $STATE/ready ] && [ $STATE != /meta ]; then\n"
    "  mkdir -p $STATE/objects && cp /meta/seed /meta/prev $STATE && : > $STATE/ready || exit 9\n"
    "elif [ ! -e $STATE/ready ]; then\n"
    "  rm -rf /meta/git /meta/git.new && (unset GIT_DIR GIT_WORK_TREE; git init -q --bare /meta/git.new) && "
    "mv /meta/git.new /meta/git || exit 9\n"
    "  { printf '[core]\\n\\trepositoryformatversion = 0\\n\\tbare = false\\n\\tfsmonitor = "
    "false\\n\\thooksPath = /dev/null\\n'\n"
    "    printf '\\tattributesFile = /dev/null\\n\\texcludesFile = /dev/null\\n\\tautocrlf = "
    "false\\n\\tsymlinks = true\\n'\n"
    "    printf '\\tfileMode = true\\n\\tquotePath = true\\n\\tuntrackedCache = false\\n\\tprecomposeUnicode "
    "= false\\n'\n"
    "    printf '\\tprotectHFS = false\\n\\tprotectNTFS = false\\n[gc]\\n\\tauto = "
    "0\\n[advice]\\n\\taddEmbeddedRepo = true\\n'\n"
    "    printf '[diff]\\n\\trenameLimit = 2000\\n[index]\\n\\tversion = 4\\n'; } > /meta/git/config || exit "
    "9\n"
    "  mkdir -p /meta/git/info && printf '* -text -eol -filter -ident -working-tree-encoding !diff\\n' > "
    "/meta/git/info/attributes\n"
    "  git write-tree > /meta/prev && cp /meta/prev /meta/seed && : > /meta/ready || exit 9\n"
    "fi\n"
    "[ -e " INDEX " ] || [ ! -e /meta/git/index ] || cp -p /meta/git/index " INDEX " || exit 9\n"
    "if [ $mode = turn ] && [ -e " INDEX ".large ] && [ " INDEX " -ef " INDEX ".mark ]; then\n"
    "  git ls-files -o --exclude-standard > " INDEX ".others & others=$!\n"
    "  git diff-files --quiet && wait $others && [ ! -s " INDEX ".others ] && exit 0\n"
    "fi\n"
    "force=; [ $mode = seed ] && force=-f\n"
    "git add -A $force --ignore-errors . > /dev/null 2> $STATE/err\n"
    "if [ -s $STATE/err ]; then\n"
    "  find . -mindepth 2 -name .git -prune -exec sh -c '\n"
    "    for git; do dir=${git%/.git}\n"
    "      git update-index --force-remove -- \"$dir\"\n"
    "      find \"$dir\" -name .git -prune -o \\( -type f -o -type l \\) -print0 | git update-index --add -z "
    "--stdin\n"
    "    done' sh {} + > /dev/null 2>&1\n"
    "fi\n"
    "diff() { git diff-index --cached -p --binary --full-index -M --no-ext-diff --no-textconv --no-color $1; "
    "}\n"
    "case $mode in\n"
    "turn) [ " INDEX " -ef " INDEX ".mark ] && exit 0\n"
    "  read -r old < $STATE/prev; git write-tree > " INDEX ".tree & diff $old || exit 9\n"
    "  wait $! && read -r new < " INDEX ".tree || exit 9\n"
    "  if [ $old = $new ]; then ln -f " INDEX " " INDEX ".mark; else echo $new 1<> $STATE/prev; fi;;\n"
    "all) read -r old < $STATE/seed; diff $old || exit 9;;\n"
    "*) new=$(git write-tree) || exit 9\n"
    "  [ $mode = base ] || echo $new > $STATE/seed; echo $new > $STATE/prev; ln -f " INDEX " " INDEX ".mark\n"
    "  [ $(git ls-files | wc -l) -lt 2000 ] || : > " INDEX ".large\n"
    "  [ $STATE != /meta ] || { cp -p " INDEX
    " /meta/git/index.new && mv /meta/git/index.new /meta/git/index; };;\n"
    "esac\n";

static int make_volume(struct sbx_engine *engine, const struct sbx_record *record, enum sbx_part part,
                       const char *role, char out[SBX_NAME_SIZE], struct sbx_err *err)
{
    struct sbx_labels labels;
    sbx_labels_fill(&labels, engine, record->id, role);
    sbx_name_of(record->id, part, out);
    return sbx_docker_volume_create(engine->docker, engine->wait, out, labels.pairs, sbx_disk_of(record),
                                    err);
}

int sbx_patch_volumes(struct sbx_engine *engine, struct sbx_record *record, struct sbx_err *err)
{
    char meta[SBX_NAME_SIZE];
    if (make_volume(engine, record, SBX_PART_REPO, "repo", record->volume, err) < 0)
        return -1;
    return record->ephemeral ? make_volume(engine, record, SBX_PART_META, "meta", meta, err) : 0;
}

int sbx_patch_start(struct sbx_engine *engine, struct sbx_record *record, bool run, struct sbx_err *err)
{
    struct sbx_spec spec;
    sbx_spec_helper(&spec, engine, record, run);
    if (sbx_docker_create(engine->docker, engine->wait, &spec.docker, record->helper, err) < 0)
        return -1;
    return sbx_agent_start(engine, record->helper, spec.image, err);
}

struct streams {
    struct sbx_spool *patch;
    char words[256]; /* start of stderr */
    size_t words_len;
};

static int on_output(void *arg, int channel, const void *data, size_t n, struct sbx_err *err)
{
    struct streams *streams = arg;
    if (channel == 1 && streams->patch)
        return sbx_spool_add(streams->patch, data, n, err);
    size_t room = sizeof(streams->words) - 1 - streams->words_len;
    n = n < room ? n : room;
    memcpy(streams->words + streams->words_len, data, n);
    streams->words_len += n;
    return 0;
}

static int script_once(struct sbx_session *session, const char *mode, struct streams *streams,
                       struct sbx_exec_result *result, struct sbx_err *err)
{
    const char *const argv[] = {"/bin/sh", "-c", SCRIPT, "patch", mode, NULL};
    struct sbx_exec_spec spec = {.argv = argv,
                                 .env = session->run ? RUN_ENV : SESSION_ENV,
                                 .cwd = "/repo",
                                 .split = true,
                                 .timeout_ms = PATCH_TIMEOUT_MS};
    struct sbx_link *link = sbx_session_helper(session, err);
    if (link && sbx_link_exec(link, &spec, on_output, streams, result, err) == 0)
        return 0;
    sbx_link_close(session->helper);
    session->helper = NULL;
    return -1;
}

static int run_script(struct sbx_session *session, const char *mode, struct sbx_spool *patch,
                      struct sbx_err *err)
{
    struct streams streams = {.patch = patch};
    struct sbx_exec_result result;
    struct sbx_err failure = SBX_ERR_INIT;
    SBX_SPAN("patch", "run the script");
    int rc = script_once(session, mode, &streams, &result, &failure);
    if (rc < 0 && failure.kind == SBX_ERR_CONFLICT &&
        sbx_session_revive(session, session->record.helper, session->engine->config->git_image, &failure) ==
            0)
        rc = script_once(session, mode, &streams, &result, &failure);
    if (rc < 0) {
        *err = failure;
        return -1;
    }
    if (result.code == 0)
        return 0;
    return sbx_err_set(err, SBX_ERR_UPSTREAM, "the patch helper failed with code %d: %s%s", result.code,
                       result.message, streams.words);
}

int sbx_patch_baseline(struct sbx_session *session, bool seed, struct sbx_err *err)
{
    return run_script(session, seed ? "seed" : "base", NULL, err);
}

int sbx_session_patch(struct sbx_session *session, bool cumulative, struct sbx_spool *ret,
                      struct sbx_err *err)
{
    return run_script(session, cumulative ? "all" : "turn", ret, err);
}
