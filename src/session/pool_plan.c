/* What the pool should hold: what the setting names, and what creates ask for. */
#include "session/pool.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A create counts half after that time, a quarter after twice that … */
#define HALF_LIFE_MS (30 * 60 * 1000)

/* … and what has less weight than this is let go: one create, an hour ago. */
#define LEAST_WEIGHT 0.25

static double now_in_half_lives(void)
{
    return (double)sbx_wall_ms() / HALF_LIFE_MS;
}

/* In the form of the setting, so that there is one way to read it. */
static int write_wish(const struct sbx_session_options *options, char *out, size_t size, struct sbx_err *err)
{
    char name[512], tag[256];
    if (sbx_docker_parse_reference(options->image, name, sizeof(name), tag, sizeof(tag), err) < 0)
        return -1;
    int n = snprintf(out, size, "%s%s%s=1%s%s", name, strchr(tag, ':') ? "@" : ":", tag,
                     options->extract_patch ? ";patch" : "", options->network_enabled ? ";network" : "");
    if (n < 0 || (size_t)n >= size)
        return sbx_err_set(err, SBX_ERR_INVALID, "an image's name is too long to be counted");
    return 0;
}

void sbx_pool_learn(struct sbx_engine *engine, const struct sbx_session_options *options, const char *id)
{
    struct sbx_pool_want wants[SBX_POOL_WANTS];
    struct sbx_wish wish;
    struct sbx_err failure = SBX_ERR_INIT;
    int automatic;
    if (!sbx_pool_serves(engine, options) ||
        sbx_pool_list_parse(engine->config->warm_pool, wants, &automatic) < 0 || automatic == 0)
        return;
    if ((write_wish(options, wish.text, sizeof(wish.text), &failure) < 0 ||
         sbx_store_wish(engine->store, wish.text, now_in_half_lives(), &failure) < 0) &&
        engine->notice)
        engine->notice("create not counted for the pool", id, failure.msg);
}

static bool is_planned(struct sbx_engine *engine, const struct sbx_pool_plan *plan,
                       const struct sbx_pool_want *want)
{
    char name[SBX_RECORD_HASH_SIZE], other[SBX_RECORD_HASH_SIZE];
    struct sbx_err ignored = SBX_ERR_INIT;
    if (sbx_pool_name(engine, want->image, want->patch, want->network, name, &ignored) < 0)
        return true; /* nobody can make one */
    for (int i = 0; i < plan->count; i++) {
        const struct sbx_pool_want *each = &plan->wants[i];
        if (sbx_pool_name(engine, each->image, each->patch, each->network, other, &ignored) == 0 &&
            strcmp(name, other) == 0)
            return true;
    }
    return false;
}

/* What creates ask for and the plan has not yet, without a number: most wanted first, weights beside. */
struct learnt {
    struct sbx_wish wishes[SBX_POOL_WANTS];
    struct sbx_pool_want wants[SBX_POOL_WANTS];
    double weights[SBX_POOL_WANTS];
    int count;
};

static int read_wishes(struct sbx_engine *engine, const struct sbx_pool_plan *plan, struct learnt *learnt,
                       struct sbx_err *err)
{
    double now = now_in_half_lives();
    int n = sbx_store_wishes(engine->store, now + log2(LEAST_WEIGHT), learnt->wishes, SBX_POOL_WANTS, err);
    for (int i = 0; i < n; i++) {
        struct sbx_pool_want parsed[SBX_POOL_WANTS];
        int automatic;
        if (plan->count + learnt->count == SBX_POOL_WANTS ||
            sbx_pool_list_parse(learnt->wishes[i].text, parsed, &automatic) != 1 ||
            is_planned(engine, plan, &parsed[0]))
            continue;
        parsed[0].count = 0;
        learnt->wants[learnt->count] = parsed[0];
        learnt->weights[learnt->count++] = exp2(learnt->wishes[i].score - now);
    }
    return n < 0 ? -1 : 0;
}

/* Each place goes to what has the most weight for every place it would have then. */
static void share_out(struct learnt *learnt, int places)
{
    for (; places > 0 && learnt->count > 0; places--) {
        int best = 0;
        for (int i = 1; i < learnt->count; i++) {
            if (learnt->weights[i] / (learnt->wants[i].count + 1) >
                learnt->weights[best] / (learnt->wants[best].count + 1))
                best = i;
        }
        learnt->wants[best].count++;
    }
}

int sbx_pool_plan(struct sbx_engine *engine, struct sbx_pool_plan *ret, struct sbx_err *err)
{
    int automatic;
    int n = sbx_pool_list_parse(engine->config->warm_pool, ret->wants, &automatic);
    ret->count = n < 0 ? 0 : n;
    if (automatic == 0)
        return 0;
    SBX_AUTO_FREE struct learnt *learnt = calloc(1, sizeof(*learnt));
    if (!learnt)
        return sbx_err_set(err, SBX_ERR_INTERNAL, "out of memory for what creates ask for");
    if (read_wishes(engine, ret, learnt, err) < 0)
        return -1;
    share_out(learnt, automatic);
    for (int i = 0; i < learnt->count; i++) {
        if (learnt->wants[i].count > 0)
            ret->wants[ret->count++] = learnt->wants[i];
    }
    return 0;
}
