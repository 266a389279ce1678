/* What a running master's processes do, printed for a person. */
#ifndef SBX_SANDBOXD_STATUS_H
#define SBX_SANDBOXD_STATUS_H

#include <stdio.h>

#include "sandboxd/base.h"

/* NOT_FOUND: no master runs with the settings' home; CONFLICT: it is of another version; UNAVAILABLE: this
 * user may not look into it. */
int sbx_status_print(const struct sbx_config *config, FILE *out, struct sbx_err *err) SBX_MUST_CHECK;

#endif
