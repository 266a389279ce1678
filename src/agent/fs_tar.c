/* tar: a directory as a pax archive. Files, directories and symlinks; what else there is, or may not be read,
 * is left out and counted. */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "agent/agent.h"
#include "agent/fs.h"

#define BLOCK 512
#define CHUNK (64 * 1024)

struct header {
    char name[100], mode[8], uid[8], gid[8], size[12], mtime[12], checksum[8], type, link[100], magic[6],
        version[2], owner[32], group[32], major[8], minor[8], prefix[155], fill[12];
};
_Static_assert(sizeof(struct header) == BLOCK, "a tar header is one block");

struct member {
    const char *path, *target; /* target: of a symlink, else "" */
    const struct stat *st;
    uint64_t size; /* of its content */
    char type;
};

static void put_block(const void *bytes, size_t n)
{
    static const char zeros[BLOCK];
    fs_put(SBX_TAG_FS_TEXT, bytes, n);
    if (n % BLOCK != 0)
        fs_put(SBX_TAG_FS_TEXT, zeros, BLOCK - n % BLOCK);
}

/* Octal digits and a NUL; what does not fit is 0, and right in the pax header. */
static void octal(char *out, size_t size, uint64_t value)
{
    bool fits = size - 1 >= 22 || value >> 3 * (size - 1) == 0;
    out[size - 1] = '\0';
    for (size_t i = size - 1; i-- > 0; value >>= 3)
        out[i] = (char)('0' + (fits ? value & 7 : 0));
}

static void put_header(const char *name, char type, uint64_t size, const struct member *member)
{
    struct header header = {.type = type, .magic = "ustar", .version = {'0', '0'}};
    memcpy(header.name, name, strnlen(name, sizeof(header.name)));
    memcpy(header.link, member->target, strnlen(member->target, sizeof(header.link)));
    octal(header.mode, sizeof(header.mode), member->st->st_mode & 07777);
    octal(header.uid, sizeof(header.uid), member->st->st_uid);
    octal(header.gid, sizeof(header.gid), member->st->st_gid);
    octal(header.size, sizeof(header.size), size);
    octal(header.mtime, sizeof(header.mtime),
          member->st->st_mtim.tv_sec > 0 ? (uint64_t)member->st->st_mtim.tv_sec : 0);
    memset(header.checksum, ' ', sizeof(header.checksum));
    const unsigned char *bytes = (const unsigned char *)&header;
    uint64_t sum = 0;
    for (size_t i = 0; i < sizeof(header); i++)
        sum += bytes[i];
    octal(header.checksum, sizeof(header.checksum) - 1, sum);
    put_block(&header, sizeof(header));
}

/* "LENGTH key=value\n", where the length counts its own digits too. */
static void add_record(struct fs_data *pax, const char *key, const char *value)
{
    char digits[21];
    size_t rest = strlen(key) + strlen(value) + 3;
    size_t len = rest + 1;
    while (len != rest + strlen(text_number(digits, len)))
        len = rest + strlen(text_number(digits, len));
    const char *number = text_number(digits, len);
    fs_data_add(pax, number, strlen(number));
    fs_data_add(pax, " ", 1);
    fs_data_add(pax, key, strlen(key));
    fs_data_add(pax, "=", 1);
    fs_data_add(pax, value, strlen(value));
    fs_data_add(pax, "\n", 1);
}

/* Since 1970. */
static const char *seconds(char out[22], time_t value)
{
    char digits[21];
    bool before = value < 0;
    return text_join(out, 22, before ? "-" : "",
                     text_number(digits, before ? -(uint64_t)value : (uint64_t)value), NULL);
}

static void put_member(const struct member *member)
{
    static struct fs_data pax;
    time_t mtime = member->st->st_mtim.tv_sec;
    char digits[22];
    pax.len = 0;
    if (strlen(member->path) > sizeof(((struct header *)0)->name))
        add_record(&pax, "path", member->path);
    if (strlen(member->target) > sizeof(((struct header *)0)->link))
        add_record(&pax, "linkpath", member->target);
    if (member->size >> 33 != 0)
        add_record(&pax, "size", text_number(digits, member->size));
    if (member->st->st_uid >> 21 != 0)
        add_record(&pax, "uid", text_number(digits, member->st->st_uid));
    if (member->st->st_gid >> 21 != 0)
        add_record(&pax, "gid", text_number(digits, member->st->st_gid));
    if (mtime < 0 || mtime >> 33 != 0)
        add_record(&pax, "mtime", seconds(digits, mtime));
    if (pax.len > 0) {
        struct stat plain = {.st_mode = 0644};
        struct member extra = {.target = "", .st = &plain};
        put_header("././@PaxHeader", 'x', pax.len, &extra);
        put_block(pax.bytes, pax.len);
    }
    put_header(member->path, member->type, member->size, member);
}

/* As many bytes as the header says, whatever becomes of the file meanwhile. */
static void put_content(int fd, uint64_t size)
{
    static char chunk[CHUNK];
    bool ended = false;
    while (size > 0) {
        size_t want = size < CHUNK ? (size_t)size : CHUNK;
        size_t n = ended ? 0 : fs_read_full(fd, chunk, want);
        ended = n < want;
        memset(chunk + n, 0, want - n);
        put_block(chunk, want);
        size -= want;
    }
}

static bool put_file(int dir, const char *name, const char *path)
{
    struct stat st;
    struct member member = {.path = path, .target = "", .st = &st, .type = '0'};
    int fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        return false;
    bool good = fstat(fd, &st) == 0 && S_ISREG(st.st_mode);
    if (good) {
        member.size = (uint64_t)st.st_size;
        put_member(&member);
        put_content(fd, member.size);
    }
    close(fd);
    return good;
}

static bool put_other(int dir, const char *name, const char *path, unsigned char type)
{
    char text[PATH_MAX + 1];
    struct stat st;
    struct member member = {.path = path, .target = "", .st = &st};
    if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return false;
    if (type == DT_DIR) {
        text_join(text, sizeof(text), path, "/", NULL);
        member.path = text;
        member.type = '5';
    } else {
        ssize_t n = readlinkat(dir, name, text, sizeof(text) - 1);
        if (n < 0)
            return false;
        text[n] = '\0';
        member.target = text;
        member.type = '2';
    }
    put_member(&member);
    return true;
}

static bool visit(struct fs_walk *walk, int dir, const char *name, const char *path, unsigned char type)
{
    uint64_t *skipped = walk->arg;
    bool good = type == DT_REG                     ? put_file(dir, name, path)
                : type == DT_DIR || type == DT_LNK ? put_other(dir, name, path, type)
                                                   : false;
    if (type == DT_DIR && good && faccessat(dir, name, R_OK | X_OK, 0) < 0)
        good = false;
    *skipped += !good;
    return true;
}

void fs_op_tar(char **argv)
{
    static struct fs_walk walk;
    static char *const none[] = {NULL};
    static const char end[2 * BLOCK];
    uint64_t skipped = 0;
    int fd = fs_open_directory(argv[1]);
    walk = (struct fs_walk){.prune = none, .visit = visit, .arg = &skipped};
    fs_walk(&walk, fd);
    fs_put(SBX_TAG_FS_TEXT, end, sizeof(end));
    fs_put_u64(SBX_TAG_FS_COUNT, skipped);
}
