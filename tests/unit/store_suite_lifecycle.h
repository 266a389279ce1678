/* The part of the suite about a session's life after its create, run by store_suite_run. */
#ifndef TESTS_UNIT_STORE_SUITE_LIFECYCLE_H
#define TESTS_UNIT_STORE_SUITE_LIFECYCLE_H

#include "store_suite.h"

int store_suite_lifecycle_run(const struct store_suite *suite);

#endif
