/* How generations of settings take turns. */
#include "sandboxd/supervisor.h"

#define ROOM_AT_ONCE 8

static bool is_older(const struct sbx_master *master, const struct sbx_slot *slot, enum sbx_role role)
{
    return slot->pid > 0 && slot->role == role && slot->generation != master->generation &&
           !slot->told_to_leave;
}

/* How many of the current generation are ready; whether every slot is taken, and how many of those who were
 * told to leave do so at once. */
static int look(const struct sbx_master *master, enum sbx_role role, bool *ret_full, int *ret_leaving)
{
    int ready = 0;
    *ret_full = true;
    *ret_leaving = 0;
    for (size_t i = 0; i < SBX_SLOTS; i++) {
        const struct sbx_slot *slot = &master->board->slots[i];
        *ret_full = *ret_full && slot->pid != 0;
        *ret_leaving += slot->pid > 0 && slot->told_to_leave && slot->activity != SBX_ACTIVITY_BUSY;
        ready += slot->pid > 0 && slot->role == role && slot->generation == master->generation &&
                 slot->activity != SBX_ACTIVITY_STARTING;
    }
    return ready;
}

/* Tell so many older ones to leave; how many were left to tell of. */
static int dismiss(struct sbx_master *master, enum sbx_role role, bool busy, int most)
{
    for (size_t i = 0; most > 0 && i < SBX_SLOTS; i++) {
        struct sbx_slot *slot = &master->board->slots[i];
        if (is_older(master, slot, role) && (busy || slot->activity != SBX_ACTIVITY_BUSY)) {
            sbx_children_dismiss(slot);
            most--;
        }
    }
    return most;
}

void sbx_relieve(struct sbx_master *master, enum sbx_role role, int enough, int missing)
{
    bool full;
    int leaving;
    if (look(master, role, &full, &leaving) >= enough) {
        (void)dismiss(master, role, true, SBX_SLOTS);
    } else if (missing > 0 && full) {
        /* Few at a time, the next when these are gone: what follows them may fail to start. Whoever is busy
         * leaves some time, and is told when nobody else is there to go. */
        int most = (missing < ROOM_AT_ONCE ? missing : ROOM_AT_ONCE) - leaving;
        most = dismiss(master, role, false, most);
        (void)dismiss(master, role, true, most);
    }
}
