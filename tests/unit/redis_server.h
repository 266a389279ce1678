/* A real redis-server for a test, on a Unix socket in a private directory; it dies with the test. */
#ifndef TESTS_UNIT_REDIS_SERVER_H
#define TESTS_UNIT_REDIS_SERVER_H

#include <stddef.h>
#include <sys/types.h>

extern char redis_server_socket[96];
extern pid_t redis_server_pid; /* -1 while none runs */

/* Before all tests: make the private directory; 0 or -1. After them: stop the server and remove it. */
int redis_server_prepare(void);
void redis_server_forget(void);

/* Start it, empty, on the socket (and a TCP port, unless 0), and wait until it answers; fails the test when
 * it does not. */
void redis_server_start(int port);
void redis_server_stop(void);

/* What redis itself says to a command of words without spaces: a string, status or number; "" for anything
 * else. */
void redis_server_ask(const char *command, char *out, size_t size);

/* The same, whatever it says as long as it is no error. */
void redis_server_tell(const char *command);

#endif
