/*
 * Call stacks of errors, for reports: off unless somebody reads them. The last few are kept, by number, so
 * that an error carries four bytes instead of a stack.
 */
#ifndef SANDBOXD_BASE_STACK_H
#define SANDBOXD_BASE_STACK_H

#include <stdbool.h>
#include <stddef.h>

#define SBX_STACK_FRAMES 24

/* Turn recording on or off in this process. Turning it on loads what the unwinder needs, so that no later
 * call allocates. */
void sbx_stack_enable(bool on);

/* Keep the caller's stack; its number, 0 when recording is off. */
unsigned sbx_stack_record(void);

/* The return addresses of a kept stack, innermost first, into frames; how many. 0 when it is gone or there
 * was none. */
size_t sbx_stack_get(unsigned number, void *frames[SBX_STACK_FRAMES]);

#endif
