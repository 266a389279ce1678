#include "support/agent_client.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PATIENCE_MS 20000

static const char *const applets[] = {
    "cat",  "dd",     "echo",     "env",  "head",  "id",    "kill", "ln", "ls",   "mkdir", "pwd",
    "seq",  "setsid", "sleep",    "stat", "tail",  "touch", "true", "wc", "yes",  "rm",    "printf",
    "grep", "chmod",  "readlink", "tee",  "false", "tr",    "awk",  "mv", "sort", "uniq"};

static int64_t now_ms(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static void pause_ms(long ms)
{
    struct timespec ts = {.tv_nsec = ms * 1000000};
    nanosleep(&ts, NULL);
}

/* Beside the test's directory, or where the environment says. */
static void find_agent(char out[PATH_MAX])
{
    const char *env = getenv("SBX_AGENT");
    if (env) {
        snprintf(out, PATH_MAX, "%s", env);
        return;
    }
    ssize_t n = readlink("/proc/self/exe", out, PATH_MAX - 1);
    assert_true(n > 0);
    out[n] = '\0';
    for (int i = 0; i < 2; i++)
        *strrchr(out, '/') = '\0';
    strncat(out, "/sandboxd-agent", PATH_MAX - 1 - strlen(out));
}

/* From here to the agent's exec nothing may use cmocka: it is another process. */
static void require(bool ok, const char *what)
{
    if (ok)
        return;
    perror(what);
    _exit(99);
}

static void copy_file(const char *from, const char *to)
{
    char buf[65536];
    ssize_t n;
    int in = open(from, O_RDONLY | O_CLOEXEC);
    int out = open(to, O_WRONLY | O_CREAT | O_CLOEXEC, 0755);
    require(in >= 0 && out >= 0, from);
    while ((n = read(in, buf, sizeof(buf))) > 0)
        require(write(out, buf, (size_t)n) == n, to);
    close(in);
    close(out);
}

static void write_text(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0755);
    require(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text), path);
    close(fd);
}

static void build_root(const struct agent_options *options, const char *binary)
{
    static const char *const dirs[] = {"bin", "dev", "proc", "etc", "tmp", ".sandboxd"};

    umask(0);
    for (size_t i = 0; i < sizeof(dirs) / sizeof(dirs[0]); i++)
        require(mkdir(dirs[i], strcmp(dirs[i], "tmp") == 0 ? 01777 : 0755) == 0, dirs[i]);
    copy_file("/bin/busybox", "bin/busybox");
    copy_file(binary, ".sandboxd/agent");
    for (size_t i = 0; i < sizeof(applets) / sizeof(applets[0]); i++) {
        char name[64];
        snprintf(name, sizeof(name), "bin/%s", applets[i]);
        require(symlink("busybox", name) == 0, name);
    }
    if (options->dash_like)
        write_text("bin/sh", "#!/bin/busybox ash\n"
                             "[ \"$1\" = -c ] || exit 2\n"
                             "shift\n"
                             "exec /bin/busybox ash -c \"$@\"\n");
    else if (!options->no_shell)
        require(symlink("busybox", "bin/sh") == 0, "bin/sh");
    write_text("dev/null", "");
    require(mount("/dev/null", "dev/null", NULL, MS_BIND, NULL) == 0, "bind /dev/null");
    write_text("dev/zero", "");
    require(mount("/dev/zero", "dev/zero", NULL, MS_BIND, NULL) == 0, "bind /dev/zero");
    require(mount("proc", "proc", "proc", 0, NULL) == 0, "mount proc");
}

static void become_agent(const struct agent *agent, const struct agent_options *options, const char *binary,
                         int in, int out)
{
    char patience[16];
    char *const argv[] = {(char[]){"/.sandboxd/agent"},
                          (char[]){"--uid"},
                          (char[]){"1000"},
                          (char[]){"--gid"},
                          (char[]){"1000"},
                          options->patience_ms > 0 ? (char[]){"--patience"} : NULL,
                          patience,
                          NULL};
    char *const envp[] = {(char[]){"PATH=/usr/bin:/bin"}, (char[]){"IMAGE_VAR=from image"},
                          (char[]){"HOME=/root"}, NULL};

    snprintf(patience, sizeof(patience), "%u", options->patience_ms);
    require(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0, "private mounts");
    require(mount("tmpfs", agent->root, "tmpfs", 0, "mode=755") == 0, "mount tmpfs");
    require(chdir(agent->root) == 0, agent->root);
    build_root(options, binary);
    require(chroot(".") == 0 && chdir("/") == 0, "chroot");
    require(dup2(in, 0) == 0 && dup2(out, 1) == 1, "dup2");
    for (int fd = 3; fd < 256; fd++)
        close(fd);
    execve(argv[0], argv, envp);
    require(false, "exec of the agent");
}

static void map_ids(pid_t pid)
{
    static const char *const files[] = {"uid_map", "gid_map"};
    for (int i = 0; i < 2; i++) {
        char path[64];
        snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, files[i]);
        int fd = open(path, O_WRONLY | O_CLOEXEC);
        assert_true(fd >= 0);
        assert_int_equal(write(fd, "0 0 65536", 9), 9);
        close(fd);
    }
}

void agent_start(struct agent *agent, const struct agent_options *options)
{
    static const struct agent_options none;
    char binary[PATH_MAX];
    int to[2], from[2], go[2];
    char byte;

    options = options ? options : &none;
    *agent = (struct agent){.pid = -1};
    sbx_frame_reader_init(&agent->reader);
    snprintf(agent->root, sizeof(agent->root), "/tmp/sbx-agent-test-XXXXXX");
    assert_non_null(mkdtemp(agent->root));
    find_agent(binary);
    assert_return_code(pipe2(to, O_CLOEXEC) | pipe2(from, O_CLOEXEC) | pipe2(go, O_CLOEXEC), errno);
    int flags = CLONE_NEWPID | CLONE_NEWNS | (options->user_ns ? CLONE_NEWUSER : 0) | SIGCHLD;
    agent->pid = (pid_t)syscall(SYS_clone, flags, NULL, NULL, NULL, NULL);
    assert_return_code(agent->pid, errno);
    if (agent->pid == 0) {
        require(read(go[0], &byte, 1) == 1, "the parent's word");
        become_agent(agent, options, binary, to[0], from[1]);
    }
    if (options->user_ns)
        map_ids(agent->pid);
    assert_int_equal(write(go[1], "", 1), 1);
    close(go[0]);
    close(go[1]);
    close(to[0]);
    close(from[1]);
    agent->in = to[1];
    agent->out = from[0];
}

void agent_stop(struct agent *agent)
{
    int status;
    close(agent->in);
    assert_int_equal(waitpid(agent->pid, &status, 0), agent->pid);
    close(agent->out);
    rmdir(agent->root);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

const char *agent_path(const struct agent *agent, const char *path)
{
    static char out[4][PATH_MAX];
    static unsigned next;
    char *p = out[next++ % 4];
    snprintf(p, PATH_MAX, "/proc/%d/root%s", (int)agent->pid, path);
    return p;
}

void agent_send_raw(struct agent *agent, const void *bytes, size_t n)
{
    const char *p = bytes;
    while (n > 0) {
        ssize_t done = write(agent->in, p, n);
        assert_true(done > 0);
        p += done;
        n -= (size_t)done;
    }
}

void agent_send(struct agent *agent, uint8_t type, uint8_t flags, uint32_t stream, const void *payload,
                size_t len)
{
    uint8_t out[SBX_FRAME_MAX];
    agent_send_raw(agent, out, sbx_frame_encode(out, agent->key, type, flags, stream, payload, len));
}

void agent_send_message(struct agent *agent, uint8_t type, uint32_t stream, const uint8_t *payload,
                        size_t len)
{
    do {
        size_t n = len < SBX_PAYLOAD_MAX ? len : SBX_PAYLOAD_MAX;
        agent_send(agent, type, n < len ? SBX_FRAME_MORE : 0, stream, payload, n);
        payload += n;
        len -= n;
    } while (len > 0);
}

bool agent_receive(struct agent *agent, struct sbx_frame *ret, int timeout_ms)
{
    int64_t until = now_ms() + timeout_ms;
    while (!sbx_frame_next(&agent->reader, ret)) {
        size_t room;
        uint8_t *space = sbx_frame_space(&agent->reader, &room);
        struct pollfd fd = {.fd = agent->out, .events = POLLIN};
        int64_t left = until - now_ms();
        if (left < 0 || poll(&fd, 1, (int)left) <= 0)
            return false;
        ssize_t n = read(agent->out, space, room);
        assert_true(n > 0);
        sbx_frame_fed(&agent->reader, (size_t)n);
    }
    return true;
}

static size_t encode_hello(uint8_t *out, uint64_t nonce, uint64_t fence, const char *request)
{
    uint8_t fields[256];
    size_t n = sbx_field_put_u32(fields, sizeof(fields), 0, SBX_TAG_VERSION, SBX_WIRE_VERSION);
    n = sbx_field_put_u64(fields, sizeof(fields), n, SBX_TAG_NONCE, nonce);
    n = sbx_field_put_u64(fields, sizeof(fields), n, SBX_TAG_FENCE, fence);
    if (request)
        n = sbx_field_put(fields, sizeof(fields), n, SBX_TAG_REQUEST, request, strlen(request));
    return sbx_frame_encode(out, 0, SBX_FRAME_HELLO, 0, 0, fields, n);
}

size_t agent_encode_hello(uint8_t *out, uint64_t nonce, uint64_t fence)
{
    return encode_hello(out, nonce, fence, NULL);
}

static uint64_t find_u64(const struct sbx_frame *frame, uint8_t tag)
{
    struct sbx_field field;
    uint64_t value = 0;
    for (size_t off = 0; sbx_field_next(frame->payload, frame->len, &off, &field);)
        if (field.tag == tag)
            (void)sbx_field_u64(&field, &value);
    return value;
}

uint8_t agent_hello_for(struct agent *agent, uint64_t nonce, uint64_t fence, const char *request,
                        struct sbx_frame *ret_frame)
{
    uint8_t out[SBX_FRAME_MAX];

    agent_send_raw(agent, out, encode_hello(out, nonce, fence, request));
    do {
        assert_true(agent_receive(agent, ret_frame, PATIENCE_MS));
    } while ((ret_frame->type != SBX_FRAME_HELLO_ACK && ret_frame->type != SBX_FRAME_REFUSED) ||
             find_u64(ret_frame, SBX_TAG_NONCE) != nonce);
    if (ret_frame->type == SBX_FRAME_HELLO_ACK)
        agent->key = agent->reader.key = sbx_wire_key(nonce);
    return ret_frame->type;
}

uint8_t agent_hello(struct agent *agent, uint64_t nonce, uint64_t fence)
{
    struct sbx_frame frame;
    return agent_hello_for(agent, nonce, fence, NULL, &frame);
}

void agent_request_init(struct agent_request *request)
{
    *request = (struct agent_request){.bytes = NULL};
}

static void request_grow(struct agent_request *request, size_t n)
{
    if (request->size - request->len >= n)
        return;
    request->size = 2 * request->size + n;
    request->bytes = realloc(request->bytes, request->size);
    assert_non_null(request->bytes);
}

void agent_request_text(struct agent_request *request, uint8_t tag, const char *text)
{
    request_grow(request, sbx_field_size(strlen(text)));
    request->len = sbx_field_put(request->bytes, request->size, request->len, tag, text, strlen(text));
}

void agent_request_u32(struct agent_request *request, uint8_t tag, uint32_t value)
{
    request_grow(request, sbx_field_size(4));
    request->len = sbx_field_put_u32(request->bytes, request->size, request->len, tag, value);
}

void agent_request_u64(struct agent_request *request, uint8_t tag, uint64_t value)
{
    request_grow(request, sbx_field_size(8));
    request->len = sbx_field_put_u64(request->bytes, request->size, request->len, tag, value);
}

void agent_request_send(struct agent *agent, struct agent_request *request, uint8_t type, uint32_t stream)
{
    agent_send_message(agent, type, stream, request->bytes, request->len);
    free(request->bytes);
}

void agent_exec(struct agent *agent, uint32_t stream, const char *command, uint32_t timeout_ms)
{
    struct agent_request request;
    agent_request_init(&request);
    agent_request_text(&request, SBX_TAG_COMMAND, command);
    agent_request_u32(&request, SBX_TAG_TIMEOUT_MS, timeout_ms);
    agent_request_send(agent, &request, SBX_FRAME_EXEC, stream);
}

static void take_exit(const struct sbx_frame *frame, struct agent_result *ret)
{
    struct sbx_field field;
    for (size_t off = 0; sbx_field_next(frame->payload, frame->len, &off, &field);) {
        if (field.tag == SBX_TAG_CODE)
            assert_true(sbx_field_u32(&field, &ret->code));
        else if (field.tag == SBX_TAG_SIGNAL)
            assert_true(sbx_field_u32(&field, &ret->signal));
        else if (field.tag == SBX_TAG_REASON)
            assert_true(sbx_field_u32(&field, &ret->reason));
        else if (field.tag == SBX_TAG_STATUS)
            assert_true(sbx_field_u32(&field, &ret->status));
        else if (field.tag == SBX_TAG_USER_US)
            assert_true(sbx_field_u64(&field, &ret->user_us));
        else if (field.tag == SBX_TAG_MAX_RSS)
            assert_true(sbx_field_u64(&field, &ret->max_rss));
        else if (field.tag == SBX_TAG_DURATION_US)
            assert_true(sbx_field_u64(&field, &ret->duration_us));
        else if (field.tag == SBX_TAG_MESSAGE)
            snprintf(ret->message, sizeof(ret->message), "%.*s", (int)field.len, (const char *)field.data);
    }
}

static void take_output(const struct sbx_frame *frame, struct agent_result *ret, size_t keep)
{
    bool is_err = frame->payload[0] == 2;
    uint8_t **bytes = is_err ? &ret->err : &ret->out;
    size_t *len = is_err ? &ret->err_len : &ret->len;
    size_t n = frame->len - 1;

    ret->total += n;
    if (n > keep - *len)
        n = keep - *len;
    memcpy(*bytes + *len, frame->payload + 1, n);
    *len += n;
    (*bytes)[*len] = '\0';
}

void agent_collect(struct agent *agent, uint32_t stream, struct agent_result *ret, size_t keep)
{
    struct sbx_frame frame;
    uint32_t consumed = 0;

    *ret = (struct agent_result){.out = calloc(1, keep + 1), .err = calloc(1, keep + 1)};
    assert_true(ret->out && ret->err);
    for (;;) {
        assert_true(agent_receive(agent, &frame, PATIENCE_MS));
        if (frame.stream != stream)
            continue;
        if (frame.type == SBX_FRAME_EXIT)
            break;
        if (frame.type != SBX_FRAME_OUTPUT)
            continue;
        assert_true(frame.len > 1);
        take_output(&frame, ret, keep);
        consumed += (uint32_t)frame.len;
        if (consumed >= SBX_WIRE_WINDOW / 4) {
            uint8_t credit[4] = {(uint8_t)consumed, (uint8_t)(consumed >> 8), (uint8_t)(consumed >> 16), 0};
            consumed = 0;
            agent_send(agent, SBX_FRAME_CREDIT, 0, stream, credit, sizeof(credit));
        }
    }
    take_exit(&frame, ret);
}

void agent_result_done(struct agent_result *result)
{
    free(result->out);
    free(result->err);
    *result = (struct agent_result){.out = NULL};
}

void agent_run(struct agent *agent, const char *command, struct agent_result *ret)
{
    static uint32_t stream = 1000;
    agent_exec(agent, ++stream, command, 0);
    agent_collect(agent, stream, ret, 1 << 20);
}

uint32_t agent_write(struct agent *agent, uint32_t stream, const char *path, uint32_t mode, const void *data,
                     size_t n, char message[256])
{
    uint8_t fields[8192];
    struct sbx_frame frame;
    struct agent_result result = {.status = UINT32_MAX};
    const uint8_t *p = data;

    size_t len = sbx_field_put(fields, sizeof(fields), 0, SBX_TAG_PATH, path, strlen(path));
    len = sbx_field_put_u32(fields, sizeof(fields), len, SBX_TAG_MODE, mode);
    len = sbx_field_put_u64(fields, sizeof(fields), len, SBX_TAG_SIZE, n);
    agent_send_message(agent, SBX_FRAME_WRITE, stream, fields, len);
    for (size_t left = n; left > 0;) {
        size_t part = left < SBX_PAYLOAD_MAX ? left : SBX_PAYLOAD_MAX;
        agent_send(agent, SBX_FRAME_DATA, 0, stream, p, part);
        p += part;
        left -= part;
    }
    do {
        assert_true(agent_receive(agent, &frame, PATIENCE_MS));
    } while (frame.type != SBX_FRAME_RESULT || frame.stream != stream);
    take_exit(&frame, &result);
    if (message)
        snprintf(message, 256, "%.255s", result.message);
    return result.status;
}

static bool is_alive(const char *pid)
{
    char path[300], stat[512];
    snprintf(path, sizeof(path), "/proc/%s/stat", pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, stat, sizeof(stat) - 1);
    if (fd >= 0)
        close(fd);
    if (n <= 0)
        return false;
    stat[n] = '\0';
    const char *end = strrchr(stat, ')');
    return end && end[2] != 'Z' && end[2] != 'X';
}

static size_t count_processes(const struct agent *agent)
{
    char path[300], ours[64] = "", theirs[64];
    size_t count = 0;
    DIR *dir = opendir("/proc");
    assert_non_null(dir);
    snprintf(path, sizeof(path), "/proc/%d/ns/pid", (int)agent->pid);
    assert_true(readlink(path, ours, sizeof(ours) - 1) > 0);
    for (struct dirent *entry; (entry = readdir(dir));) {
        memset(theirs, 0, sizeof(theirs));
        snprintf(path, sizeof(path), "/proc/%s/ns/pid", entry->d_name);
        if (entry->d_name[0] < '1' || entry->d_name[0] > '9' || atoi(entry->d_name) == agent->pid)
            continue;
        if (readlink(path, theirs, sizeof(theirs) - 1) > 0 && strcmp(ours, theirs) == 0 &&
            is_alive(entry->d_name))
            count++;
    }
    closedir(dir);
    return count;
}

size_t agent_processes(const struct agent *agent, size_t expected, int timeout_ms)
{
    int64_t until = now_ms() + timeout_ms;
    size_t count;
    while ((count = count_processes(agent)) != expected && now_ms() < until)
        pause_ms(2);
    return count;
}
