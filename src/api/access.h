/* What is kept of a request. */
#ifndef SBX_API_ACCESS_H
#define SBX_API_ACCESS_H

#include "api/internal.h"

/* What requests spend their time in. Phases may contain one another: a patch is an agent's work too. */
enum sbx_phase { SBX_PHASE_LOCK, SBX_PHASE_DOCKER, SBX_PHASE_AGENT, SBX_PHASE_PATCH, SBX_PHASES };

struct sbx_access {
    int64_t begun_us;              /* monotonic */
    const struct sbx_route *route; /* NULL: none was found */
    int64_t phase_us[SBX_PHASES];
    struct sbx_trace trace;
};

/* A request begins: its spans are recorded from here on. */
void sbx_access_begin(struct sbx_access *access);

/* It ends, with the status that was sent or would have been: metrics and the line in the log. */
void sbx_access_end(struct sbx_access *access, const struct sbx_call *call, int status,
                    const struct sbx_err *err);

#endif
