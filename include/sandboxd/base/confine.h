/*
 * A process gives up what it does not need, for the case that somebody else's bytes take it over. What is
 * given up does not come back; call it before there are threads.
 */
#ifndef SANDBOXD_BASE_CONFINE_H
#define SANDBOXD_BASE_CONFINE_H

#include <stddef.h>

#include "sandboxd/base/err.h"

/*
 * For a process that serves requests: no capability, no privilege through exec, no core dump, nobody looks
 * into it; no new program, no other process's memory or signals, no namespaces, mounts, kernel modules, keys,
 * BPF, performance counters, io_uring, userfaultfd; sockets of Unix and the internet only. Such system calls
 * fail with EPERM. Threads, files, forks stay.
 */
int sbx_confine_service(struct sbx_err *err) SBX_MUST_CHECK;

/*
 * For a process that only computes: all descriptors are closed but those of keep, and what remains is reading
 * and writing them, memory, clocks and the end. Other system calls fail with EPERM.
 */
int sbx_confine_parser(const int *keep, size_t n, struct sbx_err *err) SBX_MUST_CHECK;

/* Become this user, with its groups and `groups` further ones, for good. */
int sbx_become(const char *user, const unsigned *groups, size_t n, struct sbx_err *err) SBX_MUST_CHECK;

#endif
