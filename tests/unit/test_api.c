/* Routes, statuses and text of the API that need no service. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "api/raw.h"

#define ID "550e8400-e29b-41d4-a716-446655440000"

static sbx_handler *found(const char *method, const char *path, struct sbx_call *call, const char **allow)
{
    const struct sbx_route *route = sbx_route_find("/api/v1", method, path, call, allow);
    return route ? route->handler : NULL;
}

static void a_route_is_found_under_the_prefix_and_at_the_root_with_and_without_slash(void **state)
{
    static const char *const PATHS[] = {"/session", "/session/", "/api/v1/session", "/api/v1/session/"};
    struct sbx_call call;
    const char *allow;
    for (size_t i = 0; i < SBX_ARRAY_LEN(PATHS); i++)
        assert_ptr_equal(found("POST", PATHS[i], &call, &allow), sbx_handle_create);
}

static void the_id_of_the_path_is_handed_over(void **state)
{
    struct sbx_call call;
    const char *allow;
    assert_ptr_equal(found("POST", "/api/v1/session/" ID "/seed/", &call, &allow), sbx_handle_seed);
    assert_string_equal(call.id, ID);
    assert_ptr_equal(found("DELETE", "/session/" ID, &call, &allow), sbx_handle_close);
    assert_string_equal(call.id, ID);
}

static void an_id_that_is_no_uuid_names_no_session(void **state)
{
    static const char *const PATHS[] = {"/session/x/", "/session/550e8400-e29b-41d4-a716-44665544000g/",
                                        "/session/..%2f/", "/session/" ID "0/"};
    struct sbx_call call;
    const char *allow;
    for (size_t i = 0; i < SBX_ARRAY_LEN(PATHS); i++) {
        assert_ptr_equal(found("POST", PATHS[i], &call, &allow), sbx_handle_run);
        assert_string_equal(call.id, "");
    }
}

static void unknown_paths_have_no_route(void **state)
{
    static const char *const PATHS[] = {"/",
                                        "",
                                        "/sessions",
                                        "/session//",
                                        "/api/v1",
                                        "/api/v1/",
                                        "/api/v1session",
                                        "/session/" ID "/x",
                                        "/session/" ID "//",
                                        "/api/v1/api/v1/session",
                                        "/-/",
                                        "/-/healthz"};
    struct sbx_call call;
    const char *allow;
    for (size_t i = 0; i < SBX_ARRAY_LEN(PATHS); i++) {
        assert_null(found("GET", PATHS[i], &call, &allow));
        assert_null(allow);
    }
}

static void a_wrong_method_says_which_are_allowed(void **state)
{
    struct sbx_call call;
    const char *allow;
    assert_null(found("PUT", "/session/" ID "/", &call, &allow));
    assert_string_equal(allow, "GET, PATCH, POST, DELETE");
    assert_null(found("POST", "/-/health/", &call, &allow));
    assert_string_equal(allow, "GET");
}

static void a_route_may_have_a_further_parameter(void **state)
{
    static const char PATTERN[] = "/session/{id}/things/{thing}/parts";
    char longest[SBX_ITEM_MAX + 1];
    char path[256];
    struct sbx_call call;
    assert_true(sbx_route_matches(PATTERN, "/session/" ID "/things/7f/parts/", &call));
    assert_string_equal(call.id, ID);
    assert_string_equal(call.item, "7f");
    assert_string_equal(call.path, "");
    assert_false(sbx_route_matches(PATTERN, "/session/" ID "/things//parts", &call));
    assert_false(sbx_route_matches(PATTERN, "/session/" ID "/things/7f", &call));
    assert_false(sbx_route_matches(PATTERN, "/session/" ID "/things/7f/parts/x", &call));
    memset(longest, 'x', sizeof(longest));
    snprintf(path, sizeof(path), "/session/" ID "/things/%.*s/parts", SBX_ITEM_MAX, longest);
    assert_true(sbx_route_matches(PATTERN, path, &call));
    assert_int_equal(strlen(call.item), SBX_ITEM_MAX);
    snprintf(path, sizeof(path), "/session/" ID "/things/%.*s/parts", SBX_ITEM_MAX + 1, longest);
    assert_true(sbx_route_matches(PATTERN, path, &call));
    assert_string_equal(call.item, "");
}

static void the_tail_of_a_path_is_handed_over_as_it_is(void **state)
{
    static const char PATTERN[] = "/session/{id}/files/{path}";
    static const char *const TAILS[] = {"/x",        "/repo/a b/c", "/repo/dir/", "//x",
                                        "/..hidden", "/a../b",      "/..."};
    char path[256];
    struct sbx_call call;
    for (size_t i = 0; i < SBX_ARRAY_LEN(TAILS); i++) {
        snprintf(path, sizeof(path), "/session/" ID "/files%s", TAILS[i]);
        assert_true(sbx_route_matches(PATTERN, path, &call));
        assert_string_equal(call.id, ID);
        assert_string_equal(call.path, TAILS[i]);
    }
    assert_false(sbx_route_matches(PATTERN, "/session/" ID "/files", &call));
    assert_false(sbx_route_matches(PATTERN, "/session/" ID "/files/", &call));
    assert_false(sbx_route_matches(PATTERN, "/session/" ID "/filesx", &call));
}

static void a_tail_that_goes_up_names_nothing(void **state)
{
    static const char *const TAILS[] = {"/..", "/../x", "/repo/..", "/repo/../x", "/repo/x/../", "/a/.../.."};
    char path[256];
    struct sbx_call call;
    for (size_t i = 0; i < SBX_ARRAY_LEN(TAILS); i++) {
        snprintf(path, sizeof(path), "/session/" ID "/files%s", TAILS[i]);
        assert_true(sbx_route_matches("/session/{id}/files/{path}", path, &call));
        assert_string_equal(call.path, "");
    }
}

/* The JSON string made of pieces of text. */
static void spell(const char *bytes, size_t n, size_t piece, const char *want)
{
    struct sbx_spool spool;
    struct sbx_err err = SBX_ERR_INIT;
    char got[256] = "";
    sbx_spool_init(&spool, "/tmp", 4096, 4096);
    struct sbx_text text = {.spool = &spool, .err = &err};
    for (size_t at = 0; at < n; at += piece)
        assert_int_equal(sbx_text_add(&text, bytes + at, n - at < piece ? n - at : piece), 0);
    assert_int_equal(sbx_text_end(&text), 0);
    assert_true(sbx_spool_read(&spool, 0, got, sizeof(got) - 1, &err) >= 0);
    assert_string_equal(got, want);
    sbx_spool_done(&spool);
}

static void characters_survive_being_cut_anywhere(void **state)
{
    static const char TEXT[] = "a\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80z";
    for (size_t piece = 1; piece <= sizeof(TEXT); piece++)
        spell(TEXT, sizeof(TEXT) - 1, piece, TEXT);
}

static void invalid_bytes_are_replaced_the_same_however_they_are_cut(void **state)
{
    static const char BYTES[] = "a\xff\xc3(\xe2\x82z\xf0\x9f\x98";
    for (size_t piece = 1; piece <= sizeof(BYTES); piece++)
        spell(BYTES, sizeof(BYTES) - 1, piece, "a\xef\xbf\xbd\xef\xbf\xbd(\xef\xbf\xbdz\xef\xbf\xbd");
}

static void control_bytes_and_nul_are_escaped(void **state)
{
    spell("\0\n\"\\\x1b", 5, 1, "\\u0000\\n\\\"\\\\\\u001b");
}

static void every_kind_of_error_has_its_status(void **state)
{
    static const struct {
        enum sbx_err_kind kind;
        int status;
    } WANT[] = {{SBX_ERR_INTERNAL, 500},    {SBX_ERR_BAD_REQUEST, 400}, {SBX_ERR_FORBIDDEN, 403},
                {SBX_ERR_NOT_FOUND, 404},   {SBX_ERR_CONFLICT, 409},    {SBX_ERR_TOO_LARGE, 413},
                {SBX_ERR_INVALID, 422},     {SBX_ERR_LIMITED, 429},     {SBX_ERR_UPSTREAM, 502},
                {SBX_ERR_UNAVAILABLE, 503}, {SBX_ERR_TIMEOUT, 504}};
    for (size_t i = 0; i < SBX_ARRAY_LEN(WANT); i++) {
        struct sbx_err err = {.kind = WANT[i].kind};
        assert_int_equal(sbx_status_of(&err), WANT[i].status);
    }
}

static void base64_is_decoded_the_same_however_it_is_read(void **state)
{
    char bytes[100];
    char text[140];
    for (size_t len = 0; len < sizeof(bytes); len++) {
        for (size_t i = 0; i < len; i++)
            bytes[i] = (char)(i * 37 + len);
        size_t n = sbx_base64_encode(bytes, len, text);
        assert_true(sbx_base64_good(text, n));
        for (size_t piece = 1; piece <= 10; piece++) {
            struct sbx_base64_text in = {.text = text, .len = n};
            struct sbx_err err = SBX_ERR_INIT;
            char out[sizeof(bytes) + 10];
            size_t have = 0;
            ssize_t got;
            while ((got = sbx_base64_read(&in, out + have, piece, &err)) > 0) {
                assert_true((size_t)got <= piece);
                have += (size_t)got;
            }
            assert_int_equal(got, 0);
            assert_int_equal(have, len);
            assert_memory_equal(out, bytes, len);
        }
    }
}

static void base64_with_a_flaw_anywhere_is_refused(void **state)
{
    char text[9000];
    memset(text, 'A', sizeof(text));
    for (size_t n = 4; n <= 8192; n *= 2) {
        assert_true(sbx_base64_good(text, n));
        assert_false(sbx_base64_good(text, n - 1));
        for (size_t at = 0; at < n; at = at ? at * 2 : 1) {
            text[at] = '-';
            assert_false(sbx_base64_good(text, n));
            text[at] = 'A';
        }
        text[n - 1] = '=';
        assert_true(sbx_base64_good(text, n));
        assert_false(sbx_base64_good(text, n + 4)); /* padding in the middle */
        text[n - 1] = 'A';
    }
}

static void an_entity_tag_is_of_one_state_of_a_file(void **state)
{
    struct sbx_raw_have have = {.size = 1, .mtime_ns = 2, .inode = 3};
    char tag[SBX_ETAG_SIZE];
    char other[SBX_ETAG_SIZE];
    char list[200];
    sbx_raw_etag(&have, tag);
    have.mtime_ns = 4;
    sbx_raw_etag(&have, other);
    assert_string_not_equal(tag, other);
    snprintf(list, sizeof(list), "\"x\", W/%s", tag);
    assert_true(sbx_raw_tag_in(list, tag));
    assert_false(sbx_raw_tag_in(list, other));
    assert_true(sbx_raw_tag_in("*", other));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_route_is_found_under_the_prefix_and_at_the_root_with_and_without_slash),
        cmocka_unit_test(the_id_of_the_path_is_handed_over),
        cmocka_unit_test(an_id_that_is_no_uuid_names_no_session),
        cmocka_unit_test(unknown_paths_have_no_route),
        cmocka_unit_test(a_wrong_method_says_which_are_allowed),
        cmocka_unit_test(a_route_may_have_a_further_parameter),
        cmocka_unit_test(the_tail_of_a_path_is_handed_over_as_it_is),
        cmocka_unit_test(a_tail_that_goes_up_names_nothing),
        cmocka_unit_test(characters_survive_being_cut_anywhere),
        cmocka_unit_test(invalid_bytes_are_replaced_the_same_however_they_are_cut),
        cmocka_unit_test(control_bytes_and_nul_are_escaped),
        cmocka_unit_test(every_kind_of_error_has_its_status),
        cmocka_unit_test(base64_is_decoded_the_same_however_it_is_read),
        cmocka_unit_test(base64_with_a_flaw_anywhere_is_refused),
        cmocka_unit_test(an_entity_tag_is_of_one_state_of_a_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
