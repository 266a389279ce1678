/* What the readers of json_read.c need of the fault list beyond its public face. */
#ifndef SRC_BASE_FAULTS_H
#define SRC_BASE_FAULTS_H

#include "sandboxd/base/json.h"

/* A place in the body: a path as in sbx_faults_add, then up to two steps that are taken as they are (keys of
 * the client may hold slashes or be all digits); NULL for none. */
struct sbx_place {
    const char *path;
    const char *key;
    const char *subkey;
};

/* Add a fault with a finished message. Returns the entry (borrowed), so that "ctx" can be put into it; NULL
 * when there are too many faults already or no memory. */
struct json_object *sbx_faults_put(struct sbx_faults *faults, const char *type, struct sbx_place place,
                                   struct json_object *input, const char *msg);

#endif
