/*
 * The Docker client's parsers and the bodies it sends, without a daemon.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
/* cmocka wants the four above first */
#include <cmocka.h>

#include "docker/internal.h"
#include "sandboxd/base/json.h"
#include "sandboxd/base/util.h"

#define HEX32 "0123456789abcdef0123456789abcdef"
#define HEX64 HEX32 HEX32

static void references_are_split_into_name_and_version(void **state)
{
    static const struct {
        const char *image, *name, *tag;
    } good[] = {
        {"alpine", "alpine", "latest"},
        {"alpine:3.19", "alpine", "3.19"},
        {"library/alpine", "library/alpine", "latest"},
        {"a/b/c/d:x", "a/b/c/d", "x"},
        {"a__b/c--d/e.f/g_h", "a__b/c--d/e.f/g_h", "latest"},
        {"localhost/x", "localhost/x", "latest"},
        {"localhost:5000/x:y", "localhost:5000/x", "y"},
        {"Registry.Example.com/x", "Registry.Example.com/x", "latest"},
        {"127.0.0.1:5000/x", "127.0.0.1:5000/x", "latest"},
        {"[::1]:5000/x", "[::1]:5000/x", "latest"},
        {"[fe80::1]/x:1", "[fe80::1]/x", "1"},
        {"alpine@sha256:" HEX64, "alpine", "sha256:" HEX64},
        {"r.io:443/a/b:tag@sha256:" HEX64, "r.io:443/a/b", "sha256:" HEX64},
        {"alpine:_Under.score-1", "alpine", "_Under.score-1"},
        {"sha256:" HEX64, "sha256", HEX64},
    };
    char name[256], tag[160];

    for (size_t i = 0; i < SBX_ARRAY_LEN(good); i++) {
        struct sbx_err err = SBX_ERR_INIT;

        if (sbx_docker_parse_reference(good[i].image, name, sizeof(name), tag, sizeof(tag), &err) != 0)
            fail_msg("%s", err.msg);
        assert_string_equal(name, good[i].name);
        assert_string_equal(tag, good[i].tag);
        assert_int_equal(err.kind, SBX_ERR_NONE);
    }
}

static void what_cannot_be_a_reference_is_refused(void **state)
{
    static const char *const bad[] = {
        "",
        " ",
        "Alpine",
        "a b",
        "alpine:",
        ":x",
        "@",
        "alpine@",
        "/alpine",
        "alpine/",
        "a//b",
        "a/../b",
        "..",
        "-a",
        "a-",
        "a___b",
        "a..b",
        "a_.b",
        "alpine:-x",
        "alpine:.x",
        "alpine:a/b:",
        "alpine:a b",
        "alpine@sha256:",
        "alpine@sha256:" HEX32,
        "alpine@md5:" HEX32,
        "alpine@sha256:" HEX64 "0",
        "alpine:t@x",
        "alpine:?@sha256:" HEX64,
        "host:port/x",
        "host:/x",
        "host:123456/x",
        "-host.io/x",
        "host-.io/x",
        "host..io/x",
        "[::g]/x",
        "[]/x",
        "[/x",
        "[::1/x",
        "x\ny",
        "x:\n",
        "caf\xc3\xa9",
        "http://r.io/x",
        "a?b=c",
        "a%2f",
        "alpine:" HEX64 HEX64 "0",
    };
    char name[256], tag[160];

    for (size_t i = 0; i < SBX_ARRAY_LEN(bad); i++) {
        struct sbx_err err = SBX_ERR_INIT;

        if (sbx_docker_parse_reference(bad[i], name, sizeof(name), tag, sizeof(tag), &err) == 0)
            fail_msg("\"%s\" was accepted", bad[i]);
        assert_int_equal(err.kind, SBX_ERR_INVALID);
    }
}

static void a_reference_that_does_not_fit_is_refused_not_cut(void **state)
{
    struct sbx_err err = SBX_ERR_INIT;
    char name[6], tag[6], longer[300];

    assert_int_equal(sbx_docker_parse_reference("abcde", name, sizeof(name), tag, sizeof(tag), &err), -1);
    assert_int_equal(err.kind, SBX_ERR_INVALID);
    assert_int_equal(sbx_docker_parse_reference("abcdef:x", name, sizeof(name), tag, sizeof(tag), &err), -1);
    memset(longer, 'a', sizeof(longer) - 1);
    longer[sizeof(longer) - 1] = '\0';
    assert_int_equal(sbx_docker_parse_reference(longer, longer, sizeof(longer), tag, sizeof(tag), &err), -1);
}

static void pull_failures_are_told_apart(void **state)
{
    static const struct {
        const char *message;
        enum sbx_err_kind kind;
    } cases[] = {
        {"manifest for r.io/x:1 not found: manifest unknown: manifest unknown", SBX_ERR_NOT_FOUND},
        {"pull access denied for nosuch, repository does not exist or may require 'docker login': denied: "
         "requested "
         "access to the resource is denied",
         SBX_ERR_NOT_FOUND},
        {"unauthorized: authentication required", SBX_ERR_NOT_FOUND},
        {"Get \"https://r.io/v2/x/manifests/1\": no basic auth credentials", SBX_ERR_NOT_FOUND},
        {"no matching manifest for linux/amd64 in the manifest list entries", SBX_ERR_NOT_FOUND},
        {"Get \"http://127.0.0.1:1/v2/\": dial tcp 127.0.0.1:1: connect: connection refused",
         SBX_ERR_UPSTREAM},
        {"Get \"https://nosuch.invalid/v2/\": dial tcp: lookup nosuch.invalid on 10.0.0.1:53: no such host",
         SBX_ERR_UPSTREAM},
        {"Get \"https://r.io/v2/\": net/http: TLS handshake timeout", SBX_ERR_UPSTREAM},
        {"Get \"https://r.io/v2/\": x509: certificate signed by unknown authority", SBX_ERR_UPSTREAM},
        {"Get \"https://r.io/v2/\": dial tcp 10.1.2.3:443: i/o timeout", SBX_ERR_UPSTREAM},
        {"received unexpected HTTP status: 503 Service Unavailable", SBX_ERR_UPSTREAM},
        {"toomanyrequests: You have reached your pull rate limit", SBX_ERR_UPSTREAM},
        {"write /var/lib/docker/tmp/x: no space left on device", SBX_ERR_UPSTREAM},
        {"dial tcp: lookup denied.example: server misbehaving: not found", SBX_ERR_UPSTREAM},
        {"pull access denied for timeout/tls, repository does not exist", SBX_ERR_NOT_FOUND},
        {"something nobody has seen before", SBX_ERR_UPSTREAM},
        {"", SBX_ERR_UPSTREAM},
        {"invalid reference format: repository name must be lowercase", SBX_ERR_INVALID},
    };

    for (size_t i = 0; i < SBX_ARRAY_LEN(cases); i++)
        if (sbx_docker_pull_kind(cases[i].message) != cases[i].kind)
            fail_msg("\"%s\" is %s", cases[i].message,
                     sbx_err_kind_name(sbx_docker_pull_kind(cases[i].message)));
}

static void count_line(void *arg, const char *status)
{
    ++*(int *)arg;
    assert_string_equal(status, "latest: Pulling from x");
}

static void an_error_inside_the_pull_stream_is_found_wherever_it_is_split(void **state)
{
    static const char text[] =
        "{\"status\":\"Pulling from x\",\"id\":\"latest\"}\r\n\r\n"
        "{\"status\":\"Downloading\",\"progressDetail\":{\"current\":1,\"total\":2},\"progress\":\"[=> "
        "]\",\"id\":\"ab\"}\r\n"
        "{\"errorDetail\":{\"message\":\"manifest unknown\"},\"error\":\"manifest unknown\"}\r\n";
    size_t n = sizeof(text) - 1;

    for (size_t cut = 0; cut <= n; cut++) {
        struct sbx_err err = SBX_ERR_INIT;
        int lines = 0;
        struct docker_pull pull = {.image = "x", .progress = count_line, .arg = &lines};

        sbx_buf_init(&pull.line, 4096);
        int rc = sbx_docker_pull_feed(&pull, text, cut, &err);
        if (rc == 0)
            rc = sbx_docker_pull_feed(&pull, text + cut, n - cut, &err);
        assert_int_equal(rc, -1);
        assert_int_equal(err.kind, SBX_ERR_NOT_FOUND);
        assert_string_equal(err.msg, "cannot pull image x: manifest unknown");
        assert_int_equal(lines, 1);
        sbx_buf_done(&pull.line);
    }
}

static void a_pull_stream_of_garbage_is_a_failure(void **state)
{
    struct docker_pull pull = {.image = "x"};
    struct sbx_err err = SBX_ERR_INIT;
    char longer[200];

    sbx_buf_init(&pull.line, 100);
    assert_int_equal(sbx_docker_pull_feed(&pull, "<html>\n", 7, &err), -1);
    assert_int_equal(err.kind, SBX_ERR_UPSTREAM);
    sbx_buf_clear(&pull.line);
    memset(longer, ' ', sizeof(longer));
    err = (struct sbx_err)SBX_ERR_INIT;
    assert_int_equal(sbx_docker_pull_feed(&pull, longer, sizeof(longer), &err), -1);
    assert_int_equal(err.kind, SBX_ERR_UPSTREAM);
    sbx_buf_done(&pull.line);
}

static void check_message(const char *body, const char *expected)
{
    char out[64];

    sbx_docker_message(body, strlen(body), out, sizeof(out));
    assert_string_equal(out, expected);
}

static void messages_are_taken_from_json_or_text(void **state)
{
    check_message("{\"message\":\"No such image: x\"}\n", "No such image: x");
    check_message("No such container: y\r\n", "No such container: y");
    check_message("{\"message\":7}", "{\"message\":7}");
    check_message("a\nb\1\n", "a b");
    check_message("", "");
    check_message("0123456789012345678901234567890123456789012345678901234567890123456789",
                  "012345678901234567890123456789012345678901234567890123456789012");
}

static void versions_of_the_api(void **state)
{
    assert_int_equal(sbx_docker_parse_version("1.41", 4), 41);
    assert_int_equal(sbx_docker_parse_version("1.9", 3), 9);
    assert_int_equal(sbx_docker_parse_version("1.141", 5), 141);
    assert_int_equal(sbx_docker_parse_version("2.0", 3), -1);
    assert_int_equal(sbx_docker_parse_version("1.", 2), -1);
    assert_int_equal(sbx_docker_parse_version("1.4x", 4), -1);
    assert_int_equal(sbx_docker_parse_version("1.99999", 7), -1);
}

static void hosts_are_unix_paths_or_tcp_addresses(void **state)
{
    static const struct {
        const char *host, *authority, *tcp_host;
    } good[] = {
        {"unix:///run/docker.sock", "docker", NULL},
        {"tcp://10.0.0.1:2375", "10.0.0.1:2375", "10.0.0.1"},
        {"tcp://docker.example:80/", "docker.example:80", "docker.example"},
        {"tcp://dockerd", "dockerd:2375", "dockerd"},
        {"tcp://[::1]:99", "[::1]:99", "::1"},
    };
    static const char *const bad[] = {
        "",
        "/run/docker.sock",
        "unix://run/docker.sock",
        "unix://",
        "tcp://",
        "tcp://:1",
        "tcp://a:",
        "tcp://a:0",
        "tcp://a:65536",
        "tcp://a:1x",
        "tcp://a:-1",
        "tcp://a/b",
        "tcp://u@a:1",
        "tcp://[::1",
        "tcp://[]:1",
        "ssh://a",
        "http://a:1",
        "unix:///" HEX64 HEX32 HEX32,
    };

    for (size_t i = 0; i < SBX_ARRAY_LEN(good); i++) {
        struct sbx_err err = SBX_ERR_INIT;
        struct sbx_docker *docker = sbx_docker_new(good[i].host, 1000, &err);

        if (!docker)
            fail_msg("%s", err.msg);
        assert_string_equal(docker->authority, good[i].authority);
        if (good[i].tcp_host)
            assert_string_equal(docker->tcp_host, good[i].tcp_host);
        sbx_docker_free(docker);
    }
    for (size_t i = 0; i < SBX_ARRAY_LEN(bad); i++) {
        struct sbx_err err = SBX_ERR_INIT;

        if (sbx_docker_new(bad[i], 1000, &err))
            fail_msg("%s was accepted", bad[i]);
        assert_int_equal(err.kind, SBX_ERR_INVALID);
    }
}

static void a_container_is_asked_for_with_every_restriction(void **state)
{
    const struct sbx_docker_spec spec = {
        .name = "n",
        .image = "img",
        .entrypoint = (const char *const[]){"/.sandboxd/agent", NULL},
        .env = (const char *const[]){"A=b", NULL},
        .user = "0:0",
        .network_mode = "none",
        .runtime = "runsc",
        .mounts = (const struct sbx_docker_mount[]){{"vol", "/repo", true, false},
                                                    {"v2", "/x", false, true},
                                                    {.volume = NULL}},
        .labels = (const struct sbx_docker_pair[]){{"k", "v"}, {NULL, NULL}},
        .cap_add = (const char *const[]){"SETUID", "KILL", NULL},
        .memory_bytes = 64 << 20,
        .nano_cpus = 500000000,
        .pids_limit = 99,
        .user_processes = 7,
        .disk_bytes = 1LL << 40,
        .open_stdin = true,
        .no_new_privileges = true,
    };
    struct json_object *json = sbx_docker_spec_json(&spec);

    assert_string_equal(
        json_object_to_json_string_ext(json, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE),
        "{\"Image\":\"img\",\"Entrypoint\":[\"/.sandboxd/"
        "agent\"],\"Env\":[\"A=b\"],\"User\":\"0:0\",\"Labels\":{\"k\":\"v\"},"
        "\"OpenStdin\":true,\"StdinOnce\":false,\"Tty\":false,\"AttachStdin\":true,\"AttachStdout\":true,"
        "\"AttachStderr\":true,"
        "\"Healthcheck\":{\"Test\":[\"NONE\"]},\"HostConfig\":{\"LogConfig\":{\"Type\":\"none\"},"
        "\"RestartPolicy\":{\"Name\":"
        "\"no\"},\"AutoRemove\":false,\"Init\":false,\"CapDrop\":[\"ALL\"],\"CapAdd\":[\"SETUID\",\"KILL\"],"
        "\"SecurityOpt\":["
        "\"no-new-privileges\"],\"NetworkMode\":\"none\",\"Runtime\":\"runsc\",\"Memory\":67108864,"
        "\"MemorySwap\":67108864,"
        "\"NanoCpus\":500000000,\"PidsLimit\":99,\"StorageOpt\":{\"size\":\"1099511627776\"},"
        "\"Ulimits\":[{\"Name\":\"nproc\",\"Soft\":7,\"Hard\":7}],\"Mounts\":[{\"VolumeOptions\":{\"NoCopy\":"
        "false},\"Type\":"
        "\"volume\","
        "\"Source\":\"vol\",\"Target\":\"/"
        "repo\",\"ReadOnly\":true},{\"VolumeOptions\":{\"NoCopy\":true},\"Type\":\"volume\","
        "\"Source\":\"v2\",\"Target\":\"/x\",\"ReadOnly\":false}]}}");
    json_object_put(json);
}

static void no_limit_asked_for_is_no_limit_sent(void **state)
{
    const struct sbx_docker_spec spec = {.name = "n", .image = "img"};
    struct json_object *json = sbx_docker_spec_json(&spec);

    assert_non_null(sbx_json_at(json, "HostConfig/CapDrop"));
    assert_null(sbx_json_at(json, "HostConfig/Memory"));
    assert_null(sbx_json_at(json, "HostConfig/MemorySwap"));
    assert_null(sbx_json_at(json, "HostConfig/PidsLimit"));
    assert_null(sbx_json_at(json, "HostConfig/Ulimits"));
    assert_null(sbx_json_at(json, "HostConfig/SecurityOpt"));
    assert_null(sbx_json_at(json, "HostConfig/Mounts"));
    assert_null(sbx_json_at(json, "Cmd"));
    json_object_put(json);
}

static void label_filters_are_json(void **state)
{
    struct sbx_err err = SBX_ERR_INIT;
    struct sbx_buf out;

    sbx_buf_init(&out, 200);
    assert_int_equal(sbx_docker_label_filter("a.b", "x\"y", &out, &err), 0);
    assert_string_equal(sbx_buf_cstr(&out, &err), "{\"label\":[\"a.b=x\\\"y\"]}");
    sbx_buf_clear(&out);
    assert_int_equal(sbx_docker_label_filter("a.b", NULL, &out, &err), 0);
    assert_string_equal(sbx_buf_cstr(&out, &err), "{\"label\":[\"a.b\"]}");
    sbx_buf_done(&out);
}

static void names_cannot_change_the_path(void **state)
{
    static const char *const bad[] = {"", ".", "..", "a/b", "/a", "a?b", "a%2f", "-a", "a b", "a\n", NULL};
    struct sbx_err err = SBX_ERR_INIT;

    assert_int_equal(sbx_docker_check_name("sandboxd-1_2.3", &err), 0);
    assert_int_equal(sbx_docker_check_name(NULL, &err), -1);
    for (size_t i = 0; bad[i]; i++)
        assert_int_equal(sbx_docker_check_name(bad[i], &err), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(references_are_split_into_name_and_version),
        cmocka_unit_test(what_cannot_be_a_reference_is_refused),
        cmocka_unit_test(a_reference_that_does_not_fit_is_refused_not_cut),
        cmocka_unit_test(pull_failures_are_told_apart),
        cmocka_unit_test(an_error_inside_the_pull_stream_is_found_wherever_it_is_split),
        cmocka_unit_test(a_pull_stream_of_garbage_is_a_failure),
        cmocka_unit_test(messages_are_taken_from_json_or_text),
        cmocka_unit_test(versions_of_the_api),
        cmocka_unit_test(hosts_are_unix_paths_or_tcp_addresses),
        cmocka_unit_test(a_container_is_asked_for_with_every_restriction),
        cmocka_unit_test(no_limit_asked_for_is_no_limit_sent),
        cmocka_unit_test(label_filters_are_json),
        cmocka_unit_test(names_cannot_change_the_path),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
