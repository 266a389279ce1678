/* POST /session/{id}/fs/…: file operations. What comes of one is said in a 200. */
#include "api/fs.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ARGS_MAX    512
#define LINES_MAX   1000000000
#define PATTERN_MAX 65536

struct job {
    struct sbx_call *call;
    struct sbx_faults *faults;
    const char *args[ARGS_MAX + 1];
    size_t count;
    char numbers[2][24];
    char *prunes; /* owned: the settings' list, cut */
    void *input;  /* owned */
    size_t input_len;
};

static void add(struct job *job, const char *arg)
{
    if (job->count < ARGS_MAX)
        job->args[job->count++] = arg;
}

static void add_flag(struct job *job, bool value)
{
    add(job, value ? "1" : "0");
}

static void add_number(struct job *job, size_t slot, int64_t value)
{
    snprintf(job->numbers[slot], sizeof(job->numbers[slot]), "%" PRId64, value);
    add(job, job->numbers[slot]);
}

/* A path; the agent refuses the empty one, which stands for one with a NUL in it. */
static void add_path(struct job *job, const char *path, size_t len)
{
    add(job, strlen(path) == len ? path : "");
}

static void add_pattern(struct job *job, const char *key, const char *pattern, size_t len)
{
    if (strlen(pattern) != len)
        sbx_faults_add(job->faults, "value_error", key, NULL, "A pattern must not contain NUL");
    add(job, pattern);
}

static void read_path(struct sbx_faults *faults, struct json_object *body, struct job *job)
{
    const char *path = "";
    size_t len = 0;
    (void)sbx_json_string(faults, body, "", "path", SBX_JSON_REQUIRED, 0, SIZE_MAX, &path, &len);
    add_path(job, path, len);
}

static void read_nothing_more(struct sbx_faults *faults, struct json_object *body, struct job *job)
{
    read_path(faults, body, job);
}

static void read_read(struct sbx_faults *faults, struct json_object *body, struct job *job)
{
    int64_t offset = 0;
    int64_t limit = 2000;
    read_path(faults, body, job);
    (void)sbx_json_int(faults, body, "", "offset", SBX_JSON_OPTIONAL, 0, INT64_MAX / 4, &offset);
    (void)sbx_json_int(faults, body, "", "limit", SBX_JSON_OPTIONAL, 1, LINES_MAX, &limit);
    add_number(job, 0, offset);
    add_number(job, 1, limit);
}

/* The directories to leave out: the settings' and the request's. */
static void read_exclude(struct sbx_faults *faults, struct json_object *body, struct job *job)
{
    struct json_object *list = NULL;
    char *rest = NULL;
    job->prunes = strdup(job->call->engine->config->fs_prune_dirs);
    for (char *name = job->prunes ? strtok_r(job->prunes, ", ", &rest) : NULL; name;
         name = strtok_r(NULL, ", ", &rest))
        add(job, name);
    if (!sbx_json_array(faults, body, "", "exclude", SBX_JSON_NULLABLE, 0, 256, &list))
        return;
    for (size_t i = 0; i < json_object_array_length(list); i++) {
        struct json_object *item = json_object_array_get_idx(list, i);
        char path[32];
        snprintf(path, sizeof(path), "exclude/%zu", i);
        if (!json_object_is_type(item, json_type_string))
            sbx_faults_add(faults, "string_type", path, item, "Input should be a valid string");
        else
            add_pattern(job, path, json_object_get_string(item), (size_t)json_object_get_string_len(item));
    }
}

static void read_pattern(struct sbx_faults *faults, struct json_object *body, struct job *job)
{
    const char *pattern = "";
    size_t len = 0;
    (void)sbx_json_string(faults, body, "", "pattern", SBX_JSON_REQUIRED, 0, PATTERN_MAX, &pattern, &len);
    add_pattern(job, "pattern", pattern, len);
}

static void read_grep(struct sbx_faults *faults, struct json_object *body, struct job *job)
{
    const char *glob = "";
    size_t len = 0;
    read_pattern(faults, body, job);
    read_path(faults, body, job);
    (void)sbx_json_string(faults, body, "", "glob", SBX_JSON_NULLABLE, 0, PATTERN_MAX, &glob, &len);
    add_pattern(job, "glob", glob, len);
    read_exclude(faults, body, job);
}

static void read_glob(struct sbx_faults *faults, struct json_object *body, struct job *job)
{
    read_pattern(faults, body, job);
    read_path(faults, body, job);
    read_exclude(faults, body, job);
}

static void read_mode(struct sbx_faults *faults, struct json_object *body, struct job *job, int64_t mode)
{
    (void)sbx_json_int(faults, body, "", "mode", SBX_JSON_OPTIONAL, 0, 07777, &mode);
    add_number(job, 0, mode);
}

static void read_write(struct sbx_faults *faults, struct json_object *body, struct job *job)
{
    const char *content = "";
    size_t len = 0;
    read_path(faults, body, job);
    read_mode(faults, body, job, 0644);
    if (!sbx_json_string(faults, body, "", "content", SBX_JSON_REQUIRED, 0, SIZE_MAX, &content, &len))
        return;
    job->input = malloc(len / 4 * 3 + 1);
    ssize_t n = job->input ? sbx_base64_decode(content, len, job->input) : -1;
    if (n < 0)
        sbx_faults_add(faults, "base64_decode", "content", NULL,
                       "Base64 decoding error: the content must be padded standard base64");
    job->input_len = n < 0 ? 0 : (size_t)n;
}

static void read_edit(struct sbx_faults *faults, struct json_object *body, struct job *job)
{
    const char *old = "";
    const char *new = "";
    size_t old_len = 0;
    size_t new_len = 0;
    bool all = false;
    read_path(faults, body, job);
    (void)sbx_json_string(faults, body, "", "old", SBX_JSON_REQUIRED, 0, SIZE_MAX, &old, &old_len);
    (void)sbx_json_string(faults, body, "", "new", SBX_JSON_REQUIRED, 0, SIZE_MAX, &new, &new_len);
    (void)sbx_json_bool(faults, body, "", "replace_all", SBX_JSON_OPTIONAL, &all);
    add_flag(job, all);
    add_number(job, 0, (int64_t)old_len);
    job->input = malloc(old_len + new_len + 1);
    if (!job->input)
        return;
    memcpy(job->input, old, old_len);
    memcpy((char *)job->input + old_len, new, new_len);
    job->input_len = old_len + new_len;
}

static void read_delete(struct sbx_faults *faults, struct json_object *body, struct job *job)
{
    bool recursive = false;
    read_path(faults, body, job);
    (void)sbx_json_bool(faults, body, "", "recursive", SBX_JSON_OPTIONAL, &recursive);
    add_flag(job, recursive);
}

static void read_mkdir(struct sbx_faults *faults, struct json_object *body, struct job *job)
{
    bool parents = true;
    read_path(faults, body, job);
    read_mode(faults, body, job, 0755);
    (void)sbx_json_bool(faults, body, "", "parents", SBX_JSON_OPTIONAL, &parents);
    add_flag(job, parents);
}

static void read_move(struct sbx_faults *faults, struct json_object *body, struct job *job)
{
    const char *to = "";
    size_t len = 0;
    bool overwrite = false;
    read_path(faults, body, job);
    (void)sbx_json_string(faults, body, "", "to", SBX_JSON_REQUIRED, 0, SIZE_MAX, &to, &len);
    (void)sbx_json_bool(faults, body, "", "overwrite", SBX_JSON_OPTIONAL, &overwrite);
    add_path(job, to, len);
    add_flag(job, overwrite);
}

struct operation {
    const char *name;
    void (*read)(struct sbx_faults *faults, struct json_object *body, struct job *job);
    enum sbx_fs_shape shape;
    bool input;
    bool changes;
};

static const struct operation LS = {"ls", read_nothing_more, SBX_FS_ENTRIES, false, false};
static const struct operation STAT = {"stat", read_nothing_more, SBX_FS_STATUS, false, false};
static const struct operation READ = {"read", read_read, SBX_FS_CONTENT, false, false};
static const struct operation GREP = {"grep", read_grep, SBX_FS_LINES, false, false};
static const struct operation GLOB = {"glob", read_glob, SBX_FS_MATCHES, false, false};
static const struct operation WRITE = {"write", read_write, SBX_FS_DONE, true, true};
static const struct operation EDIT = {"edit", read_edit, SBX_FS_OCCURRENCES, true, true};
static const struct operation DELETE = {"delete", read_delete, SBX_FS_REMOVED, false, true};
static const struct operation MKDIR = {"mkdir", read_mkdir, SBX_FS_CREATED, false, true};
static const struct operation MOVE = {"move", read_move, SBX_FS_DONE, false, true};

static int work(struct job *job, const struct operation *op, struct sbx_fs_answer *answer,
                struct sbx_err *err)
{
    struct sbx_call *call = job->call;
    struct sbx_session session;
    struct sbx_fs_result result = {.code = SBX_FS_OK};
    struct sbx_fs fs = {.args = job->args,
                        .input = op->input ? job->input : NULL,
                        .input_len = job->input_len,
                        .changes = op->changes,
                        .partial = op == &DELETE,
                        .timeout_ms = call->engine->config->fs_timeout_ms};
    if (sbx_session_open(call->engine, call->id, &session, err) < 0)
        return -1;
    int rc = sbx_fs_answer_begin(answer, err);
    if (rc == 0)
        rc = sbx_session_fs(&session, &fs, sbx_fs_answer_field, answer, &result, err);
    sbx_session_done(&session, rc < 0 ? err : NULL);
    if (rc < 0)
        return -1;
    /* What is not there need not be removed. */
    if (op == &DELETE && result.code == SBX_FS_NOT_FOUND)
        result.code = SBX_FS_OK;
    if (sbx_fs_answer_end(answer, &result, err) < 0)
        return -1;
    return sbx_answer_spool(call->request, 200, "application/json", &answer->spool, err);
}

static int handle(struct sbx_call *call, const struct operation *op, struct sbx_err *err)
{
    struct json_object *body = NULL;
    int rc = sbx_read_json(call, &body, err);
    if (rc <= 0)
        return rc;
    struct sbx_faults faults;
    struct sbx_fs_answer answer;
    struct job job = {.call = call, .faults = &faults};
    sbx_faults_init(&faults);
    sbx_fs_answer_init(&answer, op->shape, call->api->spool_dir);
    add(&job, op->name);
    op->read(&faults, body, &job);
    if (sbx_faults_any(&faults))
        rc = sbx_answer_faults(call->request, &faults);
    else if (op->input && !job.input)
        rc = sbx_err_set(err, SBX_ERR_INTERNAL, "out of memory for a file operation");
    else
        rc = work(&job, op, &answer, err);
    sbx_fs_answer_done(&answer);
    sbx_faults_done(&faults);
    free(job.prunes);
    free(job.input);
    json_object_put(body);
    return rc;
}

int sbx_handle_fs_ls(struct sbx_call *call, struct sbx_err *err)
{
    return handle(call, &LS, err);
}

int sbx_handle_fs_stat(struct sbx_call *call, struct sbx_err *err)
{
    return handle(call, &STAT, err);
}

int sbx_handle_fs_read(struct sbx_call *call, struct sbx_err *err)
{
    return handle(call, &READ, err);
}

int sbx_handle_fs_grep(struct sbx_call *call, struct sbx_err *err)
{
    return handle(call, &GREP, err);
}

int sbx_handle_fs_glob(struct sbx_call *call, struct sbx_err *err)
{
    return handle(call, &GLOB, err);
}

int sbx_handle_fs_write(struct sbx_call *call, struct sbx_err *err)
{
    return handle(call, &WRITE, err);
}

int sbx_handle_fs_edit(struct sbx_call *call, struct sbx_err *err)
{
    return handle(call, &EDIT, err);
}

int sbx_handle_fs_delete(struct sbx_call *call, struct sbx_err *err)
{
    return handle(call, &DELETE, err);
}

int sbx_handle_fs_mkdir(struct sbx_call *call, struct sbx_err *err)
{
    return handle(call, &MKDIR, err);
}

int sbx_handle_fs_move(struct sbx_call *call, struct sbx_err *err)
{
    return handle(call, &MOVE, err);
}
