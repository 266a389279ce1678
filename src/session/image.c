/* Images: pull what is missing, once for all who ask at the same time. */
#include "session/internal.h"

#include <stdio.h>
#include <string.h>

/* The store's locks are named by UUIDs; an image's is made from its hash, so that every replica finds the
 * same. */
static void image_lock_id(const char *image, char out[SBX_UUID_LEN + 1])
{
    char hex[SBX_SHA256_HEX + 1];
    sbx_sha256_hex(image, strlen(image), hex);
    snprintf(out, SBX_UUID_LEN + 1, "%.8s-%.4s-5%.3s-a%.3s-%.12s", hex, hex + 8, hex + 12, hex + 15,
             hex + 18);
}

struct pulling {
    struct sbx_engine *engine;
    const char *image;
};

static void progress(void *arg, const char *status)
{
    struct pulling *pulling = arg;
    if (pulling->engine->notice)
        pulling->engine->notice("pull progress", pulling->image, status);
}

static int pull(struct sbx_engine *engine, const char *image, struct sbx_err *err)
{
    struct pulling pulling = {engine, image};
    if (engine->notice)
        engine->notice("pull started", image, "");
    int64_t begun = sbx_now_ms();
    struct sbx_err failure = SBX_ERR_INIT;
    int rc = sbx_docker_pull(engine->docker, engine->wait, image,
                             sbx_docker_credentials_for(engine->credentials, image),
                             engine->config->pull_timeout_ms, progress, &pulling, &failure);
    if (rc < 0) {
        if (engine->notice)
            engine->notice("pull failed", image, failure.msg);
        *err = failure;
        if (failure.kind == SBX_ERR_NOT_FOUND)
            err->kind = SBX_ERR_INVALID; /* the client's mistake: it named an image that does not exist */
        return sbx_err_wrap(err, "image '%.200s' cannot be pulled", image);
    }
    if (engine->notice) {
        char took[40];
        snprintf(took, sizeof(took), "%lld ms", (long long)(sbx_now_ms() - begun));
        engine->notice("pull finished", image, took);
    }
    return 0;
}

int sbx_image_pull_once(struct sbx_engine *engine, const char *image, struct sbx_err *err)
{
    char id[SBX_UUID_LEN + 1];
    image_lock_id(image, id);
    struct sbx_lock lock = SBX_LOCK_INIT;
    if (sbx_store_lock(engine->store, engine->wait, id, engine->config->pull_timeout_ms, &lock, err) < 0)
        return sbx_err_wrap(err, "another request is pulling '%.200s'", image);
    struct sbx_err missing = SBX_ERR_INIT;
    int rc = sbx_docker_image(engine->docker, engine->wait, image, NULL, &missing);
    if (rc < 0)
        rc = missing.kind == SBX_ERR_NOT_FOUND ? pull(engine, image, err) : (*err = missing, -1);
    sbx_store_unlock(&lock, engine->wait, true);
    return rc;
}
