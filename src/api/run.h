/* Private to run.c and run_stream.c. */
#ifndef SBX_API_RUN_H
#define SBX_API_RUN_H

#include "api/command.h"
#include "api/events.h"

struct sbx_run {
    struct json_object *commands; /* borrowed from the body */
    bool fail_fast;
    struct sbx_command_fields fields;
    int64_t max_output;
    struct sbx_base64_text archive; /* text NULL: none */
    char *archive_joined;           /* owned; its text, when it came in lines */
    struct sbx_tar tar;             /* of the archive; fd -1: none */
    struct sbx_spool answer;        /* of a stream: its last event */
    struct sbx_events *events;      /* NULL: the answer is sent in one piece */
};

/* What a command of the run is started with; borrowed. */
struct sbx_exec_spec sbx_run_spec(const struct sbx_run *run, struct json_object *command);

/* How a command went, as further members of its JSON object. */
#define SBX_RESULT_MAX 512
void sbx_run_result(char out[SBX_RESULT_MAX], const struct sbx_exec_result *result, uint64_t dropped);

/* From here on silence is bridged while the run's request waits. A handle for sbx_wait_remove. */
int sbx_run_keep_alive(struct sbx_run *run);

/* Run one command, each piece of its output an event. */
int sbx_run_stream_one(struct sbx_run *run, struct sbx_session *session, int index,
                       struct json_object *command, struct sbx_exec_result *ret,
                       struct sbx_err *err) SBX_MUST_CHECK;

#endif
