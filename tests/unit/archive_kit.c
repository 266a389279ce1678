#include "unit/archive_kit.h"

#include <archive.h>
#include <archive_entry.h>
#include <fcntl.h>
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "sandboxd/base/util.h"

#define BLOCK 512

const struct sbx_archive_options kit_options = {
    .uid = 1000, .gid = 1001, .max_bytes = (int64_t)1 << 30, .max_entries = 100000};

void kit_tar_init(struct kit_tar *tar)
{
    sbx_buf_init(&tar->bytes, (size_t)512 << 20);
    sbx_buf_init(&tar->records, (size_t)16 << 20);
}

void kit_tar_done(struct kit_tar *tar)
{
    sbx_buf_done(&tar->bytes);
    sbx_buf_done(&tar->records);
}

static void add(struct kit_tar *tar, const void *data, size_t n)
{
    static const char zeros[BLOCK];
    assert_int_equal(sbx_buf_add(&tar->bytes, data, n, NULL), 0);
    assert_int_equal(sbx_buf_add(&tar->bytes, zeros, (BLOCK - n % BLOCK) % BLOCK, NULL), 0);
}

static void seal(unsigned char *header)
{
    unsigned sum = 0;
    memset(header + 148, ' ', 8);
    for (int i = 0; i < BLOCK; i++)
        sum += header[i];
    snprintf((char *)header + 148, 8, "%06o", sum);
}

void kit_put(struct kit_tar *tar, char type, const char *name, const char *target, unsigned mode,
             const void *data, size_t n)
{
    unsigned char header[BLOCK] = {0};
    if (tar->records.len > 0 && type != 'x') {
        kit_put(tar, 'x', "pax", NULL, 0644, tar->records.data, tar->records.len);
        sbx_buf_clear(&tar->records);
    }
    memcpy(header, name, strnlen(name, 100));
    snprintf((char *)header + 100, 8, "%07o", mode);
    snprintf((char *)header + 108, 8, "%07o", 0);
    snprintf((char *)header + 116, 8, "%07o", 0);
    snprintf((char *)header + 124, 12, "%011o", (unsigned)n);
    snprintf((char *)header + 136, 12, "%011o", KIT_MTIME);
    header[156] = (unsigned char)type;
    if (target)
        memcpy(header + 157, target, strnlen(target, 100));
    memcpy(header + 257, "ustar\00000root", sizeof("ustar\00000root")); /* magic, version, user */
    memcpy(header + 297, "root", sizeof("root"));
    seal(header);
    add(tar, header, BLOCK);
    add(tar, data, n);
}

void kit_file(struct kit_tar *tar, const char *name, const char *content)
{
    kit_put(tar, '0', name, NULL, 0644, content, strlen(content));
}

void kit_dir(struct kit_tar *tar, const char *name)
{
    kit_put(tar, '5', name, NULL, 0755, "", 0);
}

void kit_link(struct kit_tar *tar, const char *name, const char *target)
{
    kit_put(tar, '2', name, target, 0777, "", 0);
}

void kit_pax(struct kit_tar *tar, const char *key, const void *value, size_t n)
{
    size_t body = strlen(key) + n + 3; /* space, =, newline */
    size_t len = body + 1;
    char digits[24];
    while (len != body + (size_t)snprintf(digits, sizeof(digits), "%zu", len))
        len = body + strlen(digits);
    assert_int_equal(sbx_buf_printf(&tar->records, NULL, "%zu %s=", len, key), 0);
    assert_int_equal(sbx_buf_add(&tar->records, value, n, NULL), 0);
    assert_int_equal(sbx_buf_addstr(&tar->records, "\n", NULL), 0);
}

void kit_patch(struct kit_tar *tar, size_t offset, const void *bytes, size_t n)
{
    unsigned char *header = (unsigned char *)tar->bytes.data + tar->bytes.len - BLOCK;
    memcpy(header + offset, bytes, n);
    seal(header);
}

void kit_end(struct kit_tar *tar)
{
    char zeros[2 * BLOCK] = {0};
    add(tar, zeros, sizeof(zeros));
}

struct input {
    const char *at;
    size_t left;
    size_t turn;
};

/* Pieces of changing, awkward sizes. */
static ssize_t read_input(void *arg, void *buf, size_t n, struct sbx_err *err)
{
    static const size_t sizes[] = {1, 7, 511, 513, 4096, 65536, 100000};
    struct input *input = arg;
    size_t take = sizes[input->turn++ % SBX_ARRAY_LEN(sizes)];
    take = take < n ? take : n;
    take = take < input->left ? take : input->left;
    memcpy(buf, input->at, take);
    input->at += take;
    input->left -= take;
    return (ssize_t)take;
}

static void read_member(struct archive *in, struct archive_entry *entry, struct kit_member *ret)
{
    *ret = (struct kit_member){.name = strdup(archive_entry_pathname(entry)),
                               .size = (size_t)archive_entry_size(entry),
                               .type = archive_entry_filetype(entry),
                               .mode = archive_entry_perm(entry),
                               .uid = archive_entry_uid(entry),
                               .gid = archive_entry_gid(entry),
                               .mtime = archive_entry_mtime(entry)};
    const char *user = archive_entry_uname(entry), *group = archive_entry_gname(entry);
    unsigned long set, clear;
    archive_entry_fflags(entry, &set, &clear);
    ret->extra = (user && *user) || (group && *group) || archive_entry_xattr_count(entry) > 0 || set ||
                 clear || archive_entry_acl_types(entry) != 0;
    size_t n = strlen(ret->name);
    if (n > 0 && ret->name[n - 1] == '/')
        ret->name[n - 1] = '\0';
    if (archive_entry_symlink(entry))
        ret->target = strdup(archive_entry_symlink(entry));
    assert_null(archive_entry_hardlink(entry));
    ret->content = calloc(1, ret->size + 1);
    assert_int_equal(archive_read_data(in, ret->content, ret->size), ret->size);
}

static void read_output(struct kit_result *result)
{
    struct archive *in = archive_read_new();
    struct archive_entry *entry;
    int got;
    assert_int_equal(archive_read_support_format_tar(in), ARCHIVE_OK);
    assert_int_equal(lseek(result->fd, 0, SEEK_SET), 0);
    assert_int_equal(archive_read_open_fd(in, result->fd, 65536), ARCHIVE_OK);
    while ((got = archive_read_next_header(in, &entry)) == ARCHIVE_OK) {
        if ((result->count & (result->count + 1)) == 0) /* room is a power of two */
            result->members = realloc(result->members, 2 * (result->count + 1) * sizeof(*result->members));
        read_member(in, entry, &result->members[result->count++]);
    }
    assert_int_equal(got, ARCHIVE_EOF);
    archive_read_free(in);
    assert_int_equal(lseek(result->fd, 0, SEEK_SET), 0);
}

static const struct kit_member *find_before(const struct kit_result *result, const char *name, size_t n,
                                            size_t end)
{
    for (size_t i = end; i-- > 0;) {
        if (strncmp(result->members[i].name, name, n) == 0 && result->members[i].name[n] == '\0')
            return &result->members[i];
    }
    return NULL;
}

static void check_output(const struct kit_result *result)
{
    for (size_t i = 0; i < result->count; i++) {
        const struct kit_member *member = &result->members[i];
        const char *name = member->name;
        assert_false(member->extra);
        assert_true(name[0] != '/' && name[0] != '\0');
        assert_int_equal(member->mode & 0644, 0644);
        assert_int_equal(member->mode & 07000, 0);
        for (const char *at = name; at; at = strchr(at, '/') ? strchr(at, '/') + 1 : NULL) {
            size_t n = strcspn(at, "/");
            assert_true(n > 0 && !(n <= 2 && memcmp(at, "..", n) == 0));
            if (at == name)
                continue;
            const struct kit_member *parent = find_before(result, name, (size_t)(at - 1 - name), i);
            assert_non_null(parent);
            assert_int_equal(parent->type, S_IFDIR);
        }
        const struct kit_member *before = find_before(result, name, strlen(name), i);
        if (before && before->type == S_IFDIR)
            assert_int_equal(member->type, S_IFDIR);
    }
}

void kit_sanitise(const void *data, size_t n, const struct sbx_archive_options *options,
                  struct kit_result *ret)
{
    struct input input = {.at = data, .left = n};
    *ret = (struct kit_result){.fd = memfd_create("sanitised", MFD_CLOEXEC)};
    ret->stats.entries = -77;
    assert_true(ret->fd >= 0);
    ret->ret = sbx_archive_sanitise(read_input, &input, ret->fd, options ? options : &kit_options,
                                    &ret->stats, &ret->err);
    if (ret->ret == 0) {
        assert_int_equal(input.left, 0);
        assert_int_equal(lseek(ret->fd, 0, SEEK_END), ret->stats.out_bytes);
        read_output(ret);
        assert_int_equal(ret->stats.entries, ret->count);
        check_output(ret);
    } else {
        assert_int_equal(ret->ret, -1);
        assert_int_equal(ret->stats.entries, -77);
        sbx_close(&ret->fd);
    }
}

void kit_result_done(struct kit_result *result)
{
    for (size_t i = 0; i < result->count; i++) {
        free(result->members[i].name);
        free(result->members[i].target);
        free(result->members[i].content);
    }
    free(result->members);
    sbx_close(&result->fd);
}

void kit_run(struct kit_tar *tar, const struct sbx_archive_options *options, struct kit_result *ret)
{
    kit_end(tar);
    kit_sanitise(tar->bytes.data, tar->bytes.len, options, ret);
    kit_tar_done(tar);
}

const struct kit_member *kit_find(const struct kit_result *result, const char *name)
{
    return find_before(result, name, strlen(name), result->count);
}

void kit_assert_refused(struct kit_result *result, const char *words)
{
    assert_int_equal(result->ret, -1);
    assert_int_equal(result->err.kind, SBX_ERR_INVALID);
    if (!strstr(result->err.msg, words))
        fail_msg("\"%s\" does not say \"%s\"", result->err.msg, words);
    kit_result_done(result);
}

void kit_assert_good(const struct kit_result *result, int64_t skipped)
{
    if (result->ret != 0)
        fail_msg("refused: %s", result->err.msg);
    assert_int_equal(result->stats.skipped, skipped);
}

void kit_tmpdir(char path[64])
{
    const char *base = getenv("TMPDIR");
    snprintf(path, 64, "%.40s/sbx-archive-XXXXXX", base ? base : "/tmp");
    assert_non_null(mkdtemp(path));
}

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *walk)
{
    return remove(path);
}

void kit_remove(const char *path)
{
    assert_int_equal(nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS), 0);
}

int kit_spawn(const char *const argv[], int in)
{
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        int null = open("/dev/null", O_RDWR);
        dup2(in >= 0 ? in : null, 0);
        dup2(null, 1);
        dup2(null, 2);
        execvp(argv[0], (char *const *)argv);
        _exit(127);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
}
