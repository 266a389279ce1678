/* A worker: accepts a request, serves it, accepts the next, until it is told to leave or has served its
 * share. */
#include <stdio.h>
#include <string.h>

#include "sandboxd/admission.h"
#include "sandboxd/api.h"
#include "sandboxd/http.h"
#include "sandboxd/intake.h"
#include "sandboxd/process.h"

struct worker {
    struct sbx_process *process;
    struct sbx_signals signals;
    struct sbx_intake intake;
    struct sbx_engine_parts parts;
    struct sbx_server *servers[SBX_LANES]; /* NULL: none of this process */
    struct sbx_api api;
};

static void on_session(void *arg, const char *id)
{
    struct sbx_slot *slot = arg;
    snprintf(slot->session, sizeof(slot->session), "%s", id);
}

/* Half of the workers always stay for others. Two that come at once may both be turned away from the last
 * place, but never both have it. */
static bool on_stream(void *arg, bool begins)
{
    const struct sbx_process *process = arg;
    const struct sbx_config *config = process->config;
    int64_t most = config->max_workers / 2;
    most = config->max_streams < most ? config->max_streams : most;
    __atomic_store_n(&process->slot->streaming, begins, __ATOMIC_SEQ_CST);
    if (!begins || sbx_scoreboard_streams(process->board) <= most)
        return true;
    __atomic_store_n(&process->slot->streaming, false, __ATOMIC_SEQ_CST);
    return false;
}

static int64_t on_client(void *arg, const struct sbx_client *client)
{
    const struct sbx_process *process = arg;
    return sbx_admission_begin(process->board, process->slot, client, sbx_now_us());
}

static int open_worker(struct worker *worker, struct sbx_err *err)
{
    struct sbx_process *process = worker->process;
    if (sbx_signals_open(&worker->signals, err) < 0 ||
        sbx_intake_open(&worker->intake, process, &worker->signals, err) < 0)
        return -1;
    for (int lane = 0; lane < SBX_LANES; lane++) {
        if (process->listen_fd[lane] >= 0 &&
            !(worker->servers[lane] = sbx_server_new(process->listen_fd[lane], err)))
            return -1;
    }
    if (sbx_engine_open(&worker->parts, process, err) < 0)
        return -1;
    worker->api = (struct sbx_api){
        .engine = &worker->parts.engine,
        .spool_dir = worker->parts.spool_dir,
        .stop_fd = worker->signals.term_fd,
        .draining = &process->board->draining,
        .on_session = on_session,
        .on_session_arg = process->slot,
        .on_client = on_client,
        .on_client_arg = process,
        .on_stream = on_stream,
        .on_stream_arg = process,
        .gauges = sbx_gauges_print,
        .gauges_arg = process->board,
    };
    return 0;
}

static void serve(struct worker *worker, struct sbx_request *request)
{
    struct sbx_process *process = worker->process;
    struct sbx_slot *slot = process->slot;
    snprintf(slot->request, sizeof(slot->request), "%s", sbx_request_id(request));
    sbx_slot_set(slot, SBX_ACTIVITY_BUSY);
    /* The last idle one is taken: the master may want to fork another before the next request comes. */
    if (sbx_scoreboard_count(process->board, process->role, SBX_ACTIVITY_IDLE) == 0)
        sbx_wake(process->master_fd);
    sbx_api_serve(&worker->api, request);
    sbx_request_finish(request);
    sbx_admission_end(slot);
    slot->requests++;
    slot->request[0] = slot->session[0] = '\0';
}

int sbx_worker_main(struct sbx_process *process)
{
    struct worker worker = {.process = process};
    struct sbx_err err = SBX_ERR_INIT;
    if (open_worker(&worker, &err) < 0) {
        sbx_log_err(SBX_LOG_ERROR, "cannot start", &err);
        return SBX_EXIT_NOT_READY;
    }
    struct sbx_slot *slot = process->slot;
    sbx_slot_set(slot, SBX_ACTIVITY_IDLE);
    sbx_wake(process->master_fd);
    int lane;
    while (slot->requests < (uint32_t)process->config->worker_requests &&
           (lane = sbx_intake_wait(&worker.intake, &err)) >= 0) {
        struct sbx_request *request = sbx_server_accept(worker.servers[lane], &err);
        sbx_intake_pass_on(&worker.intake);
        if (request) {
            worker.api.control = lane == SBX_LANE_CONTROL;
            serve(&worker, request);
            sbx_slot_set(slot, SBX_ACTIVITY_IDLE);
        } else if (err.kind != SBX_ERR_NONE) {
            break;
        }
    }
    if (err.kind != SBX_ERR_NONE)
        sbx_log_err(SBX_LOG_ERROR, "cannot take requests", &err);
    sbx_intake_pass_on(&worker.intake);
    sbx_intake_close(&worker.intake);
    sbx_slot_set(slot, SBX_ACTIVITY_LEAVING);
    sbx_engine_close(&worker.parts);
    for (lane = 0; lane < SBX_LANES; lane++)
        sbx_server_free(worker.servers[lane]);
    return 0;
}
