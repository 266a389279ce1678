/* How a command went: exit code, signal, reason, usage; or why it never ran. */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>

#include "agent/agent.h"

static void explain(const struct exec *exec, struct spawn_report report, struct outcome *ret)
{
    switch (report.step) {
    case SPAWN_CWD:
        text_join(ret->message, sizeof(ret->message), "cannot change to directory '", exec->cwd,
                  "': ", text_errno(report.err), NULL);
        break;
    case SPAWN_EXEC:
        text_join(ret->message, sizeof(ret->message), "cannot run '", exec->program,
                  "': ", text_errno(report.err), NULL);
        break;
    default:
        text_join(ret->message, sizeof(ret->message),
                  "cannot take the user's identity: ", text_errno(report.err), NULL);
        break;
    }
    ret->code = report.step == SPAWN_EXEC && report.err == ENOENT ? 127 : 126;
    ret->reason = SBX_EXIT_FAILED;
    ret->status = (uint32_t)report.err;
}

static uint32_t reason_of(const struct exec *exec, const struct outcome *outcome)
{
    if (exec->reason != SBX_EXIT_EXITED)
        return exec->reason;
    if (outcome->code == 128 + SIGKILL && memory_kills() > exec->kills)
        return SBX_EXIT_OOM;
    return outcome->signal ? SBX_EXIT_SIGNALLED : SBX_EXIT_EXITED;
}

void outcome_of(const struct exec *exec, struct outcome *ret)
{
    struct spawn_report report = spawn_report((size_t)(exec - execs));

    *ret = (struct outcome){.code = 0};
    if (exec->reaped && report.step != SPAWN_OK) {
        explain(exec, report, ret);
        return;
    }
    /* a leader that could not be killed (it sleeps in the kernel) counts as killed */
    int status = exec->reaped ? exec->status : SIGKILL;
    int64_t end = exec->reaped && exec->ending == NOT_ENDING ? exec->ended : now_us();
    ret->signal = WIFSIGNALED(status) ? (uint32_t)WTERMSIG(status) : 0;
    ret->code = ret->signal ? 128 + ret->signal : (uint32_t)WEXITSTATUS(status);
    ret->reason = reason_of(exec, ret);
    if (ret->reason == SBX_EXIT_TIMEOUT)
        ret->code = 124;
    ret->user_us = exec->user_us;
    ret->system_us = exec->system_us;
    ret->max_rss = exec->max_rss;
    ret->duration_us = end - exec->started;
}

size_t outcome_put(const struct outcome *outcome, uint8_t *out, size_t size, size_t n)
{
    n = sbx_field_put_u32(out, size, n, SBX_TAG_CODE, outcome->code);
    n = sbx_field_put_u32(out, size, n, SBX_TAG_SIGNAL, outcome->signal);
    n = sbx_field_put_u32(out, size, n, SBX_TAG_REASON, outcome->reason);
    n = sbx_field_put_u64(out, size, n, SBX_TAG_USER_US, (uint64_t)outcome->user_us);
    n = sbx_field_put_u64(out, size, n, SBX_TAG_SYSTEM_US, (uint64_t)outcome->system_us);
    n = sbx_field_put_u64(out, size, n, SBX_TAG_MAX_RSS, (uint64_t)outcome->max_rss);
    n = sbx_field_put_u64(out, size, n, SBX_TAG_DURATION_US, (uint64_t)outcome->duration_us);
    if (outcome->reason != SBX_EXIT_FAILED)
        return n;
    n = sbx_field_put_u32(out, size, n, SBX_TAG_STATUS, outcome->status);
    return sbx_field_put(out, size, n, SBX_TAG_MESSAGE, outcome->message, strlen(outcome->message));
}
