/* GET /session/. */
#include <stdlib.h>
#include <string.h>

#include "api/internal.h"

#define LIMIT        100
#define LIMIT_MAX    1000
#define FILTERS_MAX  16
#define FILTER_BYTES 384

/* Labels that sessions of a list must have. */
struct filter {
    char text[FILTER_BYTES]; /* the name, then at value its value */
    const char *value;
};

struct listing {
    struct sbx_call *call;
    struct filter filters[FILTERS_MAX];
    int n_filters;
    int64_t limit;
    struct json_object *list;
    char last[SBX_UUID_LEN + 1]; /* of the list */
    bool more;
    bool failed;
    struct sbx_err *err;
};

static bool has_labels(const struct listing *listing, const struct sbx_record *record)
{
    if (listing->n_filters == 0)
        return true;
    bool ok = false;
    bool all = record->labels != NULL;
    struct sbx_err ignored = SBX_ERR_INIT;
    struct json_object *labels =
        all ? sbx_json_parse(record->labels, strlen(record->labels), &ok, &ignored) : NULL;
    for (int i = 0; all && i < listing->n_filters; i++) {
        const char *value = sbx_json_str_at(labels, listing->filters[i].text, NULL);
        all = value && strcmp(value, listing->filters[i].value) == 0;
    }
    json_object_put(labels);
    return all;
}

static int on_record(void *arg, const struct sbx_record *record)
{
    struct listing *listing = arg;
    if (!has_labels(listing, record))
        return 0;
    if ((int64_t)json_object_array_length(listing->list) == listing->limit) {
        listing->more = true;
        return 1;
    }
    struct json_object *obj = sbx_session_json(listing->call->engine->config, record, NULL, listing->err);
    if (obj)
        json_object_object_del(obj, "usage"); /* a call of dockerd each */
    if (!obj || json_object_array_add(listing->list, obj) < 0) {
        listing->failed = true;
        return 1;
    }
    memcpy(listing->last, record->id, sizeof(listing->last));
    return 0;
}

static int read_filters(struct listing *listing, struct sbx_err *err)
{
    for (;;) {
        char text[FILTER_BYTES];
        int got =
            sbx_request_param_nth(listing->call->request, "label", listing->n_filters, text, sizeof(text));
        if (got == 0)
            return 0;
        char *equals = got == 1 ? strchr(text, '=') : NULL;
        if (!equals || listing->n_filters == FILTERS_MAX)
            return sbx_err_set(err, SBX_ERR_INVALID, "label must be name=value, %d times at most",
                               FILTERS_MAX);
        struct filter *filter = &listing->filters[listing->n_filters++];
        *equals = '\0';
        memcpy(filter->text, text, sizeof(text));
        filter->value = filter->text + (equals + 1 - text);
    }
}

static int read_query(struct listing *listing, char cursor[SBX_UUID_LEN + 1], struct sbx_err *err)
{
    char text[24];
    int got = sbx_request_param_nth(listing->call->request, "limit", 0, text, sizeof(text));
    char *end = text;
    if (got == 1)
        listing->limit = strtoll(text, &end, 10);
    if (got < 0 || (got == 1 && (end == text || *end)) || listing->limit < 1 || listing->limit > LIMIT_MAX)
        return sbx_err_set(err, SBX_ERR_INVALID, "limit must be a number from 1 to %d", LIMIT_MAX);
    got = sbx_request_param_nth(listing->call->request, "cursor", 0, cursor, SBX_UUID_LEN + 1);
    if (got == 0)
        cursor[0] = '\0';
    else if (got < 0 || !sbx_is_uuid(cursor))
        return sbx_err_set(err, SBX_ERR_INVALID, "cursor must be the next_cursor of an earlier answer");
    return read_filters(listing, err);
}

int sbx_handle_list(struct sbx_call *call, struct sbx_err *err)
{
    char cursor[SBX_UUID_LEN + 1];
    SBX_AUTO_FREE struct listing *listing = calloc(1, sizeof(*listing));
    if (!listing)
        return sbx_err_set(err, SBX_ERR_INTERNAL, "out of memory for a list");
    listing->call = call;
    listing->limit = LIMIT;
    listing->err = err;
    if (read_query(listing, cursor, err) < 0)
        return -1;
    struct json_object *obj = json_object_new_object();
    listing->list = json_object_new_array();
    json_object_object_add(obj, "sessions", listing->list);
    if (sbx_session_list(call->engine, cursor, on_record, listing, err) < 0 || listing->failed) {
        json_object_put(obj);
        return -1;
    }
    json_object_object_add(obj, "next_cursor", listing->more ? json_object_new_string(listing->last) : NULL);
    return sbx_answer_json(call->request, obj, err);
}
