/*
 * The only writer of logs: one line per event on stderr, key=value or JSON, with the process's context in
 * each line. Library code reports errors to its caller and never logs; the caller at the top (api, sandboxd)
 * does.
 */
#ifndef SANDBOXD_BASE_LOG_H
#define SANDBOXD_BASE_LOG_H

#include <stdarg.h>
#include <stdbool.h>

#include "sandboxd/base/err.h"

enum sbx_log_level { SBX_LOG_DEBUG, SBX_LOG_INFO, SBX_LOG_WARNING, SBX_LOG_ERROR, SBX_LOG_CRITICAL };

/* Lines below `level` are dropped. json: one JSON object a line instead of key=value. role: "master",
 * "worker", … (not copied; must stay valid). May be called again, e.g. after fork. */
void sbx_log_init(enum sbx_log_level level, bool json, const char *role);

/* Level from its upper-case name ("DEBUG" … "CRITICAL"); -1 when unknown. */
int sbx_log_level_parse(const char *name);

/* Context put into every later line of this process, until changed; NULL clears. Strings are copied (cut at
 * 63 bytes). */
void sbx_log_set_request(const char *request_id);
void sbx_log_set_session(const char *session_id);
void sbx_log_set_client(const char *client);

/* One line: ts, level, role, pid, request, session, client (those that are set), then event, then fields
 * given as NULL-terminated pairs of key and value, both strings. Values are escaped; keys are literals.
 *   sbx_log(SBX_LOG_INFO, "session created", "image", image, "container", id, NULL);
 * Never pass secrets or bodies. One write(2) a line, so lines of several processes do not mix. */
void sbx_log(enum sbx_log_level level, const char *event, ...) __attribute__((sentinel));

/* A second taker of every line that is written, before its values are escaped: what there is of context (""
 * when unset) and the fields as they were given. It must not log. NULL: none. */
struct sbx_log_entry {
    enum sbx_log_level level;
    const char *event;
    const char *role;
    const char *request;
    const char *session;
    const char *client;
};
void sbx_log_set_tap(void (*tap)(const struct sbx_log_entry *entry, va_list fields));

/* Log an error object at a level: event, kind=, error=. */
void sbx_log_err(enum sbx_log_level level, const char *event, const struct sbx_err *err);

#endif
