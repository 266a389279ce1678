/* DAIV_SANDBOX_USER: workers and janitor run as this user where the master is root; nothing happens
 * elsewhere. */
#ifndef SBX_SANDBOXD_USER_H
#define SBX_SANDBOXD_USER_H

#include "sandboxd/base.h"

/* In the master: the state directory becomes the user's (root's again where none is set), and dockerd's
 * socket must admit its group. INVALID: there is no such user, or the socket is root's alone. */
int sbx_user_prepare(const struct sbx_config *config, struct sbx_err *err) SBX_MUST_CHECK;

/* In a child: become it, in the group of dockerd's socket besides its own. */
int sbx_user_become(const struct sbx_config *config, struct sbx_err *err) SBX_MUST_CHECK;

#endif
