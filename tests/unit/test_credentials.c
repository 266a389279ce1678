/*
 * Docker's config.json: what is taken from it, for which registry, and how dockerd is told.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
/* cmocka wants the four above first */
#include <cmocka.h>

#include "docker/internal.h"
#include "sandboxd/base/util.h"

static char path[64];

static struct sbx_docker_credentials *load(const char *text, struct sbx_err *err)
{
    struct sbx_err ignored = SBX_ERR_INIT;
    snprintf(path, sizeof(path), "/tmp/sbx-credentials-XXXXXX");
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(sbx_write_full(fd, text, strlen(text), &ignored), 0);
    close(fd);
    struct sbx_docker_credentials *credentials = sbx_docker_credentials_load(path, err);
    unlink(path);
    return credentials;
}

static struct sbx_docker_credentials *must_load(const char *text)
{
    struct sbx_err err = SBX_ERR_INIT;
    struct sbx_docker_credentials *credentials = load(text, &err);
    if (!credentials)
        fail_msg("%s: %s", text, err.msg);
    return credentials;
}

/* What dockerd reads in the header for an image; "" when there is none. */
static const char *told(const struct sbx_docker_credentials *credentials, const char *image)
{
    static char text[1024];
    char standard[1024];
    const char *header = sbx_docker_credentials_for(credentials, image);
    if (!header)
        return "";
    assert_true(strlen(header) < sizeof(standard) && strlen(header) % 4 == 0);
    assert_null(strpbrk(header, "+/"));
    snprintf(standard, sizeof(standard), "%s", header);
    for (char *at = standard; *at; at++)
        *at = (char)(*at == '-' ? '+' : *at == '_' ? '/' : *at);
    ssize_t n = sbx_base64_decode(standard, strlen(standard), text);
    assert_true(n > 0);
    text[n] = '\0';
    return text;
}

static void every_kind_of_entry_becomes_what_dockerd_wants(void **state)
{
    static const struct {
        const char *entry, *json;
    } cases[] = {
        {"{\"auth\":\"dXNlcjpwYXNz\"}",
         "{\"username\":\"user\",\"password\":\"pass\",\"serveraddress\":\"r.io\"}"},
        {"{\"auth\":\"dXNlcjpwOmE6cw==\"}",
         "{\"username\":\"user\",\"password\":\"p:a:s\",\"serveraddress\":\"r.io\"}"},
        {"{\"auth\":\"dXNlcjpwYXNzAAA=\",\"email\":\"x@y\"}",
         "{\"username\":\"user\",\"password\":\"pass\",\"serveraddress\":\"r.io\"}"},
        {"{\"username\":\"user\",\"password\":\"\xc3\xbc>>???\\\"\"}",
         "{\"username\":\"user\",\"password\":\"\xc3\xbc>>???\\\"\",\"serveraddress\":\"r.io\"}"},
        {"{\"auth\":\"\",\"username\":\"user\",\"password\":\"pass\"}",
         "{\"username\":\"user\",\"password\":\"pass\",\"serveraddress\":\"r.io\"}"},
        {"{\"auth\":\"PHRva2VuPjo=\",\"identitytoken\":\"ey.J\"}",
         "{\"username\":\"<token>\",\"identitytoken\":\"ey.J\",\"serveraddress\":\"r.io\"}"},
        {"{\"registrytoken\":\"t\"}",
         "{\"username\":\"\",\"password\":\"\",\"registrytoken\":\"t\",\"serveraddress\":\"r.io\"}"},
        {"{}", ""},
        {"{\"auth\":null}", ""},
    };
    for (size_t i = 0; i < SBX_ARRAY_LEN(cases); i++) {
        char text[512];
        snprintf(text, sizeof(text), "{\"auths\":{\"r.io\":%s}}", cases[i].entry);
        struct sbx_docker_credentials *credentials = must_load(text);
        assert_string_equal(told(credentials, "r.io/a/b:c"), cases[i].json);
        sbx_docker_credentials_free(credentials);
    }
}

/* Entries whose password tells which one was taken. */
static void entries_are_matched_as_docker_matches_them(void **state)
{
    static const struct {
        const char *key, *image;
        bool found;
    } cases[] = {
        {"r.io", "r.io/x", true},
        {"r.io", "r.io/x@sha256:00", true},
        {"r.io", "r.io:443/x", false},
        {"r.io:443", "r.io:443/x", true},
        {"r.io:443", "r.io/x", false},
        {"https://r.io", "r.io/x", true},
        {"http://r.io:5000/v2/", "r.io:5000/a/b", true},
        {"r.io/team", "r.io/x", true},
        {"R.io", "r.io/x", false},
        {"localhost", "localhost/x", true},
        {"localhost", "localhost", false},
        {"[::1]:5000", "[::1]:5000/x", true},
        {"x", "x/y", false},
        {"https://index.docker.io/v1/", "alpine", true},
        {"https://index.docker.io/v1/", "library/alpine:3", true},
        {"https://index.docker.io/v1/", "docker.io/library/alpine", true},
        {"https://index.docker.io/v1/", "index.docker.io/a/b", true},
        {"https://index.docker.io/v1/", "r.io/alpine", false},
        {"docker.io", "a/b", true},
        {"index.docker.io", "a/b", true},
        {"r.io", "a/b", false},
    };
    for (size_t i = 0; i < SBX_ARRAY_LEN(cases); i++) {
        char text[256];
        snprintf(text, sizeof(text), "{\"auths\":{\"%s\":{\"auth\":\"dTpw\"}}}", cases[i].key);
        struct sbx_docker_credentials *credentials = must_load(text);
        if ((told(credentials, cases[i].image)[0] != '\0') != cases[i].found)
            fail_msg("%s for %s", cases[i].key, cases[i].image);
        sbx_docker_credentials_free(credentials);
    }
}

static void the_exact_key_comes_before_the_same_host(void **state)
{
    struct sbx_docker_credentials *credentials = must_load(
        "{\"auths\":{\"https://r.io/v1/\":{\"auth\":\"dTpsb29zZQ==\"},\"r.io\":{\"auth\":\"dTpleGFjdA==\"},"
        "\"docker.io\":{\"auth\":\"dTpsb29zZQ==\"},"
        "\"https://index.docker.io/v1/\":{\"auth\":\"dTpleGFjdA==\"}}}");
    assert_non_null(strstr(told(credentials, "r.io/x"), "\"exact\""));
    assert_non_null(strstr(told(credentials, "alpine"), "\"exact\""));
    sbx_docker_credentials_free(credentials);
    assert_null(sbx_docker_credentials_for(NULL, "r.io/x"));
}

static void helpers_are_noticed(void **state)
{
    static const struct {
        const char *text;
        bool helpers;
    } cases[] = {
        {"{}", false},
        {"{\"auths\":{},\"HttpHeaders\":{\"X\":\"y\"},\"credHelpers\":{}}", false},
        {"{\"credsStore\":\"\"}", false},
        {"{\"credsStore\":\"desktop\"}", true},
        {"{\"credHelpers\":{\"gcr.io\":\"gcloud\"}}", true},
    };
    for (size_t i = 0; i < SBX_ARRAY_LEN(cases); i++) {
        struct sbx_docker_credentials *credentials = must_load(cases[i].text);
        assert_int_equal(sbx_docker_credentials_helpers(credentials), cases[i].helpers);
        sbx_docker_credentials_free(credentials);
    }
    assert_false(sbx_docker_credentials_helpers(NULL));
}

static void what_cannot_be_understood_is_an_error_without_its_secrets(void **state)
{
    static const char *const bad[] = {
        "",
        "[]",
        "null",
        "{\"auths\":[]}",
        "{\"auths\":{\"r.io\":\"c2VjcmV0\"}}",
        "{\"auths\":{\"r.io\":{\"auth\":\"c2VjcmV0\"}}}",
        "{\"auths\":{\"r.io\":{\"auth\":\"c2VjcmV0Onh\"}}}",
        "{\"auths\":{\"r.io\":{\"auth\":\"c2VjcmV0Onh=-\"}}}",
        "{\"auths\":{\"r.io\":{\"auth\":7}}}",
        "{\"auths\":{\"r\\r\\n.io\":{\"auth\":7}}}",
        "{\"auths\":{\"r.io\":{\"username\":\"u\",\"password\":[\"c2VjcmV0\"]}}}",
        "{\"auths\":{\"r.io\":{\"username\":\"u\",\"password\":\"c2VjcmV0\\u0000\"}}}",
        "{\"auths\":{\"r.io\":{\"auth\":\"dTpw\"}}",
        "{\"auths\":{\"r.io\":{\"auth\":\"dTpw\"},\"r.io\":{}}}",
    };
    for (size_t i = 0; i < SBX_ARRAY_LEN(bad); i++) {
        struct sbx_err err = SBX_ERR_INIT;
        assert_null(load(bad[i], &err));
        assert_int_equal(err.kind, SBX_ERR_INVALID);
        assert_non_null(strstr(err.msg, path));
        assert_null(strstr(err.msg, "c2VjcmV0"));
        assert_null(strpbrk(err.msg, "\r\n"));
    }
    struct sbx_err err = SBX_ERR_INIT;
    assert_null(sbx_docker_credentials_load("/nonexistent/config.json", &err));
    assert_int_equal(err.kind, SBX_ERR_INVALID);
    assert_non_null(strstr(err.msg, "/nonexistent/config.json"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_kind_of_entry_becomes_what_dockerd_wants),
        cmocka_unit_test(entries_are_matched_as_docker_matches_them),
        cmocka_unit_test(the_exact_key_comes_before_the_same_host),
        cmocka_unit_test(helpers_are_noticed),
        cmocka_unit_test(what_cannot_be_understood_is_an_error_without_its_secrets),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
