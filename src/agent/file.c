/* WRITE: a file is written under a temporary name beside its place and renamed into it, as the user. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/agent.h"

#define MAX_WRITES 16

struct write_op {
    bool used;
    uint32_t stream;
    uint64_t left; /* bytes that are still to come, also when the operation has failed */
    uint32_t mode;
    int dir, fd; /* -1 once failed */
    char name[NAME_MAX + 1];
    char temporary[40];
    int err; /* the first failure */
    char message[128];
};

static struct write_op ops[MAX_WRITES];

static struct write_op *find(uint32_t stream)
{
    for (size_t i = 0; i < MAX_WRITES; i++)
        if (ops[i].used && ops[i].stream == stream)
            return &ops[i];
    return NULL;
}

static struct write_op *free_slot(void)
{
    for (size_t i = 0; i < MAX_WRITES; i++)
        if (!ops[i].used)
            return &ops[i];
    return NULL;
}

void file_refuse(uint32_t stream, int err, const char *message)
{
    uint8_t out[256];
    size_t n = sbx_field_put_u32(out, sizeof(out), 0, SBX_TAG_STATUS, (uint32_t)err);
    if (err != 0)
        n = sbx_field_put(out, sizeof(out), n, SBX_TAG_MESSAGE, message, strlen(message));
    conn_send(SBX_FRAME_RESULT, stream, out, n);
}

/* Descriptors closed, the temporary file gone. */
static void drop(struct write_op *op)
{
    if (op->fd >= 0) {
        become_user();
        unlinkat(op->dir, op->temporary, 0);
        become_root();
        close(op->fd);
    }
    if (op->dir >= 0)
        close(op->dir);
    op->fd = op->dir = -1;
}

static void fail(struct write_op *op, int err, const char *why)
{
    if (op->err != 0)
        return;
    op->err = err;
    text_join(op->message, sizeof(op->message), why ? why : text_errno(err), NULL);
    if (!why && op->message[0] >= 'A' && op->message[0] <= 'Z')
        op->message[0] = (char)(op->message[0] - 'A' + 'a');
    drop(op);
}

static void name_temporary(char out[40])
{
    static const char digits[] = "0123456789abcdef";
    uint8_t bytes[8] = {0};
    char hex[17];

    (void)!getrandom(bytes, sizeof(bytes), 0);
    for (size_t i = 0; i < sizeof(bytes); i++) {
        hex[2 * i] = digits[bytes[i] >> 4];
        hex[2 * i + 1] = digits[bytes[i] & 15];
    }
    hex[16] = '\0';
    text_join(out, 40, ".sandboxd-", hex, ".tmp", NULL);
}

static void open_file(struct write_op *op, const char *path)
{
    const char *name, *why = NULL;
    struct stat st;
    int dir = path_open_parent(path, &name, &why);

    if (dir < 0) {
        fail(op, -dir, why);
        return;
    }
    op->dir = dir;
    if (strlen(name) > NAME_MAX) {
        fail(op, ENAMETOOLONG, NULL);
        return;
    }
    text_join(op->name, sizeof(op->name), name, NULL);
    if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(st.st_mode)) {
        fail(op, EISDIR, "is a directory");
        return;
    }
    name_temporary(op->temporary);
    op->fd = openat(dir, op->temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (op->fd < 0)
        fail(op, errno, NULL);
}

static void put_in_place(struct write_op *op)
{
    become_user();
    int err = fchmod(op->fd, op->mode) < 0 || path_replace(op->dir, op->temporary, op->name) < 0 ? errno : 0;
    become_root();
    if (err != 0) {
        fail(op, err, NULL);
        return;
    }
    close(op->fd);
    op->fd = -1;
}

static void finish(struct write_op *op)
{
    if (op->err == 0)
        put_in_place(op);
    file_refuse(op->stream, op->err, op->message);
    drop(op);
    op->used = false;
}

/* The fields; false when they make no operation. */
static bool parse(struct write_op *op, char path[PATH_MAX + 1], const uint8_t *payload, size_t n)
{
    struct sbx_field field;
    size_t off = 0;
    bool has_path = false;

    while (sbx_field_next(payload, n, &off, &field)) {
        if (field.tag == SBX_TAG_PATH) {
            has_path = field.len <= PATH_MAX && !memchr(field.data, '\0', field.len);
            size_t len = has_path ? field.len : 0;
            memcpy(path, field.data, len);
            path[len] = '\0';
        } else if (field.tag == SBX_TAG_MODE) {
            (void)sbx_field_u32(&field, &op->mode);
        } else if (field.tag == SBX_TAG_SIZE) {
            (void)sbx_field_u64(&field, &op->left);
        }
    }
    return has_path && off == n && op->mode <= 07777;
}

void file_write(uint32_t stream, const uint8_t *payload, size_t n)
{
    static char path[PATH_MAX + 1];
    struct write_op *op = find(stream) ? NULL : free_slot();

    if (!op) {
        file_refuse(stream, EBUSY, "too many files are being written at once");
        return;
    }
    *op = (struct write_op){.used = true, .stream = stream, .mode = 0644, .dir = -1, .fd = -1};
    if (parse(op, path, payload, n)) {
        become_user();
        open_file(op, path);
        become_root();
    } else {
        fail(op, EINVAL, "the request is malformed");
    }
    if (op->left == 0)
        finish(op);
}

static void write_all(struct write_op *op, const uint8_t *data, size_t n)
{
    while (n > 0 && op->fd >= 0) {
        ssize_t done = write(op->fd, data, n);
        if (done < 0) {
            if (errno != EINTR)
                fail(op, errno, NULL);
            continue;
        }
        data += done;
        n -= (size_t)done;
    }
}

void file_data(uint32_t stream, const uint8_t *data, size_t n)
{
    struct write_op *op = find(stream);
    if (!op)
        return;
    if (n > op->left) {
        n = (size_t)op->left;
        fail(op, EINVAL, "more data than was announced");
    }
    write_all(op, data, n);
    op->left -= n;
    if (op->left == 0)
        finish(op);
}

/* Only what is used is written to: each page that is written to beside a child that has not called exec yet
 * costs a copy of it, and every connection comes by here. */
void file_abort(bool silent)
{
    for (size_t i = 0; i < MAX_WRITES; i++) {
        if (!ops[i].used)
            continue;
        if (silent) {
            fail(&ops[i], ECANCELED, "the connection was silent for too long");
            continue;
        }
        drop(&ops[i]);
        ops[i].used = false;
    }
}
