/*
 * Notes: what the store knows about a session, once more in dockerd, as the label of an empty volume. A store
 * that lost its records (Redis restarted empty, a database file that is gone or corrupt) gets them back from
 * there: when a request asks for the session, or when a sweep meets its objects. A note is written when its
 * session is ready, and is the first of its objects to be removed: without a store, it tells a session from
 * the remains of one. That it was seeded, which comes later, is a volume of its own: labels cannot be
 * changed.
 */
#include "session/internal.h"

#include <stdlib.h>
#include <string.h>

#define LABEL_RECORD "sandboxd.record"

static bool put_text(struct json_object *obj, const char *name, const char *text)
{
    return !text || !*text || json_object_object_add(obj, name, json_object_new_string(text)) == 0;
}

static bool put_number(struct json_object *obj, const char *name, int64_t value)
{
    return json_object_object_add(obj, name, json_object_new_int64(value)) == 0;
}

static struct json_object *to_json(const struct sbx_record *record)
{
    struct json_object *obj = json_object_new_object();
    if (obj && put_text(obj, "owner", record->owner) && put_text(obj, "replica", record->replica) &&
        put_text(obj, "image", record->image) && put_text(obj, "container", record->container) &&
        put_text(obj, "helper", record->helper) && put_text(obj, "volume", record->volume) &&
        put_text(obj, "options", record->options) && put_text(obj, "labels", record->labels) &&
        put_text(obj, "pool", record->pool) && put_text(obj, "key", record->key) &&
        put_text(obj, "body", record->body) && put_number(obj, "extract_patch", record->extract_patch) &&
        put_number(obj, "ephemeral", record->ephemeral) &&
        put_number(obj, "created_ms", record->created_ms) && put_number(obj, "idle_ms", record->idle_ms) &&
        put_number(obj, "expires_ms", record->expires_ms))
        return obj;
    json_object_put(obj);
    return NULL;
}

static int write_volume(struct sbx_engine *engine, const char *id, enum sbx_part part, const char *role,
                        const char *text, struct sbx_err *err)
{
    char name[SBX_NAME_SIZE];
    struct sbx_labels labels;
    struct sbx_docker_pair pairs[SBX_ARRAY_LEN(labels.pairs) + 1] = {{NULL, NULL}};
    sbx_name_of(id, part, name);
    sbx_labels_fill(&labels, engine, id, role);
    size_t n = 0;
    for (; labels.pairs[n].key; n++)
        pairs[n] = labels.pairs[n];
    pairs[n] = (struct sbx_docker_pair){text ? LABEL_RECORD : NULL, text};
    return sbx_docker_volume_create(engine->docker, engine->wait, name, pairs, 0, err);
}

int sbx_note_write(struct sbx_engine *engine, const struct sbx_record *record, struct sbx_err *err)
{
    struct json_object *obj = to_json(record);
    const char *text = obj ? json_object_to_json_string_ext(obj, JSON_C_TO_STRING_PLAIN) : NULL;
    int rc = text ? write_volume(engine, record->id, SBX_PART_NOTE, "note", text, err)
                  : sbx_err_set(err, SBX_ERR_INTERNAL, "out of memory for a session's note");
    json_object_put(obj);
    return rc;
}

static int remove_volume(struct sbx_engine *engine, const char *id, enum sbx_part part, struct sbx_err *err)
{
    char name[SBX_NAME_SIZE];
    sbx_name_of(id, part, name);
    return sbx_docker_volume_remove(engine->docker, engine->wait, name, err);
}

int sbx_note_rewrite(struct sbx_engine *engine, const struct sbx_record *record, struct sbx_err *err)
{
    return remove_volume(engine, record->id, SBX_PART_NOTE, err) < 0 ? -1
                                                                     : sbx_note_write(engine, record, err);
}

int sbx_note_seeded(struct sbx_engine *engine, const char *id, bool seeded, struct sbx_err *err)
{
    return seeded ? write_volume(engine, id, SBX_PART_SEEDED, "seeded", NULL, err)
                  : remove_volume(engine, id, SBX_PART_SEEDED, err);
}

int sbx_note_remove(struct sbx_engine *engine, const char *id, struct sbx_err *err)
{
    return remove_volume(engine, id, SBX_PART_NOTE, err) < 0 ? -1 : sbx_note_seeded(engine, id, false, err);
}

static void copy(struct json_object *obj, const char *name, char *out, size_t size)
{
    strlcpy(out, sbx_json_str_at(obj, name, ""), size);
}

/* NULL stays NULL. */
static int duplicate(struct json_object *obj, const char *name, char **ret, struct sbx_err *err)
{
    const char *text = sbx_json_str_at(obj, name, NULL);
    *ret = text ? strdup(text) : NULL;
    return !text || *ret ? 0 : sbx_err_set(err, SBX_ERR_INTERNAL, "out of memory for a session's %s", name);
}

static int from_json(struct json_object *obj, const char *id, struct sbx_record *ret, struct sbx_err *err)
{
    strlcpy(ret->id, id, sizeof(ret->id));
    ret->state = SBX_SESSION_READY;
    copy(obj, "owner", ret->owner, sizeof(ret->owner));
    copy(obj, "replica", ret->replica, sizeof(ret->replica));
    copy(obj, "image", ret->image, sizeof(ret->image));
    copy(obj, "container", ret->container, sizeof(ret->container));
    copy(obj, "helper", ret->helper, sizeof(ret->helper));
    copy(obj, "volume", ret->volume, sizeof(ret->volume));
    copy(obj, "pool", ret->pool, sizeof(ret->pool));
    copy(obj, "key", ret->key, sizeof(ret->key));
    copy(obj, "body", ret->body, sizeof(ret->body));
    ret->extract_patch = sbx_json_int_at(obj, "extract_patch", 0) != 0;
    ret->ephemeral = sbx_json_int_at(obj, "ephemeral", 0) != 0;
    ret->created_ms = sbx_json_int_at(obj, "created_ms", 0);
    ret->used_ms = sbx_wall_ms();
    ret->idle_ms = sbx_json_int_at(obj, "idle_ms", 0);
    ret->expires_ms = sbx_json_int_at(obj, "expires_ms", 0);
    return duplicate(obj, "options", &ret->options, err) < 0 ? -1
                                                             : duplicate(obj, "labels", &ret->labels, err);
}

/* The record of a session by its note. NOT_FOUND: there is none of this instance. */
static int read_note(struct sbx_engine *engine, const char *id, struct sbx_record *ret, struct sbx_err *err)
{
    char name[SBX_NAME_SIZE];
    struct json_object *labels = NULL;
    sbx_name_of(id, SBX_PART_NOTE, name);
    if (sbx_docker_volume_labels(engine->docker, engine->wait, name, &labels, err) < 0)
        return -1;
    struct json_object *value = NULL;
    const char *text = "";
    if (json_object_object_get_ex(labels, SBX_LABEL_INSTANCE, &value) &&
        strcmp(json_object_get_string(value), sbx_store_instance(engine->store)) == 0 &&
        json_object_object_get_ex(labels, LABEL_RECORD, &value))
        text = json_object_get_string(value);
    struct sbx_err ignored = SBX_ERR_INIT;
    bool ok = false;
    struct json_object *obj = sbx_json_parse(text, strlen(text), &ok, &ignored);
    int rc = obj ? from_json(obj, id, ret, err) : sbx_session_gone(err);
    json_object_put(obj);
    json_object_put(labels);
    return rc;
}

/* Is there a session to keep: a container, and perhaps a seed in it? */
static int look(struct sbx_engine *engine, struct sbx_record *record, struct sbx_err *err)
{
    char name[SBX_NAME_SIZE];
    struct sbx_docker_state state;
    if (sbx_docker_inspect(engine->docker, engine->wait, record->container, &state, err) < 0)
        return -1;
    struct json_object *labels = NULL;
    struct sbx_err failure = SBX_ERR_INIT;
    sbx_name_of(record->id, SBX_PART_SEEDED, name);
    record->seeded = sbx_docker_volume_labels(engine->docker, engine->wait, name, &labels, &failure) == 0;
    json_object_put(labels);
    if (record->seeded || failure.kind == SBX_ERR_NOT_FOUND)
        return 0;
    *err = failure;
    return -1;
}

/* Another process was faster: is what it has filed in use? If that is lost too, nothing says it is not. */
static int known(struct sbx_engine *engine, const char *id, struct sbx_err *err)
{
    struct sbx_record record;
    sbx_record_init(&record);
    struct sbx_err failure = SBX_ERR_INIT;
    int rc = sbx_store_get(engine->store, id, &record, &failure);
    bool ready = rc == 0 && record.state == SBX_SESSION_READY;
    sbx_record_done(&record);
    if (ready || failure.kind == SBX_ERR_NOT_FOUND)
        return 0;
    if (rc == 0)
        return sbx_session_gone(err);
    *err = failure;
    return -1;
}

/* A close that came in between has removed the note, and has not seen this record. */
static int confirm(struct sbx_engine *engine, const char *id, struct sbx_err *err)
{
    struct sbx_record again;
    struct sbx_err failure = SBX_ERR_INIT;
    sbx_record_init(&again);
    int rc = read_note(engine, id, &again, &failure);
    sbx_record_done(&again);
    if (rc == 0 || failure.kind != SBX_ERR_NOT_FOUND)
        return 0;
    return sbx_store_delete(engine->store, id, err) < 0 ? -1 : sbx_session_gone(err);
}

/* Into the store; without its key when that is another session's by now: a create that was repeated before
 * anybody asked for this one. CONFLICT: the id is there. */
static int insert(struct sbx_engine *engine, struct sbx_record *record, struct sbx_err *err)
{
    struct sbx_err failure = SBX_ERR_INIT;
    if (sbx_store_insert(engine->store, record, &failure) == 0)
        return 0;
    if (failure.kind == SBX_ERR_CONFLICT && record->key[0]) {
        record->key[0] = record->body[0] = '\0';
        return sbx_store_insert(engine->store, record, err);
    }
    *err = failure;
    return -1;
}

static int restore(struct sbx_engine *engine, const char *id, struct sbx_record *record, struct sbx_err *err)
{
    if (read_note(engine, id, record, err) < 0 || look(engine, record, err) < 0)
        return -1;
    struct sbx_err failure = SBX_ERR_INIT;
    if (insert(engine, record, &failure) == 0) {
        if (confirm(engine, id, err) < 0)
            return -1;
        if (engine->notice)
            engine->notice("session rebuilt", id, "the store had lost it");
        return 0;
    }
    if (failure.kind == SBX_ERR_CONFLICT)
        return known(engine, id, err);
    *err = failure;
    return -1;
}

int sbx_session_restore(struct sbx_engine *engine, const char *id, struct sbx_err *err)
{
    struct sbx_err failure = SBX_ERR_INIT;
    struct sbx_record record;
    if (!sbx_is_uuid(id))
        return sbx_session_gone(err);
    sbx_record_init(&record);
    int rc = restore(engine, id, &record, &failure);
    sbx_record_done(&record);
    if (rc == 0)
        return 0;
    *err = failure;
    return failure.kind == SBX_ERR_NOT_FOUND ? sbx_session_gone(err) : -1;
}
