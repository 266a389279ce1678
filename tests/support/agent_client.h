/*
 * A real agent for tests: PID 1 of its own PID and mount namespace, in a temporary root with busybox, and the
 * worker's half of the protocol. Needs root. Failures end the test through cmocka.
 */
#ifndef SBX_TESTS_AGENT_CLIENT_H
#define SBX_TESTS_AGENT_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "sandboxd/wire.h"

#define AGENT_UID 1000

struct agent_options {
    bool no_shell;        /* busybox is there, but not as /bin/sh */
    bool dash_like;       /* /bin/sh is there and refuses -o */
    bool user_ns;         /* ids above 65535 do not exist, so the agent's process tags do not work */
    unsigned patience_ms; /* how long the worker may be silent; 0: the agent's own */
};

struct agent {
    pid_t pid; /* as seen from outside */
    int in, out;
    char root[64]; /* a mount point of the agent's namespace; use agent_path from here */
    uint64_t key;
    struct sbx_frame_reader reader;
};

struct agent_result {
    uint32_t code, signal, reason, status;
    uint64_t user_us, max_rss, duration_us;
    char message[512];
    uint8_t *out; /* both channels as they came, unless split */
    size_t len;
    uint8_t *err;
    size_t err_len;
    uint64_t total; /* bytes that came, also those not kept */
};

void agent_start(struct agent *agent, const struct agent_options *options);
void agent_stop(struct agent *agent);

/* A path inside the agent's root that this process can open. */
const char *agent_path(const struct agent *agent, const char *path);

void agent_send(struct agent *agent, uint8_t type, uint8_t flags, uint32_t stream, const void *payload,
                size_t len);
void agent_send_raw(struct agent *agent, const void *bytes, size_t n);
/* One message in as many frames as it needs. */
void agent_send_message(struct agent *agent, uint8_t type, uint32_t stream, const uint8_t *payload,
                        size_t len);

/* The next frame, or false after timeout_ms without one. */
bool agent_receive(struct agent *agent, struct sbx_frame *ret, int timeout_ms);

/* HELLO; returns the type of the answer. With HELLO_ACK the connection's key is set. */
uint8_t agent_hello(struct agent *agent, uint64_t nonce, uint64_t fence);
/* The same for a request; *ret_frame is the answer, valid until the next receive. */
uint8_t agent_hello_for(struct agent *agent, uint64_t nonce, uint64_t fence, const char *request,
                        struct sbx_frame *ret_frame);
size_t agent_encode_hello(uint8_t *out, uint64_t nonce, uint64_t fence);

/* Fields of an EXEC under construction. */
struct agent_request {
    uint8_t *bytes;
    size_t len, size;
};
void agent_request_init(struct agent_request *request);
void agent_request_text(struct agent_request *request, uint8_t tag, const char *text);
void agent_request_u32(struct agent_request *request, uint8_t tag, uint32_t value);
void agent_request_u64(struct agent_request *request, uint8_t tag, uint64_t value);
/* Send and release it. */
void agent_request_send(struct agent *agent, struct agent_request *request, uint8_t type, uint32_t stream);

void agent_exec(struct agent *agent, uint32_t stream, const char *command, uint32_t timeout_ms);

/* Read until EXIT of the stream, giving credit; at most `keep` bytes of output are stored. */
void agent_collect(struct agent *agent, uint32_t stream, struct agent_result *ret, size_t keep);
void agent_result_done(struct agent_result *result);
/* exec and collect */
void agent_run(struct agent *agent, const char *command, struct agent_result *ret);

/* Whole-file WRITE; returns the STATUS, message in out if not NULL. */
uint32_t agent_write(struct agent *agent, uint32_t stream, const char *path, uint32_t mode, const void *data,
                     size_t n, char message[256]);

/* Living processes of the agent's namespace besides the agent; waits up to timeout_ms for it to be
 * `expected`. */
size_t agent_processes(const struct agent *agent, size_t expected, int timeout_ms);

#endif
