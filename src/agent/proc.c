/*
 * Who belongs to a command? Each command gets a supplementary group of its own. It cannot be shed without
 * CAP_SETGID, is inherited through fork, setsid and double fork, and stands in /proc/PID/status for everybody
 * to read.
 *
 * Early versions of gVisor have no Groups line in status. There membership is by session, process group and
 * descent; a process that has lost its parent is taken for the command's when it is younger than the command
 * and no other command is running.
 */
#include <dirent.h>
#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/agent.h"

#define FIRST_TAG 0x50000000u
#define MAX_PROCS 8192 /* looked at in one pass; more are met by the next */
#define MAX_PASS  (1000 * MS)

struct proc {
    pid_t pid, parent, group, session;
    uint64_t start;
    char state;
    bool member;
};

static int proc_dir = -1;
static bool tags_work;
static uint32_t tags_given;
static struct proc procs[MAX_PROCS];

gid_t proc_next_tag(void)
{
    return tags_work ? (gid_t)(FIRST_TAG + tags_given++ % 0x10000000u) : 0;
}

/* A file of /proc/PID, NUL-terminated and cut at size. */
static bool read_proc(const char *pid, const char *name, char *buf, size_t size)
{
    char path[64];
    int fd = openat(proc_dir, text_join(path, sizeof(path), pid, "/", name, NULL), O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    ssize_t n = read(fd, buf, size - 1);
    close(fd);
    if (n <= 0)
        return false;
    buf[n] = '\0';
    return true;
}

static bool has_group(const char *status, gid_t tag)
{
    const char *p = strstr(status, "\nGroups:");
    if (!p)
        return false;
    p += strlen("\nGroups:");
    for (;;) {
        while (*p == ' ' || *p == '\t')
            p++;
        if (*p < '0' || *p > '9')
            return false;
        char *end;
        if (strtoul(p, &end, 10) == tag)
            return true;
        p = end;
    }
}

static bool read_tagged(const char *name, gid_t tag, struct proc *ret)
{
    char status[4096];
    if (!read_proc(name, "status", status, sizeof(status)))
        return false;
    const char *state = strstr(status, "\nState:\t");
    ret->state = state ? state[strlen("\nState:\t")] : '?';
    ret->member = has_group(status, tag);
    return true;
}

/* pid (comm) state ppid pgrp session … starttime is field 22. */
static bool read_stat(const char *name, struct proc *ret)
{
    char stat[1024];
    if (!read_proc(name, "stat", stat, sizeof(stat)))
        return false;
    char *p = strrchr(stat, ')');
    if (!p || p[1] != ' ' || p[2] == '\0')
        return false;
    ret->state = p[2];
    p += 3;
    uint64_t fields[19] = {0};
    for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++)
        fields[i] = strtoull(p, &p, 10);
    ret->parent = (pid_t)fields[0];
    ret->group = (pid_t)fields[1];
    ret->session = (pid_t)fields[2];
    ret->start = fields[18];
    ret->member = false;
    return true;
}

uint64_t proc_start_ticks(pid_t pid)
{
    char name[21];
    struct proc proc;
    return !tags_work && read_stat(text_number(name, (uint64_t)pid), &proc) ? proc.start : 0;
}

/* Every process but this one, those that can be looked at until then. */
static size_t list_procs(gid_t tag, int64_t until)
{
    static char entries[16384];
    size_t n = 0;
    ssize_t got;

    if (lseek(proc_dir, 0, SEEK_SET) < 0)
        return 0;
    while ((got = getdents64(proc_dir, entries, sizeof(entries))) > 0) {
        for (ssize_t off = 0; off < got && n < MAX_PROCS && now_us() < until;) {
            const struct dirent64 *entry = (const struct dirent64 *)(entries + off);
            off += entry->d_reclen;
            if (entry->d_name[0] < '1' || entry->d_name[0] > '9')
                continue;
            procs[n].pid = (pid_t)strtol(entry->d_name, NULL, 10);
            if (procs[n].pid != 1 &&
                (tag ? read_tagged(entry->d_name, tag, &procs[n]) : read_stat(entry->d_name, &procs[n])))
                n++;
        }
    }
    return n;
}

static bool is_member_pid(size_t n, pid_t pid)
{
    for (size_t i = 0; i < n; i++)
        if (procs[i].pid == pid)
            return procs[i].member;
    return false;
}

static void add_descendants(size_t n)
{
    bool changed;
    do {
        changed = false;
        for (size_t i = 0; i < n; i++)
            if (!procs[i].member && procs[i].parent > 1 && is_member_pid(n, procs[i].parent))
                changed = procs[i].member = true;
    } while (changed);
}

static bool is_only_exec(const struct exec *exec)
{
    for (size_t i = 0; i < MAX_EXECS; i++)
        if (execs[i].used && &execs[i] != exec)
            return false;
    return true;
}

/* Also in the moment before the leader has put its mark on itself. */
static bool is_leader(const struct exec *exec, const struct proc *proc)
{
    return !exec->reaped && proc->pid == exec->pid;
}

static void find_by_descent(const struct exec *exec, size_t n)
{
    bool alone = is_only_exec(exec);

    for (size_t i = 0; i < n; i++) {
        struct proc *p = &procs[i];
        bool younger = p->start > exec->start_ticks || (p->start == exec->start_ticks && p->pid > exec->pid);
        p->member = p->group == exec->pid || p->session == exec->pid || is_leader(exec, p) ||
                    (alone && younger && p->parent == 1);
    }
    add_descendants(n);
}

struct members proc_signal(const struct exec *exec, int sig)
{
    struct members found = {0, 0, false};
    int64_t until = now_us() + MAX_PASS;
    size_t n = list_procs(exec->tag, until);

    if (!exec->tag)
        find_by_descent(exec, n);
    for (size_t i = 0; i < n; i++) {
        bool dead = procs[i].state == 'Z' || procs[i].state == 'X';
        if (dead || !(procs[i].member || is_leader(exec, &procs[i])))
            continue;
        found.alive++;
        found.running += procs[i].state != 'T';
        if (sig != 0)
            kill(procs[i].pid, sig);
    }
    found.cut = now_us() >= until;
    return found;
}

void proc_init(void)
{
    const gid_t probe = FIRST_TAG - 1;
    char status[4096];

    proc_dir = open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (proc_dir < 0 || setgroups(1, &probe) < 0)
        return;
    tags_work = read_proc("self", "status", status, sizeof(status)) && has_group(status, probe);
    (void)!setgroups(0, NULL);
}
