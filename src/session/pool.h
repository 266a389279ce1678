/* Private to the pool: what its entries are. */
#ifndef SBX_SESSION_POOL_H
#define SBX_SESSION_POOL_H

#include "sandboxd/base/pool_list.h"
#include "session/internal.h"

/* The pool of sessions made with these options: a hash of everything in which two could differ. INVALID: the
 * image is not a reference. */
int sbx_pool_name(struct sbx_engine *engine, const char *image, bool patch, bool network,
                  char out[SBX_RECORD_HASH_SIZE], struct sbx_err *err) SBX_MUST_CHECK;

/* Could a pooled session be what these options ask for, whatever their image? */
bool sbx_pool_serves(const struct sbx_engine *engine, const struct sbx_session_options *options);

#endif
