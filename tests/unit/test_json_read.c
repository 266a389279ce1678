#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "sandboxd/base.h"

enum kind { STRING, BOOL, INT, DOUBLE, ARRAY, OBJECT };

static struct json_object *parse(const char *text)
{
    struct sbx_err err = SBX_ERR_INIT;
    bool ok;
    struct json_object *obj = sbx_json_parse(text, strlen(text), &ok, &err);
    if (!ok)
        fail_msg("%s: %s", text, err.msg);
    return obj;
}

static char *print_faults(const struct sbx_faults *faults)
{
    struct sbx_buf buf;
    struct sbx_err err = SBX_ERR_INIT;
    sbx_buf_init(&buf, 1 << 20);
    assert_int_equal(sbx_json_print(faults->list, &buf, &err), 0);
    assert_non_null(sbx_buf_cstr(&buf, &err));
    return buf.data;
}

static void check_faults(struct sbx_faults *faults, const char *want)
{
    char *got = print_faults(faults);
    assert_string_equal(got, want ? want : "null");
    assert_int_equal(sbx_faults_any(faults), want != NULL);
    free(got);
    sbx_faults_done(faults);
    assert_false(sbx_faults_any(faults));
}

static bool read_as(enum kind kind, struct sbx_faults *faults, struct json_object *obj, const char *prefix,
                    int flags)
{
    const char *s = NULL;
    size_t n = 0;
    bool truth = false;
    int64_t i = 0;
    double d = 0;
    struct json_object *part = NULL;
    switch (kind) {
    case STRING:
        return sbx_json_string(faults, obj, prefix, "x", flags, 1, 3, &s, &n);
    case BOOL:
        return sbx_json_bool(faults, obj, prefix, "x", flags, &truth);
    case INT:
        return sbx_json_int(faults, obj, prefix, "x", flags, 0, 7, &i);
    case DOUBLE:
        return sbx_json_double(faults, obj, prefix, "x", flags, 0, &d);
    case ARRAY:
        return sbx_json_array(faults, obj, prefix, "x", flags, 1, 2, &part);
    case OBJECT:
        return sbx_json_object(faults, obj, prefix, "x", flags, true, &part);
    }
    return false;
}

/* A field's value and the faults that pydantic 2.13 finds in it (NULL: none): a string of 1 to 3 characters,
 * an integer from 0 to 7, a finite number above 0, a list of 1 or 2 items, a dictionary of strings. */
/* clang-format off */
static const struct {
    enum kind kind;
    const char *value;
    const char *faults;
} cases[] = {
    {STRING, "null", "[{\"type\":\"string_type\",\"loc\":[\"body\",\"x\"],\"msg\":\"Input should be a valid string\",\"input\":null}]"},
    {STRING, "1", "[{\"type\":\"string_type\",\"loc\":[\"body\",\"x\"],\"msg\":\"Input should be a valid string\",\"input\":1}]"},
    {STRING, "true", "[{\"type\":\"string_type\",\"loc\":[\"body\",\"x\"],\"msg\":\"Input should be a valid string\",\"input\":true}]"},
    {STRING, "[]", "[{\"type\":\"string_type\",\"loc\":[\"body\",\"x\"],\"msg\":\"Input should be a valid string\",\"input\":[]}]"},
    {STRING, "\"\"", "[{\"type\":\"string_too_short\",\"loc\":[\"body\",\"x\"],\"msg\":\"String should have at least 1 character\",\"input\":\"\",\"ctx\":{\"min_length\":1}}]"},
    {STRING, "\"a\"", NULL},
    {STRING, "\"abcd\"", "[{\"type\":\"string_too_long\",\"loc\":[\"body\",\"x\"],\"msg\":\"String should have at most 3 characters\",\"input\":\"abcd\",\"ctx\":{\"max_length\":3}}]"},
    {STRING, "\"éé€\"", NULL},
    {STRING, "\"éé€é\"", "[{\"type\":\"string_too_long\",\"loc\":[\"body\",\"x\"],\"msg\":\"String should have at most 3 characters\",\"input\":\"éé€é\",\"ctx\":{\"max_length\":3}}]"},
    {STRING, "\"a\\u0000b\"", NULL},
    {BOOL, "null", "[{\"type\":\"bool_type\",\"loc\":[\"body\",\"x\"],\"msg\":\"Input should be a valid boolean\",\"input\":null}]"},
    {BOOL, "true", NULL},
    {BOOL, "false", NULL},
    {BOOL, "1", NULL},
    {BOOL, "0", NULL},
    {BOOL, "2", "[{\"type\":\"bool_parsing\",\"loc\":[\"body\",\"x\"],\"msg\":\"Input should be a valid boolean, unable to interpret input\",\"input\":2}]"},
    {BOOL, "-1", "[{\"type\":\"bool_parsing\",\"loc\":[\"body\",\"x\"],\"msg\":\"Input should be a valid boolean, unable to interpret input\",\"input\":-1}]"},
    {BOOL, "1.0", NULL},
    {BOOL, "-0.0", NULL},
    {BOOL, "2.0", "[{\"type\":\"bool_parsing\",\"loc\":[\"body\",\"x\"],\"msg\":\"Input should be a valid boolean, unable to interpret input\",\"input\":2.0}]"},
    {BOOL, "0.5", "[{\"type\":\"bool_type\",\"loc\":[\"body\",\"x\"],\"msg\":\"Input should be a valid boolean\",\"input\":0.5}]"},
    {BOOL, "1e30", "[{\"type\":\"bool_type\",\"loc\":[\"body\",\"x\"],\"msg\":\"Input should be a valid boolean\",\"input\":1e30}]"},
    {BOOL, "\"tRue\"", NULL},
    {BOOL, "\"n\"", NULL},
    {BOOL, "\"on\"", NULL},
    {BOOL, " \"OFF\"", NULL},
    {BOOL, "\" true\"", "[{\"type\":\"bool_parsing\",\"loc\":[\"body\",\"x\"],\"msg\":\"Input should be a valid boolean, unable to interpret input\",\"input\":\" true\"}]"},
    {BOOL, "\"\"", "[{\"type\":\"bool_parsing\",\"loc\":[\"body\",\"x\"],\"msg\":\"Input should be a valid boolean, unable to interpret input\",\"input\":\"\"}]"},
    {BOOL, "\"maybe\"", "[{\"type\":\"bool_parsing\",\"loc\":[\"body\",\"x\"],\"msg\":\"Input should be a valid boolean, unable to interpret input\",\"input\":\"maybe\"}]"},
    {BOOL, "\"1\\u0000\"", "[{\"type\":\"bool_parsing\",\"loc\":[\"body\",\"x\"],\"msg\":\"Input should be a valid boolean, unable to interpret input\",\"input\":\"1\\u0000\"}]"},
    {BOOL, "[]", "[{\"type\":\"bool_type\",\"loc\":[\"body\",\"x\"],\"msg\":\"Input should be a valid boolean\",\"input\":[]}]"},
    {BOOL, "{}", "[{\"type\":\"bool_type\",\"loc\":[\"body\",\"x\"],\"msg\":\"Input should be a valid boolean\",\"input\":{}}]"},
    {INT, "null", "[{\"type\":\"int_type\",\"loc\":[\"body\",\"x\"],\"msg\":\"Input should be a valid integer\",\"input\":null}]"},
    {INT, "1", NULL},
    {INT, "8", "[{\"type\":\"less_than_equal\",\"loc\":[\"body\",\"x\"],\"msg\":\"Input should be less than or equal to 7\",\"input\":8,\"ctx\":{\"le\":7}}]"},
    {INT, "-1", "[{\"type\":\"greater_than_equal\",\"loc\":[\"body\",\"x\"],\"msg\":\"Input should be greater than or equal to 0\",\"input\":-1,\"ctx\":{\"ge\":0}}]"},
    {INT, "3.0", NULL},
    {INT, "3.5", "[{\"type\":\"int_from_float\",\"loc\":[\"body\",\"x\"],\"msg\":\"Input should be a valid integer, got a number with a fractional part\",\"input\":3.5}]"},
    {INT, "1e30", "[{\"type\":\"int_parsing_size\",\"loc\":[\"body\",\"x\"],\"msg\":\"Unable to parse input string as an integer, exceeded maximum size\",\"input\":1e30}]"},
    {INT, "1e18", "[{\"type\":\"less_than_equal\",\"loc\":[\"body\",\"x\"],\"msg\":\"Input should be less than or equal to 7\",\"input\":1e18,\"ctx\":{\"le\":7}}]"},
    {INT, "-1e18", "[{\"type\":\"greater_than_equal\",\"loc\":[\"body\",\"x\"],\"msg\":\"Input should be greater than or equal to 0\",\"input\":-1e18,\"ctx\":{\"ge\":0}}]"},
    {INT, "18446744073709551615", "[{\"type\":\"less_than_equal\",\"loc\":[\"body\",\"x\"],\"msg\":\"Input should be less than or equal to 7\",\"input\":18446744073709551615,\"ctx\":{\"le\":7}}]"},
    {INT, "9.3e18", "[{\"type\":\"int_parsing_size\",\"loc\":[\"body\",\"x\"],\"msg\":\"Unable to parse input string as an integer, exceeded maximum size\",\"input\":9.3e18}]"},
    {INT, "\"5\"", NULL},
    {INT, "\" 5\\n\"", NULL},
    {INT, "\"5.0\"", NULL},
    {INT, "\"5.000\"", NULL},
    {INT, "\"5.5\"", "[{\"type\":\"int_parsing\",\"loc\":[\"body\",\"x\"],\"msg\":\"Input should be a valid integer, unable to parse string as an integer\",\"input\":\"5.5\"}]"},
    {INT, "\"+5\"", NULL},
    {INT, "\"-0\"", NULL},
    {INT, "\"1_0\"", "[{\"type\":\"less_than_equal\",\"loc\":[\"body\",\"x\"],\"msg\":\"Input should be less than or equal to 7\",\"input\":\"1_0\",\"ctx\":{\"le\":7}}]"},
    {INT, "\"0_5\"", NULL},
    {INT, "\"_1\"", "[{\"type\":\"int_parsing\",\"loc\":[\"body\",\"x\"],\"msg\":\"Input should be a valid integer, unable to parse string as an integer\",\"input\":\"_1\"}]"},
    {INT, "\"1__0\"", "[{\"type\":\"int_parsing\",\"loc\":[\"body\",\"x\"],\"msg\":\"Input should be a valid integer, unable to parse string as an integer\",\"input\":\"1__0\"}]"},
    {INT, "\"5_\"", "[{\"type\":\"int_parsing\",\"loc\":[\"body\",\"x\"],\"msg\":\"Input should be a valid integer, unable to parse string as an integer\",\"input\":\"5_\"}]"},
    {INT, "\"\"", "[{\"type\":\"int_parsing\",\"loc\":[\"body\",\"x\"],\"msg\":\"Input should be a valid integer, unable to parse string as an integer\",\"input\":\"\"}]"},
    {INT, "\"-\"", "[{\"type\":\"int_parsing\",\"loc\":[\"body\",\"x\"],\"msg\":\"Input should be a valid integer, unable to parse string as an integer\",\"input\":\"-\"}]"},
    {INT, "\"--5\"", "[{\"type\":\"int_parsing\",\"loc\":[\"body\",\"x\"],\"msg\":\"Input should be a valid integer, unable to parse string as an integer\",\"input\":\"--5\"}]"},
    {INT, "\"- 5\"", "[{\"type\":\"int_parsing\",\"loc\":[\"body\",\"x\"],\"msg\":\"Input should be a valid integer, unable to parse string as an integer\",\"input\":\"- 5\"}]"},
    {INT, "\"12abc\"", "[{\"type\":\"int_parsing\",\"loc\":[\"body\",\"x\"],\"msg\":\"Input should be a valid integer, unable to parse string as an integer\",\"input\":\"12abc\"}]"},
    {INT, "\"0x5\"", "[{\"type\":\"int_parsing\",\"loc\":[\"body\",\"x\"],\"msg\":\"Input should be a valid integer, unable to parse string as an integer\",\"input\":\"0x5\"}]"},
    {INT, "\"1e1\"", "[{\"type\":\"int_parsing\",\"loc\":[\"body\",\"x\"],\"msg\":\"Input should be a valid integer, unable to parse string as an integer\",\"input\":\"1e1\"}]"},
    {INT, "\".0\"", "[{\"type\":\"int_parsing\",\"loc\":[\"body\",\"x\"],\"msg\":\"Input should be a valid integer, unable to parse string as an integer\",\"input\":\".0\"}]"},
    {INT, "\"5.\"", "[{\"type\":\"int_parsing\",\"loc\":[\"body\",\"x\"],\"msg\":\"Input should be a valid integer, unable to parse string as an integer\",\"input\":\"5.\"}]"},
    {INT, "\"1.0_0\"", "[{\"type\":\"int_parsing\",\"loc\":[\"body\",\"x\"],\"msg\":\"Input should be a valid integer, unable to parse string as an integer\",\"input\":\"1.0_0\"}]"},
    {INT, "\"999999999999999999999\"", "[{\"type\":\"less_than_equal\",\"loc\":[\"body\",\"x\"],\"msg\":\"Input should be less than or equal to 7\",\"input\":\"999999999999999999999\",\"ctx\":{\"le\":7}}]"},
    {INT, "\"-999999999999999999999\"", "[{\"type\":\"greater_than_equal\",\"loc\":[\"body\",\"x\"],\"msg\":\"Input should be greater than or equal to 0\",\"input\":\"-999999999999999999999\",\"ctx\":{\"ge\":0}}]"},
    {INT, "\"9223372036854775807\"", "[{\"type\":\"less_than_equal\",\"loc\":[\"body\",\"x\"],\"msg\":\"Input should be less than or equal to 7\",\"input\":\"9223372036854775807\",\"ctx\":{\"le\":7}}]"},
    {INT, "\"9223372036854775808\"", "[{\"type\":\"less_than_equal\",\"loc\":[\"body\",\"x\"],\"msg\":\"Input should be less than or equal to 7\",\"input\":\"9223372036854775808\",\"ctx\":{\"le\":7}}]"},
    {INT, "\"5\\u0000\"", "[{\"type\":\"int_parsing\",\"loc\":[\"body\",\"x\"],\"msg\":\"Input should be a valid integer, unable to parse string as an integer\",\"input\":\"5\\u0000\"}]"},
    {INT, "[]", "[{\"type\":\"int_type\",\"loc\":[\"body\",\"x\"],\"msg\":\"Input should be a valid integer\",\"input\":[]}]"},
    {INT, "{}", "[{\"type\":\"int_type\",\"loc\":[\"body\",\"x\"],\"msg\":\"Input should be a valid integer\",\"input\":{}}]"},
    {DOUBLE, "null", "[{\"type\":\"float_type\",\"loc\":[\"body\",\"x\"],\"msg\":\"Input should be a valid number\",\"input\":null}]"},
    {DOUBLE, "1", NULL},
    {DOUBLE, "0", "[{\"type\":\"greater_than\",\"loc\":[\"body\",\"x\"],\"msg\":\"Input should be greater than 0\",\"input\":0,\"ctx\":{\"gt\":0.0}}]"},
    {DOUBLE, "-0.0", "[{\"type\":\"greater_than\",\"loc\":[\"body\",\"x\"],\"msg\":\"Input should be greater than 0\",\"input\":-0.0,\"ctx\":{\"gt\":0.0}}]"},
    {DOUBLE, "-1.5", "[{\"type\":\"greater_than\",\"loc\":[\"body\",\"x\"],\"msg\":\"Input should be greater than 0\",\"input\":-1.5,\"ctx\":{\"gt\":0.0}}]"},
    {DOUBLE, "1e5", NULL},
    {DOUBLE, "\"1.5\"", NULL},
    {DOUBLE, "\" 1.5 \"", NULL},
    {DOUBLE, "\"1_0.5\"", NULL},
    {DOUBLE, "\"1__0\"", "[{\"type\":\"float_parsing\",\"loc\":[\"body\",\"x\"],\"msg\":\"Input should be a valid number, unable to parse string as a number\",\"input\":\"1__0\"}]"},
    {DOUBLE, "\"_1\"", "[{\"type\":\"float_parsing\",\"loc\":[\"body\",\"x\"],\"msg\":\"Input should be a valid number, unable to parse string as a number\",\"input\":\"_1\"}]"},
    {DOUBLE, "\"inf\"", "[{\"type\":\"finite_number\",\"loc\":[\"body\",\"x\"],\"msg\":\"Input should be a finite number\",\"input\":\"inf\"}]"},
    {DOUBLE, "\"-Infinity\"", "[{\"type\":\"finite_number\",\"loc\":[\"body\",\"x\"],\"msg\":\"Input should be a finite number\",\"input\":\"-Infinity\"}]"},
    {DOUBLE, "\"nan\"", "[{\"type\":\"finite_number\",\"loc\":[\"body\",\"x\"],\"msg\":\"Input should be a finite number\",\"input\":\"nan\"}]"},
    {DOUBLE, "\"1e999\"", "[{\"type\":\"finite_number\",\"loc\":[\"body\",\"x\"],\"msg\":\"Input should be a finite number\",\"input\":\"1e999\"}]"},
    {DOUBLE, "\"abc\"", "[{\"type\":\"float_parsing\",\"loc\":[\"body\",\"x\"],\"msg\":\"Input should be a valid number, unable to parse string as a number\",\"input\":\"abc\"}]"},
    {DOUBLE, "\"\"", "[{\"type\":\"float_parsing\",\"loc\":[\"body\",\"x\"],\"msg\":\"Input should be a valid number, unable to parse string as a number\",\"input\":\"\"}]"},
    {DOUBLE, "\".\"", "[{\"type\":\"float_parsing\",\"loc\":[\"body\",\"x\"],\"msg\":\"Input should be a valid number, unable to parse string as a number\",\"input\":\".\"}]"},
    {DOUBLE, "\"1e\"", "[{\"type\":\"float_parsing\",\"loc\":[\"body\",\"x\"],\"msg\":\"Input should be a valid number, unable to parse string as a number\",\"input\":\"1e\"}]"},
    {DOUBLE, "\"0x1\"", "[{\"type\":\"float_parsing\",\"loc\":[\"body\",\"x\"],\"msg\":\"Input should be a valid number, unable to parse string as a number\",\"input\":\"0x1\"}]"},
    {DOUBLE, "\".5\"", NULL},
    {DOUBLE, "\"5.\"", NULL},
    {DOUBLE, "\"1,5\"", "[{\"type\":\"float_parsing\",\"loc\":[\"body\",\"x\"],\"msg\":\"Input should be a valid number, unable to parse string as a number\",\"input\":\"1,5\"}]"},
    {DOUBLE, "\"1\\u0000\"", "[{\"type\":\"float_parsing\",\"loc\":[\"body\",\"x\"],\"msg\":\"Input should be a valid number, unable to parse string as a number\",\"input\":\"1\\u0000\"}]"},
    {DOUBLE, "[]", "[{\"type\":\"float_type\",\"loc\":[\"body\",\"x\"],\"msg\":\"Input should be a valid number\",\"input\":[]}]"},
    {DOUBLE, "{}", "[{\"type\":\"float_type\",\"loc\":[\"body\",\"x\"],\"msg\":\"Input should be a valid number\",\"input\":{}}]"},
    {ARRAY, "null", "[{\"type\":\"list_type\",\"loc\":[\"body\",\"x\"],\"msg\":\"Input should be a valid list\",\"input\":null}]"},
    {ARRAY, "1", "[{\"type\":\"list_type\",\"loc\":[\"body\",\"x\"],\"msg\":\"Input should be a valid list\",\"input\":1}]"},
    {ARRAY, "\"x\"", "[{\"type\":\"list_type\",\"loc\":[\"body\",\"x\"],\"msg\":\"Input should be a valid list\",\"input\":\"x\"}]"},
    {ARRAY, "{}", "[{\"type\":\"list_type\",\"loc\":[\"body\",\"x\"],\"msg\":\"Input should be a valid list\",\"input\":{}}]"},
    {ARRAY, "[]", "[{\"type\":\"too_short\",\"loc\":[\"body\",\"x\"],\"msg\":\"List should have at least 1 item after validation, not 0\",\"input\":[],\"ctx\":{\"field_type\":\"List\",\"min_length\":1,\"actual_length\":0}}]"},
    {ARRAY, "[1]", NULL},
    {ARRAY, "[1,null]", NULL},
    {ARRAY, "[1,2,3]", "[{\"type\":\"too_long\",\"loc\":[\"body\",\"x\"],\"msg\":\"List should have at most 2 items after validation, not 3\",\"input\":[1,2,3],\"ctx\":{\"field_type\":\"List\",\"max_length\":2,\"actual_length\":3}}]"},
    {ARRAY, "true", "[{\"type\":\"list_type\",\"loc\":[\"body\",\"x\"],\"msg\":\"Input should be a valid list\",\"input\":true}]"},
    {OBJECT, "null", "[{\"type\":\"dict_type\",\"loc\":[\"body\",\"x\"],\"msg\":\"Input should be a valid dictionary\",\"input\":null}]"},
    {OBJECT, "1", "[{\"type\":\"dict_type\",\"loc\":[\"body\",\"x\"],\"msg\":\"Input should be a valid dictionary\",\"input\":1}]"},
    {OBJECT, "[]", "[{\"type\":\"dict_type\",\"loc\":[\"body\",\"x\"],\"msg\":\"Input should be a valid dictionary\",\"input\":[]}]"},
    {OBJECT, "{}", NULL},
    {OBJECT, "{\"a\":\"b\"}", NULL},
    {OBJECT, "{\"a\":1}", "[{\"type\":\"string_type\",\"loc\":[\"body\",\"x\",\"a\"],\"msg\":\"Input should be a valid string\",\"input\":1}]"},
    {OBJECT, "{\"a/b\":null,\"3\":[],\"c\":\"d\"}", "[{\"type\":\"string_type\",\"loc\":[\"body\",\"x\",\"a/b\"],\"msg\":\"Input should be a valid string\",\"input\":null},{\"type\":\"string_type\",\"loc\":[\"body\",\"x\",\"3\"],\"msg\":\"Input should be a valid string\",\"input\":[]}]"},
};
/* clang-format on */

static void values_are_judged_as_pydantic_does(void **state)
{
    for (size_t i = 0; i < SBX_ARRAY_LEN(cases); i++) {
        struct sbx_faults faults;
        char text[256];
        snprintf(text, sizeof(text), "{\"x\":%s}", cases[i].value);
        struct json_object *obj = parse(text);
        sbx_faults_init(&faults);
        assert_int_equal(read_as(cases[i].kind, &faults, obj, "", SBX_JSON_REQUIRED),
                         cases[i].faults == NULL);
        json_object_put(obj); /* the faults hold references of their own */
        check_faults(&faults, cases[i].faults);
    }
}

static void booleans_count_as_numbers_as_pydantic_has_it(void **state)
{
    struct sbx_faults faults;
    struct json_object *obj = parse("{\"yes\":true,\"no\":false}");
    int64_t number = 7;
    double real = 7;
    sbx_faults_init(&faults);
    assert_true(sbx_json_int(&faults, obj, "", "yes", 0, 0, 7, &number));
    assert_int_equal(number, 1);
    assert_true(sbx_json_int(&faults, obj, "", "no", 0, 0, 7, &number));
    assert_int_equal(number, 0);
    assert_true(sbx_json_double(&faults, obj, "", "yes", 0, 0, &real));
    assert_true(real == 1);
    assert_false(sbx_json_double(&faults, obj, "", "no", 0, 0, &real));
    check_faults(
        &faults,
        "[{\"type\":\"greater_than\",\"loc\":[\"body\",\"no\"],\"msg\":\"Input should be greater than "
        "0\",\"input\":false,\"ctx\":{\"gt\":0.0}}]");
    json_object_put(obj);
}

/* The input of a fault about a value; released by the caller. */
static struct json_object *repeated(const char *text)
{
    struct sbx_faults faults;
    struct json_object *value = parse(text);
    sbx_faults_init(&faults);
    sbx_faults_add(&faults, "t", "x", value, "m");
    struct json_object *input =
        json_object_get(sbx_json_at(json_object_array_get_idx(faults.list, 0), "input"));
    sbx_faults_done(&faults);
    json_object_put(value);
    return input;
}

static void a_long_input_is_repeated_in_part(void **state)
{
    struct sbx_buf text;
    struct sbx_err err = SBX_ERR_INIT;
    sbx_buf_init(&text, 1 << 22);
    assert_int_equal(sbx_buf_add(&text, "\"", 1, &err), 0);
    for (int i = 0; i < 400000; i++)
        assert_int_equal(sbx_buf_add(&text, "\xc3\xa9", 2, &err), 0);
    assert_int_equal(sbx_buf_add(&text, "\"", 2, &err), 0);
    struct json_object *input = repeated(text.data);
    int n = json_object_get_string_len(input);
    assert_true(n > 900 && n <= 1030);
    assert_string_equal(json_object_get_string(input) + n - 3, "\xe2\x80\xa6");
    assert_int_equal(sbx_utf8_valid(json_object_get_string(input), (size_t)n), n);
    json_object_put(input);

    sbx_buf_clear(&text);
    assert_int_equal(sbx_buf_add(&text, "{\"list\":[", 9, &err), 0);
    for (int i = 0; i < 10000; i++)
        assert_int_equal(sbx_buf_add(&text, "{\"a\":\"b\"},", 10, &err), 0);
    assert_int_equal(sbx_buf_add(&text, "1],\"z\":null}", 13, &err), 0);
    input = repeated(text.data);
    assert_string_equal(sbx_json_str_at(json_object_array_get_idx(sbx_json_at(input, "list"), 0), "a", ""),
                        "b");
    assert_in_range(json_object_array_length(sbx_json_at(input, "list")), 10, 200);
    json_object_put(input);
    sbx_buf_done(&text);

    input = repeated("[null,1.5,{\"a\":\"b\"}]");
    assert_string_equal(json_object_to_json_string_ext(input, JSON_C_TO_STRING_PLAIN),
                        "[null,1.5,{\"a\":\"b\"}]");
    json_object_put(input);
}

static void missing_and_null_depend_on_the_flags(void **state)
{
    struct sbx_faults faults;
    struct json_object *empty = parse("{}"), *null = parse("{\"x\":null}");
    sbx_faults_init(&faults);
    for (enum kind kind = STRING; kind <= OBJECT; kind++) {
        assert_false(read_as(kind, &faults, empty, "", SBX_JSON_OPTIONAL));
        assert_false(read_as(kind, &faults, empty, "", SBX_JSON_NULLABLE));
        assert_false(read_as(kind, &faults, null, "", SBX_JSON_NULLABLE));
        assert_false(read_as(kind, &faults, null, "", SBX_JSON_NULLABLE | SBX_JSON_REQUIRED));
        assert_false(sbx_faults_any(&faults));
        assert_false(read_as(kind, &faults, null, "", SBX_JSON_OPTIONAL));
        assert_true(sbx_faults_any(&faults));
        sbx_faults_done(&faults);
        assert_false(read_as(kind, &faults, empty, "", SBX_JSON_NULLABLE | SBX_JSON_REQUIRED));
        check_faults(&faults, "[{\"type\":\"missing\",\"loc\":[\"body\",\"x\"],\"msg\":\"Field "
                              "required\",\"input\":{}}]");
    }
    json_object_put(empty);
    json_object_put(null);
}

static void a_bad_value_leaves_the_default_alone(void **state)
{
    struct sbx_faults faults;
    struct json_object *obj = parse("{\"s\":1,\"n\":\"12abc\"}");
    const char *s = "default";
    size_t n = 7;
    int64_t i = 42;
    sbx_faults_init(&faults);
    assert_false(sbx_json_string(&faults, obj, "", "s", 0, 0, 100, &s, &n));
    assert_false(sbx_json_int(&faults, obj, "", "n", 0, 0, 100, &i));
    assert_string_equal(s, "default");
    assert_int_equal(n, 7);
    assert_int_equal(i, 42);
    assert_int_equal(json_object_array_length(faults.list), 2); /* one for every fault */
    sbx_faults_done(&faults);
    json_object_put(obj);
}

static void good_values_are_returned(void **state)
{
    struct sbx_faults faults;
    struct json_object *obj =
        parse("{\"s\":\"a\\u0000b\",\"i\":\"-9_000.0\",\"min\":-9223372036854775808,\"d\":\" 2.5 "
              "\",\"b\":\"yes\",\"a\":[1,2],\"o\":{\"k\":\"v\"}}");
    const char *s;
    size_t n;
    int64_t i;
    double d;
    bool b = false;
    struct json_object *part;
    sbx_faults_init(&faults);
    assert_true(sbx_json_string(&faults, obj, "", "s", 0, 0, 100, &s, &n));
    assert_int_equal(n, 3);
    assert_memory_equal(s, "a\0b", 4);
    assert_true(sbx_json_string(&faults, obj, "", "s", 0, 0, 100, &s, NULL));
    assert_true(sbx_json_int(&faults, obj, "", "i", 0, INT64_MIN, INT64_MAX, &i));
    assert_int_equal(i, -9000);
    assert_true(sbx_json_int(&faults, obj, "", "min", 0, INT64_MIN, INT64_MAX, &i));
    assert_true(i == INT64_MIN);
    assert_true(sbx_json_double(&faults, obj, "", "d", 0, 0, &d));
    assert_true(d == 2.5);
    assert_true(sbx_json_bool(&faults, obj, "", "b", 0, &b));
    assert_true(b);
    assert_true(sbx_json_array(&faults, obj, "", "a", 0, 0, 64, &part));
    assert_int_equal(json_object_array_length(part), 2);
    assert_true(sbx_json_object(&faults, obj, "", "o", 0, true, &part));
    assert_string_equal(sbx_json_str_at(part, "k", ""), "v");
    assert_false(sbx_faults_any(&faults));
    json_object_put(obj);
}

static void an_integer_beyond_64_bits_is_over_any_limit(void **state)
{
    struct sbx_faults faults;
    struct json_object *obj = parse("{\"x\":18446744073709551615,\"y\":\"-9223372036854775809\"}");
    int64_t i = 5;
    sbx_faults_init(&faults);
    assert_false(sbx_json_int(&faults, obj, "", "x", 0, INT64_MIN, INT64_MAX, &i));
    assert_false(sbx_json_int(&faults, obj, "", "y", 0, INT64_MIN, INT64_MAX, &i));
    assert_int_equal(i, 5);
    assert_int_equal(json_object_array_length(faults.list), 2);
    sbx_faults_done(&faults);
    json_object_put(obj);
}

static void a_path_becomes_a_list_with_integers_for_indices(void **state)
{
    struct sbx_faults faults;
    sbx_faults_init(&faults);
    sbx_faults_add(&faults, "t", "commands/3", NULL, "no %s", "good");
    sbx_faults_add(&faults, "t", "", NULL, "%s", "\xFF");
    sbx_faults_add(&faults, "t", "a//0x/12345678901/", NULL, "m");
    check_faults(
        &faults,
        "[{\"type\":\"t\",\"loc\":[\"body\",\"commands\",3],\"msg\":\"no good\",\"input\":null},"
        "{\"type\":\"t\",\"loc\":[\"body\"],\"msg\":\"\xEF\xBF\xBD\",\"input\":null},"
        "{\"type\":\"t\",\"loc\":[\"body\",\"a\",\"0x\",\"12345678901\"],\"msg\":\"m\",\"input\":null}]");
    struct json_object *obj = parse("{\"x\":[]}");
    assert_false(read_as(INT, &faults, obj, "mutations/0", 0));
    check_faults(&faults,
                 "[{\"type\":\"int_type\",\"loc\":[\"body\",\"mutations\",0,\"x\"],\"msg\":\"Input should be "
                 "a valid integer\",\"input\":[]}]");
    json_object_put(obj);
}

static void what_is_not_an_object_has_no_fields(void **state)
{
    struct sbx_faults faults;
    struct json_object *obj = parse("[1]");
    sbx_faults_init(&faults);
    assert_false(read_as(INT, &faults, obj, "", SBX_JSON_REQUIRED));
    assert_false(read_as(INT, &faults, NULL, "", SBX_JSON_REQUIRED));
    check_faults(
        &faults,
        "[{\"type\":\"missing\",\"loc\":[\"body\",\"x\"],\"msg\":\"Field required\",\"input\":[1]},"
        "{\"type\":\"missing\",\"loc\":[\"body\",\"x\"],\"msg\":\"Field required\",\"input\":null}]");
    json_object_put(obj);
}

static void the_number_of_faults_is_bounded(void **state)
{
    struct sbx_faults faults;
    struct json_object *obj = parse("{\"x\":\"abcd\"}");
    sbx_faults_init(&faults);
    for (int i = 0; i < 2000; i++)
        assert_false(read_as(STRING, &faults, obj, "", 0));
    assert_int_equal(json_object_array_length(faults.list), 1000);
    sbx_faults_done(&faults);
    json_object_put(obj);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_are_judged_as_pydantic_does),
        cmocka_unit_test(booleans_count_as_numbers_as_pydantic_has_it),
        cmocka_unit_test(a_long_input_is_repeated_in_part),
        cmocka_unit_test(missing_and_null_depend_on_the_flags),
        cmocka_unit_test(a_bad_value_leaves_the_default_alone),
        cmocka_unit_test(good_values_are_returned),
        cmocka_unit_test(an_integer_beyond_64_bits_is_over_any_limit),
        cmocka_unit_test(a_path_becomes_a_list_with_integers_for_indices),
        cmocka_unit_test(what_is_not_an_object_has_no_fields),
        cmocka_unit_test(the_number_of_faults_is_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
