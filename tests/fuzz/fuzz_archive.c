/*
 * The tar sanitiser. Whatever comes in, what goes out is a tar in which every member lies below directories
 * of the same tar, no directory turns into anything else, and no symlink leads out when it is followed as the
 * kernel does. Input: the archive, packed or not.
 */
#include <archive.h>
#include <archive_entry.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "fuzz.h"
#include "sandboxd/archive.h"
#include "sandboxd/base/util.h"

#define MEMBERS_MAX 300
#define BYTES_MAX   (1 << 20)
#define HOPS_MAX    40 /* the kernel's */

struct member {
    char *name;
    char *target;
    unsigned type;
};

/* The last member of each name. */
struct tree {
    struct member members[MEMBERS_MAX * 2];
    size_t count;
};

struct input {
    const uint8_t *at;
    size_t left;
};

static ssize_t read_input(void *arg, void *buf, size_t n, struct sbx_err *err)
{
    struct input *input = arg;
    n = n < input->left ? n : input->left;
    n = n < 1000 ? n : 1000;
    memcpy(buf, input->at, n);
    input->at += n;
    input->left -= n;
    return (ssize_t)n;
}

static struct member *find(struct tree *tree, const char *name, size_t n)
{
    for (size_t i = 0; i < tree->count; i++) {
        if (strncmp(tree->members[i].name, name, n) == 0 && tree->members[i].name[n] == '\0')
            return &tree->members[i];
    }
    return NULL;
}

static void check_name(struct tree *tree, const char *name)
{
    FUZZ_CHECK(name[0] != '\0' && name[0] != '/' && strlen(name) < 4096);
    for (const char *at = name;;) {
        size_t n = strcspn(at, "/");
        FUZZ_CHECK(n > 0 && n <= 255 && !(n == 1 && at[0] == '.') &&
                   !(n == 2 && at[0] == '.' && at[1] == '.'));
        if (at[n] == '\0')
            return;
        const struct member *parent = find(tree, name, (size_t)(at - name) + n);
        FUZZ_CHECK(parent && parent->type == AE_IFDIR);
        at += n + 1;
    }
}

static void take_member(struct tree *tree, struct archive_entry *entry)
{
    char *name = strdup(archive_entry_pathname(entry));
    const char *target = archive_entry_symlink(entry);
    unsigned type = archive_entry_filetype(entry);
    FUZZ_CHECK(type == AE_IFREG || type == AE_IFDIR || type == AE_IFLNK);
    FUZZ_CHECK(!archive_entry_hardlink(entry) && (archive_entry_perm(entry) & 07644) == 0644);
    FUZZ_CHECK(archive_entry_uid(entry) == 1000 && archive_entry_gid(entry) == 1001);
    if (type == AE_IFDIR)
        name[strlen(name) - 1] = '\0'; /* the slash */
    check_name(tree, name);
    struct member *member = find(tree, name, strlen(name));
    if (member) {
        FUZZ_CHECK(member->type != AE_IFDIR || type == AE_IFDIR);
        free(member->name);
        free(member->target);
    } else {
        FUZZ_CHECK(tree->count < SBX_ARRAY_LEN(tree->members));
        member = &tree->members[tree->count++];
    }
    *member = (struct member){.name = name, .target = target ? strdup(target) : NULL, .type = type};
}

/* Follow a link component by component. */
static void check_link(struct tree *tree, const struct member *link)
{
    char place[16384], rest[16384];
    int hops = 0;
    size_t len = strrchr(link->name, '/') ? (size_t)(strrchr(link->name, '/') - link->name) : 0;
    memcpy(place, link->name, len);
    snprintf(rest, sizeof(rest), "%s", link->target);
    FUZZ_CHECK(rest[0] != '/');
    for (const char *at = rest; at[0] != '\0';) {
        size_t n = strcspn(at, "/");
        const char *name = at;
        at += n;
        at += strspn(at, "/");
        if (n == 0 || (n == 1 && name[0] == '.'))
            continue;
        if (n == 2 && name[0] == '.' && name[1] == '.') {
            FUZZ_CHECK(len > 0);
            const char *slash = memrchr(place, '/', len);
            len = slash ? (size_t)(slash - place) : 0;
            continue;
        }
        size_t before = len;
        if (len + n + 2 > sizeof(place))
            return;
        if (len > 0)
            place[len++] = '/';
        memcpy(place + len, name, n);
        len += n;
        const struct member *member = find(tree, place, len);
        if (!member || member->type == AE_IFREG)
            return;
        if (member->type == AE_IFLNK) {
            char next[sizeof(rest)];
            FUZZ_CHECK(member->target[0] != '/');
            if (++hops > HOPS_MAX ||
                (size_t)snprintf(next, sizeof(next), "%s/%s", member->target, at) >= sizeof(next))
                return;
            memcpy(rest, next, sizeof(rest));
            at = rest;
            len = before;
        }
    }
}

static void check_output(int fd, const struct sbx_archive_stats *stats)
{
    static struct tree tree;
    struct archive *in = archive_read_new();
    struct archive_entry *entry;
    int64_t count = 0, bytes = 0;
    int got;
    FUZZ_CHECK(lseek(fd, 0, SEEK_END) == stats->out_bytes && lseek(fd, 0, SEEK_SET) == 0);
    FUZZ_CHECK(archive_read_support_format_tar(in) == ARCHIVE_OK);
    FUZZ_CHECK(archive_read_open_fd(in, fd, 65536) == ARCHIVE_OK);
    while ((got = archive_read_next_header(in, &entry)) == ARCHIVE_OK) {
        take_member(&tree, entry);
        count++;
        bytes += archive_entry_size(entry);
    }
    FUZZ_CHECK(got == ARCHIVE_EOF);
    archive_read_free(in);
    FUZZ_CHECK(count == stats->entries && bytes == stats->bytes && bytes <= BYTES_MAX);
    for (size_t i = 0; i < tree.count; i++) {
        if (tree.members[i].type == AE_IFLNK)
            check_link(&tree, &tree.members[i]);
    }
    for (size_t i = 0; i < tree.count; i++) {
        free(tree.members[i].name);
        free(tree.members[i].target);
    }
    tree.count = 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static const struct sbx_archive_options options = {
        .uid = 1000, .gid = 1001, .max_bytes = BYTES_MAX, .max_entries = MEMBERS_MAX, .max_depth = 20};
    struct input input = {.at = data, .left = n};
    struct sbx_archive_stats stats;
    struct sbx_err err = SBX_ERR_INIT;
    int fd = memfd_create("fuzz", MFD_CLOEXEC);
    FUZZ_CHECK(fd >= 0);
    if (sbx_archive_sanitise(read_input, &input, fd, &options, &stats, &err) == 0)
        check_output(fd, &stats);
    else
        FUZZ_CHECK(err.kind == SBX_ERR_INVALID && err.msg[0] != '\0' &&
                   sbx_utf8_valid(err.msg, strlen(err.msg)) == strlen(err.msg));
    close(fd);
    return 0;
}
