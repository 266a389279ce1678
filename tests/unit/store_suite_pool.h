/* The part of the suite about pools, run by store_suite_run. */
#ifndef TESTS_UNIT_STORE_SUITE_POOL_H
#define TESTS_UNIT_STORE_SUITE_POOL_H

#include "store_suite.h"

int store_suite_pool_run(const struct store_suite *suite);

#endif
