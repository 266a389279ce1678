/* Paths, options in records. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "sandboxd/session.h"
#include "session/internal.h"

static void paths_below_repo_are_good(void **state)
{
    static const char *const GOOD[] = {"/repo/a",  "/repo/a/b..c", "/repo/..a", "/repo/a b/\xc3\xa9",
                                       "/repo//a", "/repo/./a"};
    char reason[128];
    for (size_t i = 0; i < sizeof(GOOD) / sizeof(GOOD[0]); i++)
        assert_int_equal(sbx_path_check(GOOD[i], strlen(GOOD[i]), reason, sizeof(reason)), 0);
}

static void paths_that_are_refused_say_why(void **state)
{
    static const struct {
        const char *path;
        size_t len;
        const char *why;
    } BAD[] = {
        {"repo/a", 6, "absolute"},
        {"", 0, "absolute"},
        {"/etc/passwd", 11, "under /repo"},
        {"/repository/a", 13, "under"},
        {"/repo", 5, "itself"},
        {"/repo/", 6, "itself"},
        {"/repo/../etc", 12, "'..'"},
        {"/repo/a/..", 10, "'..'"},
        {"/repo/a\nb", 9, "NUL, CR or LF"},
        {"/repo/a\rb", 9, "NUL, CR or LF"},
        {"/repo/a\0b", 9, "NUL, CR or LF"},
        {"/repo/a/", 8, "directory"},
    };
    for (size_t i = 0; i < sizeof(BAD) / sizeof(BAD[0]); i++) {
        char reason[128] = "";
        assert_int_equal(sbx_path_check(BAD[i].path, BAD[i].len, reason, sizeof(reason)), -1);
        assert_non_null(strstr(reason, BAD[i].why));
    }
}

static void options_come_back_from_the_record_as_they_went_in(void **state)
{
    static const char *const env[] = {"A=b c", "EMPTY=", "EQ=a=b", "U=\303\274\n\"", NULL};
    const struct sbx_session_options in = {.network_enabled = true,
                                           .memory_bytes = 1LL << 40,
                                           .disk_bytes = 1LL << 41,
                                           .cpus = 0.1,
                                           .environment = env};
    struct sbx_err err = SBX_ERR_INIT;
    struct sbx_record record;
    struct sbx_session_options out;
    char **environment = NULL;
    sbx_record_init(&record);
    record.ephemeral = true;
    snprintf(record.image, sizeof(record.image), "image:tag");
    record.options = sbx_options_to_json(&in, &err);
    assert_int_equal(sbx_options_from_record(&record, &out, &environment, &err), 0);
    assert_true(out.network_enabled && out.ephemeral && !out.extract_patch);
    assert_int_equal(out.memory_bytes, in.memory_bytes);
    assert_int_equal(out.disk_bytes, in.disk_bytes);
    assert_int_equal(sbx_disk_of(&record), in.disk_bytes);
    assert_true(out.cpus > 0.0999999 && out.cpus < 0.1000001);
    assert_string_equal(out.image, "image:tag");
    for (size_t i = 0; i < SBX_ARRAY_LEN(env); i++) {
        if (env[i])
            assert_string_equal(out.environment[i], env[i]);
        else
            assert_null(out.environment[i]);
    }
    sbx_environment_free(environment);
    sbx_record_done(&record);
}

static void a_limit_of_the_disk_is_believed_of_overlay2_only(void **state)
{
    const struct sbx_docker_spec none = {.disk_bytes = 0}, some = {.disk_bytes = 1 << 20};
    struct sbx_docker_state found = {.disk_bytes = 1 << 20, .storage_driver = "overlay2"};
    assert_true(sbx_disk_kept(&some, &found));
    snprintf(found.storage_driver, sizeof(found.storage_driver), "btrfs");
    assert_false(sbx_disk_kept(&some, &found));
    assert_true(sbx_disk_kept(&none, &found));
    found = (struct sbx_docker_state){.disk_bytes = 0, .storage_driver = "overlay2"};
    assert_false(sbx_disk_kept(&some, &found));
    assert_true(sbx_disk_kept(&none, &found));
}

/* The words of dockerd 20.10. */
static void a_host_that_cannot_limit_the_disk_is_named(void **state)
{
    static const char *const WORDS[] = {
        "cannot create container n: --storage-opt is supported only for overlay over xfs with 'pquota' mount "
        "option",
        "cannot create volume n: create n: quota size requested but no quota support",
        "cannot create container n: Failed to limit qgroup for &{}: disk quota exceeded",
        "the container was created, but " SBX_DISK_NOT_KEPT,
    };
    struct sbx_config config = {.disk_bytes = 1 << 21};
    const struct sbx_engine engine = {.config = &config};
    struct sbx_session_options options = {.disk_bytes = 1 << 20};
    for (size_t i = 0; i < SBX_ARRAY_LEN(WORDS); i++) {
        struct sbx_err err = {.kind = SBX_ERR_UPSTREAM};
        snprintf(err.msg, sizeof(err.msg), "%s", WORDS[i]);
        assert_int_equal(sbx_disk_explain(&engine, &options, &err), -1);
        assert_int_equal(err.kind, SBX_ERR_INVALID);
        assert_non_null(strstr(err.msg, "(disk_bytes): "));
        assert_non_null(strstr(err.msg, WORDS[i]));
    }
    struct sbx_err err = {.kind = SBX_ERR_UPSTREAM, .msg = "quota size requested but no quota support"};
    options.disk_bytes = config.disk_bytes;
    assert_int_equal(sbx_disk_explain(&engine, &options, &err), -1);
    assert_int_equal(err.kind, SBX_ERR_UPSTREAM);
    assert_non_null(strstr(err.msg, "(DAIV_SANDBOX_DISK_BYTES): "));
    struct sbx_err other = {.kind = SBX_ERR_UNAVAILABLE, .msg = "dockerd does not answer"};
    assert_int_equal(sbx_disk_explain(&engine, &options, &other), -1);
    assert_int_equal(other.kind, SBX_ERR_UNAVAILABLE);
    assert_string_equal(other.msg, "dockerd does not answer");
}

static void a_record_without_options_has_the_defaults(void **state)
{
    static const char *const texts[] = {NULL, "{}", "{\"cpus\":0,\"environment\":{}}"};
    for (size_t i = 0; i < SBX_ARRAY_LEN(texts); i++) {
        struct sbx_err err = SBX_ERR_INIT;
        struct sbx_record record;
        struct sbx_session_options out;
        char **environment = NULL;
        sbx_record_init(&record);
        record.options = texts[i] ? strdup(texts[i]) : NULL;
        assert_int_equal(sbx_options_from_record(&record, &out, &environment, &err), 0);
        assert_false(out.network_enabled);
        assert_int_equal(out.memory_bytes, 0);
        assert_int_equal(out.disk_bytes, 0);
        assert_int_equal(sbx_disk_of(&record), 0);
        assert_true(out.cpus == 0);
        assert_null(out.environment[0]);
        sbx_environment_free(environment);
        sbx_record_done(&record);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(paths_below_repo_are_good),
        cmocka_unit_test(paths_that_are_refused_say_why),
        cmocka_unit_test(options_come_back_from_the_record_as_they_went_in),
        cmocka_unit_test(a_limit_of_the_disk_is_believed_of_overlay2_only),
        cmocka_unit_test(a_host_that_cannot_limit_the_disk_is_named),
        cmocka_unit_test(a_record_without_options_has_the_defaults),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
