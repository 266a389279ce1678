/* What the embedded store's own tests share: each test has a store directory of its own below one private
 * directory. */
#ifndef TESTS_UNIT_STORE_SQLITE_SUPPORT_H
#define TESTS_UNIT_STORE_SQLITE_SUPPORT_H

#include <limits.h>

#include "store_suite.h"

extern char sqlite_top[PATH_MAX / 4];  /* the private directory */
extern char sqlite_dir[PATH_MAX / 2];  /* this test's store */
extern char sqlite_database[PATH_MAX]; /* its database */
extern struct sbx_store_options sqlite_options;

/* Before all tests: make the private directory; 0 or -1. After them: remove it. */
int sqlite_begin(void);
void sqlite_end(void);

/* Setup of a test: the next directory, not made yet. */
int sqlite_new_dir(void **state);

/* Names in the store's directory (sub: below it) that begin with prefix. */
int sqlite_count_files(const char *sub, const char *prefix);

/* Databases moved aside, their journals not counted. */
int sqlite_count_aside(void);

/* Permission bits of a file. */
mode_t sqlite_mode(const char *path);

/* Look a record up: the error's kind, NONE when it is there. */
enum sbx_err_kind sqlite_get(struct sbx_store *store, const char *id);

/* Insert a record and return its id, valid until the next call. */
const char *sqlite_insert(struct sbx_store *store);

#endif
