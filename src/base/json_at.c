/* Quiet look-ups in answers that are not ours to validate. */
#include <string.h>

#include "sandboxd/base/json.h"

struct json_object *sbx_json_at(struct json_object *obj, const char *path)
{
    char key[256];
    while (*path) {
        size_t n = strcspn(path, "/");
        if (n >= sizeof(key) || !json_object_is_type(obj, json_type_object))
            return NULL;
        memcpy(key, path, n);
        key[n] = '\0';
        if (!json_object_object_get_ex(obj, key, &obj))
            return NULL;
        path += n;
        path += *path == '/';
    }
    return obj;
}

const char *sbx_json_str_at(struct json_object *obj, const char *path, const char *otherwise)
{
    struct json_object *value = sbx_json_at(obj, path);
    return json_object_is_type(value, json_type_string) ? json_object_get_string(value) : otherwise;
}

int64_t sbx_json_int_at(struct json_object *obj, const char *path, int64_t otherwise)
{
    struct json_object *value = sbx_json_at(obj, path);
    return json_object_is_type(value, json_type_int) ? json_object_get_int64(value) : otherwise;
}

bool sbx_json_bool_at(struct json_object *obj, const char *path, bool otherwise)
{
    struct json_object *value = sbx_json_at(obj, path);
    return json_object_is_type(value, json_type_boolean) ? json_object_get_boolean(value) : otherwise;
}
