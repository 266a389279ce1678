/* The limit of what a session writes to disk: of its container's layer and each of its volumes. */
#include "session/internal.h"

#include <stdio.h>
#include <string.h>

int64_t sbx_disk_of(const struct sbx_record *record)
{
    struct sbx_err ignored = SBX_ERR_INIT;
    const char *text = record->options ? record->options : "{}";
    bool ok = false;
    struct json_object *obj = sbx_json_parse(text, strlen(text), &ok, &ignored);
    int64_t bytes = sbx_json_int_at(obj, "disk_bytes", 0);
    json_object_put(obj);
    return bytes;
}

/* With overlay2 a daemon that cannot keep a limit refuses it. */
bool sbx_disk_kept(const struct sbx_docker_spec *wanted, const struct sbx_docker_state *state)
{
    return wanted->disk_bytes == 0 ||
           (state->disk_bytes == wanted->disk_bytes && strcmp(state->storage_driver, "overlay2") == 0);
}

int sbx_disk_check(const struct sbx_session_options *options, struct sbx_err *err)
{
    /* Their runs write into an overlay of two volumes, between which the kernel moves nothing once each has a
     * quota of its own. */
    if (options->disk_bytes > 0 && options->ephemeral && options->extract_patch)
        return sbx_err_set(err, SBX_ERR_INVALID,
                           "the disk of an ephemeral session with extract_patch cannot be limited");
    return 0;
}

int sbx_disk_explain(const struct sbx_engine *engine, const struct sbx_session_options *options,
                     struct sbx_err *err)
{
    /* Of overlay2 and other drivers, of volumes, of btrfs, of ourselves. */
    static const char *const words[] = {"storage-opt", "quota", "qgroup", SBX_DISK_NOT_KEPT};
    bool ours = engine->config->disk_bytes > 0 && options->disk_bytes == engine->config->disk_bytes;
    for (size_t i = 0; i < SBX_ARRAY_LEN(words); i++) {
        if (!strcasestr(err->msg, words[i]))
            continue;
        char why[sizeof(err->msg)];
        snprintf(why, sizeof(why), "%s", err->msg);
        return sbx_err_set(err, ours ? SBX_ERR_UPSTREAM : SBX_ERR_INVALID,
                           "this host cannot limit the disk of a session (%s): %.300s",
                           ours ? "DAIV_SANDBOX_DISK_BYTES" : "disk_bytes", why);
    }
    return -1;
}
