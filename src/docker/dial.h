/*
 * Raw connections to dockerd, for streams that libcurl cannot carry.
 */
#ifndef SBX_DOCKER_DIAL_H
#define SBX_DOCKER_DIAL_H

#include "docker/internal.h"

/* A connected, non-blocking socket; UNAVAILABLE when there is none by until_ms (monotonic). */
int sbx_docker_dial(struct sbx_docker *docker, struct sbx_wait *wait, int64_t until_ms,
                    struct sbx_err *err) SBX_MUST_CHECK;

/* Wait for events on fd, which may come early: the caller tries and comes back. UNAVAILABLE at until_ms. */
int sbx_docker_await(int fd, short events, struct sbx_wait *wait, int64_t until_ms,
                     struct sbx_err *err) SBX_MUST_CHECK;

#endif
