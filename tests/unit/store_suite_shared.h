/* The part of the suite about what processes share (locks, leases, the instance), run by store_suite_run. */
#ifndef TESTS_UNIT_STORE_SUITE_SHARED_H
#define TESTS_UNIT_STORE_SUITE_SHARED_H

#include "store_suite.h"

int store_suite_shared_run(const struct store_suite *suite);

#endif
