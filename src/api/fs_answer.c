/* Answers of file operations: fields of the agent as JSON, as they come. */
#include "api/fs.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define SPOOL_MEMORY (1024 * 1024)
#define ANSWER_MAX   (256LL * 1024 * 1024)
#define BASE64_STEP  3072 /* a multiple of three: no padding between steps */
#define TARGET_MAX   4096

const char *sbx_fs_word(int code)
{
    static const char *const WORDS[] = {
        [SBX_FS_INVALID_PATH] = "invalid_path",
        [SBX_FS_NOT_FOUND] = "not_found",
        [SBX_FS_NOT_A_DIRECTORY] = "not_a_directory",
        [SBX_FS_IS_A_DIRECTORY] = "is_a_directory",
        [SBX_FS_NOT_A_TEXT_FILE] = "not_a_text_file",
        [SBX_FS_STRING_NOT_FOUND] = "string_not_found",
        [SBX_FS_MULTIPLE_OCCURRENCES] = "multiple_occurrences",
        [SBX_FS_ALREADY_EXISTS] = "already_exists",
        [SBX_FS_TOO_LARGE] = "too_large",
        [SBX_FS_INVALID_OFFSET] = "invalid_offset",
        [SBX_FS_INVALID_PATTERN] = "invalid_pattern",
        [SBX_FS_PERMISSION_DENIED] = "permission_denied",
        [SBX_FS_EXEC_FAILED] = "exec_failed",
    };
    return WORDS[code];
}

void sbx_fs_answer_init(struct sbx_fs_answer *answer, enum sbx_fs_shape shape, const char *spool_dir)
{
    *answer = (struct sbx_fs_answer){.shape = shape};
    sbx_spool_init(&answer->spool, spool_dir, SPOOL_MEMORY, ANSWER_MAX);
    sbx_buf_init(&answer->target, TARGET_MAX);
}

void sbx_fs_answer_done(struct sbx_fs_answer *answer)
{
    sbx_spool_done(&answer->spool);
    sbx_buf_done(&answer->target);
}

int sbx_fs_answer_begin(struct sbx_fs_answer *answer, struct sbx_err *err)
{
    const char *text = answer->shape == SBX_FS_ENTRIES                                    ? "{\"entries\":["
                       : answer->shape == SBX_FS_MATCHES || answer->shape == SBX_FS_LINES ? "{\"matches\":["
                                                                                          : "{";
    return sbx_put(&answer->spool, text, err);
}

static bool is_list(const struct sbx_fs_answer *answer)
{
    return answer->shape <= SBX_FS_LINES;
}

static int begin_item(struct sbx_fs_answer *answer, const struct sbx_field *path, struct sbx_err *err)
{
    const char *before = answer->begun ? "},{\"path\":" : "{\"path\":";
    answer->begun = true;
    if (sbx_put(&answer->spool, before, err) < 0)
        return -1;
    return sbx_put_string(&answer->spool, (const char *)path->data, path->len, err);
}

static int put_base64(struct sbx_spool *spool, const struct sbx_field *field, struct sbx_err *err)
{
    char text[BASE64_STEP / 3 * 4 + 1];
    if (sbx_put(spool, "\"", err) < 0)
        return -1;
    for (size_t at = 0; at < field->len; at += BASE64_STEP) {
        size_t n = field->len - at < BASE64_STEP ? field->len - at : BASE64_STEP;
        if (sbx_spool_add(spool, text, sbx_base64_encode((const char *)field->data + at, n, text), err) < 0)
            return -1;
    }
    return sbx_put(spool, "\"", err);
}

static int put_text(struct sbx_fs_answer *answer, const struct sbx_field *field, struct sbx_err *err)
{
    struct sbx_spool *spool = &answer->spool;
    if (sbx_put(spool, is_list(answer) ? ",\"text\":" : "\"content\":", err) < 0)
        return -1;
    if (!is_list(answer))
        answer->begun = true;
    return answer->base64 ? put_base64(spool, field, err)
                          : sbx_put_string(spool, (const char *)field->data, field->len, err);
}

static int put_kind(struct sbx_fs_answer *answer, const struct sbx_field *field, struct sbx_err *err)
{
    snprintf(answer->kind, sizeof(answer->kind), "%.*s", (int)field->len, (const char *)field->data);
    if (!is_list(answer))
        return 0;
    return sbx_put(&answer->spool,
                   strcmp(answer->kind, "dir") == 0 ? ",\"is_dir\":true" : ",\"is_dir\":false", err);
}

static int put_line(struct sbx_fs_answer *answer, uint64_t line, struct sbx_err *err)
{
    char text[40];
    snprintf(text, sizeof(text), ",\"line\":%" PRIu64, line);
    return sbx_put(&answer->spool, text, err);
}

int sbx_fs_answer_field(void *arg, const struct sbx_field *field, struct sbx_err *err)
{
    struct sbx_fs_answer *answer = arg;
    uint64_t value = 0;
    (void)sbx_field_u64(field, &value);
    switch (field->tag) {
    case SBX_TAG_PATH:
        return begin_item(answer, field, err);
    case SBX_TAG_FS_KIND:
        return put_kind(answer, field, err);
    case SBX_TAG_FS_TEXT:
        return put_text(answer, field, err);
    case SBX_TAG_FS_LINE:
        return put_line(answer, value, err);
    case SBX_TAG_FS_TARGET:
        return sbx_buf_add(&answer->target, field->data, field->len, err);
    case SBX_TAG_FS_ENCODING:
        answer->base64 = value == 1;
        break;
    case SBX_TAG_FS_COUNT:
        answer->count = value;
        break;
    case SBX_TAG_FS_END:
        answer->end = value;
        break;
    case SBX_TAG_FS_TRUNCATED:
        answer->truncated = value;
        break;
    case SBX_TAG_SIZE:
        answer->size = value;
        break;
    case SBX_TAG_MODE:
        answer->mode = value;
        break;
    case SBX_TAG_FS_MTIME_NS:
        answer->mtime_ns = (int64_t)value;
        break;
    case SBX_TAG_FS_UID:
        answer->uid = value;
        break;
    case SBX_TAG_FS_GID:
        answer->gid = value;
        break;
    default:
        break;
    }
    return 0;
}

static const char *truth(bool value)
{
    return value ? "true" : "false";
}

static int put_content_end(struct sbx_fs_answer *answer, struct sbx_err *err)
{
    char text[160];
    if (!answer->begun && sbx_put(&answer->spool, "\"content\":null", err) < 0)
        return -1;
    const char *encoding = !answer->begun ? "null" : answer->base64 ? "\"base64\"" : "\"utf-8\"";
    snprintf(text, sizeof(text),
             ",\"encoding\":%s,\"total_lines\":%" PRIu64 ",\"end_line\":%" PRIu64 ",\"truncated\":%s",
             encoding, answer->count, answer->end, truth(answer->truncated));
    return sbx_put(&answer->spool, text, err);
}

static int put_status(struct sbx_fs_answer *answer, bool good, struct sbx_err *err)
{
    char text[240];
    bool before = answer->mtime_ns < 0;
    uint64_t ns = before ? -(uint64_t)answer->mtime_ns : (uint64_t)answer->mtime_ns;
    if (!good)
        return sbx_put(&answer->spool,
                       "\"type\":null,\"size\":null,\"mode\":null,\"mtime\":null,\"uid\":null,\"gid\":null,"
                       "\"target\":null",
                       err);
    snprintf(text, sizeof(text),
             "\"type\":\"%s\",\"size\":%" PRIu64 ",\"mode\":%" PRIu64 ",\"mtime\":%s%" PRIu64 ".%09" PRIu64
             ",\"uid\":%" PRIu64 ",\"gid\":%" PRIu64 ",\"target\":",
             answer->kind, answer->size, answer->mode, before ? "-" : "", ns / SBX_NS_PER_S,
             ns % SBX_NS_PER_S, answer->uid, answer->gid);
    if (sbx_put(&answer->spool, text, err) < 0)
        return -1;
    if (strcmp(answer->kind, "symlink") != 0)
        return sbx_put(&answer->spool, "null", err);
    return sbx_put_string(&answer->spool, answer->target.data, answer->target.len, err);
}

static int put_rest(struct sbx_fs_answer *answer, bool good, struct sbx_err *err)
{
    char text[80] = "";
    switch (answer->shape) {
    case SBX_FS_ENTRIES:
    case SBX_FS_MATCHES:
    case SBX_FS_LINES:
        snprintf(text, sizeof(text), "%s]", answer->begun ? "}" : "");
        if (answer->shape == SBX_FS_LINES)
            snprintf(text, sizeof(text), "%s],\"truncated\":%s", answer->begun ? "}" : "",
                     truth(answer->truncated));
        break;
    case SBX_FS_CONTENT:
        return put_content_end(answer, err);
    case SBX_FS_STATUS:
        return put_status(answer, good, err);
    case SBX_FS_DONE:
        snprintf(text, sizeof(text), "\"ok\":%s", truth(good));
        break;
    case SBX_FS_REMOVED:
        snprintf(text, sizeof(text), "\"ok\":%s,\"removed\":%s", truth(good), truth(good && answer->count));
        break;
    case SBX_FS_CREATED:
        snprintf(text, sizeof(text), "\"ok\":%s,\"created\":%s", truth(good), truth(good && answer->count));
        break;
    case SBX_FS_OCCURRENCES:
        snprintf(text, sizeof(text), "\"occurrences\":%" PRIu64, good ? answer->count : 0);
        break;
    }
    return sbx_put(&answer->spool, text, err);
}

int sbx_fs_answer_end(struct sbx_fs_answer *answer, const struct sbx_fs_result *result, struct sbx_err *err)
{
    struct sbx_spool *spool = &answer->spool;
    bool good = result->code == SBX_FS_OK;
    if (put_rest(answer, good, err) < 0)
        return -1;
    if (good)
        return sbx_put(spool, ",\"error\":null}", err);
    if (sbx_put(spool, ",\"error\":{\"code\":\"", err) < 0 ||
        sbx_put(spool, sbx_fs_word(result->code), err) < 0 || sbx_put(spool, "\",\"message\":", err) < 0 ||
        sbx_put_string(spool, result->message, strlen(result->message), err) < 0)
        return -1;
    return sbx_put(spool, "}}", err);
}
