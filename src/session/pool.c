/* A session from the pool: claimed, greeted, given its limits. */
#include "session/pool.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sandboxd/base/metrics.h"

/* Entries that are tried before a session is made the long way. */
#define TRIES 4

int sbx_pool_name(struct sbx_engine *engine, const char *image, bool patch, bool network,
                  char out[SBX_RECORD_HASH_SIZE], struct sbx_err *err)
{
    const struct sbx_config *config = engine->config;
    char name[512], tag[256];
    if (sbx_docker_parse_reference(image, name, sizeof(name), tag, sizeof(tag), err) < 0)
        return -1;
    SBX_AUTO_FREE char *text = NULL;
    int n = asprintf(&text, "%s\n%s\n%d %d\n%s\n%s\n%s\n%" PRId64 " %" PRId64 " %" PRId64 " %" PRId64, name,
                     tag, patch, network, engine->agent->volume, patch ? config->git_image : "",
                     config->runtime ? config->runtime : "", config->run_uid, config->run_gid,
                     config->pids_limit, config->disk_bytes);
    if (n < 0) {
        text = NULL;
        return sbx_err_set(err, SBX_ERR_INTERNAL, "out of memory for the name of a pool");
    }
    char hex[SBX_SHA256_HEX + 1];
    sbx_sha256_hex(text, (size_t)n, hex);
    snprintf(out, SBX_RECORD_HASH_SIZE, "%s", hex);
    return 0;
}

bool sbx_pool_serves(const struct sbx_engine *engine, const struct sbx_session_options *options)
{
    const struct sbx_config *config = engine->config;
    /* A limit of the disk cannot be changed. */
    return config->warm_pool && !options->ephemeral && options->disk_bytes == config->disk_bytes;
}

/* Is there a pool for this create? One that is kept by nobody is not asked. */
static int find_pool(struct sbx_engine *engine, const struct sbx_session_options *options,
                     char out[SBX_RECORD_HASH_SIZE], struct sbx_err *err)
{
    struct sbx_pool_want wants[SBX_POOL_WANTS];
    char name[SBX_RECORD_HASH_SIZE];
    if (!sbx_pool_serves(engine, options))
        return 0;
    if (sbx_pool_name(engine, options->image, options->extract_patch, options->network_enabled, out, err) < 0)
        return -1;
    int automatic;
    int n = sbx_pool_list_parse(engine->config->warm_pool, wants, &automatic);
    if (automatic > 0) /* what is kept then, the janitors know */
        return 1;
    for (int i = 0; i < n; i++) {
        struct sbx_err ignored = SBX_ERR_INIT;
        if (sbx_pool_name(engine, wants[i].image, wants[i].patch, wants[i].network, name, &ignored) == 0 &&
            strcmp(name, out) == 0)
            return 1;
    }
    return 0;
}

static int limit(struct sbx_engine *engine, const struct sbx_session_options *options,
                 const struct sbx_record *record, struct sbx_err *err)
{
    struct sbx_spec spec;
    sbx_spec_session(&spec, engine, record->id, options, false);
    if (spec.docker.memory_bytes == 0 && spec.docker.nano_cpus == 0)
        return 0;
    if (sbx_docker_update(engine->docker, engine->wait, record->container, spec.docker.memory_bytes,
                          spec.docker.nano_cpus, err) < 0)
        return -1;
    return sbx_spec_verify(&spec, engine, record->container, err);
}

static int take_over(struct sbx_engine *engine, const struct sbx_session_options *options,
                     const struct sbx_record *record, struct sbx_err *err)
{
    if (sbx_session_greet(engine, record->container, err) < 0 ||
        (record->extract_patch && sbx_session_greet(engine, record->helper, err) < 0))
        return -1;
    return limit(engine, options, record, err);
}

/* An entry that turned out to be of no use. */
static void discard(struct sbx_engine *engine, const char *id, const char *why)
{
    struct sbx_err ignored = SBX_ERR_INIT;
    struct sbx_wait *request_wait = engine->wait;
    engine->wait = NULL; /* also when the client has gone */
    if (engine->notice)
        engine->notice("pooled session discarded", id, why);
    (void)!sbx_session_retire(engine, id, &ignored); /* else the sweep finds it closing */
    engine->wait = request_wait;
}

/* As it was before a claim. */
static void forget(struct sbx_record *record)
{
    sbx_uuid4(record->id);
    record->container[0] = record->helper[0] = record->volume[0] = record->pool[0] = '\0';
}

static void tell(struct sbx_engine *engine, const char *outcome)
{
    sbx_metric_add(SBX_METRIC_POOL, outcome, 1);
    if (engine->claimed)
        engine->claimed(engine->claimed_arg);
}

int sbx_pool_claim(struct sbx_engine *engine, const struct sbx_session_options *options,
                   struct sbx_record *record, struct sbx_err *err)
{
    char pool[SBX_RECORD_HASH_SIZE];
    int got = find_pool(engine, options, pool, err);
    for (int i = 0; got == 1 && i < TRIES; i++) {
        struct sbx_err failure = SBX_ERR_INIT;
        got = sbx_store_pool_claim(engine->store, pool, record, err);
        if (got == 0)
            tell(engine, "outcome=\"miss\"");
        if (got != 1)
            return got;
        if (take_over(engine, options, record, &failure) == 0) {
            tell(engine, "outcome=\"hit\"");
            return 1;
        }
        tell(engine, "outcome=\"broken\"");
        discard(engine, record->id, failure.msg);
        forget(record);
        if (failure.kind == SBX_ERR_CANCELLED) {
            *err = failure;
            return -1;
        }
        if (failure.kind == SBX_ERR_INVALID) /* the options', not the entry's: a create says what is wrong */
            return 0;
    }
    return got < 0 ? -1 : 0;
}

/* Its container was started before anybody knew the session's environment: that goes with every command. */
int sbx_pool_environment(struct sbx_session *session, const struct sbx_exec_spec *spec,
                         struct sbx_pool_exec *ret, struct sbx_err *err)
{
    *ret = (struct sbx_pool_exec){.spec = *spec};
    if (strcmp(session->record.pool, SBX_POOL_CLAIMED) != 0)
        return 0;
    struct sbx_session_options options;
    if (sbx_options_from_record(&session->record, &options, &ret->environment, err) < 0)
        return -1;
    size_t own = 0, more = 0, n = 0;
    while (ret->environment[own])
        own++;
    while (spec->env && spec->env[more])
        more++;
    ret->list = calloc(own + more + 1, sizeof(*ret->list));
    if (!ret->list)
        return sbx_err_set(err, SBX_ERR_INTERNAL, "out of memory for an environment");
    for (size_t i = 0; i < own; i++)
        ret->list[n++] = ret->environment[i];
    for (size_t i = 0; i < more; i++)
        ret->list[n++] = spec->env[i];
    ret->spec.env = ret->list;
    return 0;
}

void sbx_pool_exec_done(struct sbx_pool_exec *exec)
{
    free(exec->list);
    sbx_environment_free(exec->environment);
}
