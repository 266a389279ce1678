/*
 * The Docker client against the daemon at DOCKER_HOST and the image SBX_TEST_IMAGE (default
 * sandboxd/busybox:1). Without them the tests are skipped with a notice; with SBX_REQUIRE_DOCKER=1
 * they fail instead.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
/* cmocka wants them above it */
#include <cmocka.h>

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "docker/internal.h"
#include "sandboxd/archive.h"
#include "sandboxd/base/json.h"
#include "sandboxd/base/util.h"

#define LABEL       "sandboxd.livetest"
#define REGISTRY    "/usr/bin/docker-registry"
#define ANSWER_WAIT 20000

static struct sbx_docker *docker;
static const char *image;
static char run[40];     /* unique to this run: label value and part of each name */
static char absent[600]; /* why the tests cannot run */

static struct sbx_err err;

#define CHECK_OK(call)                                                                                       \
    do {                                                                                                     \
        err = (struct sbx_err)SBX_ERR_INIT;                                                                  \
        if ((call) != 0)                                                                                     \
            fail_msg("%s: %s: %s", #call, sbx_err_kind_name(err.kind), err.msg);                             \
    } while (0)

#define CHECK_FAILS(call, wanted)                                                                            \
    do {                                                                                                     \
        err = (struct sbx_err)SBX_ERR_INIT;                                                                  \
        assert_int_equal((call), -1);                                                                        \
        if (err.kind != (wanted))                                                                            \
            fail_msg("%s: %s: %s", #call, sbx_err_kind_name(err.kind), err.msg);                             \
    } while (0)

static void need_docker(void)
{
    const char *required = getenv("SBX_REQUIRE_DOCKER");

    if (!absent[0])
        return;
    if (required && strcmp(required, "1") == 0)
        fail_msg("%s", absent);
    skip();
}

static int find_docker(void **state)
{
    const char *host = getenv("DOCKER_HOST");

    image = getenv("SBX_TEST_IMAGE") ? getenv("SBX_TEST_IMAGE") : "sandboxd/busybox:1";
    err = (struct sbx_err)SBX_ERR_INIT;
    docker = sbx_docker_new(host && *host ? host : "unix:///var/run/docker.sock", 60000, &err);
    if (!docker || sbx_docker_ping(docker, NULL, &err) != 0 ||
        sbx_docker_image(docker, NULL, image, NULL, &err) != 0) {
        snprintf(absent, sizeof(absent), "no Docker to test with: %s", err.msg);
        fprintf(stderr, "test_docker_live: %s\n", absent);
    }
    snprintf(run, sizeof(run), "livetest-%d", getpid());
    return 0;
}

static int drop_container(void *arg, const char *id, const char *name, struct json_object *labels)
{
    return sbx_docker_remove(docker, NULL, id, &err);
}

static int drop_volume(void *arg, const char *name, struct json_object *labels)
{
    return sbx_docker_volume_remove(docker, NULL, name, &err);
}

static int drop_image(void *arg, const char *id, struct json_object *labels)
{
    return sbx_docker_image_remove(docker, NULL, id, &err);
}

/* Whatever a failed test left behind. The list is read before the first removal, on the one connection. */
static int clean_up(void **state)
{
    if (docker && !absent[0]) {
        (void)!sbx_docker_list(docker, NULL, LABEL, run, drop_container, NULL, &err);
        (void)!sbx_docker_list_volumes(docker, NULL, LABEL, run, drop_volume, NULL, &err);
        (void)!sbx_docker_list_images(docker, NULL, LABEL, run, drop_image, NULL, &err);
    }
    sbx_docker_free(docker);
    return 0;
}

static const struct sbx_docker_pair *labels(void)
{
    static struct sbx_docker_pair pairs[] = {{LABEL, NULL}, {NULL, NULL}};

    pairs[0].value = run;
    return pairs;
}

static const char *unique(const char *what)
{
    static char names[4][64];
    static unsigned at;
    char *out = names[at++ % SBX_ARRAY_LEN(names)];

    snprintf(out, sizeof(names[0]), "sandboxd-%s-%s", run, what);
    return out;
}

static struct sbx_docker_spec cat_spec(const char *name)
{
    static const char *const cat[] = {"/bin/cat", NULL};

    return (struct sbx_docker_spec){.name = name,
                                    .image = image,
                                    .entrypoint = cat,
                                    .user = "0:0",
                                    .network_mode = "none",
                                    .labels = labels(),
                                    .pids_limit = 32,
                                    .open_stdin = true,
                                    .no_new_privileges = true};
}

/* Read until n bytes of stdout are there or the stream ends; bytes read. */
static size_t read_bytes(struct sbx_attach *attach, char *out, size_t n)
{
    int64_t until = sbx_now_ms() + ANSWER_WAIT;
    size_t have = 0;

    while (have < n && sbx_now_ms() < until) {
        struct pollfd pfd = {.fd = sbx_attach_fd(attach), .events = POLLIN};
        ssize_t got = sbx_attach_read(attach, out + have, n - have, &err);

        if (got < 0)
            break;
        have += (size_t)got;
        if (got == 0)
            poll(&pfd, 1, 1000);
    }
    return have;
}

static void echo(const char *id, const char *text)
{
    struct sbx_attach *attach = sbx_docker_attach(docker, NULL, id, &err);
    size_t n = strlen(text);
    char out[256];

    if (!attach)
        fail_msg("%s", err.msg);
    assert_int_equal(sbx_attach_write(attach, text, n, &err), n);
    assert_int_equal(read_bytes(attach, out, n), n);
    assert_memory_equal(out, text, n);
    sbx_attach_close(attach);
}

static void a_container_lives_echoes_and_goes(void **state)
{
    need_docker();
    const char *name = unique("echo");
    struct sbx_docker_spec spec = cat_spec(name);
    char id[SBX_DOCKER_ID_LEN + 1];

    CHECK_OK(sbx_docker_create(docker, NULL, &spec, id, &err));
    CHECK_OK(sbx_docker_start(docker, NULL, id, &err));
    CHECK_OK(sbx_docker_start(docker, NULL, id, &err)); /* already started */
    echo(id, "hello\n");
    echo(name, "a second attach reaches the same process\n");
    CHECK_OK(sbx_docker_kill(docker, NULL, id, &err));
    CHECK_OK(sbx_docker_kill(docker, NULL, id, &err)); /* not running */
    CHECK_OK(sbx_docker_remove(docker, NULL, id, &err));
    CHECK_OK(sbx_docker_remove(docker, NULL, id, &err)); /* gone */
    CHECK_OK(sbx_docker_kill(docker, NULL, id, &err));
    CHECK_FAILS(sbx_docker_start(docker, NULL, id, &err), SBX_ERR_NOT_FOUND);
    err = (struct sbx_err)SBX_ERR_INIT;
    assert_null(sbx_docker_attach(docker, NULL, id, &err));
    assert_int_equal(err.kind, SBX_ERR_NOT_FOUND);
}

static void the_limits_asked_for_are_in_force(void **state)
{
    need_docker();
    static const char *const caps[] = {"SETUID", "KILL", NULL};
    struct sbx_docker_spec spec = cat_spec(unique("limits"));
    struct sbx_docker_state out;
    char id[SBX_DOCKER_ID_LEN + 1], image_id[80];

    spec.memory_bytes = 64 << 20;
    spec.nano_cpus = 500000000;
    spec.pids_limit = 17;
    spec.cap_add = caps;
    CHECK_OK(sbx_docker_create(docker, NULL, &spec, id, &err));
    CHECK_OK(sbx_docker_image(docker, NULL, image, image_id, &err));
    CHECK_OK(sbx_docker_inspect(docker, NULL, spec.name, &out, &err));
    assert_string_equal(out.id, id);
    assert_string_equal(out.image_id, image_id);
    assert_false(out.running);
    assert_int_equal(out.memory_bytes, 64 << 20);
    assert_int_equal(out.memory_swap_bytes, 64 << 20);
    assert_int_equal(out.nano_cpus, 500000000);
    assert_int_equal(out.pids_limit, 17);
    assert_string_equal(out.network_mode, "none");
    assert_true(out.runtime[0]);
    CHECK_OK(sbx_docker_start(docker, NULL, id, &err));
    CHECK_OK(sbx_docker_inspect(docker, NULL, id, &out, &err));
    assert_true(out.running);
    CHECK_OK(sbx_docker_kill(docker, NULL, id, &err));
    CHECK_OK(sbx_docker_remove(docker, NULL, id, &err));
    CHECK_FAILS(sbx_docker_inspect(docker, NULL, id, &out, &err), SBX_ERR_NOT_FOUND);
}

static void the_output_of_a_hardened_container(const struct sbx_docker_spec *spec, const char *expected)
{
    char id[SBX_DOCKER_ID_LEN + 1], out[512] = "";
    struct sbx_attach *attach;

    CHECK_OK(sbx_docker_create(docker, NULL, spec, id, &err));
    attach = sbx_docker_attach(docker, NULL, id, &err); /* before the start: nothing is missed */
    assert_non_null(attach);
    CHECK_OK(sbx_docker_start(docker, NULL, id, &err));
    out[read_bytes(attach, out, sizeof(out) - 1)] = '\0';
    assert_string_equal(out, expected);
    assert_string_equal(sbx_attach_stderr(attach), "bye\n");
    sbx_attach_close(attach);
    CHECK_OK(sbx_docker_remove(docker, NULL, id, &err));
}

static void capabilities_are_dropped_but_for_those_added(void **state)
{
    need_docker();
    static const char *const script[] = {
        "/bin/sh", "-c", "grep -e CapBnd -e NoNewPrivs /proc/1/status; echo $A; echo bye >&2", NULL};
    static const char *const caps[] = {"KILL", NULL}, *const env[] = {"A=x y", NULL};
    struct sbx_docker_spec spec = cat_spec(unique("caps"));

    spec.entrypoint = script;
    spec.cap_add = caps;
    spec.env = env;
    the_output_of_a_hardened_container(&spec, "CapBnd:\t0000000000000020\nNoNewPrivs:\t1\nx y\n");
}

static void a_taken_name_and_a_missing_image_are_told_apart(void **state)
{
    need_docker();
    struct sbx_docker_spec spec = cat_spec(unique("name"));
    char id[SBX_DOCKER_ID_LEN + 1], other[SBX_DOCKER_ID_LEN + 1] = "untouched";

    CHECK_OK(sbx_docker_create(docker, NULL, &spec, id, &err));
    CHECK_FAILS(sbx_docker_create(docker, NULL, &spec, other, &err), SBX_ERR_CONFLICT);
    assert_string_equal(other, "untouched");
    spec.name = unique("name2");
    spec.image = "sandboxd-test/there-is-no-such-image:x";
    CHECK_FAILS(sbx_docker_create(docker, NULL, &spec, other, &err), SBX_ERR_NOT_FOUND);
    CHECK_FAILS(sbx_docker_image(docker, NULL, spec.image, NULL, &err), SBX_ERR_NOT_FOUND);
    CHECK_FAILS(sbx_docker_image(docker, NULL, "Not A Reference", NULL, &err), SBX_ERR_INVALID);
    CHECK_OK(sbx_docker_remove(docker, NULL, unique("name"), &err));
}

/* One ustar file of size bytes 'x' called name, in a memory file; *ret_size gets the archive's. */
static int make_tar(const char *name, int64_t size, int64_t *ret_size)
{
    char head[512] = "", block[4096];
    int fd = memfd_create("tar", MFD_CLOEXEC);
    unsigned sum = 0;

    snprintf(head, 100, "%s", name);
    memcpy(head + 100,
           "0000644\0"
           "0000000\0"
           "0000000",
           24);
    snprintf(head + 124, 12, "%011llo", (unsigned long long)size);
    memcpy(head + 136, "00000000000", 12);
    memset(head + 148, ' ', 8);
    head[156] = '0';
    memcpy(head + 257, "ustar\00000", 8);
    for (size_t i = 0; i < sizeof(head); i++)
        sum += (unsigned char)head[i];
    snprintf(head + 148, 8, "%06o", sum);
    *ret_size = (int64_t)sizeof(head) + (size + 511) / 512 * 512 + 1024;
    assert_int_equal(write(fd, head, sizeof(head)), sizeof(head));
    memset(block, 'x', sizeof(block));
    for (int64_t left = size; left > 0; left -= (int64_t)sizeof(block)) {
        size_t n = left < (int64_t)sizeof(block) ? (size_t)left : sizeof(block);
        assert_int_equal(write(fd, block, n), n);
    }
    assert_int_equal(ftruncate(fd, *ret_size), 0);
    return fd;
}

static void archives_reach_a_volume_of_a_container_that_never_ran(void **state)
{
    need_docker();
    static const char *const script[] = {"/bin/sh", "-c", "wc -c </data/big; cat /data/small; echo bye >&2",
                                         NULL};
    const char *volume = unique("volume");
    const struct sbx_docker_mount rw[] = {{volume, "/data", false, true}, {.volume = NULL}},
                                  ro[] = {{volume, "/data", true, true}, {.volume = NULL}};
    struct sbx_docker_spec spec = cat_spec(unique("fill"));
    char id[SBX_DOCKER_ID_LEN + 1];
    int64_t size, small;
    int fd = make_tar("big", 9000001, &size), small_fd = make_tar("small", 3, &small);
    void *mem = mmap(NULL, (size_t)small, PROT_READ, MAP_PRIVATE, small_fd, 0);

    CHECK_OK(sbx_docker_volume_create(docker, NULL, volume, labels(), 0, &err));
    CHECK_OK(sbx_docker_volume_create(docker, NULL, volume, labels(), 0, &err)); /* there already */
    spec.mounts = rw;
    CHECK_OK(sbx_docker_create(docker, NULL, &spec, id, &err));
    CHECK_OK(sbx_docker_put_archive(docker, NULL, id, "/data", fd, size, &err));
    CHECK_OK(sbx_docker_put_archive_mem(docker, NULL, id, "/data", mem, (size_t)small, &err));
    CHECK_FAILS(sbx_docker_put_archive(docker, NULL, id, "/no/such/place", fd, size, &err),
                SBX_ERR_NOT_FOUND);
    CHECK_FAILS(sbx_docker_volume_remove(docker, NULL, volume, &err), SBX_ERR_CONFLICT);
    CHECK_OK(sbx_docker_remove(docker, NULL, id, &err));

    spec.name = unique("look");
    spec.entrypoint = script;
    spec.mounts = ro;
    the_output_of_a_hardened_container(&spec, "9000001\nxxx");
    CHECK_OK(sbx_docker_volume_remove(docker, NULL, volume, &err));
    CHECK_OK(sbx_docker_volume_remove(docker, NULL, volume, &err)); /* gone */
    munmap(mem, (size_t)small);
    close(fd);
    close(small_fd);
}

struct seen {
    const char *key; /* container's name or volume's name */
    int count, others;
};

static int see(void *arg, const char *id, const char *name, struct json_object *found)
{
    struct seen *seen = arg;

    if (strcmp(name, seen->key) == 0 && strlen(id) == SBX_DOCKER_ID_LEN &&
        strcmp(json_object_get_string(json_object_object_get(found, LABEL)), run) == 0)
        seen->count++;
    else
        seen->others++;
    return 0;
}

static int see_volume(void *arg, const char *name, struct json_object *found)
{
    struct seen *seen = arg;

    if (strcmp(name, seen->key) == 0 &&
        strcmp(json_object_get_string(json_object_object_get(found, LABEL)), run) == 0)
        seen->count++;
    else
        seen->others++;
    return 1; /* enough */
}

static void what_carries_the_label_is_listed(void **state)
{
    need_docker();
    struct sbx_docker_spec spec = cat_spec(unique("listed"));
    const char *volume = unique("listed-volume");
    char id[SBX_DOCKER_ID_LEN + 1];
    struct seen seen = {.key = spec.name};

    CHECK_OK(sbx_docker_create(docker, NULL, &spec, id, &err));
    CHECK_OK(sbx_docker_list(docker, NULL, LABEL, run, see, &seen, &err));
    assert_int_equal(seen.count, 1);
    assert_int_equal(seen.others, 0);
    CHECK_OK(sbx_docker_list(docker, NULL, LABEL, NULL, see, &seen, &err));
    assert_int_equal(seen.count, 2);
    CHECK_OK(sbx_docker_list(docker, NULL, LABEL, "another", see, &seen, &err));
    assert_int_equal(seen.count, 2);
    CHECK_OK(sbx_docker_remove(docker, NULL, id, &err));

    seen = (struct seen){.key = volume};
    CHECK_OK(sbx_docker_volume_create(docker, NULL, volume, labels(), 0, &err));
    CHECK_OK(sbx_docker_list_volumes(docker, NULL, LABEL, run, see_volume, &seen, &err));
    assert_int_equal(seen.count, 1);
    CHECK_OK(sbx_docker_volume_remove(docker, NULL, volume, &err));
    CHECK_OK(sbx_docker_list_volumes(docker, NULL, LABEL, run, see_volume, &seen, &err));
    assert_int_equal(seen.count + seen.others, 1);
}

struct seen_image {
    char id[80];
    char odd[64];
    int count;
};

static int see_image(void *arg, const char *id, struct json_object *found)
{
    struct seen_image *seen = arg;

    snprintf(seen->id, sizeof(seen->id), "%s", id);
    snprintf(seen->odd, sizeof(seen->odd), "%s",
             json_object_get_string(json_object_object_get(found, "sandboxd.odd")));
    seen->count++;
    return 0;
}

static void a_container_becomes_an_image_that_is_found_by_its_labels(void **state)
{
    need_docker();
    static const char odd[] = "a \"b\" \\ $HOME 'c'=d";
    static const struct sbx_docker_pair more[] = {{"sandboxd.odd", odd}, {NULL, NULL}};
    static const struct sbx_docker_pair broken[] = {{"sandboxd.odd", "two\nlines"}, {NULL, NULL}};
    static const char *const show[] = {"/bin/sh", "-c", "cat /kept; echo bye >&2", NULL};
    struct sbx_docker_spec spec = cat_spec(unique("commit"));
    char id[SBX_DOCKER_ID_LEN + 1], image_id[80], reference[200], found[80];
    struct seen_image seen = {.count = 0};
    void *tar;
    size_t n;

    CHECK_OK(sbx_docker_create(docker, NULL, &spec, id, &err));
    CHECK_OK(sbx_archive_one_file("kept", "inside\n", 7, 0644, &tar, &n, &err));
    CHECK_OK(sbx_docker_put_archive_mem(docker, NULL, id, "/", tar, n, &err));
    free(tar);
    CHECK_FAILS(sbx_docker_commit(docker, NULL, id, broken, ANSWER_WAIT, image_id, &err), SBX_ERR_INTERNAL);
    CHECK_OK(sbx_docker_commit(docker, NULL, id, more, ANSWER_WAIT, image_id, &err));
    CHECK_OK(sbx_docker_list_images(docker, NULL, LABEL, run, see_image, &seen, &err));
    assert_int_equal(seen.count, 1);
    assert_string_equal(seen.id, image_id);
    assert_string_equal(seen.odd, odd);

    CHECK_OK(sbx_docker_tag(docker, NULL, image_id, "sandboxd-livetest", run, &err));
    snprintf(reference, sizeof(reference), "sandboxd-livetest:%s", run);
    CHECK_OK(sbx_docker_image(docker, NULL, reference, found, &err));
    assert_string_equal(found, image_id);
    CHECK_OK(sbx_docker_remove(docker, NULL, id, &err));

    spec = cat_spec(unique("committed"));
    spec.image = reference;
    spec.entrypoint = show;
    the_output_of_a_hardened_container(&spec, "inside\n");
    CHECK_OK(sbx_docker_image_remove(docker, NULL, reference, &err));
    CHECK_OK(sbx_docker_image_remove(docker, NULL, reference, &err)); /* gone */
    CHECK_FAILS(sbx_docker_image(docker, NULL, image_id, NULL, &err), SBX_ERR_NOT_FOUND);
    CHECK_OK(sbx_docker_image(docker, NULL, image, NULL, &err));
    CHECK_FAILS(sbx_docker_commit(docker, NULL, id, more, ANSWER_WAIT, image_id, &err), SBX_ERR_NOT_FOUND);
}

static void an_overlay_volume_shows_the_lower_one_and_leaves_it_alone(void **state)
{
    need_docker();
    char lower[64], upper[64], work[64], merged[64];
    const struct sbx_docker_mount below[] = {{lower, "/data", false, true}, {NULL, NULL, false, false}};
    const struct sbx_docker_mount above[] = {{merged, "/data", false, true}, {NULL, NULL, false, false}};
    static const char *const seed[] = {"/bin/sh", "-c",
                                       "echo seeded > /data/file; cat /data/file; echo bye >&2", NULL};
    static const char *const change[] = {
        "/bin/sh", "-c", "cat /data/file; echo changed > /data/file; touch /data/new; echo bye >&2", NULL};
    static const char *const look[] = {"/bin/sh", "-c", "cat /data/file; ls /data; echo bye >&2", NULL};

    snprintf(lower, sizeof(lower), "%s", unique("lower"));
    snprintf(upper, sizeof(upper), "%s", unique("upper"));
    snprintf(work, sizeof(work), "%s", unique("work"));
    snprintf(merged, sizeof(merged), "%s", unique("merged"));
    CHECK_FAILS(sbx_docker_volume_overlay(docker, NULL, merged, lower, upper, work, labels(), &err),
                SBX_ERR_NOT_FOUND);
    CHECK_OK(sbx_docker_volume_create(docker, NULL, lower, labels(), 0, &err));
    struct sbx_docker_spec spec = cat_spec(unique("seed"));
    spec.entrypoint = seed;
    spec.mounts = below;
    the_output_of_a_hardened_container(&spec, "seeded\n");

    CHECK_OK(sbx_docker_volume_overlay(docker, NULL, merged, lower, upper, work, labels(), &err));
    spec.name = unique("change");
    spec.entrypoint = change;
    spec.mounts = above;
    the_output_of_a_hardened_container(&spec, "seeded\n");
    spec.name = unique("again");
    spec.entrypoint = look;
    the_output_of_a_hardened_container(&spec, "changed\nfile\nnew\n");
    spec.name = unique("below");
    spec.mounts = below;
    the_output_of_a_hardened_container(&spec, "seeded\nfile\n");

    const char *const volumes[] = {merged, upper, work, lower};
    for (size_t i = 0; i < SBX_ARRAY_LEN(volumes); i++)
        CHECK_OK(sbx_docker_volume_remove(docker, NULL, volumes[i], &err));
}

static void a_stream_ends_with_its_container(void **state)
{
    need_docker();
    struct sbx_docker_spec spec = cat_spec(unique("ends"));
    char id[SBX_DOCKER_ID_LEN + 1], out[8];
    struct sbx_attach *attach;

    CHECK_OK(sbx_docker_create(docker, NULL, &spec, id, &err));
    CHECK_OK(sbx_docker_start(docker, NULL, id, &err));
    attach = sbx_docker_attach(docker, NULL, id, &err);
    assert_non_null(attach);
    assert_int_equal(sbx_attach_read(attach, out, sizeof(out), &err), 0);
    CHECK_OK(sbx_docker_kill(docker, NULL, id, &err));
    assert_int_equal(read_bytes(attach, out, sizeof(out)), 0);
    assert_int_equal(sbx_attach_read(attach, out, sizeof(out), &err), -1);
    assert_int_equal(err.kind, SBX_ERR_UNAVAILABLE);
    sbx_attach_close(attach);
    CHECK_OK(sbx_docker_remove(docker, NULL, id, &err));
}

/* A registry in dir on a port of its own choosing, which its log tells. */
static pid_t start_registry(const char *dir, int *ret_port)
{
    char config[128], log[4096] = "";
    int pipes[2], port = 0;
    FILE *out;
    pid_t pid;

    snprintf(config, sizeof(config), "%s/config.yml", dir);
    out = fopen(config, "we");
    assert_non_null(out);
    fprintf(out, "version: 0.1\nlog: {level: info}\nstorage: {filesystem: {rootdirectory: %s/data}}\n", dir);
    fprintf(out, "http: {addr: '127.0.0.1:0'}\n");
    fclose(out);
    assert_int_equal(pipe2(pipes, O_CLOEXEC), 0);
    pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        dup2(pipes[1], STDERR_FILENO);
        dup2(pipes[1], STDOUT_FILENO);
        execl(REGISTRY, REGISTRY, "serve", config, (char *)NULL);
        _exit(127);
    }
    close(pipes[1]);
    for (size_t n = 0; port == 0 && n < sizeof(log) - 1;) {
        ssize_t got = read(pipes[0], log + n, sizeof(log) - 1 - n);

        assert_true(got > 0);
        log[n += (size_t)got] = '\0';
        char *at = strstr(log, "listening on 127.0.0.1:");
        if (at && strchr(at, '\n'))
            port = atoi(at + strlen("listening on 127.0.0.1:"));
    }
    /* The pipe stays open for the registry's further lines; it goes with this process. */
    *ret_port = port;
    return pid;
}

static int take_digest(void *arg, const char *data, size_t n, struct sbx_err *ret_err)
{
    return sbx_buf_add(arg, data, n, ret_err);
}

static void push(const char *name, const char *tag, char digest[80])
{
    struct docker_call call = {.method = "POST", .what = "tag", .header = "X-Registry-Auth: e30="};
    struct sbx_buf text;
    const char *at;

    CHECK_OK(sbx_docker_call(docker, NULL, &call, &err, "/images/%s/tag?repo=%s&tag=%s", image, name, tag));
    sbx_buf_init(&text, 1 << 20);
    call.sink = take_digest;
    call.arg = &text;
    CHECK_OK(sbx_docker_call(docker, NULL, &call, &err, "/images/%s/push?tag=%s", name, tag));
    at = strstr(sbx_buf_cstr(&text, &err), "digest: sha256:");
    if (!at)
        fail_msg("%s", text.data);
    snprintf(digest, 80, "%.71s", at + strlen("digest: "));
    sbx_buf_done(&text);
}

static void untag(const char *reference)
{
    struct docker_call call = {.method = "DELETE", .what = "untag"};

    CHECK_OK(sbx_docker_call(docker, NULL, &call, &err, "/images/%s?noprune=1", reference));
}

static void remember(void *arg, const char *status)
{
    snprintf(arg, 256, "%s", status);
}

static void images_are_pulled_from_a_registry(void **state)
{
    need_docker();
    if (docker->tcp_host || access(REGISTRY, X_OK) != 0) {
        fprintf(stderr, "test_docker_live: no registry that the daemon could reach\n");
        skip();
    }
    char dir[] = "/tmp/sbx-registry-XXXXXX", name[128], reference[256], digest[80], progress[256] = "",
         command[64];
    int port;

    assert_non_null(mkdtemp(dir));
    pid_t pid = start_registry(dir, &port);
    snprintf(name, sizeof(name), "127.0.0.1:%d/sandboxd/%s", port, run);
    push(name, "v1", digest);
    snprintf(reference, sizeof(reference), "%s:v1", name);
    untag(reference);
    CHECK_FAILS(sbx_docker_image(docker, NULL, reference, NULL, &err), SBX_ERR_NOT_FOUND);
    CHECK_OK(sbx_docker_pull(docker, NULL, reference, NULL, ANSWER_WAIT, remember, progress, &err));
    assert_true(progress[0]);
    CHECK_OK(sbx_docker_image(docker, NULL, reference, NULL, &err));
    untag(reference);
    snprintf(reference, sizeof(reference), "%s@%s", name, digest);
    CHECK_OK(sbx_docker_pull(docker, NULL, reference, "e30=", ANSWER_WAIT, NULL, NULL, &err));
    CHECK_OK(sbx_docker_image(docker, NULL, reference, NULL, &err));
    untag(reference);

    snprintf(reference, sizeof(reference), "%s:v2", name);
    CHECK_FAILS(sbx_docker_pull(docker, NULL, reference, NULL, ANSWER_WAIT, NULL, NULL, &err),
                SBX_ERR_NOT_FOUND);
    snprintf(reference, sizeof(reference), "%s-unknown", name);
    CHECK_FAILS(sbx_docker_pull(docker, NULL, reference, NULL, ANSWER_WAIT, NULL, NULL, &err),
                SBX_ERR_NOT_FOUND);
    CHECK_FAILS(sbx_docker_pull(docker, NULL, "Bad/Name", NULL, ANSWER_WAIT, NULL, NULL, &err),
                SBX_ERR_INVALID);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    CHECK_FAILS(sbx_docker_pull(docker, NULL, reference, NULL, ANSWER_WAIT, NULL, NULL, &err),
                SBX_ERR_UPSTREAM);
    snprintf(command, sizeof(command), "rm -rf '%s'", dir);
    assert_int_equal(system(command), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_container_lives_echoes_and_goes),
        cmocka_unit_test(the_limits_asked_for_are_in_force),
        cmocka_unit_test(capabilities_are_dropped_but_for_those_added),
        cmocka_unit_test(a_taken_name_and_a_missing_image_are_told_apart),
        cmocka_unit_test(archives_reach_a_volume_of_a_container_that_never_ran),
        cmocka_unit_test(what_carries_the_label_is_listed),
        cmocka_unit_test(a_container_becomes_an_image_that_is_found_by_its_labels),
        cmocka_unit_test(an_overlay_volume_shows_the_lower_one_and_leaves_it_alone),
        cmocka_unit_test(a_stream_ends_with_its_container),
        cmocka_unit_test(images_are_pulled_from_a_registry),
    };

    return cmocka_run_group_tests(tests, find_docker, clean_up);
}
