/* The patch helper is made at the same time as the session's container: container starts are what a create
 * waits for. */
#include "session/internal.h"

#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

static void *thread_main(void *arg)
{
    struct sbx_helper_thread *thread = arg;
    thread->rc = sbx_patch_start(&thread->engine, &thread->record, thread->run, &thread->err);
    uint64_t one = 1;
    (void)!write(thread->done_fd, &one, sizeof(one));
    return NULL;
}

int sbx_helper_begin(struct sbx_helper_thread *thread, struct sbx_engine *engine,
                     const struct sbx_record *record, bool run, struct sbx_err *err)
{
    *thread = (struct sbx_helper_thread){
        .engine = *engine, .record = *record, .run = run, .stop_fd = -1, .done_fd = -1};
    /* A client and a wait of its own; the store and the notices stay with the caller's thread. */
    thread->engine.notice = NULL;
    thread->record.helper[0] = '\0'; /* says whether it is made */
    thread->engine.docker =
        sbx_docker_new(engine->config->docker_host, engine->config->docker_timeout_ms, err);
    if (!thread->engine.docker)
        return -1;
    thread->stop_fd = eventfd(0, EFD_CLOEXEC);
    thread->done_fd = eventfd(0, EFD_CLOEXEC);
    sbx_wait_init(&thread->wait);
    thread->wait.stop_fd = thread->stop_fd;
    thread->engine.wait = &thread->wait;
    if (thread->stop_fd >= 0 && thread->done_fd >= 0 &&
        pthread_create(&thread->id, NULL, thread_main, thread) == 0)
        return 0;
    sbx_docker_free(thread->engine.docker);
    sbx_close(&thread->stop_fd);
    sbx_close(&thread->done_fd);
    return sbx_err_set(err, SBX_ERR_INTERNAL, "cannot start a thread for the patch helper");
}

/* Wait for the thread like for anything else: a session's lock is refreshed meanwhile. */
static int wait_for(struct sbx_helper_thread *thread, struct sbx_engine *engine, struct sbx_err *err)
{
    struct pollfd fd = {.fd = thread->done_fd, .events = POLLIN};
    return sbx_wait_poll(engine->wait, &fd, 1, -1, err) < 0 ? -1 : 0;
}

int sbx_helper_end(struct sbx_helper_thread *thread, struct sbx_engine *engine, bool give_up,
                   struct sbx_record *record, struct sbx_err *err)
{
    struct sbx_err cut = SBX_ERR_INIT;
    if (!give_up && wait_for(thread, engine, &cut) < 0)
        give_up = true;
    if (give_up) {
        uint64_t one = 1;
        (void)!write(thread->stop_fd, &one, sizeof(one));
    }
    pthread_join(thread->id, NULL);
    sbx_docker_free(thread->engine.docker);
    sbx_close(&thread->stop_fd);
    sbx_close(&thread->done_fd);
    if (cut.kind != SBX_ERR_NONE) {
        *err = cut;
        return -1;
    }
    /* Not in the thread: the lock that makes one pull of many is the store's. */
    if (thread->rc < 0 && !give_up && thread->err.kind == SBX_ERR_NOT_FOUND && !thread->record.helper[0]) {
        thread->err = (struct sbx_err)SBX_ERR_INIT;
        thread->rc = sbx_image_pull_once(engine, engine->config->git_image, &thread->err);
        if (thread->rc < 0 && thread->err.kind == SBX_ERR_INVALID)
            thread->err.kind = SBX_ERR_UPSTREAM; /* not the client's image: the operator's */
        if (thread->rc == 0)
            thread->rc = sbx_patch_start(engine, &thread->record, thread->run, &thread->err);
    }
    if (thread->rc < 0) {
        *err = thread->err;
        return sbx_err_wrap(err, "the patch helper (DAIV_SANDBOX_GIT_IMAGE)");
    }
    memcpy(record->helper, thread->record.helper, sizeof(record->helper));
    return 0;
}
