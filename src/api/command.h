/* The fields that a run and an exec have in common. */
#ifndef SBX_API_COMMAND_H
#define SBX_API_COMMAND_H

#include "api/internal.h"

struct sbx_command_fields {
    bool split;
    int64_t timeout_ms;
    const char *cwd; /* NULL: /repo */
    char **env;      /* owned */
    const char *stdin_data;
    size_t stdin_len;
    char *stdin_decoded; /* owned */
};

/* Read cwd, env, stdin, stdin_encoding, split and timeout; strings are borrowed from the body. */
int sbx_command_read(struct sbx_call *call, struct sbx_faults *faults, struct json_object *body,
                     struct sbx_command_fields *ret, struct sbx_err *err) SBX_MUST_CHECK;
void sbx_command_done(struct sbx_command_fields *fields);

#endif
