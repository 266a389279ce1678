#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "sandboxd/base.h"

/* Parse a private copy of just that size, so that a sanitizer sees a read beyond it. */
static struct json_object *parse(const char *text, size_t n, bool *ok, struct sbx_err *err)
{
    char *copy = malloc(n > 0 ? n : 1);
    memcpy(copy, text, n);
    struct json_object *obj = sbx_json_parse(copy, n, ok, err);
    free(copy);
    return obj;
}

static void check_good(const char *text, const char *want)
{
    struct sbx_err err = SBX_ERR_INIT;
    struct sbx_buf buf;
    bool ok = false;
    struct json_object *obj = parse(text, strlen(text), &ok, &err);
    if (!ok)
        fail_msg("%s: %s", text, err.msg);
    sbx_buf_init(&buf, 1 << 20);
    assert_int_equal(sbx_json_print(obj, &buf, &err), 0);
    assert_string_equal(sbx_buf_cstr(&buf, &err), want);
    sbx_buf_done(&buf);
    json_object_put(obj);
}

static void check_bad_bytes(const char *text, size_t n, const char *message)
{
    struct sbx_err err = SBX_ERR_INIT;
    bool ok = true;
    struct json_object *obj = parse(text, n, &ok, &err);
    if (ok)
        fail_msg("taken although it is wrong: %s", text);
    assert_null(obj);
    assert_int_equal(err.kind, SBX_ERR_INVALID);
    assert_string_equal(err.msg, message);
}

static void check_bad(const char *text, const char *message)
{
    check_bad_bytes(text, strlen(text), message);
}

static void values_of_every_type_are_read_and_printed_without_blanks(void **state)
{
    check_good("null", "null");
    check_good(" true ", "true");
    check_good("false", "false");
    check_good("12", "12");
    check_good("-0", "0");
    check_good("\t1.50e+2\r\n", "1.50e+2");
    check_good("1E-5", "1E-5");
    check_good("\"a/b\"", "\"a/b\"");
    check_good("[ ]", "[]");
    check_good("{ }", "{}");
    check_good("{ \"a\" : [ 1 , { \"b\" : null } , \"\" ] , \"\" : -1 }",
               "{\"a\":[1,{\"b\":null},\"\"],\"\":-1}");
    check_good("9223372036854775807", "9223372036854775807");
    check_good("-9223372036854775808", "-9223372036854775808");
    check_good("18446744073709551615", "18446744073709551615");
    check_good("1e-999", "1e-999");
    check_good("\"\\\\\\\"\\/\\b\\f\\n\\r\\t\\u00e9\\u0000\"", "\"\\\\\\\"/\\b\\f\\n\\r\\t\xC3\xA9\\u0000\"");
    check_good("\"\\ud83d\\uDE00 \xF0\x9F\x98\x80\x7F\"", "\"\xF0\x9F\x98\x80 \xF0\x9F\x98\x80\x7F\"");
}

static void the_text_null_is_told_from_a_failure(void **state)
{
    struct sbx_err err = SBX_ERR_INIT;
    bool ok = false;
    assert_null(parse("null", 4, &ok, &err));
    assert_true(ok);
    assert_int_equal(err.kind, SBX_ERR_NONE);
}

static void what_is_no_json_is_refused_with_its_place(void **state)
{
    check_bad("", "Invalid JSON at byte 0: a value was expected");
    check_bad("  ", "Invalid JSON at byte 2: a value was expected");
    check_bad("{\"a\":1,}", "Invalid JSON at byte 7: a key in double quotes was expected");
    check_bad("[1,]", "Invalid JSON at byte 3: a value was expected");
    check_bad("[1 2]", "Invalid JSON at byte 3: ',' or ']' was expected");
    check_bad("[1", "Invalid JSON at byte 2: ',' or ']' was expected");
    check_bad("[", "Invalid JSON at byte 1: a value was expected");
    check_bad("{\"a\" 1}", "Invalid JSON at byte 5: ':' was expected");
    check_bad("{\"a\":1", "Invalid JSON at byte 6: ',' or '}' was expected");
    check_bad("{a:1}", "Invalid JSON at byte 1: a key in double quotes was expected");
    check_bad("{'a':1}", "Invalid JSON at byte 1: a key in double quotes was expected");
    check_bad("'a'", "Invalid JSON at byte 0: a value was expected");
    check_bad("/* c */ 1", "Invalid JSON at byte 0: a value was expected");
    check_bad("True", "Invalid JSON at byte 0: a value was expected");
    check_bad("nul", "Invalid JSON at byte 0: a value was expected");
    check_bad("1 2", "Invalid JSON at byte 2: something follows the value");
    check_bad("nullx", "Invalid JSON at byte 4: something follows the value");
    check_bad("{}{}", "Invalid JSON at byte 2: something follows the value");
    check_bad("12abc", "Invalid JSON at byte 2: something follows the value");
    check_bad("\xEF\xBB\xBF{}", "Invalid JSON at byte 0: a value was expected");
    check_bad_bytes("1\0", 2, "Invalid JSON at byte 1: something follows the value");
}

static void numbers_that_json_does_not_have_are_refused(void **state)
{
    check_bad("NaN", "Invalid JSON at byte 0: a value was expected");
    check_bad("[Infinity]", "Invalid JSON at byte 1: a value was expected");
    check_bad("-Infinity", "Invalid JSON at byte 0: a value was expected");
    check_bad("01", "Invalid JSON at byte 0: a number with a leading zero");
    check_bad("-00", "Invalid JSON at byte 0: a number with a leading zero");
    check_bad("+1", "Invalid JSON at byte 0: a value was expected");
    check_bad(".5", "Invalid JSON at byte 0: a value was expected");
    check_bad("-", "Invalid JSON at byte 0: a value was expected");
    check_bad("5.", "Invalid JSON at byte 0: a number without digits behind the point");
    check_bad("[5.e1]", "Invalid JSON at byte 1: a number without digits behind the point");
    check_bad("5e", "Invalid JSON at byte 0: a number without digits in its exponent");
    check_bad("5e+", "Invalid JSON at byte 0: a number without digits in its exponent");
    check_bad("0x10", "Invalid JSON at byte 1: something follows the value");
}

static void numbers_that_would_be_clamped_are_refused(void **state)
{
    char digits[600];
    memset(digits, '1', sizeof(digits));
    check_bad("1e999", "Invalid JSON at byte 0: the number is out of range");
    check_bad("[-1e400]", "Invalid JSON at byte 1: the number is out of range");
    check_bad("18446744073709551616", "Invalid JSON at byte 0: the number is out of range");
    check_bad("-9223372036854775809", "Invalid JSON at byte 0: the number is out of range");
    check_bad_bytes(digits, sizeof(digits), "Invalid JSON at byte 0: the number is too long");
}

static void strings_must_be_valid_text(void **state)
{
    check_bad("\"a", "Invalid JSON at byte 0: the string does not end");
    check_bad("\"a\\", "Invalid JSON at byte 2: the string does not end");
    check_bad("\"a\nb\"", "Invalid JSON at byte 2: control character in a string");
    check_bad_bytes("\"a\0b\"", 5, "Invalid JSON at byte 2: control character in a string");
    check_bad("\"\\x\"", "Invalid JSON at byte 1: unknown escape in a string");
    check_bad_bytes("\"\\\0\"", 4, "Invalid JSON at byte 1: unknown escape in a string");
    check_bad("\"\\u12g4\"", "Invalid JSON at byte 1: \\u without four hex digits");
    check_bad("\"\\u12", "Invalid JSON at byte 1: \\u without four hex digits");
    check_bad("\"\\ud800\"", "Invalid JSON at byte 1: lone surrogate");
    check_bad("\"\\ud800x\"", "Invalid JSON at byte 1: lone surrogate");
    check_bad("\"\\ud800\\u0041\"", "Invalid JSON at byte 1: lone surrogate");
    check_bad("\"\\ud800\\ud800\"", "Invalid JSON at byte 1: lone surrogate");
    check_bad("\"\\udc00\"", "Invalid JSON at byte 1: lone surrogate");
    check_bad("\"\xED\xA0\x80\"", "Invalid JSON at byte 1: invalid UTF-8"); /* a raw surrogate */
    check_bad("\"\xC0\xAF\"", "Invalid JSON at byte 1: invalid UTF-8");     /* overlong */
    check_bad("\"\xE0\x80\xAF\"", "Invalid JSON at byte 1: invalid UTF-8");
    check_bad("\"ab\xF4\x90\x80\x80\"", "Invalid JSON at byte 3: invalid UTF-8");
    check_bad("\"\xE2\x82", "Invalid JSON at byte 1: invalid UTF-8");
    check_bad("{\"\xFF\":1}", "Invalid JSON at byte 2: invalid UTF-8");
}

static void keys_must_be_unique_and_without_nul(void **state)
{
    check_bad("{\"a\\u0000b\":1}", "Invalid JSON at byte 3: NUL in a key");
    check_bad("{\"a\":1,\"a\":1}", "Invalid JSON: an object has the same key twice");
    check_bad("{\"a\":1,\"\\u0061\":2}", "Invalid JSON: an object has the same key twice");
    check_bad("[1,{\"x\":{\"b\":[],\"c\":0,\"b\":{\"d\":1}}}]",
              "Invalid JSON: an object has the same key twice");
    check_good("[{\"a\":{\"a\":1}},{\"a\":2}]", "[{\"a\":{\"a\":1}},{\"a\":2}]");
}

static void nesting_goes_32_deep_and_no_deeper(void **state)
{
    char text[80];
    memset(text, '[', 33);
    memset(text + 33, ']', 33);
    text[66] = '\0';
    check_bad(text, "Invalid JSON at byte 32: nested too deeply");
    memset(text, '[', 32);
    text[32] = '1'; /* a value at the bottom is no level of its own */
    memset(text + 33, ']', 32);
    text[65] = '\0';
    check_good(text, text);
    struct sbx_err err = SBX_ERR_INIT;
    bool ok;
    size_t n = 1000000;
    char *deep = malloc(n);
    memset(deep, '[', n);
    assert_null(sbx_json_parse(deep, n, &ok, &err));
    assert_false(ok);
    free(deep);
}

static void a_short_text_cannot_take_up_all_memory(void **state)
{
    struct sbx_err err = SBX_ERR_INIT;
    bool ok;
    size_t n = 3 * 1000001 + 1;
    char *text = malloc(n);
    for (size_t i = 0; i + 3 < n; i += 3)
        memcpy(text + 1 + i, "[],", 3);
    text[0] = '[';
    text[n - 1] = ']';
    assert_null(sbx_json_parse(text, n, &ok, &err));
    assert_non_null(strstr(err.msg, "too many values"));
    free(text);
}

static int to_buf(void *arg, const char *bytes, size_t len)
{
    return sbx_buf_add(arg, bytes, len, NULL);
}

static void any_bytes_can_be_escaped(void **state)
{
    char all[256 + 8];
    char text[4096];
    struct sbx_buf buf, quoted;
    struct sbx_err err = SBX_ERR_INIT;
    bool ok;
    for (int i = 0; i < 256; i++)
        all[i] = (char)i;
    memcpy(all + 256, "\xF0\x9F\x98\x80\xE2\x82z\xC3", 8);
    sbx_buf_init(&buf, 4096);
    sbx_buf_init(&quoted, 4096);
    assert_int_equal(sbx_json_escape(all, sizeof(all), to_buf, &buf), 0);
    assert_memory_equal(buf.data, "\\u0000\\u0001", 12);
    assert_int_equal(sbx_buf_printf(&quoted, &err, "\"%.*s\"", (int)buf.len, buf.data), 0);
    struct json_object *obj = sbx_json_parse(quoted.data, quoted.len, &ok, &err);
    assert_true(ok);
    /* what comes back is what the cleaner makes of it */
    sbx_buf_clear(&buf);
    assert_int_equal(sbx_utf8_clean(all, sizeof(all), to_buf, &buf), 0);
    assert_int_equal(json_object_get_string_len(obj), buf.len);
    assert_memory_equal(json_object_get_string(obj), buf.data, buf.len);
    json_object_put(obj);
    sbx_buf_clear(&buf);
    assert_int_equal(sbx_json_escape("a\"b\\c\b\f\n\r\t\x1b\x7f/", 13, to_buf, &buf), 0);
    snprintf(text, sizeof(text), "%s", sbx_buf_cstr(&buf, &err));
    assert_string_equal(text, "a\\\"b\\\\c\\b\\f\\n\\r\\t\\u001b\x7f/");
    sbx_buf_done(&buf);
    sbx_buf_done(&quoted);
}

static int stop(void *arg, const char *bytes, size_t len)
{
    return --*(int *)arg;
}

static void escaping_stops_where_the_reader_says_so(void **state)
{
    int left = 1;
    assert_int_equal(sbx_json_escape("plain", 5, stop, &left), 0);
    left = 3;
    assert_int_equal(sbx_json_escape("a\nb\nc", 5, stop, &left), 2);
    left = -4;
    assert_int_equal(sbx_json_escape("\n", 1, stop, &left), -5);
    assert_int_equal(sbx_json_escape("", 0, stop, NULL), 0);
}

static void a_text_over_the_buffers_ceiling_is_an_error(void **state)
{
    struct sbx_err err = SBX_ERR_INIT;
    struct sbx_buf buf;
    struct json_object *obj = json_object_new_string("0123456789");
    sbx_buf_init(&buf, 11);
    assert_int_equal(sbx_json_print(obj, &buf, &err), -1);
    assert_int_equal(err.kind, SBX_ERR_TOO_LARGE);
    json_object_put(obj);
    sbx_buf_done(&buf);
}

static void look_ups_are_quiet(void **state)
{
    struct sbx_err err = SBX_ERR_INIT;
    bool ok;
    static const char text[] =
        "{\"State\":{\"ExitCode\":137,\"Running\":true,\"Error\":\"oom\"},\"Null\":null}";
    struct json_object *obj = sbx_json_parse(text, strlen(text), &ok, &err);
    assert_int_equal(sbx_json_int_at(obj, "State/ExitCode", -1), 137);
    assert_true(sbx_json_bool_at(obj, "State/Running", false));
    assert_string_equal(sbx_json_str_at(obj, "State/Error", "-"), "oom");
    assert_string_equal(sbx_json_str_at(obj, "State/ExitCode", "-"), "-");
    assert_int_equal(sbx_json_int_at(obj, "State/Error", -1), -1);
    assert_int_equal(sbx_json_int_at(obj, "State/ExitCode/More", -1), -1);
    assert_int_equal(sbx_json_int_at(obj, "Other/ExitCode", -1), -1);
    assert_true(sbx_json_bool_at(obj, "Null", true));
    assert_null(sbx_json_at(obj, "Null"));
    assert_null(sbx_json_at(NULL, "State"));
    assert_ptr_equal(sbx_json_at(obj, ""), obj);
    json_object_put(obj);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_of_every_type_are_read_and_printed_without_blanks),
        cmocka_unit_test(the_text_null_is_told_from_a_failure),
        cmocka_unit_test(what_is_no_json_is_refused_with_its_place),
        cmocka_unit_test(numbers_that_json_does_not_have_are_refused),
        cmocka_unit_test(numbers_that_would_be_clamped_are_refused),
        cmocka_unit_test(strings_must_be_valid_text),
        cmocka_unit_test(keys_must_be_unique_and_without_nul),
        cmocka_unit_test(nesting_goes_32_deep_and_no_deeper),
        cmocka_unit_test(a_short_text_cannot_take_up_all_memory),
        cmocka_unit_test(any_bytes_can_be_escaped),
        cmocka_unit_test(escaping_stops_where_the_reader_says_so),
        cmocka_unit_test(a_text_over_the_buffers_ceiling_is_an_error),
        cmocka_unit_test(look_ups_are_quiet),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
