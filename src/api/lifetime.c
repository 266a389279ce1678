/* Labels and limits of a session, as create and PATCH take them. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/internal.h"

#define LABELS_MAX    32
#define LABEL_NAME    63  /* bytes */
#define LABEL_VALUE   255 /* bytes */
#define SECONDS_LIMIT (3650LL * 86400)

void sbx_read_seconds(struct sbx_faults *faults, struct json_object *body, const char *key, int64_t max_ms,
                      int64_t *ret_ms)
{
    int64_t seconds = 0;
    int64_t max = max_ms > 0 ? max_ms / 1000 : SECONDS_LIMIT;
    if (sbx_json_int(faults, body, "", key, SBX_JSON_NULLABLE, 1, max, &seconds))
        *ret_ms = 1000 * seconds;
}

static void check_label(struct sbx_faults *faults, const char *name, struct json_object *value)
{
    char path[96];
    size_t len = (size_t)json_object_get_string_len(value);
    snprintf(path, sizeof(path), "labels/%.63s", name);
    if (!name[0] || strlen(name) > LABEL_NAME || strpbrk(name, "=/"))
        sbx_faults_add(faults, "value_error", path, value,
                       "Names of labels have 1 to %d bytes, and neither '=' nor '/' in them", LABEL_NAME);
    else if (len > LABEL_VALUE || strlen(json_object_get_string(value)) != len)
        sbx_faults_add(faults, "value_error", path, value,
                       "Values of labels have at most %d bytes, and no NUL in them", LABEL_VALUE);
}

int sbx_read_labels(struct sbx_faults *faults, struct json_object *body, char **ret, struct sbx_err *err)
{
    struct json_object *labels = NULL;
    if (!sbx_json_object(faults, body, "", "labels", SBX_JSON_NULLABLE, true, &labels))
        return 0;
    if (json_object_object_length(labels) > LABELS_MAX)
        sbx_faults_add(faults, "too_long", "labels", NULL, "A session has at most %d labels", LABELS_MAX);
    json_object_object_foreach(labels, name, value)
    {
        check_label(faults, name, value);
    }
    *ret = strdup(json_object_to_json_string_ext(labels, JSON_C_TO_STRING_PLAIN));
    return *ret ? 1 : sbx_err_set(err, SBX_ERR_INTERNAL, "out of memory for labels");
}
