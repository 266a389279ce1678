/* What DAIV_SANDBOX_WARM_POOL asks for: IMAGE=COUNT[;patch][;network] and auto=COUNT, separated by commas. */
#ifndef SANDBOXD_BASE_POOL_LIST_H
#define SANDBOXD_BASE_POOL_LIST_H

#include <stdbool.h>
#include <stddef.h>

#define SBX_POOL_WANTS     32  /* most pools … */
#define SBX_POOL_COUNT_MAX 256 /* … and most entries of one */

struct sbx_pool_want {
    char image[512];
    int count;
    bool patch;   /* entries are pairs with a patch helper */
    bool network; /* entries have a network */
};

/* How many there are, into out; 0 for NULL or "". *ret_automatic: the COUNT of auto, 0 without. -1 when the
 * text is not of that form, or names the same image with the same options twice. */
int sbx_pool_list_parse(const char *text, struct sbx_pool_want out[SBX_POOL_WANTS], int *ret_automatic);

#endif
