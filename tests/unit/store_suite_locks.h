/* The lock half of the suite, run by store_suite_run. */
#ifndef TESTS_UNIT_STORE_SUITE_LOCKS_H
#define TESTS_UNIT_STORE_SUITE_LOCKS_H

#include "store_suite.h"

int store_suite_locks_run(const struct store_suite *suite);

#endif
