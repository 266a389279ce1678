/* The patch helper is made at the same time as the session's container: container starts are what a create
 * waits for. */
#include "session/internal.h"

#include <pthread.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

static void *thread_main(void *arg)
{
    struct sbx_helper_thread *thread = arg;
    thread->rc = sbx_patch_start(&thread->engine, &thread->record, &thread->err);
    return NULL;
}

int sbx_helper_begin(struct sbx_helper_thread *thread, struct sbx_engine *engine,
                     const struct sbx_record *record, struct sbx_err *err)
{
    *thread = (struct sbx_helper_thread){.engine = *engine, .record = *record, .stop_fd = -1};
    /* A client and a wait of its own; the store and the notices stay with the caller's thread. */
    thread->engine.notice = NULL;
    thread->engine.docker =
        sbx_docker_new(engine->config->docker_host, engine->config->docker_timeout_ms, err);
    if (!thread->engine.docker)
        return -1;
    thread->stop_fd = eventfd(0, EFD_CLOEXEC);
    sbx_wait_init(&thread->wait);
    thread->wait.stop_fd = thread->stop_fd;
    thread->engine.wait = &thread->wait;
    if (thread->stop_fd >= 0 && pthread_create(&thread->id, NULL, thread_main, thread) == 0)
        return 0;
    sbx_docker_free(thread->engine.docker);
    sbx_close(&thread->stop_fd);
    return sbx_err_set(err, SBX_ERR_INTERNAL, "cannot start a thread for the patch helper");
}

int sbx_helper_end(struct sbx_helper_thread *thread, bool give_up, struct sbx_record *record,
                   struct sbx_err *err)
{
    if (give_up) {
        uint64_t one = 1;
        (void)!write(thread->stop_fd, &one, sizeof(one));
    }
    pthread_join(thread->id, NULL);
    sbx_docker_free(thread->engine.docker);
    sbx_close(&thread->stop_fd);
    if (thread->rc < 0) {
        *err = thread->err;
        return -1;
    }
    memcpy(record->helper, thread->record.helper, sizeof(record->helper));
    return 0;
}
