/* grep: lines that an extended regular expression matches, as bytes. Most files are told from their bytes
 * alone: what has a NUL is no text, and what lacks the text that every match needs has no match. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <regex.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/agent.h"
#include "agent/fs.h"

#define CHUNK          (256UL * 1024)
#define LINE_MAX_BYTES (16UL * 1024 * 1024) /* a file with a longer line is passed over from there */
#define LITERAL_MIN    3
#define SHOWN          2000 /* bytes of a line in the answer */

static struct {
    regex_t regex;
    char literal[FS_LITERAL_MAX + 1];
    size_t literal_len;
    bool whole; /* the literal is all there is */
    bool scan;  /* fs_scan finds candidates */
    const char *glob;
    const char *base;
    const char *path; /* of the file at hand, below base; NULL: base itself */
    uint64_t line;    /* lines before `counted` in this file */
    const char *counted;
    unsigned matches;
    struct fs_data buffer;
} grep;

/* false: there are too many. */
static bool put_match(const char *line, const char *end)
{
    char path[2 * PATH_MAX];
    const char *newline;
    if (grep.matches == SBX_FS_GREP_MAX) {
        fs_put_u64(SBX_TAG_FS_TRUNCATED, 1);
        return false;
    }
    grep.matches++;
    while ((newline = memchr(grep.counted, '\n', (size_t)(line - grep.counted)))) {
        grep.line++;
        grep.counted = newline + 1;
    }
    size_t n = (size_t)(end - line);
    if (n > SHOWN)
        for (n = SHOWN; n > SHOWN - 3 && (line[n] & 0xc0) == 0x80;)
            n--;
    if (n > 0 && line[n - 1] == '\r')
        n--;
    text_join(path, sizeof(path), grep.base, grep.path ? "/" : "", grep.path ? grep.path : "", NULL);
    fs_put_text(SBX_TAG_PATH, path);
    fs_put_u64(SBX_TAG_FS_LINE, grep.line + 1);
    fs_put(SBX_TAG_FS_TEXT, line, n);
    return true;
}

/* Where something in [from, end) matches, which starts and ends with whole lines; NULL. */
static const char *find(const char *from, const char *end)
{
    regmatch_t match = {.rm_so = 0, .rm_eo = (regoff_t)(end - from)};
    return regexec(&grep.regex, from, 1, &match, REG_STARTEND) == 0 ? from + match.rm_so : NULL;
}

static const char *line_start(const char *from, const char *at)
{
    const char *newline = memrchr(from, '\n', (size_t)(at - from));
    return newline ? newline + 1 : from;
}

static const char *line_end(const char *at, const char *end)
{
    const char *newline = memchr(at, '\n', (size_t)(end - at));
    return newline ? newline : end;
}

/* Somewhere in the first line that may match. */
static const char *candidate(const char *from, const char *end)
{
    if (grep.literal_len > 0)
        return memmem(from, (size_t)(end - from), grep.literal, grep.literal_len);
    return grep.scan ? fs_scan(from, end) : find(from, end);
}

static bool is_certain(void)
{
    return grep.literal_len > 0 ? grep.whole : !grep.scan;
}

/* Whole lines, without the newline of the last. false: enough. */
static bool search(const char *from, const char *end)
{
    for (;;) {
        const char *hit = candidate(from, end);
        if (!hit)
            return true;
        const char *line = line_start(from, hit);
        const char *stop = line_end(hit, end);
        if ((is_certain() || find(line, stop)) && !put_match(line, stop))
            return false;
        if (stop == end)
            return true;
        from = stop + 1;
    }
}

/* As much as there is room for; 0 at the end, and also where it cannot be read. */
static size_t read_more(int fd)
{
    ssize_t got;
    do
        got = read(fd, grep.buffer.bytes + grep.buffer.len, grep.buffer.capacity - grep.buffer.len);
    while (got < 0 && errno == EINTR);
    if (got > 0)
        grep.buffer.len += (size_t)got;
    return got > 0 ? (size_t)got : 0;
}

/* The buffer begins with a line; what it ends with is kept unless it is the last. false: enough. */
static bool search_buffer(bool last)
{
    struct fs_data *buffer = &grep.buffer;
    const char *bytes = buffer->bytes;
    const char *newline = memrchr(bytes, '\n', buffer->len);
    const char *end = last && (!newline || newline + 1 < bytes + buffer->len) ? bytes + buffer->len : newline;
    if (!end)
        return true;
    grep.counted = bytes;
    if (!search(bytes, end))
        return false;
    for (const char *p = grep.counted; !last && p <= end && (p = memchr(p, '\n', (size_t)(end + 1 - p))); p++)
        grep.line++;
    size_t used = end < bytes + buffer->len ? (size_t)(end + 1 - bytes) : buffer->len;
    memmove(buffer->bytes, bytes + used, buffer->len - used);
    buffer->len -= used;
    return true;
}

/* false: enough matches in all. */
static bool search_file(int fd)
{
    struct fs_data *buffer = &grep.buffer;
    buffer->len = 0;
    grep.line = 0;
    for (;;) {
        size_t before = buffer->len;
        if (buffer->capacity - before < CHUNK / 2) {
            if (before > LINE_MAX_BYTES)
                return true;
            fs_data_reserve(buffer, CHUNK);
        }
        size_t room = buffer->capacity - before;
        size_t got = read_more(fd);
        if (memchr(buffer->bytes + before, '\0', got))
            return true;
        bool last = got < room; /* of a regular file: its end */
        if (buffer->len > 0 && !search_buffer(last))
            return false;
        if (last)
            return true;
    }
}

static bool visit(struct fs_walk *walk, int dir, const char *name, const char *path, unsigned char type)
{
    if (type != DT_REG || (grep.glob[0] && !fs_match_entry(grep.glob, path, name)))
        return true;
    int fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (fd < 0)
        return true;
    grep.path = path;
    bool go_on = search_file(fd);
    close(fd);
    return go_on;
}

static void compile(const char *expression)
{
    char message[256];
    if (strchr(expression, '\n'))
        fs_fail(SBX_FS_INVALID_PATTERN, "the pattern has a newline in it");
    int err = regcomp(&grep.regex, expression, REG_EXTENDED | REG_NEWLINE);
    if (err != 0) {
        (void)regerror(err, &grep.regex, message, sizeof(message));
        fs_fail(SBX_FS_INVALID_PATTERN, message);
    }
    fs_literal(expression, grep.literal, &grep.whole);
    grep.literal_len = strlen(grep.literal);
    grep.scan = !grep.whole && grep.literal_len < LITERAL_MIN && fs_scan_compile(expression);
    if (grep.scan) /* text that is everywhere tells nothing */
        grep.literal_len = 0;
}

void fs_op_grep(char **argv)
{
    static struct fs_walk walk;
    struct fs_place place;
    struct stat st;
    compile(argv[1]);
    grep.glob = argv[3];
    grep.base = fs_spelling(argv[2]);
    fs_data_reserve(&grep.buffer, CHUNK);
    fs_resolve(argv[2], FS_FOLLOW, &place);
    if (fstatat(place.dir, place.name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        fs_fail_errno(errno, argv[2]);
    if (S_ISDIR(st.st_mode)) {
        walk = (struct fs_walk){.prune = argv + 4, .visit = visit};
        fs_walk(&walk, fs_open_directory(argv[2]));
    } else {
        (void)search_file(fs_open_file(argv[2], &place, &st));
    }
}
