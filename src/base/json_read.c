#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/faults.h"
#include "base/json_number.h"
#include "sandboxd/base/util.h"

#define TWO_63 9223372036854775808.0

/* The field that a reader is at. */
struct field {
    struct sbx_faults *faults;
    struct json_object *obj;
    const char *prefix;
    const char *key;
};

static struct json_object *fault(const struct field *field, const char *type, struct json_object *input,
                                 const char *msg)
{
    return sbx_faults_put(field->faults, type, (struct sbx_place){field->prefix, field->key, NULL}, input,
                          msg);
}

/* Add to the "ctx" of a fault, which carries the limit that was broken. */
static void context(struct json_object *entry, const char *name, struct json_object *value)
{
    struct json_object *ctx = NULL;
    if (!entry) {
        json_object_put(value);
        return;
    }
    if (!json_object_object_get_ex(entry, "ctx", &ctx)) {
        ctx = json_object_new_object();
        json_object_object_add(entry, "ctx", ctx);
    }
    json_object_object_add(ctx, name, value);
}

/* The value of the field when there is one to look at; a null is a fault of the given type where it is not
 * allowed. */
static struct json_object *take(const struct field *field, int flags, const char *type, const char *msg)
{
    struct json_object *value = NULL;
    if (!json_object_is_type(field->obj, json_type_object) ||
        !json_object_object_get_ex(field->obj, field->key, &value)) {
        if (flags & SBX_JSON_REQUIRED)
            fault(field, "missing", field->obj, "Field required");
        return NULL;
    }
    if (!value && !(flags & SBX_JSON_NULLABLE))
        fault(field, type, NULL, msg);
    return value;
}

static const char *plural(size_t n)
{
    return n == 1 ? "" : "s";
}

static size_t count_characters(const char *s, size_t n)
{
    size_t count = 0;
    for (size_t i = 0; i < n; i++)
        count += ((unsigned char)s[i] & 0xC0) != 0x80;
    return count;
}

bool sbx_json_string(struct sbx_faults *faults, struct json_object *obj, const char *prefix, const char *key,
                     int flags, size_t min_len, size_t max_len, const char **ret, size_t *ret_len)
{
    static const char type[] = "string_type", text[] = "Input should be a valid string";
    const struct field field = {faults, obj, prefix, key};
    struct json_object *value = take(&field, flags, type, text);
    char msg[128];
    if (!value)
        return false;
    if (!json_object_is_type(value, json_type_string)) {
        fault(&field, type, value, text);
        return false;
    }
    const char *s = json_object_get_string(value);
    size_t n = (size_t)json_object_get_string_len(value);
    size_t characters = count_characters(s, n);
    if (characters < min_len) {
        snprintf(msg, sizeof(msg), "String should have at least %zu character%s", min_len, plural(min_len));
        context(fault(&field, "string_too_short", value, msg), "min_length",
                json_object_new_int64((int64_t)min_len));
        return false;
    }
    if (characters > max_len) {
        snprintf(msg, sizeof(msg), "String should have at most %zu character%s", max_len, plural(max_len));
        context(fault(&field, "string_too_long", value, msg), "max_length",
                json_object_new_int64((int64_t)max_len));
        return false;
    }
    *ret = s;
    if (ret_len)
        *ret_len = n;
    return true;
}

enum truth { NO = 0, YES = 1, NEITHER, WRONG_TYPE };

static enum truth bool_word(struct json_object *value)
{
    static const char *const yes[] = {"true", "1", "yes", "on", "y", "t"};
    static const char *const no[] = {"false", "0", "no", "off", "n", "f"};
    const char *s = json_object_get_string(value);
    if ((size_t)json_object_get_string_len(value) != strlen(s))
        return NEITHER;
    for (size_t i = 0; i < SBX_ARRAY_LEN(yes); i++) {
        if (strcasecmp(s, yes[i]) == 0)
            return YES;
        if (strcasecmp(s, no[i]) == 0)
            return NO;
    }
    return NEITHER;
}

static enum truth bool_number(double number)
{
    if (number == 0 || number == 1)
        return number == 1 ? YES : NO;
    return number == trunc(number) && fabs(number) < TWO_63 ? NEITHER : WRONG_TYPE;
}

static enum truth to_bool(struct json_object *value)
{
    switch (json_object_get_type(value)) {
    case json_type_boolean:
        return json_object_get_boolean(value) ? YES : NO;
    case json_type_int:
        return json_object_get_int64(value) == 1 ? YES : json_object_get_int64(value) == 0 ? NO : NEITHER;
    case json_type_double:
        return bool_number(json_object_get_double(value));
    case json_type_string:
        return bool_word(value);
    default:
        return WRONG_TYPE;
    }
}

bool sbx_json_bool(struct sbx_faults *faults, struct json_object *obj, const char *prefix, const char *key,
                   int flags, bool *ret)
{
    static const char type[] = "bool_type", text[] = "Input should be a valid boolean";
    const struct field field = {faults, obj, prefix, key};
    struct json_object *value = take(&field, flags, type, text);
    if (!value)
        return false;
    enum truth truth = to_bool(value);
    if (truth == WRONG_TYPE)
        fault(&field, type, value, text);
    else if (truth == NEITHER)
        fault(&field, "bool_parsing", value, "Input should be a valid boolean, unable to interpret input");
    else
        *ret = truth == YES;
    return truth == YES || truth == NO;
}

/* The integer that a value stands for. Adds the fault (BAD) when it is not one at all. */
static enum sbx_number to_int(const struct field *field, struct json_object *value, int64_t *ret)
{
    static const char too_long[] = "Unable to parse input string as an integer, exceeded maximum size";
    enum sbx_number result;
    double number;
    switch (json_object_get_type(value)) {
    case json_type_boolean:
        *ret = json_object_get_boolean(value) ? 1 : 0;
        return SBX_NUMBER_GOOD;
    case json_type_int:
        *ret = json_object_get_int64(value);
        return *ret > 0 && json_object_get_uint64(value) > INT64_MAX ? SBX_NUMBER_HIGH : SBX_NUMBER_GOOD;
    case json_type_double:
        number = json_object_get_double(value);
        if (!(fabs(number) < TWO_63)) {
            fault(field, "int_parsing_size", value, too_long);
            return SBX_NUMBER_BAD;
        }
        if (number != trunc(number)) {
            fault(field, "int_from_float", value,
                  "Input should be a valid integer, got a number with a fractional part");
            return SBX_NUMBER_BAD;
        }
        *ret = (int64_t)number;
        return SBX_NUMBER_GOOD;
    case json_type_string:
        result =
            sbx_number_int(json_object_get_string(value), (size_t)json_object_get_string_len(value), ret);
        if (result == SBX_NUMBER_BAD)
            fault(field, "int_parsing", value,
                  "Input should be a valid integer, unable to parse string as an integer");
        if (result != SBX_NUMBER_TOO_LONG)
            return result;
        fault(field, "int_parsing_size", value, too_long);
        return SBX_NUMBER_BAD;
    default:
        fault(field, "int_type", value, "Input should be a valid integer");
        return SBX_NUMBER_BAD;
    }
}

bool sbx_json_int(struct sbx_faults *faults, struct json_object *obj, const char *prefix, const char *key,
                  int flags, int64_t min, int64_t max, int64_t *ret)
{
    const struct field field = {faults, obj, prefix, key};
    struct json_object *value = take(&field, flags, "int_type", "Input should be a valid integer");
    int64_t number = 0;
    char msg[128];
    if (!value)
        return false;
    enum sbx_number result = to_int(&field, value, &number);
    if (result == SBX_NUMBER_BAD)
        return false;
    if (result == SBX_NUMBER_LOW || (result == SBX_NUMBER_GOOD && number < min)) {
        snprintf(msg, sizeof(msg), "Input should be greater than or equal to %lld", (long long)min);
        context(fault(&field, "greater_than_equal", value, msg), "ge", json_object_new_int64(min));
        return false;
    }
    if (result == SBX_NUMBER_HIGH || number > max) {
        snprintf(msg, sizeof(msg), "Input should be less than or equal to %lld", (long long)max);
        context(fault(&field, "less_than_equal", value, msg), "le", json_object_new_int64(max));
        return false;
    }
    *ret = number;
    return true;
}

static bool to_double(const struct field *field, struct json_object *value, double *ret)
{
    switch (json_object_get_type(value)) {
    case json_type_boolean:
        *ret = json_object_get_boolean(value) ? 1 : 0;
        return true;
    case json_type_int:
    case json_type_double:
        *ret = json_object_get_double(value);
        return true;
    case json_type_string:
        if (sbx_number_double(json_object_get_string(value), (size_t)json_object_get_string_len(value),
                              ret) == SBX_NUMBER_GOOD)
            return true;
        fault(field, "float_parsing", value,
              "Input should be a valid number, unable to parse string as a number");
        return false;
    default:
        fault(field, "float_type", value, "Input should be a valid number");
        return false;
    }
}

bool sbx_json_double(struct sbx_faults *faults, struct json_object *obj, const char *prefix, const char *key,
                     int flags, double min_exclusive, double *ret)
{
    const struct field field = {faults, obj, prefix, key};
    struct json_object *value = take(&field, flags, "float_type", "Input should be a valid number");
    double number = 0;
    char msg[128];
    if (!value || !to_double(&field, value, &number))
        return false;
    if (!isfinite(number)) {
        fault(&field, "finite_number", value, "Input should be a finite number");
        return false;
    }
    if (number <= min_exclusive) {
        snprintf(msg, sizeof(msg), "Input should be greater than %.15g", min_exclusive);
        context(fault(&field, "greater_than", value, msg), "gt", json_object_new_double(min_exclusive));
        return false;
    }
    *ret = number;
    return true;
}

/* A list with the wrong number of items; limit is how many there should be at least ("min_length") or at
 * most. */
static void length_fault(const struct field *field, struct json_object *value, const char *type,
                         const char *name, const char *bound, size_t limit)
{
    size_t n = json_object_array_length(value);
    char msg[160];
    snprintf(msg, sizeof(msg), "List should have at %s %zu item%s after validation, not %zu", bound, limit,
             plural(limit), n);
    struct json_object *entry = fault(field, type, value, msg);
    context(entry, "field_type", json_object_new_string("List"));
    context(entry, name, json_object_new_int64((int64_t)limit));
    context(entry, "actual_length", json_object_new_int64((int64_t)n));
}

bool sbx_json_array(struct sbx_faults *faults, struct json_object *obj, const char *prefix, const char *key,
                    int flags, size_t min, size_t max, struct json_object **ret)
{
    static const char type[] = "list_type", text[] = "Input should be a valid list";
    const struct field field = {faults, obj, prefix, key};
    struct json_object *value = take(&field, flags, type, text);
    if (!value)
        return false;
    if (!json_object_is_type(value, json_type_array)) {
        fault(&field, type, value, text);
        return false;
    }
    size_t n = json_object_array_length(value);
    if (n < min) {
        length_fault(&field, value, "too_short", "min_length", "least", min);
        return false;
    }
    if (n > max) {
        length_fault(&field, value, "too_long", "max_length", "most", max);
        return false;
    }
    *ret = value;
    return true;
}

bool sbx_json_object(struct sbx_faults *faults, struct json_object *obj, const char *prefix, const char *key,
                     int flags, bool string_values, struct json_object **ret)
{
    static const char type[] = "dict_type", text[] = "Input should be a valid dictionary";
    const struct field field = {faults, obj, prefix, key};
    struct json_object *value = take(&field, flags, type, text);
    bool good = true;
    if (!value)
        return false;
    if (!json_object_is_type(value, json_type_object)) {
        fault(&field, type, value, text);
        return false;
    }
    struct json_object_iter it;
    json_object_object_foreachC(value, it)
    {
        if (string_values && !json_object_is_type(it.val, json_type_string)) {
            sbx_faults_put(faults, "string_type", (struct sbx_place){prefix, key, it.key}, it.val,
                           "Input should be a valid string");
            good = false;
        }
    }
    if (good)
        *ret = value;
    return good;
}
