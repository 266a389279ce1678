#include "sandboxd/scoreboard.h"

#include <errno.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

struct sbx_scoreboard *sbx_scoreboard_new(struct sbx_err *err)
{
    int fd = memfd_create(SBX_SCOREBOARD_NAME, MFD_CLOEXEC);
    void *memory = MAP_FAILED;
    if (fd >= 0 && ftruncate(fd, sizeof(struct sbx_scoreboard)) == 0)
        memory = mmap(NULL, sizeof(struct sbx_scoreboard), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (memory == MAP_FAILED) {
        sbx_err_sys(err, SBX_ERR_INTERNAL, errno, "cannot map the scoreboard");
        sbx_close(&fd);
        return NULL;
    }
    struct sbx_scoreboard *board = memory;
    board->magic = SBX_SCOREBOARD_MAGIC;
    snprintf(board->version, sizeof(board->version), "%s", SBX_VERSION);
    board->started_ms = sbx_now_ms();
    return board;
}

struct sbx_slot *sbx_scoreboard_take(struct sbx_scoreboard *board)
{
    for (uint32_t i = 0; i < SBX_SLOTS; i++) {
        if (board->slots[i].pid != 0)
            continue;
        if (i >= board->used)
            __atomic_store_n(&board->used, i + 1, __ATOMIC_SEQ_CST);
        return &board->slots[i];
    }
    return NULL;
}

size_t sbx_scoreboard_used(const struct sbx_scoreboard *board)
{
    return __atomic_load_n(&board->used, __ATOMIC_SEQ_CST);
}

void sbx_slot_set(struct sbx_slot *slot, enum sbx_activity activity)
{
    slot->since_ms = sbx_now_ms();
    __atomic_store_n(&slot->activity, activity, __ATOMIC_RELEASE);
}

int sbx_scoreboard_count(const struct sbx_scoreboard *board, enum sbx_role role, enum sbx_activity activity)
{
    int count = 0;
    for (size_t i = 0, used = sbx_scoreboard_used(board); i < used; i++) {
        const struct sbx_slot *slot = &board->slots[i];
        count += slot->pid > 0 && slot->role == role && !slot->told_to_leave &&
                 __atomic_load_n(&slot->activity, __ATOMIC_ACQUIRE) == activity;
    }
    return count;
}

int sbx_scoreboard_streams(const struct sbx_scoreboard *board)
{
    int count = 0;
    for (size_t i = 0, used = sbx_scoreboard_used(board); i < used; i++) {
        const struct sbx_slot *slot = &board->slots[i];
        count += slot->pid > 0 && __atomic_load_n(&slot->streaming, __ATOMIC_SEQ_CST);
    }
    return count;
}

bool sbx_scoreboard_has(const struct sbx_scoreboard *board, pid_t pid)
{
    for (size_t i = 0, used = sbx_scoreboard_used(board); i < used; i++) {
        if (board->slots[i].pid == pid)
            return true;
    }
    return false;
}

const char *sbx_role_name(enum sbx_role role)
{
    static const char *const NAMES[] = {"none", "worker", "control", "janitor"};
    return NAMES[role];
}

const char *sbx_activity_name(enum sbx_activity activity)
{
    static const char *const NAMES[] = {"starting", "idle", "busy", "leaving"};
    return NAMES[activity];
}
