/*
 * Request bodies. What is accepted can be printed, and the print is accepted again and prints the same.
 */
#include <string.h>

#include "fuzz.h"
#include "sandboxd/base/buf.h"
#include "sandboxd/base/json.h"
#include "sandboxd/base/util.h"

/* Parse and print; false when it is refused. */
static bool parse_and_print(const char *data, size_t n, struct sbx_buf *out)
{
    struct sbx_err err = SBX_ERR_INIT;
    bool ok = false;
    struct json_object *value = sbx_json_parse(data, n, &ok, &err);
    if (!ok) {
        FUZZ_CHECK(!value && err.kind == SBX_ERR_INVALID && err.msg[0] != '\0');
        FUZZ_CHECK(sbx_utf8_valid(err.msg, strlen(err.msg)) == strlen(err.msg));
        return false;
    }
    FUZZ_CHECK(sbx_utf8_valid(data, n) == n);
    FUZZ_CHECK(sbx_json_print(value, out, &err) == 0);
    json_object_put(value);
    return true;
}

/* The readers on an object of any shape. */
static void read_fields(const char *data, size_t n)
{
    struct sbx_err err = SBX_ERR_INIT;
    struct sbx_faults faults;
    bool ok = false;
    struct json_object *value = sbx_json_parse(data, n, &ok, &err);
    const char *text;
    size_t len;
    bool flag;
    int64_t number;
    double real;
    struct json_object *inner;
    sbx_faults_init(&faults);
    if (json_object_is_type(value, json_type_object)) {
        sbx_json_string(&faults, value, "", "a", SBX_JSON_REQUIRED, 1, 8, &text, &len);
        sbx_json_bool(&faults, value, "", "b", SBX_JSON_REQUIRED | SBX_JSON_NULLABLE, &flag);
        sbx_json_int(&faults, value, "", "c", SBX_JSON_OPTIONAL, -5, 5, &number);
        sbx_json_double(&faults, value, "", "d", SBX_JSON_OPTIONAL, 0, &real);
        sbx_json_array(&faults, value, "", "e", SBX_JSON_OPTIONAL, 1, 3, &inner);
        sbx_json_object(&faults, value, "", "f", SBX_JSON_OPTIONAL, true, &inner);
        sbx_json_at(value, "f/g/h");
        FUZZ_CHECK(!sbx_faults_any(&faults) || faults.list);
    }
    sbx_faults_done(&faults);
    json_object_put(value);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct sbx_buf once, twice;
    if (n > 1 << 18)
        return 0;
    sbx_buf_init(&once, 16 << 20);
    sbx_buf_init(&twice, 16 << 20);
    if (parse_and_print((const char *)data, n, &once)) {
        FUZZ_CHECK(parse_and_print(once.data, once.len, &twice));
        FUZZ_CHECK(once.len == twice.len && memcmp(once.data, twice.data, once.len) == 0);
        read_fields((const char *)data, n);
    }
    sbx_buf_done(&once);
    sbx_buf_done(&twice);
    return 0;
}
