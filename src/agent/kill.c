/*
 * Ending a command's tree, one short pass at a time, so that the loop goes on serving the others meanwhile.
 * GRACE: everybody has had SIGTERM and some time to go. KILLING: members are stopped until no running one is
 * found, so that none can fork while the others die, then killed; until a pass finds nobody.
 *
 * A fork bomb can leave so little of the processor that no pass comes to an end (gVisor shares it out among
 * hundreds that never sleep). Then everything in the container is stopped at once, which takes one call,
 * until the tree is dead; a pass without an end may as well mean that the whole machine stood still, and what
 * belongs to others goes on afterwards. If even then no pass comes to an end, everything is killed; the
 * alternative is the end of the container.
 */
#include <signal.h>

#include "agent/agent.h"

#define GRACE_PERIOD (2000 * MS)
#define GIVE_UP      (5000 * MS) /* after SIGKILL: some process sleeps in the kernel and cannot die */
#define FIRST_PAUSE  (1 * MS)
#define LAST_PAUSE   (20 * MS)
#define MAX_STOPS    20

/* The group can be signalled as such while its leader is not reaped; later its number may be somebody else's.
 * A leader that was forked just now has no group yet. */
void tree_signal(const struct exec *exec, int sig)
{
    if (!exec->reaped && kill(-exec->pid, sig) < 0)
        kill(exec->pid, sig);
}

static void next_scan(struct exec *exec, int64_t now)
{
    exec->scan_at = now + exec->scan_pause;
    exec->scan_pause = 2 * exec->scan_pause < LAST_PAUSE ? 2 * exec->scan_pause : LAST_PAUSE;
}

void tree_terminate(struct exec *exec, int64_t now)
{
    if (exec->ending != NOT_ENDING)
        return;
    exec->ending = GRACE;
    exec->grace_until = now + GRACE_PERIOD;
    exec->scan_pause = FIRST_PAUSE;
    tree_signal(exec, SIGTERM);
    tree_signal(exec, SIGCONT); /* a stopped process would not see it */
    (void)proc_signal(exec, SIGTERM);
    next_scan(exec, now);
}

void tree_kill(struct exec *exec, int64_t now)
{
    if (exec->ending == KILLING || exec->ending == DEAD)
        return;
    exec->ending = KILLING;
    exec->give_up = now + GIVE_UP;
    exec->scans = 0;
    exec->killed = exec->frozen = false;
    exec->scan_pause = FIRST_PAUSE;
    tree_signal(exec, SIGKILL);
    exec->scan_at = now;
}

static void grace_step(struct exec *exec, int64_t now)
{
    struct members found = proc_signal(exec, 0);
    if (found.alive == 0 && !found.cut)
        exec->ending = DEAD;
    else if (now >= exec->grace_until)
        tree_kill(exec, now);
    else
        next_scan(exec, now);
}

static void note_kill(struct exec *exec, int64_t now)
{
    if (!exec->killed)
        exec->give_up = now + GIVE_UP;
    exec->killed = true;
}

/* Nobody is given up who has not been killed, however long this process stood still since the last pass. */
static void kill_step(struct exec *exec, int64_t now)
{
    struct members found = proc_signal(exec, SIGSTOP);
    bool late = now >= exec->give_up;
    if ((found.alive == 0 && !found.cut) || (late && exec->killed)) {
        exec->ending = DEAD;
        if (exec->frozen)
            kill(-1, SIGCONT);
        return;
    }
    if (found.cut && exec->frozen) {
        kill(-1, SIGKILL);
        note_kill(exec, now);
    } else if (found.cut) {
        kill(-1, SIGSTOP);
        exec->frozen = true;
    } else if (late || found.running == 0 || ++exec->scans > MAX_STOPS) {
        (void)proc_signal(exec, SIGKILL);
        exec->scans = 0;
        note_kill(exec, now);
    }
    next_scan(exec, now);
}

void tree_step(struct exec *exec, int64_t now)
{
    if (exec->ending == GRACE && now >= exec->scan_at)
        grace_step(exec, now);
    if (exec->ending == KILLING && now >= exec->scan_at)
        kill_step(exec, now);
}
