/* The one suite that every implementation of store.h passes. */
#ifndef TESTS_UNIT_STORE_SUITE_H
#define TESTS_UNIT_STORE_SUITE_H

#include <stdbool.h>
#include <sys/types.h>

#include "sandboxd/store.h"

struct store_suite {
    struct sbx_store_options options; /* a store that belongs to the test alone */
    struct sbx_store_options other;   /* a second one */
    bool freed_at_once;               /* a killed holder's lock needs no TTL to pass */
};

/* Runs the suite as a cmocka group; the number of failed tests. */
int store_suite_run(const struct store_suite *suite);

/* Helpers for an implementation's own tests. */

/* Open a store of these options; fails the test when that fails. */
struct sbx_store *suite_open(const struct sbx_store_options *options);

/* The same, without any record. */
struct sbx_store *suite_open_empty(const struct sbx_store_options *options);

/* A record in state CREATING with a new id and every field set; options and labels are heap memory. */
void suite_record(struct sbx_record *record);

/* The same, inserted. */
void suite_insert(struct sbx_store *store, struct sbx_record *record);

/* Fetch into an initialised record; the error's kind, NONE when it is there. */
enum sbx_err_kind suite_get(struct sbx_store *store, const char *id, struct sbx_record *ret);

void suite_same_record(const struct sbx_record *a, const struct sbx_record *b);

/* Records in the store. */
int suite_count(struct sbx_store *store);

/* Fork a child that exits with fn(arg); the store handles of the parent must be closed or unused there. */
pid_t suite_spawn(int (*fn)(void *arg), void *arg);

/* Wait for a child: its exit status, or 1000 + signal. */
int suite_reap(pid_t pid);

/* Take the lock, say so on the pipe's end fd, and hold it until killed. */
struct suite_holder {
    const struct sbx_store_options *options;
    const char *id;
    int fd;
};
pid_t suite_hold_lock(const struct sbx_store_options *options, const char *id);

#endif
