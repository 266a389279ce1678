/* Execs: commands that outlive the request that starts them. */
#ifndef SBX_API_EXEC_H
#define SBX_API_EXEC_H

#include "api/internal.h"

#define SBX_TERMINAL_MAX 1000 /* rows, and columns */

/* What a client is told of one, added to an object. */
void sbx_exec_describe(struct json_object *obj, const struct sbx_held *held);

/* Open the session of the path within wait_ms. A stopped one is started again by a request's first call; for
 * those that follow it is NOT_FOUND, since it was stopped after the request had come. */
int sbx_exec_open(struct sbx_call *call, int64_t wait_ms, struct sbx_session *session,
                  struct sbx_err *err) SBX_MUST_CHECK;

/* One call on the exec of the path, under the session's lock for as long as it takes. */
int sbx_exec_call(struct sbx_call *call, struct sbx_held_call *held, struct sbx_err *err) SBX_MUST_CHECK;

#endif
