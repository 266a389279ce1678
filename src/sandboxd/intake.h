/* How a worker waits for its next connection. */
#ifndef SBX_SANDBOXD_INTAKE_H
#define SBX_SANDBOXD_INTAKE_H

#include "sandboxd/process.h"

struct sbx_intake {
    const struct sbx_process *process;
    int epoll_fd;
};

/* The process's lanes and signals, both the caller's. A failure too leaves something to close. */
int sbx_intake_open(struct sbx_intake *intake, const struct sbx_process *process,
                    const struct sbx_signals *signals, struct sbx_err *err) SBX_MUST_CHECK;
void sbx_intake_close(struct sbx_intake *intake);

/* Wait for a connection. Returns the lane that may have one (another worker may be quicker), -1 when the
 * process is told to leave or cannot wait (then with an error of another kind than NONE). */
int sbx_intake_wait(struct sbx_intake *intake, struct sbx_err *err) SBX_MUST_CHECK;

/* To be called after each connection that was taken, and before leaving: what else there is may be left
 * behind, and is told to another worker. */
void sbx_intake_pass_on(const struct sbx_intake *intake);

#endif
