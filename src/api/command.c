#include "api/command.h"

#include <stdlib.h>
#include <string.h>

#define TIMEOUT_MAX_S 2000000 /* about three weeks; fits the wire's 32 bits of milliseconds */

static void read_stdin(struct sbx_faults *faults, struct json_object *body, struct sbx_command_fields *ret)
{
    const char *encoding = "text";
    size_t n = 0;
    (void)sbx_json_string(faults, body, "", "stdin_encoding", SBX_JSON_OPTIONAL, 0, 16, &encoding, &n);
    if (strcmp(encoding, "text") != 0 && strcmp(encoding, "base64") != 0)
        sbx_faults_add(faults, "literal_error", "stdin_encoding",
                       json_object_object_get(body, "stdin_encoding"), "Input should be 'text' or 'base64'");
    if (!sbx_json_string(faults, body, "", "stdin", SBX_JSON_NULLABLE, 0, SIZE_MAX, &ret->stdin_data,
                         &ret->stdin_len) ||
        strcmp(encoding, "base64") != 0)
        return;
    ret->stdin_decoded = sbx_base64_bytes(ret->stdin_data, ret->stdin_len, &ret->stdin_len);
    if (!ret->stdin_decoded)
        sbx_faults_add(faults, "base64_decode", "stdin", json_object_object_get(body, "stdin"),
                       "Base64 decoding error");
    ret->stdin_data = ret->stdin_decoded;
}

int sbx_command_read(struct sbx_call *call, struct sbx_faults *faults, struct json_object *body,
                     struct sbx_command_fields *ret, struct sbx_err *err)
{
    int64_t seconds = 0;
    size_t cwd_len = 0;
    ret->timeout_ms = call->engine->config->command_timeout_ms;
    (void)sbx_json_bool(faults, body, "", "split", SBX_JSON_OPTIONAL, &ret->split);
    if (sbx_json_int(faults, body, "", "timeout", SBX_JSON_NULLABLE, 0, TIMEOUT_MAX_S, &seconds))
        ret->timeout_ms = seconds * 1000;
    if (sbx_json_string(faults, body, "", "cwd", SBX_JSON_NULLABLE, 1, 4095, &ret->cwd, &cwd_len) &&
        (ret->cwd[0] != '/' || strlen(ret->cwd) != cwd_len))
        sbx_faults_add(faults, "value_error", "cwd", json_object_object_get(body, "cwd"),
                       "The working directory must be an absolute path");
    read_stdin(faults, body, ret);
    return sbx_read_env(faults, body, "env", &ret->env, err);
}

void sbx_command_done(struct sbx_command_fields *fields)
{
    sbx_env_free(fields->env);
    free(fields->stdin_decoded);
}
