/* The limits of clients, each for the requests of one replica: what its processes share decides. */
#ifndef SBX_SANDBOXD_ADMISSION_H
#define SBX_SANDBOXD_ADMISSION_H

#include "sandboxd/base.h"
#include "sandboxd/scoreboard.h"

/* May slot's process serve a request of client now? 0, and it counts as one of the client's until
 * sbx_admission_end; else nothing changed, and this is how many ms it should wait. Of several that race for a
 * last place all may be turned away; never do more get in than may. */
int64_t sbx_admission_begin(struct sbx_scoreboard *board, struct sbx_slot *slot,
                            const struct sbx_client *client, int64_t now_us);
void sbx_admission_end(struct sbx_slot *slot);

#endif
